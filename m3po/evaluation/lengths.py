"""Whether the chosen answers are longer than the rejected: DPO then learns to be long, whatever else differs
(Park et al., arXiv 2403.19159)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from m3po.evaluation.intervals import wilson_interval

BIAS = 0.1  # a share of longer chosen answers that is so far from a half is told
BINS = 41  # at most, odd: the middle one is that of equal lengths


def describe_lengths(chosen: np.ndarray, rejected: np.ndarray) -> dict:
    """From token counts, one entry a pair: of the `unequal` pairs the `share` whose chosen answer is longer with its
    95 % Wilson `interval` (None without any), the `mean_difference` over all (tokens, chosen minus rejected), `biased`:
    the interval holds no half and the share is BIAS off; `histogram`: see `count_differences`."""
    difference = np.asarray(chosen, np.int64) - np.asarray(rejected, np.int64)
    unequal, longer = int(np.count_nonzero(difference)), int(np.count_nonzero(difference > 0))
    share, interval = (longer / unequal if unequal else None), wilson_interval(longer, unequal)
    biased = interval is not None and not interval[0] <= 0.5 <= interval[1] and round(abs(share - 0.5), 9) >= BIAS
    return {
        "pairs": len(difference),
        "unequal": unequal,
        "longer": longer,
        "share": share,
        "interval": list(interval) if interval else None,
        "mean_difference": float(difference.mean()) if len(difference) else None,
        "biased": biased,
        "histogram": count_differences(difference),
    }


def describe_tokens(pairs: pa.Table, limit: int | None) -> dict:
    """`lengths` of `prompt_tokens`, `chosen_tokens` and `rejected_tokens`, and the `longest` pair: its `tokens`, prompt
    and answer together, its `name`, and the `limit` that the model reads (None without pairs)."""
    prompt, chosen, rejected = (
        pairs.column(f"{name}_tokens").to_numpy().astype(np.int64) for name in ("prompt", "chosen", "rejected")
    )
    whole = prompt + np.maximum(chosen, rejected)
    longest = None
    if len(whole):
        place = int(whole.argmax())
        longest = {"tokens": int(whole[place]), "name": pairs.column("name")[place].as_py(), "limit": limit}
    return {"lengths": describe_lengths(chosen, rejected), "longest": longest}


def count_differences(difference: np.ndarray) -> dict:
    """Counts of integers in bins of equal `width` around 0: `centres` and `counts`; what lies beyond the 99th
    percentile is counted in the bin at its end."""
    if not len(difference):
        return {"width": 1, "centres": [], "counts": []}
    furthest = int(np.ceil(np.quantile(np.abs(difference), 0.99)))
    width = 1
    while 2 * -(-(furthest - width // 2) // width) + 1 > BINS:  # bins to either side of the middle one
        width += 2  # odd, so that a bin has its centre at a whole number
    side = max(0, -(-(furthest - width // 2) // width))
    places = np.clip(np.floor_divide(difference + width // 2, width), -side, side)
    counts = np.bincount(places + side, minlength=2 * side + 1)
    return {"width": width, "centres": [width * n for n in range(-side, side + 1)], "counts": counts.tolist()}
