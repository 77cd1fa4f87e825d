"""Which items people were shown with scores, picks or others' decisions: a vote on them is no blind one any more."""

from __future__ import annotations

from collections.abc import Sequence

from m3po.store.connection import Connection
from m3po.store.instructions import now


def add_views(con: Connection, views: Sequence[tuple[str, int]]) -> None:
    """`views`: (annotator, instruction), none of which is there yet."""
    con.executemany("INSERT INTO open_views VALUES (?, ?, ?)", [[name, number, now()] for name, number in views])


def viewed_by(con: Connection, annotator: str) -> set[int]:
    sql = "SELECT DISTINCT instruction_id FROM open_views WHERE annotator = ?"
    return {row[0] for row in con.execute(sql, [annotator]).fetchall()}
