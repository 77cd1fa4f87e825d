"""The order of every view and who decided what, in memory: one array a figure, so that a million items are walked,
filtered and sorted in milliseconds. Rebuilt from the database whenever something was stored; it keeps nothing itself.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from m3po.errors import BadInputError
from m3po.store.connection import Connection, rows, scalar
from m3po.store.personal import People, Personal
from m3po.store.selections import latest_selection
from m3po.types import REVIEW_FILTERS, REVIEW_ORDERS, TRAINING_VERDICTS, VERDICTS, ReviewView

KEPT_WALKS = 16  # views whose order is kept; a million items take 8 MB each
_UNDECIDED = 0  # in `verdict`; a verdict is its place in VERDICTS + 1
_FALLING = ("m3p_score", "mas_gap")
_FLAG = VERDICTS.index("flag") + 1
_TRAINED = tuple(VERDICTS.index(verdict) + 1 for verdict in TRAINING_VERDICTS)


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
        at = self._at(instruction_id)
        return [self._id(int(i) + at + 1) for i in np.flatnonzero(self.shown[at + 1 :])[:count]] if at >= 0 else []

    def _at(self, instruction_id: int) -> int:
        position = position_of(self.ids, instruction_id)
        return int(self.rank[position]) if position >= 0 else -1

    def _id(self, at: int) -> int:
        return int(self.ids[self.places[at]])

    def _neighbour(self, at: int, direction: int) -> int:
        rest = self.shown[at + 1 :] if direction > 0 else self.shown[:at][::-1]
        step = int(np.argmax(rest)) if len(rest) else 0
        return at + direction * (step + 1) if len(rest) and rest[step] else -1


def position_of(ids: np.ndarray, instruction_id: int) -> int:
    """Where it stands in the rising `ids`; -1 when it is not there."""
    position = int(np.searchsorted(ids, instruction_id))
    return position if position < len(ids) and ids[position] == instruction_id else -1


class ReviewIndex:
    """The train split, one place an instruction in every array, by rising id."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._loaded: tuple = ()  # what the arrays were made from: newest instruction, selection
        self._decisions = self._last_decision = 0  # how many rows were read, and the newest of them
        self._walks: OrderedDict[ReviewView, tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self.ids = np.empty(0, np.int64)
        self.measures: dict[str, np.ndarray] = {}  # float64, NaN where there is no pair or no value
        self.has_pair = np.empty(0, bool)
        self.people = People()
        self.verdict = np.empty(0, np.uint8)  # what stands of all, _UNDECIDED or a place in VERDICTS + 1

    def walk(self, con: Connection, view: ReviewView) -> Walk:
        """The view as the database has it now. Raises BadInputError for a filter or an order that does not exist."""
        if view.filter not in REVIEW_FILTERS or view.order not in REVIEW_ORDERS:
            raise BadInputError(f"There is no view {view.filter!r} by {view.order!r}: reload the page.")
        with self.lock:
            self.refresh(con)
            verdict = self.verdict
            if view.filter == "mine" or view.annotator:
                person = self.people.of(con, view.annotator, self.ids)
                verdict = person.verdict
                if view.filter == "mine":
                    return Walk(self.ids, person.queue, person.rank, verdict[person.queue] == _UNDECIDED)
            places, rank = self._ordered(con, view)
            if view.filter == "disagreements":
                return Walk(self.ids, places, rank, self.people.disputed(con, self.ids)[places])
            return Walk(self.ids, places, rank, self._shown(view.filter, verdict)[places])

    def person(self, con: Connection, annotator: str) -> Personal:
        """What one person was assigned and decided, as the database has it now."""
        with self.lock:
            self.refresh(con)
            return self.people.of(con, annotator, self.ids)

    def counts(self, con: Connection) -> tuple[int, int]:
        """(reviewed, reviewable) of the train split."""
        with self.lock:
            self.refresh(con)
            return int(np.count_nonzero(self.verdict)), len(self.ids)

    def refresh(self, con: Connection) -> None:
        """Read what was stored since the last call; a few milliseconds when it is nothing or a few decisions."""
        with self.lock:
            selection = latest_selection(con)
            newest = (scalar(con, "SELECT count(*) FROM instructions"), selection)
            if newest != self._loaded:
                self._load(con, selection)
                self._loaded = newest
            self._read_decisions(con)

    def _load(self, con: Connection, selection: int | None) -> None:
        found = con.execute("SELECT instruction_id FROM instructions WHERE split = 'train' ORDER BY 1").fetchnumpy()
        self.ids = found["instruction_id"].astype(np.int64)
        pairs = con.execute(
            "SELECT instruction_id, m3p_score, logp_margin, mas_gap FROM selection_pairs"
            " WHERE selection_id = ? AND chosen IS NOT NULL ORDER BY 1",
            [selection],
        ).fetchnumpy()
        places = np.searchsorted(self.ids, pairs.pop("instruction_id"))
        self.has_pair = np.zeros(len(self.ids), bool)
        self.has_pair[places] = True
        self.measures = {}
        for name, values in pairs.items():
            self.measures[name] = np.full(len(self.ids), np.nan)
            self.measures[name][places] = np.ma.filled(values.astype(np.float64), np.nan)
        self.verdict = np.zeros(len(self.ids), np.uint8)
        self._decisions = self._last_decision = 0
        self._walks.clear()

    def _read_decisions(self, con: Connection) -> None:
        """Whatever wrote them: each row names the one instruction whose standing decision it may have changed."""
        stored, newest = con.execute("SELECT count(*), coalesce(max(decision_id), 0) FROM decisions").fetchall()[0]
        if stored == self._decisions:
            return
        since = "FROM decisions WHERE decision_id > ?"
        if self._decisions + scalar(con, f"SELECT count(*) {since}", [self._last_decision]) != stored:
            # An import's votes took their ids before others that were stored sooner: look at all of them.
            self._last_decision = 0
            self.verdict[:] = _UNDECIDED
        touched = con.execute(f"SELECT DISTINCT instruction_id {since}", [self._last_decision]).fetchall()
        changed = [row[0] for row in touched]
        standing = rows(
            con,
            "SELECT instruction_id, verdict FROM current_decisions"
            " WHERE instruction_id IN (SELECT unnest(?::BIGINT[]))",
            [changed],
        )
        now = {row["instruction_id"]: VERDICTS.index(row["verdict"]) + 1 for row in standing}
        for instruction_id in changed:
            position = position_of(self.ids, instruction_id)
            if position >= 0:
                self.verdict[position] = now.get(instruction_id, _UNDECIDED)
        self._decisions, self._last_decision = stored, newest

    def _shown(self, name: str, verdict: np.ndarray) -> np.ndarray:
        if name == "all":
            return np.ones(len(self.ids), bool)
        if name == "no_pair":
            return ~self.has_pair & ~np.isin(verdict, _TRAINED)
        if name == "flagged":
            return verdict == _FLAG
        return (verdict == _UNDECIDED) == (name == "unreviewed")

    def _ordered(self, con: Connection, view: ReviewView) -> tuple[np.ndarray, np.ndarray]:
        """`places` and `rank` of a Walk, kept for the views that were used last."""
        key = ReviewView(order=view.order)
        if key not in self._walks:
            places = self._sorted(view.order)
            rank = np.full(len(self.ids), -1, np.int32)
            rank[places] = np.arange(len(places), dtype=np.int32)
            self._walks[key] = (places, rank)
            while len(self._walks) > KEPT_WALKS:
                self._walks.popitem(last=False)
        self._walks.move_to_end(key)
        return self._walks[key]

    def _sorted(self, order: str) -> np.ndarray:
        if order == "id":
            return np.arange(len(self.ids), dtype=np.int32)
        values = self.measures[order]
        # NaN (no pair) sorts last either way; equal values stay in the order of their ids
        return np.argsort(-values if order in _FALLING else values, kind="stable").astype(np.int32)
