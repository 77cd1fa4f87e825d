"""The guideline that annotators follow, in versions that are only ever added to, and the list of reasons of each."""

from __future__ import annotations

import json

from m3po.store.connection import Connection, one, rows, scalar
from m3po.store.instructions import now
from m3po.types import Guideline

_COLUMNS = "version, text, reasons, author, written_at"


def newest(con: Connection) -> Guideline | None:
    return _as_guideline(one(con, f"SELECT {_COLUMNS} FROM guideline_versions ORDER BY version DESC LIMIT 1"))


def read_version(con: Connection, version: int) -> Guideline | None:
    return _as_guideline(one(con, f"SELECT {_COLUMNS} FROM guideline_versions WHERE version = ?", [version]))


def list_versions(con: Connection) -> list[dict]:
    """`version, author, written_at` (UTC), newest first: without their texts."""
    return rows(con, "SELECT version, author, written_at FROM guideline_versions ORDER BY version DESC")


def all_reasons(con: Connection) -> set[str]:
    """The reasons of every version that there was."""
    found = con.execute("SELECT reasons FROM guideline_versions").fetchall()
    return {reason for (listed,) in found for reason in json.loads(listed)}


def add_version(con: Connection, text: str, reasons: tuple[str, ...], author: str) -> Guideline:
    """Append the next version."""
    version = 1 + (scalar(con, "SELECT max(version) FROM guideline_versions") or 0)
    written = Guideline(version, text, reasons, author, now())
    con.execute(
        f"INSERT INTO guideline_versions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)",
        [version, text, json.dumps(reasons, ensure_ascii=False), author, written.at],
    )
    return written


def _as_guideline(row: dict | None) -> Guideline | None:
    if row is None:
        return None
    return Guideline(row["version"], row["text"], tuple(json.loads(row["reasons"])), row["author"], row["written_at"])
