"""What a figure is, and how rows give it: the base of m3po.evaluation.metrics and of each benchmark's own module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from m3po.evaluation.intervals import bootstrap_interval, ratio_of, wilson_interval

OWN = "Held-out"  # the benchmark of the workspace's own questions


@dataclass(frozen=True)
class Metric:
    """What a figure is. `unit` is "fraction" (0 to 1; shown in per cent), "words" or "points" (MME: at most 200 a
    category). `benchmark`: what it is a figure of. `detail`: one of many, folded away in tables.

    `higher_is_better` None: neither direction is good by itself.
    """

    key: str
    label: str
    unit: str
    higher_is_better: bool | None
    description: str
    benchmark: str = OWN
    detail: bool = False


@dataclass(frozen=True)
class Ratio:
    """A figure as its rows give it: the sum of `counts[:, 0]` over that of `counts[:, 1]` (n rows, in id order).

    `trials`: each row is at most one trial that succeeds or fails, so that Wilson's interval holds. `ids`: which
    instruction each row is. `swaps`: what stands for `counts` where rows of two models change sides
    (m3po.evaluation.paired), for a figure whose counts are made to be resampled; of the same sums.
    """

    counts: np.ndarray
    trials: bool
    ids: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    swaps: np.ndarray | None = None

    @property
    def value(self) -> float | None:
        part, whole = self.counts.sum(axis=0)
        return float(part / whole) if whole else None

    @property
    def interval(self) -> tuple[float, float] | None:
        if self.trials:
            return wilson_interval(*(int(total) for total in self.counts.sum(axis=0)))
        return bootstrap_interval(self.counts, ratio_of(0, 1))


def rate_of_rows(rows: Sequence[Mapping], hit: Callable[[Mapping], bool]) -> Ratio:
    """The share of the rows that `hit`."""
    return ratio_of_rows(rows, lambda row: (int(hit(row)), 1), trials=True)


def ratio_of_rows(
    rows: Sequence[Mapping], count: Callable[[Mapping], tuple[float, float]], *, trials: bool = False
) -> Ratio:
    """`count` gives what a row adds to the upper and to the lower sum."""
    ids = np.array([row.get("instruction_id") or 0 for row in rows], dtype=np.int64)
    counted = [count(row) for row in rows]
    whole = all(isinstance(value, int) for pair in counted for value in pair)
    return Ratio(np.array(counted, dtype=np.int64 if whole else float).reshape(-1, 2), trials, ids)
