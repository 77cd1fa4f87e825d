"""How sure a measured rate is: 95 % intervals, so that nobody takes noise for an effect."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Z = 1.959963984540054  # the 97.5 % quantile of the normal distribution
RESAMPLES = 1000


def wilson_interval(successes: float, total: int) -> tuple[float, float] | None:
    """Wilson's score interval of a proportion (Wilson 1927); None without a trial."""
    if total <= 0:
        return None
    p, z2 = successes / total, Z * Z
    centre = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = Z * math.sqrt(p * (1 - p) / total + z2 / (4 * total * total)) / (1 + z2 / total)
    # At the ends the formula gives exactly 0 and 1; floating point only nearly.
    return 0.0 if successes == 0 else centre - half, 1.0 if successes == total else centre + half


def student_quantile(freedom: float) -> float:
    """The 97.5 % quantile of Student's t with `freedom` degrees, at least 1 and not always whole.

    t = sqrt(freedom) tan(angle) makes its density cos(angle)^(freedom - 1), which is summed over a quarter turn.
    """
    freedom = min(freedom, 1e4)  # from there on it is the normal distribution's to the fourth digit
    edges = np.linspace(0, np.pi / 2, 20_001)
    below = np.cumsum(np.cos((edges[1:] + edges[:-1]) / 2) ** (freedom - 1))
    return float(math.sqrt(freedom) * math.tan(np.interp(0.95 * below[-1], below, edges[1:])))


def bootstrap_interval(
    rows: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], *, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile bootstrap over rows, for a ratio of sums whose rows are not single trials (mentions in a caption).

    `rows` (n, c) are counts a row; `statistic` takes sums (resamples, c) and returns (resamples,), nan where it
    is undefined. None without rows or where it is never defined.
    """
    rows = np.asarray(rows, dtype=float)
    if not len(rows):
        return None
    # Multinomial weights instead of index lists: one matrix product, no (resamples, n, c) array.
    weights = np.random.default_rng(seed).multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=RESAMPLES)
    values = statistic(weights @ rows)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def ratio_of(numerator: int, denominator: int) -> Callable[[np.ndarray], np.ndarray]:
    """A statistic for `bootstrap_interval`: column `numerator` over column `denominator`."""

    def statistic(sums: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return sums[:, numerator] / sums[:, denominator]

    return statistic
