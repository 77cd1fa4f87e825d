"""Whose answers a scorer prefers: the win rate of one model over another on the same instructions.

An instruction is won by the answer of higher MAS. Equal answers and equal MAS are ties. The rate is wins / (wins +
losses), as in blind votes (m3po.evaluation.preference): ties count for neither side and are told beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from m3po.evaluation.intervals import bootstrap_interval, ratio_of, wilson_interval
from m3po.evaluation.paired import swap_test
from m3po.evaluation.preference import sign_test

FEW_IMAGES = 10

Judged = tuple[object, float, float]  # image, MAS of the first model's answer, and of the second's


def win_rate(judged: Sequence[Judged], same: int = 0) -> dict:
    """`wins` of the second model over the first, `losses`, `ties` (`same`, equal answers, among them), `win_rate` with
    its 95 % interval `low`, `high`, and the two-sided `p` that neither is preferred; None where nothing is decided.

    The interval is by bootstrap over images, all instructions after an image together. Of few images, or where all are
    won or all lost, a bootstrap is too certain: there it is Wilson's, with as many trials as images. p is of swapping
    the two answers, image by image as well (m3po.evaluation.paired); with one instruction an image that is the exact
    sign test.
    """
    by_image: dict[object, list[int]] = defaultdict(lambda: [0, 0])
    ties = same
    for image, first, second in judged:
        if first == second:
            ties += 1
            continue
        by_image[image][0] += second > first
        by_image[image][1] += 1
    counts = np.array(list(by_image.values()), dtype=np.int64).reshape(-1, 2)
    wins, decided = (int(total) for total in counts.sum(axis=0))
    uncertain = wins in (0, decided) or len(counts) < FEW_IMAGES
    trials = len(counts)
    interval = (
        wilson_interval(wins / decided * trials if decided else 0, trials)
        if uncertain
        else bootstrap_interval(counts, ratio_of(0, 1))
    )
    return {
        "wins": wins,
        "losses": decided - wins,
        "ties": ties,
        "win_rate": wins / decided if decided else None,
        "low": interval and interval[0],
        "high": interval and interval[1],
        "p": _p_value(counts, wins, decided) if decided else None,
    }


def _p_value(counts: np.ndarray, wins: int, decided: int) -> float | None:
    if (counts[:, 1] == 1).all():
        return sign_test(wins, decided - wins)
    lost = np.stack([counts[:, 1] - counts[:, 0], counts[:, 1]], axis=1)
    return swap_test(lost, counts)
