"""Is one way of training better than another? Figures of several arms, each trained with several seeds, all measured on
the same held-out images, with intervals over both.

A figure of an arm is the mean over its seeds. Its variance has two parts: that between seeds over their number, and
that of the images by a bootstrap (Efron and Tibshirani 1993, chapter 6), which draws images with replacement, all
questions after an image together, for answers about one image go wrong together. Resamples are the same for every arm,
so that the difference of two arms is paired by image and by seed. The interval is Student's, with Satterthwaite's
degrees of freedom (1946, Biometrics Bulletin 2:110): three seeds alone tell little of how far seeds lie apart, and
quantiles of resampled seeds would not go beyond the three. With one seed it is over images alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from m3po.evaluation.intervals import student_quantile
from m3po.evaluation.metrics import count_rows

RESAMPLES = 2000
BLOCK = 250  # resamples at a time: bounds the memory
Counts = np.ndarray  # (images, 2): what Ratio.counts has, summed over the rows of each image


def count_by_image(
    rows: Sequence[Mapping], vocabulary: Sequence[str] = (), *, swaps: bool = False
) -> dict[str, Counts]:
    """Each figure that `rows` feed (m3po.evaluation.metrics.count_rows), as counts by image, in the order of the
    images' first rows: to be resampled, or with `swaps` to change sides (Ratio.swaps). A row has its `images`; one
    without is an image of its own."""
    place: dict[object, int] = {}
    places = {}
    for row in rows:
        key = tuple(row.get("images") or ()) or row["instruction_id"]
        places[row["instruction_id"]] = place.setdefault(key, len(place))
    found = {}
    for key, ratio in count_rows(rows, vocabulary).items():
        counts = ratio.swaps if swaps and ratio.swaps is not None else ratio.counts
        sums = np.zeros((len(place), 2), counts.dtype)
        np.add.at(sums, [places[number] for number in ratio.ids.tolist()], counts)
        found[key] = sums
    return found


def change_intervals(
    rows: Sequence[Mapping], vocabulary: Sequence[str] = (), *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, tuple[float, float]]:
    """The 95 % interval of each figure's change between the answers `before` and `after` of the same rows, by a paired
    bootstrap over images; a figure that is 0 of 0 in every resample is left out."""
    sides = [count_by_image([{**row, "text": row[side]} for row in rows], vocabulary) for side in ("before", "after")]
    keys = list(sides[0])
    if not keys:
        return {}
    counts = np.stack([np.stack([side[key] for key in keys], axis=1) for side in sides])  # (2, images, figures, 2)
    images = counts.shape[1]
    rng, parts = np.random.default_rng(seed), []
    for start in range(0, resamples, BLOCK):
        weights = rng.multinomial(images, np.full(images, 1 / images), size=min(BLOCK, resamples - start))
        before, after = (_ratio(np.tensordot(weights, side, axes=1)) for side in counts)
        parts.append(after - before)
    sampled = np.concatenate(parts)
    found = {}
    for place, key in enumerate(keys):
        values = sampled[np.isfinite(sampled[:, place]), place]
        if len(values):
            low, high = np.quantile(values, [0.025, 0.975])
            found[key] = float(low), float(high)
    return found


def compare_arms(
    arms: Mapping[str, Mapping[int, Counts]],
    against: Sequence[str],
    *,
    within: tuple[float, float] = (-math.inf, math.inf),
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, dict]:
    """One figure of all arms: `arms` has of each the counts by training seed (of the base, the same at every one).

    By arm `mean`, `low`, `high`, the interval cut off at `within`, the values that the figure can have; `each` by seed;
    and `change`: by each other arm of `against` how much higher this one is, with `mean`, `low`, `high`, over the seeds
    that both have. Values are None where a figure is 0 of 0.
    """
    seeds = sorted({number for runs in arms.values() for number in runs})
    feeds = np.any([counts[:, 1] != 0 for runs in arms.values() for counts in runs.values()], axis=0)
    images, feeding = len(feeds), int(feeds.sum())
    rng = np.random.default_rng(seed)
    exact = {arm: np.full(len(seeds), np.nan) for arm in arms}
    sampled = {arm: np.full((resamples, len(seeds)), np.nan) for arm in arms}
    for start in range(0, resamples, BLOCK):
        size = min(BLOCK, resamples - start)
        of_images = rng.multinomial(images, np.full(images, 1 / images), size=size)
        for arm, runs in arms.items():
            for number, counts in runs.items():
                sampled[arm][start : start + size, seeds.index(number)] = _ratio(of_images @ counts)
    for arm, runs in arms.items():
        for number, counts in runs.items():
            exact[arm][seeds.index(number)] = _ratio(counts.sum(axis=0))
    report = {}
    for arm, runs in arms.items():
        others = [other for other in against if other in arms and other != arm]
        own = _estimate(exact[arm], sampled[arm], feeding)
        if own["mean"] is not None:
            own |= {"low": max(own["low"], within[0]), "high": min(own["high"], within[1])}
        report[arm] = own | {
            "each": {str(number): _known(exact[arm][seeds.index(number)]) for number in sorted(runs)},
            "change": {
                other: _estimate(exact[arm] - exact[other], sampled[arm] - sampled[other], feeding) for other in others
            },
        }
    return report


def _estimate(exact: np.ndarray, sampled: np.ndarray, images: int) -> dict[str, float | None]:
    """Mean and interval of `exact` (seeds,) by `sampled` (resamples, seeds), over the seeds that are there."""
    there = np.isfinite(exact)
    sampled = sampled[:, there]
    sampled = sampled[np.isfinite(sampled).all(axis=1)]
    if not there.any() or len(sampled) < 2:
        return dict.fromkeys(("mean", "low", "high"))
    mean, margin = float(exact[there].mean()), _margin(exact[there], sampled, images)
    return {"mean": mean, "low": mean - margin, "high": mean + margin}


def _margin(exact: np.ndarray, sampled: np.ndarray, images: int) -> float:
    """How far the 95 % interval goes to each side of the mean of `exact` (seeds,): Student's quantile times the root of
    both variances together, `sampled` (resamples, seeds) over so many images."""
    seeds = len(exact)
    covariance = np.cov(sampled, rowvar=False).reshape(seeds, seeds)
    of_images = covariance.sum() / seeds**2
    of_seeds = 0.0
    if seeds > 1:
        # What images move at one seed and not at the others parts the seeds, too: counted once.
        apart = (np.trace(covariance) - seeds * of_images) / (seeds - 1)
        between = exact.var(ddof=1)
        of_images, of_seeds = of_images - min(apart, between) / seeds, between / seeds
    parts = np.array([max(of_images, 0.0), of_seeds])
    total, freedom = parts.sum(), np.array([max(images - 1, 1), max(seeds - 1, 1)])
    if not total:
        return 0.0
    return float(student_quantile(total**2 / (parts**2 / freedom).sum()) * math.sqrt(total))


def _ratio(sums: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums[..., 0] / np.asarray(sums[..., 1], dtype=float)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def judge_change(change: Mapping | None, higher_is_better: bool | None) -> str:
    """`better` or `worse` where the interval of a change leaves 0 out, else `noise`; `same` without a direction."""
    if not change or change["mean"] is None or higher_is_better is None:
        return "same"
    if change["low"] <= 0 <= change["high"]:
        return "noise"
    return "better" if (change["mean"] > 0) == higher_is_better else "worse"
