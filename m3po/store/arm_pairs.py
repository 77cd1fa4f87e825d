"""The pairs that rules would pick, for a comparison of rules: nothing is selected, what stands stays as it is.

Truth is read here for one use: the simulated annotator, and how many pairs of each rule are right.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from m3po.settings import SelectConfig
from m3po.store.connection import Connection, rows
from m3po.store.flips import NONE, pick_pairs
from m3po.store.picking import Candidates
from m3po.store.pools import Block, map_blocks, read_some
from m3po.types import PickRule

Picked = dict[int, tuple[int, int]]  # instruction -> chosen, rejected


def pick_arm(con: Connection, pool: int, rule: PickRule, config: SelectConfig, *, shuffled: bool = False) -> Picked:
    """The pair of each train instruction that has one by `rule`. `shuffled`: as if each instruction's confidences lay
    on its candidates by chance (`config.seed`): the control that has everything but the model's own belief."""

    def pick(own: Connection, block: Block) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if shuffled:
            block = dataclasses.replace(block, candidates=shuffle_belief(block.candidates))
        chosen, rejected, _ = pick_pairs(own, block, rule, config)
        paired = chosen != NONE
        return block.instruction_ids[paired], chosen[paired], rejected[paired]

    seed = config.seed if rule.random_two or shuffled else None
    found: Picked = {}
    for ids, chosen, rejected in map_blocks(con, pool, pick, seed=seed):
        found |= dict(zip(ids.tolist(), zip(chosen.tolist(), rejected.tolist(), strict=True), strict=True))
    return dict(sorted(found.items()))


def shuffle_belief(candidates: Candidates) -> Candidates:
    """The same candidates, the confidences of each instruction dealt among them anew, in the order of `drawn`."""
    owners = np.repeat(np.arange(len(candidates)), np.diff(candidates.starts))
    dealt = np.lexsort((candidates.drawn, owners))
    return dataclasses.replace(candidates, b=candidates.b[dealt], logp_mean=candidates.logp_mean[dealt])


def read_beliefs(con: Connection, pool: int, instruction_ids: Sequence[int]) -> dict[int, dict[int, float]]:
    """logp_mean in nats of each candidate that a rule may pick, by instruction and candidate."""
    block = read_some(con, pool, np.asarray(instruction_ids, np.int64))
    open_ids = block.instruction_ids[block.open].tolist()
    c = block.candidates
    found = {}
    for place, number in enumerate(open_ids):
        part = slice(c.starts[place], c.starts[place + 1])
        found[number] = dict(zip(c.ids[part].tolist(), c.logp_mean[part].tolist(), strict=True))
    return found


def read_texts(con: Connection, candidate_ids: Sequence[int]) -> dict[int, dict]:
    """`text` and `truncated` of candidates, by id."""
    sql = (
        "SELECT candidate_id, text, coalesce(finish_reason = 'length', false) AS truncated FROM candidates"
        " WHERE candidate_id IN (SELECT unnest(?::BIGINT[]))"
    )
    return {row["candidate_id"]: row for row in rows(con, sql, [list(candidate_ids)])}


def train_truth(con: Connection) -> dict[int, dict]:
    """`answer`, `objects`, `category` of the train instructions whose truth is known. Nothing that picks pairs may read
    this but the simulated annotator, who says so."""
    sql = (
        "SELECT instruction_id, answer, objects, category FROM truth JOIN instructions USING (instruction_id)"
        " WHERE split = 'train' AND (answer IS NOT NULL OR objects IS NOT NULL) ORDER BY 1"
    )
    return {row["instruction_id"]: row for row in rows(con, sql)}
