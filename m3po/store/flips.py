"""What another weight, margin or rule would pick, beside the selection that stands. Nothing is stored.

The normalised values are those that the selection kept (m3po.store.pools): only the pick differs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from m3po.errors import BadInputError
from m3po.settings import SelectConfig
from m3po.store.candidates import active_scorer
from m3po.store.connection import Connection, rows, scalar
from m3po.store.picking import PICKED, pick_all
from m3po.store.pools import Block, find_pool, map_blocks
from m3po.store.selections import selection_info
from m3po.types import PickRule

NONE = 0  # in place of a candidate's id: there is no pair


@dataclass(frozen=True)
class PairList:
    """The pairs of some instructions, one place each: candidate ids, NONE where there is no pair."""

    instruction_ids: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray

    def of(self, instruction_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(chosen, rejected) of these instructions; NONE for those that are not in the list. The list is sorted."""
        at = np.searchsorted(self.instruction_ids, instruction_ids)
        known = np.zeros(len(instruction_ids), bool)
        inside = at < len(self.instruction_ids)
        known[inside] = self.instruction_ids[at[inside]] == instruction_ids[inside]
        found = np.full((2, len(instruction_ids)), NONE, np.int64)
        for row, values in zip(found, (self.chosen, self.rejected), strict=True):
            row[known] = values[at[known]]
        return found[0], found[1]


@dataclass(frozen=True)
class Flips:
    """Where two picks differ, by rising instruction: the pair before and after. `pairs_before`, `pairs_after`: of the
    whole train split. `fresh`: the candidates and scores are those that a new selection would see."""

    instruction_ids: np.ndarray
    before: PairList
    after: PairList
    score: np.ndarray  # M3P-Score of the pair after; NaN where there is none
    pairs_before: int
    pairs_after: int
    fresh: bool


def pool_of(con: Connection, selection: int | None) -> tuple[int, bool]:
    """The kept values to pick from, and whether they are of the candidates and scores as they are now. Where something
    was added since, those of the selection. Raises BadInputError before the first selection."""
    info = selection_info(con, selection)
    if info is None:
        raise BadInputError("Nothing was selected yet: press Select on the Data tab, then compare with it.")
    config = SelectConfig.of_run(info)
    found = find_pool(con, active_scorer(con, "logp"), active_scorer(con, "mas"), config)
    return (info["pool_id"], False) if found is None else (found, True)


def find_flips(con: Connection, selection: int, rule: PickRule, config: SelectConfig) -> Flips:
    """The pairs of `selection` against those that `rule` would pick; normalisation and truncated answers as there."""
    pool, fresh = pool_of(con, selection)

    def compare(own: Connection, block: Block) -> tuple[list[int], list[np.ndarray]]:
        ids = block.instruction_ids
        chosen, rejected, score = pick_pairs(own, block, rule, config)
        old_chosen, old_rejected = _pairs_between(own, selection, int(ids.min()), int(ids.max())).of(ids)
        differ = (chosen != old_chosen) | (rejected != old_rejected)
        counts = [np.count_nonzero(old_chosen != NONE), np.count_nonzero(chosen != NONE)]
        return counts, [values[differ] for values in (ids, old_chosen, old_rejected, chosen, rejected, score)]

    parts, totals, seed = [], np.zeros(2, np.int64), config.seed if rule.random_two else None
    for counts, part in map_blocks(con, pool, compare, selection=selection, seed=seed):
        totals += counts
        parts.append(part)
    ids, *pairs, score = (np.concatenate(found) for found in zip(*parts, strict=True)) if parts else _NOTHING
    order = np.argsort(ids, kind="stable")
    ids, score = ids[order], score[order]
    before, after = (PairList(ids, pairs[i][order], pairs[i + 1][order]) for i in (0, 2))
    return Flips(ids, before, after, score, int(totals[0]), int(totals[1]), fresh)


_NOTHING = (*(np.empty(0, np.int64) for _ in range(5)), np.empty(0))


def pick_pairs(
    con: Connection, block: Block, rule: PickRule, config: SelectConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chosen and rejected candidate of every instruction of the block (NONE: no pair) and the M3P-Score (NaN)."""
    ids = block.instruction_ids
    if rule.given:
        if not len(ids):
            return *PairList(ids, ids, ids).of(ids), np.empty(0)
        chosen, rejected = _given_between(con, int(ids.min()), int(ids.max())).of(ids)
        held_out = pc.fill_null(pc.equal(block.reason, "not_train"), False).to_numpy(zero_copy_only=False)
        chosen[held_out] = rejected[held_out] = NONE
        return chosen, rejected, np.full(len(ids), np.nan)
    picks = pick_all(block.candidates, rule, config)
    paired = picks.reason == PICKED
    places = np.flatnonzero(block.open)[paired]
    chosen, rejected, score = np.full(len(ids), NONE), np.full(len(ids), NONE), np.full(len(ids), np.nan)
    chosen[places] = block.candidates.ids[picks.chosen[paired]]
    rejected[places] = block.candidates.ids[picks.rejected[paired]]
    score[places] = picks.score[paired]
    return chosen, rejected, score


def human_pairs(con: Connection) -> PairList:
    """What people decided and agree on, where it is a pair (accept, override), by rising instruction."""
    return _as_pairs(
        con,
        "SELECT instruction_id, chosen, rejected FROM current_decisions JOIN instructions USING (instruction_id)"
        " WHERE split = 'train' AND agreed AND verdict IN ('accept', 'override')"
        " AND chosen IS NOT NULL AND rejected IS NOT NULL ORDER BY 1",
    )


def count_given(con: Connection) -> int:
    """How many preferences the data came with."""
    return scalar(con, "SELECT count(*) FROM given_preferences")


def tell_flips(con: Connection, instruction_ids: list[int], candidate_ids: list[int]) -> tuple[dict, dict]:
    """What a list shows of instructions (`external_id`, `instruction`, `sha256` of the first image), and the texts of
    candidates, both by id."""
    shown = rows(
        con,
        "SELECT instruction_id, source, external_id, instruction, sha256 FROM instructions"
        " LEFT JOIN images ON image_id = image_ids[1] WHERE instruction_id IN (SELECT unnest(?::BIGINT[]))",
        [instruction_ids],
    )
    sql = "SELECT candidate_id, text FROM candidates WHERE candidate_id IN (SELECT unnest(?::BIGINT[]))"
    texts = {row["candidate_id"]: row["text"] for row in rows(con, sql, [candidate_ids])}
    return {row["instruction_id"]: row for row in shown}, texts


def _pairs_between(con: Connection, selection: int, low: int, high: int) -> PairList:
    return _as_pairs(
        con,
        "SELECT instruction_id, chosen, rejected FROM selection_pairs WHERE selection_id = ?"
        " AND instruction_id BETWEEN ? AND ? AND chosen IS NOT NULL ORDER BY 1",
        [selection, low, high],
    )


def _given_between(con: Connection, low: int, high: int) -> PairList:
    return _as_pairs(
        con,
        "SELECT instruction_id, chosen, rejected FROM given_pairs WHERE instruction_id BETWEEN ? AND ? ORDER BY 1",
        [low, high],
    )


def _as_pairs(con: Connection, sql: str, parameters: object = None) -> PairList:
    found = (con.execute(sql, parameters) if parameters is not None else con.execute(sql)).fetchnumpy()
    return PairList(*(found[name].astype(np.int64) for name in ("instruction_id", "chosen", "rejected")))
