"""Blind votes on the answers of two evaluations; only added to, a person's newest on an item counts."""

from __future__ import annotations

from m3po.store.connection import Connection, scalar
from m3po.store.instructions import now


def add_vote(con: Connection, first: int, second: int, instruction_id: int, annotator: str, verdict: str,
             left: str) -> None:  # fmt: skip
    """`verdict`: one of m3po.evaluation.preference.VERDICTS; `left`: which stood there, "first" or "second"."""
    con.execute(
        "INSERT INTO side_votes VALUES (?, ?, ?, ?, ?, ?, ?)",
        [first, second, instruction_id, annotator, verdict, left, now()],
    )


def last_item(con: Connection, first: int, second: int, annotator: str) -> int | None:
    """The instruction that somebody voted on last, of the two in this order."""
    sql = (
        "SELECT instruction_id FROM side_votes WHERE first_run = ? AND second_run = ? AND annotator = ?"
        " ORDER BY rowid DESC LIMIT 1"
    )
    return scalar(con, sql, [first, second, annotator])


def read_votes(con: Connection, first: int, second: int) -> list[tuple[int, str, str]]:
    """(instruction, annotator, verdict) of those that count, of the two in this order."""
    return con.execute(
        """
        SELECT instruction_id, annotator, verdict FROM side_votes WHERE first_run = ? AND second_run = ?
        QUALIFY row_number() OVER (PARTITION BY instruction_id, annotator ORDER BY rowid DESC) = 1
        ORDER BY instruction_id, annotator""",
        [first, second],
    ).fetchall()
