"""The order of every view and who decided what, in memory: one array a figure, so that a million items are walked,
filtered and sorted in milliseconds. Rebuilt from the database whenever something was stored; it keeps nothing itself.
"""

from __future__ import annotations

import dataclasses
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np

from m3po.errors import BadInputError
from m3po.store.areas import Points
from m3po.store.auto_accept import audit_ids, newest_audit
from m3po.store.connection import Connection
from m3po.store.dependence import Survivors
from m3po.store.personal import Personal, Persons
from m3po.store.run_views import REWARD_MARGIN, RunViews, check_runs
from m3po.store.searching import Searches
from m3po.store.tags import TagMasks
from m3po.store.verdicts import UNDECIDED, Verdicts, in_turn, waiting
from m3po.store.walks import Conditions, Walk, position_of
from m3po.text import check_typed
from m3po.types import (
    IMAGE_TESTS,
    PAIR_MEASURES,
    PAIR_ROLES,
    REVIEW_FILTERS,
    REVIEW_ORDERS,
    SEARCH_PLACES,
    TRAINING_VERDICTS,
    VERDICTS,
    Area,
    Range,
    ReviewView,
)

KEPT_WALKS = 12  # views whose order is kept; a million items take 8 MB each
MAX_CORNERS = 1000
_IN_TURN = ("unreviewed", "audit")  # as a queue: what was skipped comes when all else is done
_FALLING = ("m3p_score", "mas_gap")
_FLAG = VERDICTS.index("flag") + 1
_TRAINED = tuple(VERDICTS.index(verdict) + 1 for verdict in TRAINING_VERDICTS)


class ReviewIndex:
    """The train split, one place an instruction in every array, by rising id."""

    def __init__(self, state: Callable[[], tuple[int, int]] | None = None) -> None:
        """`state`: m3po.store.connection.Database.state, which spares to ask the database whether anything changed."""
        self.lock = threading.RLock()
        self._state, self._seen = state, (-1, -1)
        self.searches = Searches()
        self.survivors = Survivors()
        self.runs = RunViews()
        self._audited: tuple = ()  # what `audited` was made from: those, and how many thresholds and audits
        self.people = Persons()
        self._tagged = TagMasks()
        self._loaded: tuple = ()  # what the arrays were made from: number of instructions, selection
        self._newest = 0  # the last of those instructions, of any split
        self._orders: dict[str, np.ndarray] = {}
        self._walks: OrderedDict[tuple, tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self._points: dict[str, Points] = {}
        self.ids = np.empty(0, np.int64)
        self.source_names: list[str] = []
        self.source = np.empty(0, np.int32)  # a place in source_names
        # By measure of PAIR_MEASURES; NaN where there is no pair or no value
        self.measures: dict[str, np.ndarray] = {}
        # By role: (confidence, MAS) of the pair's answer, float32, NaN where there is none
        self.points: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.has_pair = np.empty(0, bool)
        self.audited = np.empty(0, bool)  # in the random slice of pairs that are accepted without eyes
        self.said = Verdicts(self.ids)

    def walk(self, con: Connection, view: ReviewView, client: str = "") -> Walk:
        """The view as the database has it now. `client` names who asks: its newer search gives up an older one.

        Raises BadInputError for a condition that cannot be, SearchCancelled when the search was given up.
        """
        _check(view)
        found = None
        if view.search.strip():  # not under the lock: others walk on meanwhile
            found = self.searches.find(con, view.search.strip(), view.search_in, client)
        with self.lock:
            self.refresh(con)
            if view.filter == "mine":
                return self._queue(con, view, found)
            places, rank = self._ordered(con, view, found)
            shown = self._shown(con, view)
            if view.filter == "disagreements":
                shown = shown & self.people.disputed(con, self.ids)
            if (narrowed := self._narrowed(con, view)) is not None:
                shown = shown & narrowed
            shown = shown[places]
            if view.filter in _IN_TURN:
                shown = in_turn(shown, self._verdict(view)[places])
            return Walk(self.ids, places, rank, shown)

    def person(self, con: Connection, annotator: str) -> Personal:
        """What one person was assigned and decided, as the database has it now."""
        with self.lock:
            self.refresh(con)
            return self._person(con, annotator)

    def _person(self, con: Connection, annotator: str) -> Personal:
        return self.people.of(con, annotator, self.ids, self.said.own_arrays(annotator)[0], self._seen[0])

    def may_be_decided(self, con: Connection, instruction_ids: Sequence[int]) -> list[int]:
        """Those of them on which a decision stands, and those that the index does not know."""
        with self.lock:
            self.refresh(con)
            places = {number: position_of(self.ids, number) for number in instruction_ids}
            return [number for number, at in places.items() if at < 0 or self.said.verdict[at] != UNDECIDED]

    def conditions(self, con: Connection, view: ReviewView, client: str = "") -> Conditions:
        """The view, condition by condition. Raises as `walk` does."""
        _check(view)
        found = None
        if view.search.strip():
            found = self.searches.find(con, view.search.strip(), view.search_in, client)[1]
        with self.lock:
            self.refresh(con)
            masks = {"rest": self._shown(con, view)}
            lasting = self._let_in(dataclasses.replace(view, ranges=(), area=None), found)
            if lasting is not None:
                masks["rest"] &= lasting
            if (narrowed := self._narrowed(con, view)) is not None:
                masks["rest"] &= narrowed
            for limits in view.ranges:
                known = masks.get(limits.measure)
                masks[limits.measure] = self._in_range(limits) if known is None else known & self._in_range(limits)
            if view.area is not None:
                masks["area"] = self._in_area(view.area)
            if view.filter in _IN_TURN:
                masks["rest"] = self._rest_in_turn(view, masks)
            return Conditions(masks, self.ids, self.has_pair, self.measures, self.points)

    def counts(self, con: Connection) -> tuple[int, int]:
        """(reviewed, reviewable) of the train split."""
        with self.lock:
            self.refresh(con)
            return int(np.count_nonzero(~waiting(self.said.verdict))), len(self.ids)

    # ---- what the database holds ------------------------------------------------------------------------------

    def refresh(self, con: Connection) -> None:
        """Read what was stored since the last call; a few milliseconds when it is nothing or a few decisions."""
        with self.lock:
            state = self._state() if self._state is not None else None
            if state is not None and state == self._seen:
                return
            if state is None or state[0] != self._seen[0]:
                self._read_all_that_changed(con)
            else:  # nothing but decisions, and the newest ids are the new ones
                self.said.read(con, self.said.newer(con))
            self._seen = state or self._seen

    def _read_all_that_changed(self, con: Connection) -> None:
        [(instructions, selection, decisions, audits)] = con.execute(
            "SELECT (SELECT count(*) FROM instructions), (SELECT max(selection_id) FROM selections),"
            " (SELECT count(*) FROM decisions),"
            " (SELECT count(*) FROM auto_accepts) + (SELECT count(*) FROM audits)"
        ).fetchall()
        if (instructions, selection) != self._loaded and not self._append(con, instructions, selection):
            self._load(con, selection)
            self._loaded = (instructions, selection)
        if (*self._loaded, audits) != self._audited:
            self.audited = np.isin(self.ids, audit_ids(con, newest_audit(con, selection)))
            self._audited = (*self._loaded, audits)
        if decisions != self.said.stored:
            newer = self.said.newer(con) if self.said.stored else []
            # an import's votes took their ids before others that were stored sooner: then all are read
            self.said.read(con, newer, all_of_them=self.said.stored + len(newer) != decisions)

    def _load(self, con: Connection, selection: int | None) -> None:
        found = con.sql(
            "SELECT instruction_id, source FROM instructions WHERE split = 'train' ORDER BY instruction_id"
        ).to_arrow_table()
        self.ids = found["instruction_id"].to_numpy()
        self._newest = con.execute("SELECT coalesce(max(instruction_id), 0) FROM instructions").fetchall()[0][0]
        sources = found["source"].combine_chunks().dictionary_encode()
        self.source_names = sources.dictionary.to_pylist()
        self.source = sources.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        pairs = con.sql(
            "SELECT instruction_id, m3p_score, logp_margin, mas_gap,"
            " (chosen_tokens / rejected_tokens)::FLOAT AS length_ratio,"
            " exp(chosen_logp_mean)::FLOAT AS chosen_confidence, chosen_mas::FLOAT AS chosen_mas,"
            " exp(rejected_logp_mean)::FLOAT AS rejected_confidence, rejected_mas::FLOAT AS rejected_mas"
            " FROM selection_pairs WHERE selection_id = $selection AND chosen IS NOT NULL",
            params={"selection": selection},
        ).to_arrow_table()
        places = np.searchsorted(self.ids, pairs["instruction_id"].to_numpy())
        self.has_pair = np.zeros(len(self.ids), bool)
        self.has_pair[places] = True

        def spread(name: str) -> np.ndarray:
            values = pairs[name].to_numpy()
            out = np.full(len(self.ids), np.nan, values.dtype if values.dtype == np.float32 else np.float64)
            out[places] = values
            return out

        self.measures = {name: spread(name) for name in PAIR_MEASURES}
        self.points = {role: (spread(f"{role}_confidence"), spread(f"{role}_mas")) for role in PAIR_ROLES}
        self._points.clear()
        self._orders.clear()
        self._walks.clear()
        self.said.forget(self.ids)

    def _append(self, con: Connection, instructions: int, selection: int | None) -> bool:
        """Take what was imported since at the ends of the arrays: no pair and no decision of it was read. False where
        something else changed."""
        if not self._loaded or self._loaded[1] != selection:
            return False
        sql = "SELECT instruction_id, source, split FROM instructions WHERE instruction_id > ? ORDER BY 1"
        newer = con.execute(sql, [self._newest]).fetchall()
        if not newer or self._loaded[0] + len(newer) < instructions:
            return False
        self._loaded, self._newest = (self._loaded[0] + len(newer), selection), newer[-1][0]
        fresh = [(number, source) for number, source, split in newer if split == "train"]
        if not fresh:
            return True
        first, count = len(self.ids), len(fresh)
        self.ids = np.append(self.ids, np.array([number for number, _ in fresh], self.ids.dtype))
        self.source_names = list(dict.fromkeys([*self.source_names, *(source for _, source in fresh)]))
        self.source = np.append(self.source, [self.source_names.index(source) for _, source in fresh]).astype(np.int32)

        def longer(values: np.ndarray, value: float = 0) -> np.ndarray:
            return np.append(values, np.full(count, value, values.dtype))

        self.has_pair = longer(self.has_pair)
        self.said.lengthen(self.ids)
        self.measures = {name: longer(values, np.nan) for name, values in self.measures.items()}
        self.points = {role: tuple(longer(values, np.nan) for values in both) for role, both in self.points.items()}
        # Without a pair they come last in each order.
        ends = np.arange(first, first + count, dtype=np.int32)
        self._orders = {name: np.append(places, ends) for name, places in self._orders.items()}
        self._points.clear()
        self._walks.clear()
        return True

    # ---- conditions -------------------------------------------------------------------------------------------

    def _shown(self, con: Connection, view: ReviewView) -> np.ndarray:
        """What the conditions on decisions and tags let in now."""
        verdict = self._verdict(view)
        if view.filter in ("all", "disagreements"):
            shown = np.ones(len(self.ids), bool)
        elif view.filter == "no_pair":
            shown = ~self.has_pair & ~np.isin(verdict, _TRAINED)
        elif view.filter == "flagged":
            shown = verdict == _FLAG
        elif view.filter == "audit":  # a queue: what was looked at is done
            shown = self.audited & waiting(verdict)
        else:
            shown = waiting(verdict) == (view.filter == "unreviewed")
        if view.tag:
            shown = shown & self._tagged.of(con, self.ids, view.tag, view.annotator)
        if view.reason:
            names, nobody = self.said.reason_names, np.zeros(len(self.ids), np.uint16)
            reason = self.said.own_reason.get(view.annotator, nobody) if view.annotator else self.said.reason
            shown &= reason == names.index(view.reason) if view.reason in names else False
        return shown

    def _verdict(self, view: ReviewView) -> np.ndarray:
        """What the view's annotator said, or what stands of all."""
        if not view.annotator:
            return self.said.verdict
        return self.said.own.get(view.annotator, np.zeros(len(self.ids), np.uint8))

    def _rest_in_turn(self, view: ReviewView, masks: dict[str, np.ndarray]) -> np.ndarray:
        """What `walk` takes in turn of those whom every condition lets in."""
        fresh = masks["rest"] & (self._verdict(view) == UNDECIDED)
        return fresh if np.logical_and.reduce([*masks.values(), fresh]).any() else masks["rest"]

    def _queue(self, con: Connection, view: ReviewView, found: tuple[int, np.ndarray] | None) -> Walk:
        """What was assigned to the view's annotator, in the queue's order; shown is what waits there, in turn."""
        person = self._person(con, view.annotator)
        said = person.verdict[person.queue]
        shown = waiting(said) & (not view.reason)  # what is undecided has none
        let_in = self._let_in(view, found[1] if found else None)
        if let_in is not None:
            shown &= let_in[person.queue]
        if view.tag:
            shown &= self._tagged.of(con, self.ids, view.tag, view.annotator)[person.queue]
        if (narrowed := self._narrowed(con, view)) is not None:
            shown &= narrowed[person.queue]
        return Walk(self.ids, person.queue, person.rank, in_turn(shown, said))

    def _narrowed(self, con: Connection, view: ReviewView) -> np.ndarray | None:
        """Whom tests and runs let in, which tell of pairs what may yet come; None where the view asks for neither."""
        masks = [self.survivors.mask(con, view.survived, self.ids)] if view.survived else []
        if view.run:
            masks.append(self.runs.mask(con, view, self.ids))
        return np.logical_and.reduce(masks) if masks else None

    def _ordered(
        self, con: Connection, view: ReviewView, found: tuple[int, np.ndarray] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """`places` and `rank` of a Walk, kept for the views that were used last. `found`: what the search found."""
        undecided = {"filter": "all", "tag": "", "reason": "", "annotator": "", "survived": "", "outcome": ""}
        by_run = view.order == REWARD_MARGIN
        run = view.run if by_run else ""
        lasting = dataclasses.replace(view, search=view.search.strip(), run=run, **undecided)
        key = (lasting, found[0] if found else None, self.runs.state(con) if by_run else None)
        if key not in self._walks:
            places = self.runs.order(con, view, self.ids) if by_run else self._sorted(view.order)
            let_in = self._let_in(lasting, found[1] if found else None)
            if let_in is not None:
                places = places[let_in[places]]
            rank = np.full(len(self.ids), -1, np.int32)
            rank[places] = np.arange(len(places), dtype=np.int32)
            self._walks[key] = (places, rank)
            while len(self._walks) > KEPT_WALKS:
                self._walks.popitem(last=False)
        self._walks.move_to_end(key)
        return self._walks[key]

    def _sorted(self, order: str) -> np.ndarray:
        if order not in self._orders:
            if order == "id":
                places = np.arange(len(self.ids), dtype=np.int32)
            else:
                values = self.measures[order]
                # NaN (no pair) sorts last either way; equal values stay in the order of their ids
                places = np.argsort(-values if order in _FALLING else values, kind="stable").astype(np.int32)
            self._orders[order] = places
        return self._orders[order]

    def _let_in(self, view: ReviewView, found: np.ndarray | None) -> np.ndarray | None:
        """Whom the lasting conditions let in; None where there are none."""
        masks = [self._in_range(each) for each in view.ranges]
        if found is not None:
            masks.append(self._among(found))
        if view.source:
            known = view.source in self.source_names
            masks.append(self.source == (self.source_names.index(view.source) if known else -1))
        if view.area is not None:
            masks.append(self._in_area(view.area))
        return np.logical_and.reduce(masks) if masks else None

    def _in_range(self, limits: Range) -> np.ndarray:
        values = self.measures[limits.measure]
        low = -math.inf if limits.low is None else limits.low
        high = math.inf if limits.high is None else limits.high
        # as exactly as the values are kept: a limit that was read off an item lets that item in
        return (values >= values.dtype.type(low)) & (values <= values.dtype.type(high))

    def _among(self, ids: np.ndarray) -> np.ndarray:
        places = np.searchsorted(self.ids, ids)
        places = places[np.append(self.ids, -1)[places] == ids]
        found = np.zeros(len(self.ids), bool)
        found[places] = True
        return found

    def _in_area(self, area: Area) -> np.ndarray:
        if area.role not in self._points:
            self._points[area.role] = Points(*self.points[area.role])
        return self._points[area.role].inside(area.corners)


def _check(view: ReviewView) -> None:
    """Raise BadInputError for a view that cannot be: it comes from an address, which anybody can write."""
    if view.filter not in REVIEW_FILTERS or view.order not in REVIEW_ORDERS or view.search_in not in SEARCH_PLACES:
        raise BadInputError(f"There is no view {view.filter!r} by {view.order!r}: reload the page.")
    for name in ("search", "source", "reason", "tag", "annotator"):
        check_typed(getattr(view, name), f"The view's {name}")
    if view.survived and view.survived not in IMAGE_TESTS:
        raise BadInputError(f"There is no test {view.survived!r}: choose one of {', '.join(IMAGE_TESTS)}.")
    check_runs(view)
    for limits in view.ranges:
        if limits.measure not in PAIR_MEASURES:
            raise BadInputError(f"Pairs have no {limits.measure!r}: choose one of {', '.join(PAIR_MEASURES)}.")
        if any(limit is not None and not math.isfinite(limit) for limit in (limits.low, limits.high)):
            raise BadInputError(f"The range of {limits.measure} must have finite ends: leave an open side empty.")
    if view.area is not None:
        finite = all(math.isfinite(value) for corner in view.area.corners for value in corner)
        if view.area.role not in PAIR_ROLES or not 3 <= len(view.area.corners) <= MAX_CORNERS or not finite:
            raise BadInputError(f"An area is of chosen or rejected and has 3 to {MAX_CORNERS} corners: draw it anew.")
