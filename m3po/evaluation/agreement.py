"""How far people agree beyond chance: Cohen's kappa of two, Krippendorff's alpha of all, with bootstrap intervals.

Labels are nominal. Most labels name a pair of answers, so there may be as many as items: what occurs in one item alone
is summed apart, which keeps the bootstrap at items x shared labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from m3po.evaluation.intervals import RESAMPLES

_CHUNK = 500_000  # resampling weights that are held at a time
Ratings = Mapping[int, Mapping[str, str]]  # item -> annotator -> label


@dataclass(frozen=True)
class Agreement:
    """`value` is 1 where all agree, 0 as by chance; None where chance alone agrees always (one label throughout) or
    nobody can be compared. `interval` holds it in 95 of 100 resamples of the items; `items`: how many were compared."""

    value: float | None
    interval: tuple[float, float] | None
    items: int


def collect(rows: Iterable[tuple[int, str, str]]) -> dict[int, dict[str, str]]:
    """(item, annotator, label) rows as Ratings."""
    found: dict[int, dict[str, str]] = {}
    for item, annotator, label in rows:
        found.setdefault(item, {})[annotator] = label
    return found


def cohen_kappa(pairs: list[tuple[str, str]], *, seed: int = 0) -> Agreement:
    """Cohen (1960): (p_o - p_e) / (1 - p_e); p_e from each one's own use of the labels. `pairs`: the two labels of each
    item that both judged; the interval is a percentile bootstrap over items."""
    if not pairs:
        return Agreement(None, None, 0)
    n = len(pairs)
    used = Counter(label for pair in pairs for label in set(pair))
    shared = {label: place for place, label in enumerate(sorted(label for label, count in used.items() if count > 1))}
    first, second = (_one_hot([pair[side] for pair in pairs], shared) for side in (0, 1))
    agree = np.array([a == b for a, b in pairs], float)
    alone = np.array([a == b and a not in shared for a, b in pairs], float)

    def kappa(weights: np.ndarray) -> np.ndarray:
        observed = weights @ agree / n
        expected = (((weights @ first) * (weights @ second)).sum(1) + (weights**2) @ alone) / n**2
        return _over_chance(1 - observed, 1 - expected)

    return _agreement(kappa, n, seed)


def krippendorff_alpha(ratings: Ratings, *, seed: int = 0) -> Agreement:
    """Krippendorff (2011), nominal: 1 - D_o / D_e over the items that two or more judged, whoever they are; the
    interval is a percentile bootstrap over items."""
    units = [list(labels.values()) for labels in ratings.values() if len(labels) > 1]
    if not units:
        return Agreement(None, None, 0)
    used = Counter(label for unit in units for label in set(unit))
    shared = {label: place for place, label in enumerate(sorted(label for label, count in used.items() if count > 1))}
    table = np.zeros((len(units), len(shared)))
    alone = np.zeros(len(units))  # sum of squares of the counts of labels that occur in this item alone
    disagree = np.zeros(len(units))
    size = np.array([len(unit) for unit in units], float)
    for row, unit in enumerate(units):
        counts = Counter(unit)
        for label, count in counts.items():
            if label in shared:
                table[row, shared[label]] = count
            else:
                alone[row] += count**2
        disagree[row] = (len(unit) ** 2 - sum(count**2 for count in counts.values())) / (len(unit) - 1)

    def alpha(weights: np.ndarray) -> np.ndarray:
        total = weights @ size
        squares = ((weights @ table) ** 2).sum(1) + (weights**2) @ alone
        return _over_chance((total - 1) * (weights @ disagree), total**2 - squares)

    return _agreement(alpha, len(units), seed)


def pairwise(ratings: Ratings, *, seed: int = 0) -> dict[tuple[str, str], Agreement]:
    """Kappa of every two annotators (in the order of their names) who judged an item in common."""
    both: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for labels in ratings.values():
        for one, other in combinations(sorted(labels), 2):
            both.setdefault((one, other), []).append((labels[one], labels[other]))
    return {names: cohen_kappa(both[names], seed=seed) for names in sorted(both)}


def _one_hot(labels: list[str], places: Mapping[str, int]) -> np.ndarray:
    table = np.zeros((len(labels), len(places)))
    for row, label in enumerate(labels):
        if label in places:
            table[row, places[label]] = 1
    return table


def mean_kappa(name: str, kappas: Iterable[tuple[str, str, Agreement]]) -> float | None:
    """One annotator's kappa with all others, weighed by the items that they share; `kappas`: of every two."""
    own = [found for one, other, found in kappas if name in (one, other) and found.value is not None]
    items = sum(found.items for found in own)
    return sum(found.value * found.items for found in own) / items if items else None


def _over_chance(observed: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """1 - disagreement seen over disagreement by chance; nan where chance never disagrees."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > 1e-12, 1 - observed / expected, np.nan)


def _agreement(statistic, n: int, seed: int) -> Agreement:
    value = float(statistic(np.ones((1, n)))[0])
    if not np.isfinite(value):
        return Agreement(None, None, n)
    rng, step = np.random.default_rng(seed), max(1, _CHUNK // n)
    parts = [statistic(_resample(rng, n, min(step, RESAMPLES - start))) for start in range(0, RESAMPLES, step)]
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, [0.025, 0.975]) if len(values) else (value, value)
    return Agreement(value, (float(low), float(high)), n)


def _resample(rng: np.random.Generator, n: int, count: int) -> np.ndarray:
    """How often each of `n` items is drawn in `count` resamples, (count, n); quicker than a multinomial."""
    return np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(count)]).astype(float)
