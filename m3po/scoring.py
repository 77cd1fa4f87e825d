"""The signals of a candidate and how they combine: pure functions, the same everywhere and shown in the page.

The source (arXiv 2508.12458) names two signals, alignment from outside (MAS) and belief from inside
(log-probability), and prints no formula. Ours:

    confidence(y) = exp(logp_sum / n_tokens)                  in (0, 1]
    A, B          = mas and confidence, normalised to [0, 1]
    good(y)       = wc * A + (1 - wc) * B                     aligned first, believed second
    hard(y)       = wr * (1 - A) + (1 - wr) * B               misaligned *and* believed
    M3P-Score     = (good(chosen) + hard(rejected)) / 2       of a pair, in [0, 1]
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

NEUTRAL = 0.5  # what a normalisation says when it has nothing to compare


def confidence(logp_sum: float, n_tokens: int) -> float:
    """Geometric mean of the token probabilities, in (0, 1]; `logp_sum` in nats over `n_tokens` >= 1 tokens."""
    if n_tokens < 1:
        raise ValueError("an answer has at least one token: its end-of-turn token")
    return math.exp(logp_sum / n_tokens)


def percentile(values: Sequence[float]) -> list[float]:
    """Mid-ranks of `values` among themselves, in (0, 1): (number below + half of the equal ones) / n.

    All equal, or a single value, gives 0.5.
    """
    ordered = sorted(values)
    n = len(ordered)
    ranks = []
    for value in values:
        below = bisect.bisect_left(ordered, value)
        equal = bisect.bisect_right(ordered, value) - below
        ranks.append((below + 0.5 * equal) / n)
    return ranks


def minmax(values: Sequence[float]) -> list[float]:
    """`values` stretched to [0, 1]; all equal, or a single value, gives 0.5."""
    low, high = min(values), max(values)
    if high == low:
        return [NEUTRAL] * len(values)
    return [(value - low) / (high - low) for value in values]


def good(a: float, b: float, weight: float) -> float:
    """How good a chosen answer this is: `weight` on alignment, the rest on belief."""
    return weight * a + (1.0 - weight) * b


def hard(a: float, b: float, weight: float) -> float:
    """How hard a negative this is: `weight` on misalignment, the rest on belief."""
    return weight * (1.0 - a) + (1.0 - weight) * b


def m3p_score(good_of_chosen: float, hard_of_rejected: float) -> float:
    """The pair's M3P-Score, in [0, 1]."""
    return (good_of_chosen + hard_of_rejected) / 2.0
