"""What the truth says of pairs: is the chosen answer the better one, and the rejected one truly wrong? And what a run
did to pairs that the model believed at first, or did not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from m3po.evaluation.chair import Vocabulary
from m3po.evaluation.intervals import wilson_interval
from m3po.evaluation.paired import judge_answer

COUNTS = ("judged", "better", "equal", "worse", "rejected_wrong")


def answer_quality(truth: Mapping, text: str, vocabulary: Vocabulary) -> float | None:
    """How right an answer is: 1 or 0; of a description the objects it names that are there less those that are not.
    None where the truth says nothing. `truth`: `answer`, `objects`, `category`, as m3po.evaluation.metrics reads it."""
    judged = judge_answer(truth, text, vocabulary)
    if judged["right"] is None:
        return None
    if judged["there"] is not None:
        return float(len(judged["there"]) - len(judged["not_there"]))
    return float(judged["right"])


def judge_pairs(pairs: Iterable[tuple[Mapping, str, str]], vocabulary: Vocabulary) -> dict[str, int]:
    """COUNTS over pairs (truth, chosen text, rejected text): `judged` have a truth, `better`, `equal`, `worse` by
    answer_quality of the chosen answer beside the rejected one; `rejected_wrong`: the rejected answer is wrong, a
    description where it names something that is not there."""
    counts = dict.fromkeys(COUNTS, 0)
    for truth, chosen, rejected in pairs:
        good, bad = (answer_quality(truth, text, vocabulary) for text in (chosen, rejected))
        if good is None or bad is None:
            continue
        counts["judged"] += 1
        counts["better" if good > bad else "equal" if good == bad else "worse"] += 1
        counts["rejected_wrong"] += judge_answer(truth, rejected, vocabulary)["right"] is False
    return counts


def pair_rates(counts: Mapping[str, int]) -> dict[str, dict]:
    """`precision` (chosen truly better) and `rejected_wrong` as shares of what was judged, each with Wilson's 95 %
    interval; empty where nothing was."""
    n = counts["judged"]
    if not n:
        return {}
    rates = {}
    for name, hits in (("precision", counts["better"]), ("rejected_wrong", counts["rejected_wrong"])):
        low, high = wilson_interval(hits, n)
        rates[name] = {"mean": hits / n, "low": low, "high": high}
    return rates


def margin_edges(margins: Sequence[float]) -> list[float]:
    """Where the bins of initial log-prob margins (nats) part: at 0, and at the median of each side."""
    values = np.asarray(margins, dtype=float)
    sides = (values[values < 0], values[values >= 0])
    medians = [float(np.median(side)) for side in sides if len(side) > 1]
    return sorted({0.0, *medians})


def gains_by_margin(rows: Sequence[Mapping], edges: Sequence[float]) -> list[dict]:
    """Pairs of runs (columns of margins.parquet) by their log-prob margin before, in nats: how far the margin moved on
    the mean (`gain`), and the share of pairs whose chosen answer is the likelier one before and after
    (`preferred_before`, `preferred_after`). `low` and `high` are None where a bin is open; bins without a pair are left
    out."""
    before = np.array([row["logp_margin_before"] for row in rows], dtype=float)
    after = np.array([row["logp_margin_after"] for row in rows], dtype=float)
    bounds = [None, *edges, None]
    at = np.searchsorted(np.asarray(edges, dtype=float), before, side="right")
    found = []
    for number, (low, high) in enumerate(pairwise(bounds)):
        inside = at == number
        if inside.any():
            found.append(
                {
                    "low": low,
                    "high": high,
                    "pairs": int(inside.sum()),
                    "gain": float((after - before)[inside].mean()),
                    "preferred_before": float((before[inside] > 0).mean()),
                    "preferred_after": float((after[inside] > 0).mean()),
                }
            )
    return found
