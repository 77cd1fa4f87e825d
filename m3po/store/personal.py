"""What one person was assigned and decided, as arrays over the places of the review index, and the items in dispute.

Read again only when something was stored, like the index itself.
"""

from __future__ import annotations

import numpy as np

from m3po.store import decisions
from m3po.store.connection import Connection, scalar
from m3po.store.verdicts import waiting
from m3po.store.walks import position_of
from m3po.types import NO_VOTES, VERDICTS

UNVOTED = (0, *(VERDICTS.index(name) + 1 for name in NO_VOTES))  # in `verdict`: no vote on the item yet
KEPT = 64  # persons whose arrays are kept; a million items take 1 MB each


class Personal:
    """One person's own verdicts (0: none, else a place in VERDICTS + 1), which are the index's, and queue, over the
    rising `ids`."""

    def __init__(self, annotator: str, ids: np.ndarray) -> None:
        self.annotator = annotator
        self.ids = ids
        self.verdict = np.zeros(len(ids), np.uint8)
        self.queue = np.empty(0, np.int32)  # places, in the queue's order
        self.blind = np.empty(0, np.int32)  # those of them that a blind assignment gave
        self.rank = np.full(len(ids), -1, np.int32)
        self._written = self._assigned = -1

    def refresh(self, con: Connection, written: int) -> None:
        """`written`: how many bulk writes there were (-1: not known); nothing else changes a queue."""
        if written == self._written != -1:
            return
        assigned = scalar(con, "SELECT count(*) FROM assigned")
        if assigned != self._assigned:
            found = con.execute(
                "SELECT instruction_id, bool_or(blind) AS blind FROM queues JOIN assignments USING (assignment_id)"
                " WHERE annotator = ? GROUP BY 1 ORDER BY min(assignment_id), min(place), 1",
                [self.annotator],
            ).fetchnumpy()
            self.queue = places_of(self.ids, found["instruction_id"])
            self.blind = places_of(self.ids, found["instruction_id"][np.asarray(found["blind"], bool)])
            rank = np.full(len(self.ids), -1, np.int32)  # another array: walks of before keep theirs
            rank[self.queue] = np.arange(len(self.queue), dtype=np.int32)
            self.rank = rank
            self._assigned = assigned
        self._written = written

    def said(self, instruction_id: int) -> str:
        """The own verdict that stands on an item, adjudications aside; "" where there is none."""
        at = position_of(self.ids, instruction_id)
        return VERDICTS[self.verdict[at] - 1] if at >= 0 and self.verdict[at] else ""

    def is_assigned(self, instruction_id: int) -> bool:
        at = position_of(self.ids, instruction_id)
        return at >= 0 and self.rank[at] >= 0

    def is_blind(self, instruction_id: int) -> bool:
        """Whether a blind assignment gave it, decided or not."""
        return bool((self.blind == position_of(self.ids, instruction_id)).any())

    @property
    def has_blind_work(self) -> bool:
        """Whether something of a blind assignment still waits for this person's vote."""
        return bool(np.isin(self.verdict[self.blind], UNVOTED).any())

    @property
    def has_work(self) -> bool:
        """Whether something of any assignment still waits for this person's vote."""
        return bool(np.isin(self.verdict[self.queue], UNVOTED).any())

    @property
    def n_flagged(self) -> int:
        """How many of the own queue were flagged: passed on to others, and without a vote of this person."""
        return int(np.count_nonzero(self.verdict[self.queue] == VERDICTS.index("flag") + 1))

    @property
    def counts(self) -> dict[str, int]:
        """How many items each own verdict stands on."""
        found = np.bincount(self.verdict, minlength=len(VERDICTS) + 1)[1:].tolist()
        return {verdict: n for verdict, n in zip(VERDICTS, found, strict=True) if n}

    @property
    def progress(self) -> tuple[int, int]:
        """(done, assigned) of the own queue."""
        return int(np.count_nonzero(~waiting(self.verdict[self.queue]))), len(self.queue)


class Persons:
    """The arrays of whoever asked lately, for the index whose `ids` they lie along."""

    def __init__(self) -> None:
        self._known: dict[str, Personal] = {}
        self._disputed: tuple[tuple, np.ndarray, np.ndarray] = ((), np.empty(0), np.empty(0, bool))

    def of(self, con: Connection, annotator: str, ids: np.ndarray, verdict: np.ndarray, written: int) -> Personal:
        """One person's arrays, as the database has it now. Call it under the index's lock. `verdict`: their own, as the
        index has read them; `written`: see Personal.refresh."""
        person = self._known.pop(annotator, None)
        if person is None or person.ids is not ids:
            person = Personal(annotator, ids)
        self._known[annotator] = person
        while len(self._known) > KEPT:
            self._known.pop(next(iter(self._known)))
        person.verdict = verdict
        person.refresh(con, written)
        return person

    def disputed(self, con: Connection, ids: np.ndarray) -> np.ndarray:
        """Where voters disagree (decisions.DISPUTED): bool, along `ids`."""
        stored = decisions.state(con)
        if self._disputed[0] != stored or self._disputed[1] is not ids:
            found = con.execute(decisions.DISPUTED).fetchnumpy()["instruction_id"]
            mask = np.zeros(len(ids), bool)
            mask[places_of(ids, found)] = True
            self._disputed = (stored, ids, mask)
        return self._disputed[2]


def places_of(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where those of `wanted` that are there stand in the rising `ids`, in the order of `wanted`."""
    wanted = np.asarray(wanted, np.int64)
    if not len(ids) or not len(wanted):
        return np.empty(0, np.int32)
    at = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return at[ids[at] == wanted].astype(np.int32)
