"""Whether a model answers better than another, image by image: both were asked the same questions.

Two figures whose intervals overlap may still differ for sure, for what makes a question hard is the same for both. So
each figure's change is tested by swapping: were there no difference, then which of two models is called "before" would
be chance, and random swaps show how large a change chance makes (Fisher 1935; Noreen 1989, chapter 2). Whole images are
swapped, all questions after an image together, as the interval of the change resamples them
(m3po.evaluation.comparison): answers about one image go wrong together. Where each image has one question, which is
right or wrong, this is McNemar's exact test (McNemar 1947); it serves ratios of sums as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from m3po.categories import MME_CATEGORIES
from m3po.evaluation import mme
from m3po.evaluation.chair import Vocabulary
from m3po.evaluation.comparison import Counts, count_by_image
from m3po.evaluation.exact import is_right
from m3po.evaluation.metrics import DESCRIBE, EXIST, Metric, group_of
from m3po.evaluation.pope import parse_yes_no

LEVEL = 0.05  # a change with a smaller p-value is called better or worse
EXACT = 12  # up to so many images that differ, all swaps are tried
SWAPS = 1999
BLOCK = 500  # swaps at a time: bounds the memory
_SAME = 1e-12  # of a figure's size: the same change, added up in another order, differs by rounding alone


def compare_rows(rows: Sequence[Mapping], vocabulary: Sequence[str] = ()) -> dict[str, float]:
    """The p-value of each figure's change (METRICS by key) between the answers `before` and `after` of each row; truth
    and `vocabulary` as in m3po.evaluation.metrics.summarise, and the row's `images` (one without is an image of its
    own). A figure that is 0 of 0 on a side is left out."""
    before, after = (
        count_by_image([{**row, "text": row[side]} for row in rows], vocabulary, swaps=True)
        for side in ("before", "after")
    )
    p_values = {key: swap_test(before[key], after[key]) for key in before}
    return {key: p for key, p in p_values.items() if p is not None}


def swap_test(before: Counts, after: Counts, seed: int = 0) -> float | None:
    """The two-sided p-value of after minus before, each the sum of column 0 over that of column 1, (images, 2): the
    share of swaps whose change is at least as large, the observed one among them. Exact up to EXACT images that
    differ, else of SWAPS random swaps by `seed`. None where a side is 0 of 0."""
    totals = before.sum(axis=0), after.sum(axis=0)
    if not (totals[0][1] and totals[1][1]):
        return None
    changed = (after != before).any(axis=1)
    differences = (after - before)[changed]
    was, now = (part / whole for part, whole in totals)
    observed = abs(now - was) - _SAME * max(abs(was), abs(now))
    n = len(differences)
    if n <= EXACT:
        swaps = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return float(np.mean(_changes(totals, swaps @ differences) >= observed))
    rng, hits = np.random.default_rng(seed), 1
    for start in range(0, SWAPS, BLOCK):
        swaps = rng.integers(0, 2, size=(min(BLOCK, SWAPS - start), n))
        hits += int(np.sum(_changes(totals, swaps @ differences) >= observed))
    return hits / (SWAPS + 1)


def _changes(totals: tuple[np.ndarray, np.ndarray], moved: np.ndarray) -> np.ndarray:
    """The size of the change under each swap; where a side would be 0 of 0 it counts as large, which is cautious."""
    one, other = totals[0] + moved, totals[1] - moved
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.abs(one[:, 0] / one[:, 1] - other[:, 0] / other[:, 1])
    return np.where(np.isnan(change), np.inf, change)


def judge_figure(
    metric: Metric,
    before: float | None,
    after: float | None,
    p: float | None,
    one: Sequence[float] | None = None,
    other: Sequence[float] | None = None,
) -> str:
    """`better` or `worse` where the paired test says so, else `noise`; `same` where nothing changed or the direction
    means nothing. Without `p`: better or worse where the two 95 % intervals lie apart, which seldom calls noise a
    change, but may call a change noise."""
    if before is None or after is None or metric.higher_is_better is None or abs(after - before) < 1e-9:
        return "same"
    sure = p < LEVEL if p is not None else bool(one and other and (one[0] > other[1] or other[0] > one[1]))
    if not sure:
        return "noise"
    return "better" if (after > before) == metric.higher_is_better else "worse"


def judge_answer(row: Mapping, text: str, vocabulary: Vocabulary) -> dict:
    """What the truth of `row` says of an answer: `right` (None: there is no truth), and of the objects that a
    description names those `there` and `not_there` (None for other answers); it is right where the latter are
    none, as CHAIRs counts it."""
    group = group_of(row)
    judged: dict = {"right": None, "there": None, "not_there": None}
    if group is None:
        return judged
    if group == DESCRIBE:
        truth = {vocabulary.canonical(name) for name in row["objects"]}
        named = list(dict.fromkeys(vocabulary.mentions(text)))
        judged |= {"there": [name for name in named if name in truth]}
        judged |= {"not_there": [name for name in named if name not in truth]}
        return judged | {"right": not judged["not_there"]}
    if group in EXIST:
        return judged | {"right": parse_yes_no(text.strip()) == parse_yes_no(row["answer"].strip())}
    if group in MME_CATEGORIES:
        return judged | {"right": mme.is_right(row, text)}
    return judged | {"right": is_right(text, row["answer"])}
