"""What each training run did to each of its pairs, as its worker measured it when the training was over.

The outcome of a pair is told by the sign of its log-prob margin, before the run and after it:

  learned      before <= 0 < after    the model preferred the rejected answer, or neither, and prefers the chosen one
  unlearned    before > 0 >= after    the other way round: the pair, or what the others taught, is suspect
  kept         before > 0, after > 0
  still wrong  before <= 0, after <= 0

*Flipped* are learned and unlearned together: the pairs on which the model changed its mind. A pair without a finite
margin has no outcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from m3po.store.bulk import insert_table
from m3po.store.comparisons import arms_of_runs
from m3po.store.connection import Connection, rows, scalar
from m3po.store.instructions import now
from m3po.types import PAIR_OUTCOMES, PairChange

_OUTCOME = """CASE WHEN margin_before IS NULL OR margin_after IS NULL THEN ''
    WHEN margin_before <= 0 AND margin_after > 0 THEN 'learned'
    WHEN margin_before > 0 AND margin_after <= 0 THEN 'unlearned'
    WHEN margin_before > 0 THEN 'kept' ELSE 'still_wrong' END"""
CHANGES = f"(SELECT *, {_OUTCOME} AS outcome FROM pair_changes)"


def add_changes(con: Connection, run_id: int, table: pa.Table) -> bool:
    """Store what a run did: `instruction_id, chosen, rejected, margin_before, margin_after, reward_margin`. Once: where
    it is there already, nothing is stored, and False returned."""
    if is_measured(con, run_id):
        return False
    table = table.sort_by("instruction_id").append_column("run_id", pa.array([run_id] * table.num_rows, pa.int64()))
    insert_table(con, "pair_changes", table)
    con.execute("INSERT INTO measured_runs VALUES (?, ?, ?)", [run_id, table.num_rows, now()])
    return True


def is_measured(con: Connection, run_id: int) -> bool:
    return scalar(con, "SELECT count(*) FROM measured_runs WHERE run_id = ?", [run_id]) > 0


def count_measured(con: Connection) -> int:
    """Of how many runs it is known what they did: it only grows."""
    return scalar(con, "SELECT count(*) FROM measured_runs")


def measured_runs(con: Connection) -> set[int]:
    return {row[0] for row in con.execute("SELECT run_id FROM measured_runs").fetchall()}


def unmeasured_runs(con: Connection) -> list[int]:
    """Finished trainings of which nothing is stored."""
    sql = (
        "SELECT run_id FROM runs ANTI JOIN measured_runs USING (run_id)"
        " WHERE kind = 'train' AND state = 'finished' ORDER BY 1"
    )
    return [row[0] for row in con.execute(sql).fetchall()]


def changes_of(con: Connection, instruction_ids: Iterable[int]) -> dict[int, tuple[PairChange, ...]]:
    """What the runs did to the pairs of those items that they had: the newest run first, those of comparisons last."""
    if not count_measured(con):
        return {}
    found: dict[int, list[PairChange]] = {}
    arms = arms_of_runs(con)
    # A join tells the scan the least and the largest id, which skips whole blocks of each run; so many conditions on
    # ids that lie far apart take twice as long.
    wanted = "(SELECT unnest(?::BIGINT[]) AS instruction_id)"
    sql = f"SELECT * FROM {CHANGES} SEMI JOIN {wanted} USING (instruction_id)"
    for row in rows(con, sql, [list(instruction_ids)]):
        figures = (row["margin_before"], row["margin_after"], row["reward_margin"], row["outcome"])
        change = PairChange(row["run_id"], row["chosen"], row["rejected"], *figures, arms.get(row["run_id"], ""))
        found.setdefault(row["instruction_id"], []).append(change)
    order = {number: sorted(told, key=lambda each: (bool(each.arm), -each.run_id)) for number, told in found.items()}
    return {number: tuple(told) for number, told in order.items()}


def items_with(con: Connection, run_id: int, outcomes: Sequence[str]) -> np.ndarray:
    """The rising ids of the instructions on whose pairs a run had one of these outcomes."""
    sql = (
        f"SELECT instruction_id FROM {CHANGES} WHERE run_id = ? AND outcome IN (SELECT unnest(?::VARCHAR[])) ORDER BY 1"
    )
    return con.execute(sql, [run_id, list(outcomes)]).fetchnumpy()["instruction_id"]


def rewards(con: Connection, run_id: int) -> tuple[np.ndarray, np.ndarray]:
    """The ids of the instructions whose pairs a run gave a reward margin, and these."""
    sql = "SELECT instruction_id, reward_margin FROM pair_changes WHERE run_id = ? AND reward_margin IS NOT NULL"
    found = con.execute(sql, [run_id]).fetchnumpy()
    return found["instruction_id"], found["reward_margin"]


def count_outcomes(con: Connection, run_id: int) -> dict[str, int] | None:
    """By each of PAIR_OUTCOMES ("": the pairs that have none) how many pairs; None where it was not measured."""
    if not is_measured(con, run_id):
        return None
    sql = f"SELECT outcome, count(*) AS pairs FROM {CHANGES} WHERE run_id = ? GROUP BY 1"
    counted = {row["outcome"]: row["pairs"] for row in rows(con, sql, [run_id])}
    return {outcome: counted.get(outcome, 0) for outcome in (*PAIR_OUTCOMES, "")}


def moved_outcomes(con: Connection, before: int, after: int) -> list[list]:
    """[outcome in run `before`, outcome in run `after`, pairs] of the pairs that both had and measured, the most
    frequent first."""
    sql = f"""
        SELECT b.outcome, a.outcome, count(*) AS pairs
        FROM (SELECT * FROM {CHANGES} WHERE run_id = $before) b
        JOIN (SELECT * FROM {CHANGES} WHERE run_id = $after) a USING (instruction_id, chosen, rejected)
        GROUP BY 1, 2 ORDER BY pairs DESC, 1, 2"""
    return [list(row) for row in con.execute(sql, {"before": before, "after": after}).fetchall()]
