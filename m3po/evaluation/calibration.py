"""How far a score and a rule can be trusted, by what people decided: override rates, a threshold, agreement curves.

Everything here is counted on decisions that were made anyway; where a choice (a threshold, a best weight) was made by
looking at them, the figures say so, and one that did not see its own choice stands beside.
"""

from __future__ import annotations

import numpy as np

from m3po.evaluation.intervals import RESAMPLES, wilson_interval

BIN_WIDTH = 0.05
FOLDS = 5
_CHUNK = 2_000_000  # resampling weights that are held at a time


def rate_of(wrong: int, decided: int) -> dict:
    """`decided`, `overridden`, `rate`, and Wilson's 95 % interval (`low`, `high`); None without a decision."""
    interval = wilson_interval(wrong, decided) or (None, None)
    rate = wrong / decided if decided else None
    return {"decided": decided, "overridden": wrong, "rate": rate, "low": interval[0], "high": interval[1]}


def override_bins(
    scores: np.ndarray, wrong: np.ndarray, all_scores: np.ndarray, width: float = BIN_WIDTH
) -> list[dict]:
    """Override rate by M3P-Score, one bin of `width` in [0, 1] each, as `rate_of`, with its bounds `from` and `to` and
    how many `pairs` there are in all. `scores`, `wrong` are of decided pairs; bins without any pair are left out."""
    n = round(1 / width)
    there = np.bincount(_bin_of(all_scores, n), minlength=n)
    decided = np.bincount(_bin_of(scores, n), minlength=n)
    overridden = np.bincount(_bin_of(scores, n), weights=wrong, minlength=n)
    return [
        {"from": i / n, "to": (i + 1) / n, "pairs": int(there[i]), **rate_of(int(overridden[i]), int(decided[i]))}
        for i in range(n)
        if there[i] or decided[i]
    ]


def _bin_of(scores: np.ndarray, n: int) -> np.ndarray:
    # rounded: 0.7 * 20 is a little less than 14
    return np.clip(np.floor(np.round(np.asarray(scores) * n, 9)).astype(int), 0, n - 1)


def find_threshold(scores: np.ndarray, wrong: np.ndarray, target: float) -> dict | None:
    """The lowest score such that, of the decided pairs at or above it, the upper end of Wilson's interval of the
    override rate is at most `target`: `score` and `rate_of` those pairs. None where no score has it.

    Of many scores the first that holds is taken, on the same decisions: its rate is a little too good.
    """
    order = np.argsort(-np.asarray(scores, float), kind="stable")
    ordered, failed = np.asarray(scores, float)[order], np.cumsum(np.asarray(wrong, int)[order])
    lasts = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(ordered) else []
    for last in reversed(lasts):
        found = rate_of(int(failed[last]), int(last) + 1)
        if found["high"] <= target:
            return {"score": float(ordered[last]), **found}
    return None


def decisions_needed(target: float) -> int:
    """How many decided pairs without one override it takes until Wilson's upper end is at most `target`."""
    low, high = 1, 10**9
    while low < high:
        middle = (low + high) // 2
        if wilson_interval(0, middle)[1] <= target:
            high = middle
        else:
            low = middle + 1
    return low


def best_of_curve(points: np.ndarray, agrees: np.ndarray, *, seed: int = 0) -> dict:
    """The best point of a curve and how sure it is. `points` (p,) rise, p >= 1; `agrees` (p, n) says where the rule at
    a point and the human agree, n >= 1 decided instructions.

    `rate`: of each point; `best`: the place of the highest (the middle one of several), `tied`: the first and the last
    point that are as good; `low`, `high`: the best one's 95 % interval (Wilson), and `point_low`, `point_high`: between
    which points the best lies, those that are as good included, by resampling instructions;
    `left_out`: the mean agreement on instructions that the best point was not chosen on (FOLDS parts in turn), None
    for fewer than 2 * FOLDS instructions.
    """
    agrees = np.asarray(agrees, bool)
    n = agrees.shape[1]
    rate = agrees.mean(axis=1)
    best = _best(rate)
    low, high = wilson_interval(int(agrees[best].sum()), n)  # a bootstrap of answers that are all alike has no width
    resampled = _resample(agrees, seed)
    firsts, lasts = (points[places] for places in _tied_ends(resampled))
    point_low, point_high = (np.quantile(p, q, method="nearest") for p, q in ((firsts, 0.025), (lasts, 0.975)))
    return {
        "points": [float(point) for point in points],
        "rate": [float(value) for value in rate],
        "best": best,
        "tied": [float(points[places[0]]) for places in _tied_ends(rate[None])],
        "low": float(low),
        "high": float(high),
        "point_low": float(point_low),
        "point_high": float(point_high),
        "left_out": _left_out(agrees, seed) if n >= 2 * FOLDS else None,
    }


def _best(rate: np.ndarray) -> int:
    tied = np.flatnonzero(rate >= rate.max() - 1e-12)
    return int(tied[len(tied) // 2])


def _tied_ends(rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of every row the places of the first and the last of its highest values."""
    tied = rates >= rates.max(axis=1, keepdims=True) - 1e-12
    return tied.argmax(axis=1), rates.shape[1] - 1 - tied[:, ::-1].argmax(axis=1)


def _resample(agrees: np.ndarray, seed: int) -> np.ndarray:
    """The curve of RESAMPLES draws of n instructions with replacement: (RESAMPLES, p)."""
    n = agrees.shape[1]
    rng = np.random.default_rng(seed)
    values = agrees.T.astype(float)
    step = max(1, _CHUNK // n)
    parts = []
    for start in range(0, RESAMPLES, step):
        weights = rng.multinomial(n, np.full(n, 1 / n), size=min(step, RESAMPLES - start))
        parts.append(weights @ values / n)
    return np.concatenate(parts)


def _left_out(agrees: np.ndarray, seed: int) -> float:
    fold = np.random.default_rng(seed).permutation(agrees.shape[1]) % FOLDS
    right = sum(agrees[_best(agrees[:, fold != k].mean(axis=1)), fold == k].sum() for k in range(FOLDS))
    return float(right / agrees.shape[1])
