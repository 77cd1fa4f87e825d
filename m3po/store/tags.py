"""Words that people put on items: only added to, the newest row of (item, tag, annotator) counts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from m3po.store.connection import Connection, among, rows, scalar
from m3po.store.instructions import now
from m3po.types import Tag

MAX_NAMES = 1_000  # that are offered to choose from


def tags_of(con: Connection, instruction_id: int) -> tuple[Tag, ...]:
    """In the order of their names, then of who gave them."""
    return tags_around(con, [instruction_id]).get(instruction_id, ())


def set_tag(con: Connection, instruction_id: int, name: str, annotator: str, set_by: str, *, withdrawn: bool) -> None:
    con.execute(
        "INSERT INTO item_tags VALUES (?, ?, ?, ?, ?, ?)", [instruction_id, name, annotator, now(), withdrawn, set_by]
    )


def tag_names(con: Connection, annotator: str = "") -> list[str]:
    """What there is, or what this annotator gave, by how often; at most MAX_NAMES."""
    sql = (
        "SELECT tag FROM standing_tags WHERE $annotator IN ('', annotator)"
        " GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT $limit"
    )
    return [row[0] for row in con.execute(sql, {"annotator": annotator, "limit": MAX_NAMES}).fetchall()]


def tags_by_item(con: Connection, instruction_ids: Iterable[int]) -> dict[int, list[str]]:
    """The names on each of these items that has any."""
    found: dict[int, list[str]] = {}
    for instruction_id, tags in tags_around(con, instruction_ids).items():
        found[instruction_id] = list(dict.fromkeys(each.name for each in tags))
    return found


def tags_around(con: Connection, instruction_ids: Iterable[int]) -> dict[int, tuple[Tag, ...]]:
    """`tags_of` each of these items that has any."""
    sql = f"SELECT * FROM standing_tags WHERE {among('instruction_id', instruction_ids)} ORDER BY tag, annotator"
    found: dict[int, tuple[Tag, ...]] = {}
    for row in rows(con, sql):
        found[row["instruction_id"]] = (*found.get(row["instruction_id"], ()), Tag(row["tag"], row["annotator"]))
    return found


class TagMasks:
    """Which items have a tag, along the rising `ids` of the review index; read again when a tag was set."""

    def __init__(self) -> None:
        self._read: tuple = (-1, None)  # how many rows there were, and over which ids
        self._masks: dict[tuple[str, str], np.ndarray] = {}

    def of(self, con: Connection, ids: np.ndarray, name: str, annotator: str) -> np.ndarray:
        """`annotator`: by whom; "" by anybody. Call it under the index's lock."""
        stored = scalar(con, "SELECT count(*) FROM item_tags")
        if self._read[0] != stored or self._read[1] is not ids:
            self._masks.clear()
            self._read = (stored, ids)
        if (name, annotator) not in self._masks:
            found = con.execute(
                "SELECT DISTINCT instruction_id FROM standing_tags WHERE tag = $tag AND $annotator IN ('', annotator)",
                {"tag": name, "annotator": annotator},
            ).fetchnumpy()["instruction_id"]
            self._masks[name, annotator] = np.isin(ids, found)
        return self._masks[name, annotator]
