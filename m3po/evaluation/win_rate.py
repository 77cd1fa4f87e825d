"""Whose answers a scorer prefers: the win rate of one model over another on the same instructions.

An instruction is won by the answer of higher MAS. Equal answers and equal MAS are ties. The rate is wins / (wins +
losses), as in blind votes (m3po.evaluation.preference): ties count for neither side and are told beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from m3po.evaluation.intervals import bootstrap_interval, ratio_of, wilson_interval
from m3po.evaluation.preference import sign_test

FEW_IMAGES = 10

Judged = tuple[object, float, float]  # image, MAS of the first model's answer, and of the second's


def win_rate(judged: Sequence[Judged], same: int = 0) -> dict:
    """`wins` of the second model over the first, `losses`, `ties` (`same`, equal answers, among them), `win_rate` with
    its 95 % interval `low`, `high`, and `p` of the two-sided exact sign test; None where nothing is decided.

    The interval is by bootstrap over images, all instructions after an image together. Of few images, or where all are
    won or all lost, a bootstrap is too certain: there it is Wilson's, with as many trials as images.
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
        "p": sign_test(wins, decided - wins) if decided else None,
    }
