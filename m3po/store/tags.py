"""Words that people put on items: only added to, the newest row of (item, tag, annotator) counts."""

from __future__ import annotations

import numpy as np

from m3po.store.connection import Connection, rows, scalar
from m3po.store.instructions import now
from m3po.types import Tag

MAX_NAMES = 1_000  # that are offered to choose from


def tags_of(con: Connection, instruction_id: int) -> tuple[Tag, ...]:
    """In the order of their names, then of who gave them."""
    sql = "SELECT tag, annotator FROM standing_tags WHERE instruction_id = ? ORDER BY 1, 2"
    return tuple(Tag(name, annotator) for name, annotator in con.execute(sql, [instruction_id]).fetchall())


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


def tags_by_item(con: Connection, instruction_ids: list[int]) -> dict[int, list[str]]:
    """The names on each of these items that has any."""
    sql = (
        "SELECT instruction_id, list(DISTINCT tag ORDER BY tag) AS tags FROM standing_tags"
        " WHERE instruction_id IN (SELECT unnest(?::BIGINT[])) GROUP BY 1"
    )
    return {row["instruction_id"]: row["tags"] for row in rows(con, sql, [instruction_ids])}


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
