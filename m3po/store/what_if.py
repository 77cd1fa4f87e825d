"""What other settings of the pick rule would change: the pairs they pick, beside those of a selection.

Nothing is stored but, where the candidates or the normalisation are new, the pool of values that both pick from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m3po.errors import BadInputError
from m3po.settings import SelectConfig
from m3po.store.candidates import active_scorer
from m3po.store.connection import Connection, Database
from m3po.store.picking import PICKED, pick_all
from m3po.store.pools import ensure_pool, find_pool, read_blocks
from m3po.store.selections import ahead, check_raw, latest_selection
from m3po.types import PickRule


@dataclass(frozen=True)
class WhatIf:
    """The pairs that a rule would pick, beside a selection's: `flipped` instructions have another pair, `gone` no
    longer one, `new` one that they had not (rising instruction ids).

    `against` are those whose human pair (an agreed accept or override) is the selection's and would not be picked any
    more; `towards` those whose human pair is not the selection's and would be.
    """

    pairs: int
    flipped: np.ndarray
    gone: np.ndarray
    new: np.ndarray
    against: np.ndarray
    towards: np.ndarray


def what_if(database: Database, rule: PickRule, config: SelectConfig, selection: int | None = None) -> WhatIf:
    """Compare with `selection` (None: the newest). A pool that is there is read only; else it is made first.

    Raises BadInputError for a rule that computes nothing (`given`), for `raw` with a scorer whose range is not [0, 1],
    and when nothing was selected yet.
    """
    if rule.given:
        raise BadInputError("The given pairs depend on no weight and no margin: choose another rule.")

    def ready(con: Connection) -> tuple[int | None, int | None, int | None]:
        scorers = active_scorer(con, "logp"), active_scorer(con, "mas")
        check_raw(con, scorers[1], config)
        return find_pool(con, *scorers, config), *scorers

    pool, logp, mas = database.read(ready)
    if pool is None:
        pool = database.write(lambda con: ensure_pool(con, logp, mas, config))
    return database.read(lambda con: _compare(con, pool, rule, config, selection or latest_selection(con)))


def _compare(con: Connection, pool: int, rule: PickRule, config: SelectConfig, selection: int | None) -> WhatIf:
    if selection is None:
        raise BadInputError("Nothing was selected yet: select first, then see what other settings would change.")
    before = con.execute(
        "SELECT instruction_id, chosen, rejected FROM selection_pairs WHERE selection_id = ? AND chosen IS NOT NULL",
        [selection],
    ).fetchnumpy()
    human = con.execute(
        "SELECT instruction_id, chosen, rejected FROM current_decisions"
        " WHERE agreed AND verdict IN ('accept', 'override') AND chosen IS NOT NULL AND rejected IS NOT NULL"
    ).fetchnumpy()
    after = _pick(con, pool, rule, config)
    was, now, said = (_Pairs(np.column_stack([each[name] for name in _COLUMNS])) for each in (before, after, human))
    in_both = np.intersect1d(was.ids, now.ids, assume_unique=True)
    changed = was.of(in_both) != now.of(in_both)
    both_said = np.intersect1d(said.ids, np.union1d(was.ids, now.ids), assume_unique=True)
    said_was, said_now = (said.of(both_said) == each.of(both_said) for each in (was, now))
    return WhatIf(
        pairs=len(now.ids),
        flipped=in_both[changed],
        gone=np.setdiff1d(was.ids, now.ids, assume_unique=True),
        new=np.setdiff1d(now.ids, was.ids, assume_unique=True),
        against=both_said[said_was & ~said_now],
        towards=both_said[~said_was & said_now],
    )


_COLUMNS = ("instruction_id", "chosen", "rejected")


class _Pairs:
    """Pairs by rising instruction."""

    def __init__(self, rows: np.ndarray) -> None:
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        self.ids = rows[:, 0]
        # chosen and rejected as one value, which two pairs share only where both are the same
        self._pairs = np.append(rows[:, 1] + 1j * rows[:, 2], -1)

    def of(self, ids: np.ndarray) -> np.ndarray:
        """The pair of each of the instructions, -1 where there is none."""
        places = np.searchsorted(self.ids, ids)
        places[np.append(self.ids, -1)[places] != ids] = len(self.ids)
        return self._pairs[places]


def _pick(con: Connection, pool: int, rule: PickRule, config: SelectConfig) -> dict[str, np.ndarray]:
    """The pairs by column."""
    found: list[np.ndarray] = [np.empty((0, 3), np.int64)]

    def work(block) -> np.ndarray:
        picks = pick_all(block.candidates, rule, config)
        paired = picks.reason == PICKED
        ids = block.candidates.ids
        owners = block.instruction_ids[block.open][paired]
        return np.column_stack([owners, ids[picks.chosen[paired]], ids[picks.rejected[paired]]])

    found += ahead(read_blocks(con, pool, seed=config.seed if rule.random_two else None), work)
    return dict(zip(_COLUMNS, np.concatenate(found).T, strict=True))
