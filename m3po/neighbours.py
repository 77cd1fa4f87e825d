"""What lies around an item of a view, so that a page can fetch the next ones before they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from m3po.store import decisions
from m3po.store.connection import Connection, Database
from m3po.store.exclusions import exclusions_of
from m3po.store.pair_changes import count_measured
from m3po.store.review_index import ReviewIndex
from m3po.store.selections import latest_selection
from m3po.store.tags import tags_around
from m3po.types import ReviewView, Tag


@dataclass(frozen=True)
class Neighbours:
    """Ids after and before an item in a view, nearest first, and its place there (0: outside).

    `stamps`: what each of them, and the item itself, was drawn from; another stamp means that it is to be drawn anew.
    """

    ahead: tuple[int, ...]
    behind: tuple[int, ...]
    position: int
    total: int
    reviewed: int
    reviewable: int
    selection_id: int | None
    decided: dict[int, int]  # the current decision, where there is one
    tags: dict[int, tuple[Tag, ...]]  # where there are any
    excluded: frozenset[int]  # items of which a pair is left out of training
    measured: int  # of how many runs it is known what they did
    stamps: dict[int, str]


def read_neighbours(
    database: Database, index: ReviewIndex, view: ReviewView, instruction_id: int, *, ahead: int, behind: int
) -> Neighbours:
    """Up to `ahead` items after `instruction_id` and `behind` before it."""

    def read(con: Connection) -> Neighbours:
        walk = index.walk(con, view)
        following = walk.following(instruction_id, ahead)
        preceding: list[int] = []
        while len(preceding) < behind:
            before = walk.neighbour(preceding[-1] if preceding else instruction_id, -1)
            if before is None:
                break
            preceding.append(before)
        around = [instruction_id, *following, *preceding]
        decided = decisions.current_rows(con, index.may_be_decided(con, around))
        decided = {number: row["decision_id"] for number, row in decided.items()}
        selection, tags = latest_selection(con), tags_around(con, around)
        excluded, measured = frozenset(exclusions_of(con, around)), count_measured(con)
        reviewed, reviewable = index.counts(con)
        return Neighbours(
            ahead=tuple(following),
            behind=tuple(preceding),
            position=walk.position(instruction_id),
            total=walk.total,
            reviewed=reviewed,
            reviewable=reviewable,
            selection_id=selection,
            decided=decided,
            tags=tags,
            excluded=excluded,
            measured=measured,
            stamps={
                i: stamp_of(selection, decided.get(i), tags.get(i, ()), excluded=i in excluded, measured=measured)
                for i in around
            },
        )

    return database.read(read)


def stamp_of(
    selection_id: int | None,
    decision_id: int | None,
    tags: Sequence[Tag] = (),
    *,
    blind: bool = False,
    shuffled: bool = False,
    excluded: bool = False,
    measured: int = 0,
) -> str:
    """Of what is shown alone: a stamp reaches who is shown it."""
    told = hashlib.sha256(repr([(each.name, each.annotator) for each in tags]).encode()).hexdigest()[:12]
    marks = "b" * blind + "s" * shuffled + "x" * excluded + (f"r{measured}" if measured else "")
    return f"{selection_id or 0}.{decision_id or 0}{marks}{f'-{told}' if tags else ''}"
