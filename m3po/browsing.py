"""The workspace at a glance: all pairs as a density of MAS against confidence, histograms, and the hard negatives.

Everything is counted from the arrays of the review's index, so that a million pairs take a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from m3po.errors import BadInputError
from m3po.jobs.planning.dependence import Dependence
from m3po.store import dependence, instructions
from m3po.store.connection import Connection
from m3po.store.review_index import ReviewIndex
from m3po.store.walks import Conditions
from m3po.store.workspace import Workspace
from m3po.types import PAIR_MEASURES, PAIR_ROLES, ImageRef, ReviewView

T = TypeVar("T")
COLUMNS, ROWS = 96, 64  # cells of the density: MAS to the right, confidence upwards
FEW = 1_500  # points that are told one by one
BINS = 40
TAIL = 0.001  # of the values on either side is gathered in the outermost bins


@dataclass(frozen=True)
class Negative:
    """A pair of the gallery: its rejected answer, how much the policy believes it, and its first image."""

    instruction_id: int
    external_id: str
    instruction: str
    chosen: str
    rejected: str
    confidence: float | None
    mas: float | None
    margin: float | None
    image: ImageRef | None
    survived: tuple[str, ...]


class Browsing:
    """Answers what the Browse page asks; keeps what only another selection changes."""

    def __init__(self, workspace: Workspace, index: ReviewIndex, tests: Dependence) -> None:
        self._workspace, self._index, self._tests = workspace, index, tests
        self._kept: tuple[object, dict] = (None, {})  # of which arrays, and what was made from them; replaced whole

    def look(self, view: ReviewView, role: str = "rejected", client: str = "") -> dict:
        """What is drawn of a view: `left` of `total` pairs; `plot` of the `role` answers, whatever the view's area;
        `histograms` by measure, each whatever the view's own range of it.

        Raises BadInputError for a role or a condition that cannot be.
        """
        if role not in PAIR_ROLES:
            raise BadInputError(f"A pair has no {role!r} answer: choose chosen or rejected.")

        def read(con: Connection) -> dict:
            pairs = self._index.conditions(con, view, client)
            return {
                "left": int(np.count_nonzero(pairs.all_but())),
                "total": int(np.count_nonzero(pairs.has_pair)),
                "role": role,
                "plot": self._plot(pairs, role),
                "histograms": {measure: self._histogram(pairs, measure) for measure in PAIR_MEASURES},
            }

        return self._workspace.db.read(read)

    def negatives(
        self, view: ReviewView, start: int = 0, count: int = 24, client: str = ""
    ) -> tuple[int, list[Negative]]:
        """How many pairs the view has, and `count` of them from `start` on, the most confident rejected first."""
        passed = self._tests.survivors()

        def read(con: Connection) -> tuple[int, list[Negative]]:
            pairs = self._index.conditions(con, view, client)
            mask = pairs.all_but()
            confidence, mas = pairs.points["rejected"]
            order = self._keep(pairs, "order", lambda: np.argsort(-confidence, kind="stable"))
            places = order[mask[order]]
            page = places[start : start + count].tolist()
            named = dependence.name_pairs(con, pairs.ids[page].tolist())
            firsts = [row["image_ids"][0] for row in named if row["image_ids"]]
            images = instructions.image_refs(con, firsts, self._workspace.images) if firsts else {}
            by_id = dict(zip(pairs.ids[page].tolist(), page, strict=True))
            found = []
            for row in named:
                number = row["instruction_id"]
                place = by_id[number]
                found.append(
                    Negative(
                        instruction_id=number,
                        external_id=row["id"],
                        instruction=row["instruction"],
                        chosen=row["chosen"],
                        rejected=row["rejected"],
                        confidence=_value(confidence[place]),
                        mas=_value(mas[place]),
                        margin=_value(pairs.measures["logp_margin"][place]),
                        image=images.get(row["image_ids"][0]) if row["image_ids"] else None,
                        survived=tuple(_names(passed.get(number, []))),
                    )
                )
            return len(places), found

        return self._workspace.db.read(read)

    # ---- what is counted --------------------------------------------------------------------------------------

    def _plot(self, pairs: Conditions, role: str) -> dict:
        """The points of all but the area, one by one where they are few ([MAS, confidence, id]), else counted in cells,
        row by row from the lowest confidence. `x` and `y` are the ends of the axes, of all pairs of the workspace."""
        confidence, mas = pairs.points[role]
        low, high = self._keep(pairs, f"{role}_mas", lambda: _extent(mas))
        there = pairs.all_but("area") & ~np.isnan(confidence) & ~np.isnan(mas)
        shape = {"x": [low, high], "y": [0.0, 1.0], "shown": int(np.count_nonzero(there))}
        if shape["shown"] <= FEW:
            places = np.flatnonzero(there)
            points = np.stack([mas[places], confidence[places]], 1).astype(float).round(6).tolist()
            return shape | {"points": [[*p, i] for p, i in zip(points, pairs.ids[places].tolist(), strict=True)]}
        cells = self._keep(pairs, f"{role}_cells", lambda: _cells(mas, low, high, confidence))
        counts = np.bincount(cells[there], minlength=COLUMNS * ROWS)
        return shape | {"columns": COLUMNS, "rows": ROWS, "counts": counts.tolist()}

    def _histogram(self, pairs: Conditions, measure: str) -> dict:
        """`counts` between `low` and `high`; the outermost bins also hold what lies beyond."""
        values = pairs.measures[measure]
        low, high = self._keep(pairs, f"{measure}_ends", lambda: _ends(values))
        bins = self._keep(pairs, f"{measure}_bins", lambda: _bins(values, low, high))
        counts = np.bincount(bins[pairs.all_but(measure)], minlength=BINS + 1)[
            :BINS
        ]  # the last is for pairs without a value
        return {"low": low, "high": high, "counts": counts.tolist()}

    def _keep(self, pairs: Conditions, name: str, make: Callable[[], T]) -> T:
        """What `make` gave for these arrays of the index."""
        of, kept = self._kept
        if of is not pairs.points:
            of, kept = self._kept = (pairs.points, {})
        if name not in kept:
            kept[name] = make()
        return kept[name]


def _extent(values: np.ndarray) -> tuple[float, float]:
    """Least and greatest, never the same."""
    there = values[~np.isnan(values)]
    if not len(there):
        return 0.0, 1.0
    low, high = float(there.min()), float(there.max())
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _ends(values: np.ndarray) -> tuple[float, float]:
    """The ends of a histogram: a few values far off must not squeeze all others into one bar."""
    there = values[~np.isnan(values)]
    if not len(there):
        return 0.0, 1.0
    cut = int(len(there) * TAIL)
    parted = np.partition(there, [cut, len(there) - 1 - cut])
    return _extent(np.array([parted[cut], parted[len(there) - 1 - cut]]))


def _scaled(values: np.ndarray, low: float, high: float, bins: int) -> np.ndarray:
    """The bin of each value, the outermost where it lies beyond; NaN is taken for the lowest."""
    scaled = (np.nan_to_num(values, nan=low) - low) * (bins / (high - low))
    return np.clip(scaled, 0, bins - 1).astype(np.int32)


def _bins(values: np.ndarray, low: float, high: float) -> np.ndarray:
    bins = _scaled(values, low, high, BINS).astype(np.uint8)
    bins[np.isnan(values)] = BINS
    return bins


def _cells(mas: np.ndarray, low: float, high: float, confidence: np.ndarray) -> np.ndarray:
    return (_scaled(confidence, 0.0, 1.0, ROWS) * COLUMNS + _scaled(mas, low, high, COLUMNS)).astype(np.uint16)


def _value(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _names(tests: list[tuple[str, str]]) -> list[str]:
    return [f"{kind}_{image}" for kind, image in tests]
