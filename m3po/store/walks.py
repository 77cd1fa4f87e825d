"""A view of the review index at one moment: its items in their order, or whom each of its conditions lets in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Walk:
    """The items of a view in its order. `places` are all that the lasting conditions let in (positions in the index),
    `rank` the inverse (-1: not among them), `shown` those that the filter on decisions lets in now, along `places`.

    The order is that of the machine's pairs: a decision never moves an item under one's hands, and an item that left
    the view (a decision took it out of "unreviewed") still knows its neighbours.
    """

    ids: np.ndarray
    places: np.ndarray
    rank: np.ndarray
    shown: np.ndarray

    @property
    def total(self) -> int:
        return int(np.count_nonzero(self.shown))

    def position(self, instruction_id: int) -> int:
        """From 1; 0 when it is not in the view."""
        at = self._at(instruction_id)
        return int(np.count_nonzero(self.shown[: at + 1])) if at >= 0 and self.shown[at] else 0

    def first(self) -> int | None:
        return self._id(int(np.argmax(self.shown))) if self.shown.any() else None

    def step(self, instruction_id: int, move: int) -> int:
        """The item `move` places on; at an end, the last one that way; from one that is not among them, the first."""
        at = self._at(instruction_id)
        if at < 0:
            return self.first() or instruction_id
        for _ in range(abs(move)):
            following = self._neighbour(at, 1 if move > 0 else -1)
            if following < 0:
                break
            at = following
        return self._id(at)

    def neighbour(self, instruction_id: int, direction: int) -> int | None:
        """The next (1) or previous (-1) one that is in the view; None at its end."""
        at = self._at(instruction_id)
        following = self._neighbour(at, direction) if at >= 0 else -1
        return self._id(following) if following >= 0 else None

    def following(self, instruction_id: int, count: int) -> list[int]:
        """Up to `count` items that come after it in the view."""
        at, found = self._at(instruction_id), []
        while at >= 0 and len(found) < count:
            at = self._neighbour(at, 1)
            if at >= 0:
                found.append(self._id(at))
        return found

    def _at(self, instruction_id: int) -> int:
        position = position_of(self.ids, instruction_id)
        return int(self.rank[position]) if position >= 0 else -1

    def _id(self, at: int) -> int:
        return int(self.ids[self.places[at]])

    def _neighbour(self, at: int, direction: int) -> int:
        rest = self.shown[at + 1 :] if direction > 0 else self.shown[:at][::-1]
        step = int(np.argmax(rest)) if len(rest) else 0
        return at + direction * (step + 1) if len(rest) and rest[step] else -1


@dataclass(frozen=True)
class Conditions:
    """Whom each condition of a view lets in: `masks` over `ids`, each range by its measure, `area`, and `rest`, all
    others; with the index's arrays of the same moment, which another selection replaces and never changes."""

    masks: dict[str, np.ndarray]
    ids: np.ndarray
    has_pair: np.ndarray
    measures: dict[str, np.ndarray]
    points: dict[str, tuple[np.ndarray, np.ndarray]]

    def all_but(self, left_out: str = "") -> np.ndarray:
        """Pairs that every condition lets in, whatever one of them says."""
        kept = [mask for name, mask in self.masks.items() if name != left_out]
        return np.logical_and.reduce([*kept, self.has_pair])


def position_of(ids: np.ndarray, instruction_id: int) -> int:
    """Where it stands in the rising `ids`; -1 when it is not there."""
    position = int(np.searchsorted(ids, instruction_id))
    return position if position < len(ids) and ids[position] == instruction_id else -1
