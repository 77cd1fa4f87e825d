"""What a run's pairs came from: the decisions that stood when they were frozen, and how two runs' pairs differ."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from m3po.store.bulk import insert_table
from m3po.store.connection import Connection, rows, rows_among, scalar
from m3po.types import TRAINING_VERDICTS

# Names of a comparison -> which of the pairs of $one it is about, beside those of $other.
DIFFERENCES = {
    "only": "o.instruction_id IS NULL",
    "changed": "o.instruction_id IS NOT NULL AND (p.chosen, p.rejected) <> (o.chosen, o.rejected)",
    "same": "(p.chosen, p.rejected) = (o.chosen, o.rejected)",
}
_BESIDE = """
    FROM (SELECT * FROM run_pairs WHERE run_id = $one) p
    LEFT JOIN (SELECT * FROM run_pairs WHERE run_id = $other) o USING (instruction_id)
"""


def standing_decisions(con: Connection) -> pa.Table:
    """`instruction_id, decision_id, agreed` of everybody's decision that stands on a train instruction: see
    add_run_decisions."""
    return con.sql(
        "SELECT s.instruction_id, s.decision_id, c.agreed FROM standing_decisions s"
        " JOIN instructions i ON i.instruction_id = s.instruction_id AND i.split = 'train'"
        " LEFT JOIN current_decisions c ON c.decision_id = s.decision_id ORDER BY 1, 2"
    ).to_arrow_table()


def add_run_decisions(con: Connection, run_id: int, decisions: pa.Table) -> None:
    """Freeze the decisions from which a run's pairs follow; `agreed` is NULL where another one speaks for its item."""
    insert_table(con, "run_decisions", decisions.append_column("run_id", pa.array([run_id] * decisions.num_rows)))


def who_decided(con: Connection, run_id: int) -> list[dict]:
    """Of the decisions that a run is frozen with, by `annotator` and `verdict`: how many `decisions`, the `first` and
    `last` in time, and on how many of the run's pairs one of them is the decision that made it, `pairs`."""
    trains = ", ".join(f"'{verdict}'" for verdict in TRAINING_VERDICTS)
    return rows(
        con,
        f"""
        SELECT d.annotator, d.verdict, count(*) AS decisions, min(d.decided_at) AS first, max(d.decided_at) AS last,
               count(*) FILTER (d.verdict IN ({trains}) AND d.decision_id IN (
                   SELECT decision_id FROM run_pairs WHERE run_id = $run)) AS pairs
        FROM run_decisions r JOIN decisions d USING (decision_id) WHERE r.run_id = $run
        GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2
        """,
        {"run": run_id},
    )


def compare_pairs(con: Connection, one: int, other: int) -> dict[str, int]:
    """By each of DIFFERENCES how many of the pairs of run `one` it is about."""
    counts = ", ".join(f"count(*) FILTER ({where}) AS {name}" for name, where in DIFFERENCES.items())
    return rows(con, f"SELECT {counts} {_BESIDE}", {"one": one, "other": other})[0]


def items_of(con: Connection, one: int, other: int = 0, difference: str = "") -> np.ndarray:
    """The rising ids of the instructions of run `one`'s pairs, of all or of those that `difference` is about."""
    if difference:
        sql = f"SELECT instruction_id {_BESIDE} WHERE {DIFFERENCES[difference]} ORDER BY 1"
        return con.execute(sql, {"one": one, "other": other}).fetchnumpy()["instruction_id"]
    sql = "SELECT instruction_id FROM run_pairs WHERE run_id = ? ORDER BY 1"
    return con.execute(sql, [one]).fetchnumpy()["instruction_id"]


def name_pairs(con: Connection, one: int, other: int, difference: str, limit: int) -> list[dict]:
    """The first pairs of run `one` that `difference` (of DIFFERENCES) is about, as people know them: `instruction_id,
    source, id, chosen, rejected` (texts) and, where they are others there, `other_chosen`, `other_rejected`."""
    found = rows(
        con,
        "SELECT p.instruction_id, p.chosen, p.rejected, o.chosen AS other_chosen, o.rejected AS other_rejected"
        f" {_BESIDE} WHERE {DIFFERENCES[difference]} ORDER BY 1 LIMIT $limit",
        {"one": one, "other": other, "limit": limit},
    )
    sql = "SELECT instruction_id, source, external_id AS id FROM instructions WHERE"
    numbers = [row["instruction_id"] for row in found]
    named = {row["instruction_id"]: row for row in rows_among(con, sql, "instruction_id", numbers)}
    sides = ("chosen", "rejected", "other_chosen", "other_rejected")
    ids = [row[side] for row in found for side in sides if row[side] is not None]
    answers = rows_among(con, "SELECT candidate_id, text FROM candidates WHERE", "candidate_id", ids)
    texts = {row["candidate_id"]: row["text"] for row in answers}
    return [named[row["instruction_id"]] | {side: texts.get(row[side], "") for side in sides} for row in found]


def has_pairs(con: Connection, run_id: int) -> bool:
    return scalar(con, "SELECT count(*) FROM run_pairs WHERE run_id = ?", [run_id]) > 0
