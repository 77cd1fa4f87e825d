"""Is one way of training better than another? Figures of several arms, each trained with several seeds, all measured on
the same held-out images, with intervals over both.

What is resampled (Efron and Tibshirani 1993, chapter 8): images with replacement, all questions after an image
together, for answers about one image go wrong together; and seeds with replacement. Each resample is the same for every
arm, so that the difference of two arms is paired by image and by seed. A figure of an arm is the mean over its seeds.
Intervals are the 2.5 % and 97.5 % quantiles of the resamples; with one seed they are over images alone, and with few
seeds they are a little too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

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
    arms: Mapping[str, Mapping[int, Counts]], against: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, dict]:
    """One figure of all arms: `arms` has of each the counts by training seed (of the base, the same at every one).

    By arm `mean`, `low`, `high`; `each` by seed; and `change`: by each other arm of `against` how much higher this one
    is, with `mean`, `low`, `high`, over the seeds that both have. Values are None where a figure is 0 of 0.
    """
    seeds = sorted({number for runs in arms.values() for number in runs})
    images = len(next(counts for runs in arms.values() for counts in runs.values()))
    rng = np.random.default_rng(seed)
    of_seeds = rng.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), size=resamples)
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
        report[arm] = _estimate(exact[arm], sampled[arm], of_seeds) | {
            "each": {str(number): _known(exact[arm][seeds.index(number)]) for number in sorted(runs)},
            "change": {
                other: _estimate(exact[arm] - exact[other], sampled[arm] - sampled[other], of_seeds) for other in others
            },
        }
    return report


def _estimate(exact: np.ndarray, sampled: np.ndarray, of_seeds: np.ndarray) -> dict[str, float | None]:
    """Mean and interval of `exact` (seeds,) by `sampled` (resamples, seeds), over the seeds that are there."""
    there = np.isfinite(exact)
    nothing = dict.fromkeys(("mean", "low", "high"))
    if not there.any():
        return nothing
    weights = of_seeds[:, there]
    with np.errstate(divide="ignore", invalid="ignore"):
        means = (weights * sampled[:, there]).sum(axis=1) / weights.sum(axis=1)
    means = means[np.isfinite(means)]
    if not len(means):
        return nothing
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": float(exact[there].mean()), "low": float(low), "high": float(high)}


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
