"""The score from which machine pairs are taken without eyes, and the random slice of those that is looked at.

Both are settings of one selection and only added to: the newest row counts. No decision is ever written for a pair that
was accepted this way.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from m3po.store.bulk import insert_table
from m3po.store.connection import Connection, one, rows, scalar
from m3po.store.instructions import now

# The selection's pairs that people decided about, seen as they are: `seen` is false where another pair was shown (or
# none: a vote from another tool) and for a blind vote, which says which pair is best and not whether this one is
# right. `wrong`: they did not take the pair as it is.
_JUDGED = """
    SELECT p.instruction_id, p.m3p_score, d.annotator, d.agreed, d.verdict, coalesce(d.blind, false) AS blind,
           NOT coalesce(d.blind, false)
           AND coalesce(json_extract(d.shown, '$.machine')::BIGINT[] = [p.chosen, p.rejected], false) AS seen,
           NOT (d.verdict IN ('accept', 'override') AND d.chosen = p.chosen AND d.rejected = p.rejected) AS wrong
    FROM selection_pairs p JOIN current_decisions d USING (instruction_id)
    WHERE p.selection_id = $selection AND p.chosen IS NOT NULL AND p.m3p_score IS NOT NULL
"""
NO_SCORE = "only = 'auto' takes pairs without eyes, and no score is set for that: see calibrate."


def judged_pairs(con: Connection, selection: int) -> dict[str, np.ndarray]:
    """Columns of the selection's pairs on which a decision stands: `instruction_id`, `m3p_score`, `annotator`,
    `agreed`, `verdict`, `blind`, `seen`, `wrong`."""
    return con.execute(f"{_JUDGED} ORDER BY 1", {"selection": selection}).fetchnumpy()


def pair_scores(con: Connection, selection: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every pair of the selection: instruction, M3P-Score, and whether a decision stands on it."""
    found = con.execute(
        "SELECT p.instruction_id, p.m3p_score, d.decision_id IS NOT NULL AS decided"
        " FROM selection_pairs p LEFT JOIN current_decisions d USING (instruction_id)"
        " WHERE p.selection_id = ? AND p.chosen IS NOT NULL AND p.m3p_score IS NOT NULL ORDER BY 1",
        [selection],
    ).fetchnumpy()
    return found["instruction_id"], found["m3p_score"].astype(np.float64), found["decided"].astype(bool)


def set_threshold(con: Connection, selection: int, score: float | None, basis: dict, annotator: str) -> int:
    """`score` None withdraws it. `basis`: `target`, `decided` and `overridden` that it rests on."""
    return scalar(
        con,
        "INSERT INTO auto_accepts (selection_id, score, target, decided, overridden, annotator, set_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING auto_accept_id",
        [selection, score, basis.get("target"), basis.get("decided"), basis.get("overridden"), annotator, now()],
    )


def read_threshold(con: Connection, selection: int | None) -> dict | None:
    """What stands for the selection; None when nothing was set, or it was withdrawn."""
    sql = "SELECT * FROM auto_accepts WHERE selection_id = ? ORDER BY auto_accept_id DESC LIMIT 1"
    row = one(con, sql, [selection])
    return row if row and row["score"] is not None else None


def least_score(con: Connection, selection: int | None) -> float | None:
    """The M3P-Score from which pairs are accepted without eyes; None: none are."""
    row = read_threshold(con, selection)
    return row["score"] if row else None


def say_threshold(con: Connection, selection: int | None) -> dict | None:
    """What accepts the selection's pairs without eyes, for a file or a run to keep: `score`, what it rests on
    (`target`, `decided`, `overridden`), and who set it when."""
    row = read_threshold(con, selection)
    names = ("score", "target", "decided", "overridden", "annotator")
    return {name: row[name] for name in names} | {"set_at": row["set_at"].isoformat() + "Z"} if row else None


def draw_audit(con: Connection, threshold: dict, size: int, seed: int, annotator: str) -> int:
    """Keep `size` random pairs of those that the threshold accepts now (all, where there are fewer); the audit's id."""
    ids, scores, decided = pair_scores(con, threshold["selection_id"])
    open_ids = ids[(scores >= threshold["score"]) & ~decided]
    drawn = np.sort(np.random.default_rng(seed).permutation(open_ids)[:size])
    audit = scalar(
        con,
        "INSERT INTO audits (auto_accept_id, selection_id, population, seed, annotator, drawn_at)"
        " VALUES (?, ?, ?, ?, ?, ?) RETURNING audit_id",
        [threshold["auto_accept_id"], threshold["selection_id"], len(open_ids), seed, annotator, now()],
    )
    insert_table(con, "audit_items", pa.table({"audit_id": np.full(len(drawn), audit), "instruction_id": drawn}))
    return audit


def newest_audit(con: Connection, selection: int | None) -> dict | None:
    """The audit of the threshold that stands; None when none was drawn since that was set."""
    threshold = read_threshold(con, selection)
    if threshold is None:
        return None
    sql = "SELECT * FROM audits WHERE auto_accept_id = ? ORDER BY audit_id DESC LIMIT 1"
    return one(con, sql, [threshold["auto_accept_id"]])


def audit_ids(con: Connection, audit: dict | None) -> np.ndarray:
    if audit is None:
        return np.empty(0, np.int64)
    sql = "SELECT instruction_id FROM audit_items WHERE audit_id = ? ORDER BY 1"
    return con.execute(sql, [audit["audit_id"]]).fetchnumpy()["instruction_id"]


def read_audit(con: Connection, audit: dict) -> list[dict]:
    """The items of the audit that have a verdict, as in `judged_pairs`."""
    return rows(
        con,
        f"SELECT j.* FROM ({_JUDGED}) j JOIN audit_items a USING (instruction_id) WHERE a.audit_id = $audit",
        {"selection": audit["selection_id"], "audit": audit["audit_id"]},
    )
