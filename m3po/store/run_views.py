"""Which items a run's pairs, and what it did to them, let into a view, and their order by it: along the review index,
read when a view first asks for them, so that a workspace without runs pays nothing."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from m3po.errors import BadInputError
from m3po.store import lineage, pair_changes
from m3po.store.connection import Connection
from m3po.types import FLIPPED, VIEW_OUTCOMES, ReviewView

REWARD_MARGIN = "reward_margin"  # the order by what a run did
KEPT = 8  # masks take 1 MB for a million items, orders 4
_SPEC = re.compile(r"([1-9]\d{0,15})(?:([-~])([1-9]\d{0,15}))?", re.ASCII)
_SIGNS = {"-": "only", "~": "changed"}  # -> of m3po.store.lineage.DIFFERENCES


@dataclass(frozen=True)
class RunSet:
    """The pairs of a run; with `difference` (of m3po.store.lineage.DIFFERENCES) those that differ from `other`'s."""

    run: int
    difference: str = ""
    other: int = 0


def parse_runs(text: str) -> RunSet:
    """`5`: the pairs of run 5; `5-3`: of items that run 3 had none of; `5~3`: of those that it had another one of.
    Raises BadInputError."""
    match = _SPEC.fullmatch(text)
    if match is None:
        raise BadInputError(f"{text!r:.60} names no run's pairs: write 5, 5-3 (not in run 3) or 5~3 (others there).")
    run, sign, other = match.groups()
    return RunSet(int(run), _SIGNS[sign], int(other)) if sign else RunSet(int(run))


def check_runs(view: ReviewView) -> None:
    """Raise BadInputError for a condition on runs that cannot be."""
    if view.run:
        parse_runs(view.run)
    if view.outcome and view.outcome not in VIEW_OUTCOMES:
        raise BadInputError(f"There is no outcome {view.outcome!r}: choose one of {', '.join(VIEW_OUTCOMES)}.")
    if not view.run and (view.outcome or view.order == REWARD_MARGIN):
        raise BadInputError("An outcome and a reward margin are of a run: choose the run, too.")


class RunViews:
    """Masks and orders along the index's rising ids, of the runs that were asked for lately. A run's pairs never
    change; what it did to them comes once."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple, tuple[np.ndarray, np.ndarray]] = OrderedDict()  # -> along which ids, what

    def state(self, con: Connection) -> int:
        """Another one when an order may be another one."""
        return pair_changes.count_measured(con)

    def mask(self, con: Connection, view: ReviewView, ids: np.ndarray) -> np.ndarray:
        """Whom `view.run` and `view.outcome` let in. Call it under the index's lock."""
        runs = parse_runs(view.run)
        asked = (runs.run, runs.other, runs.difference)
        mask = self._keep(asked, ids, lambda: _along(ids, lineage.items_of(con, *asked)))
        if not view.outcome:
            return mask
        outcomes = FLIPPED if view.outcome == "flipped" else (view.outcome,)
        key = (runs.run, view.outcome, self.state(con))
        return mask & self._keep(key, ids, lambda: _along(ids, pair_changes.items_with(con, runs.run, outcomes)))

    def order(self, con: Connection, view: ReviewView, ids: np.ndarray) -> np.ndarray:
        """Places by rising reward margin of the view's run: what it moved the wrong way comes first, items that it has
        no value for last. Equal values stay in the order of their ids."""
        run = parse_runs(view.run).run

        def sort() -> np.ndarray:
            found, values = pair_changes.rewards(con, run)
            places = np.searchsorted(ids, found)
            there = np.append(ids, -1)[places] == found
            spread = np.full(len(ids), np.nan)
            spread[places[there]] = values[there]
            return np.argsort(spread, kind="stable").astype(np.int32)

        return self._keep((REWARD_MARGIN, run, self.state(con)), ids, sort)

    def _keep(self, key: tuple, ids: np.ndarray, make: Callable[[], np.ndarray]) -> np.ndarray:
        known = self._known.get(key)
        if known is None or known[0] is not ids:
            known = self._known[key] = (ids, make())
        self._known.move_to_end(key)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return known[1]


def _along(ids: np.ndarray, found: np.ndarray) -> np.ndarray:
    mask = np.zeros(len(ids), bool)
    places = np.searchsorted(ids, found)
    mask[places[np.append(ids, -1)[places] == found]] = True
    return mask
