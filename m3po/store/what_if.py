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
from m3po.store.pools import Block, ensure_pool, find_pool, read_blocks
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
    ids, now = _pick(con, pool, rule, config)
    was = _pairs_of(
        con.execute(
            "SELECT instruction_id, chosen, rejected FROM selection_pairs"
            " WHERE selection_id = ? AND chosen IS NOT NULL",
            [selection],
        ).fetchnumpy(),
        ids,
    )
    human = _pairs_of(
        con.execute(
            "SELECT instruction_id, chosen, rejected FROM current_decisions"
            " WHERE agreed AND verdict IN ('accept', 'override') AND chosen IS NOT NULL AND rejected IS NOT NULL"
        ).fetchnumpy(),
        ids,
    )
    had, has, said = (pairs[:, 0] != _NONE for pairs in (was, now, human))
    same, said_was, said_now = ((one == other).all(axis=1) for one, other in ((was, now), (human, was), (human, now)))
    return WhatIf(
        pairs=int(np.count_nonzero(has)),
        flipped=ids[had & has & ~same],
        gone=ids[had & ~has],
        new=ids[has & ~had],
        against=ids[said & said_was & ~said_now],
        towards=ids[said & said_now & ~said_was],
    )


_NONE = -1  # in the place of a candidate: there is no pair


def _pairs_of(found: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """(chosen, rejected) of each of the instructions `ids`, which rise; those that are not among them are left out."""
    pairs = np.full((len(ids), 2), _NONE, np.int64)
    places = np.searchsorted(ids, found["instruction_id"])
    there = np.append(ids, _NONE)[places] == found["instruction_id"]
    for column, name in enumerate(("chosen", "rejected")):
        pairs[places[there], column] = found[name][there]
    return pairs


def _pick(con: Connection, pool: int, rule: PickRule, config: SelectConfig) -> tuple[np.ndarray, np.ndarray]:
    """Every instruction of the pool by rising id, and (chosen, rejected) of each."""

    def work(block: Block) -> tuple[np.ndarray, np.ndarray]:
        picks = pick_all(block.candidates, rule, config)
        paired = picks.reason == PICKED
        pairs = np.full((len(block.instruction_ids), 2), _NONE, np.int64)
        places = np.flatnonzero(block.open)[paired]
        for column, at in enumerate((picks.chosen, picks.rejected)):
            pairs[places, column] = block.candidates.ids[at[paired]]
        return block.instruction_ids, pairs

    found = list(ahead(read_blocks(con, pool, seed=config.seed if rule.random_two else None), work))
    if not found:
        return np.empty(0, np.int64), np.empty((0, 2), np.int64)
    return np.concatenate([ids for ids, _ in found]), np.concatenate([pairs for _, pairs in found])
