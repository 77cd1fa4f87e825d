"""Who wrote which answer: several people may have written the same one, and it is each one's own."""

from __future__ import annotations

from collections.abc import Sequence

from m3po.store.connection import Connection, among, scalar
from m3po.store.instructions import now


def writers_of(con: Connection, instruction_ids: Sequence[int]) -> dict[int, set[str]]:
    """By candidate, of those of these instructions that people wrote; nobody where it came with a file."""
    of_these = among("instruction_id", instruction_ids)
    sql = f"SELECT candidate_id, annotator FROM candidates WHERE {of_these} AND origin = 'human'"
    found = {candidate: {name} - {None} for candidate, name in con.execute(sql).fetchall()}
    if found:
        sql = f"SELECT candidate_id, annotator FROM more_writers WHERE {among('candidate_id', found)}"
        for candidate, name in con.execute(sql).fetchall():
            found[candidate].add(name)
    return found


def add_writer(con: Connection, instruction_id: int, candidate_id: int, annotator: str) -> None:
    """Note that `annotator` wrote what is a candidate already, where a person wrote that: it is theirs as well."""
    if annotator not in writers_of(con, [instruction_id]).get(candidate_id, (annotator,)):
        con.execute("INSERT INTO more_writers VALUES (?, ?, ?)", [candidate_id, annotator, now()])


def count_written(con: Connection) -> int:
    """How many answers people wrote."""
    return scalar(con, "SELECT count(*) FROM candidates WHERE origin = 'human'")
