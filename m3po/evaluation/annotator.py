"""A simulated annotator, who knows the truth and errs at a stated rate: for tests, the README's figures, and one arm of
a comparison (m3po.jobs.comparing.arms), which says so.

No button and no command lets it decide on the workspace's pairs. What the figures let it decide is stored under its
name, which the page shows with every decision.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

NAME = "simulated"


@dataclass(frozen=True)
class Verdict:
    verdict: str
    chosen: int | None = None
    rejected: int | None = None


class SimulatedAnnotator:
    """Accepts a pair whose chosen answer is truly better than the rejected one; makes another pair where there is one;
    calls a tie where all answers are as good. With probability `error_rate` it does the opposite: it swaps a pair
    that is right, and accepts one that is wrong."""

    def __init__(self, error_rate: float, seed: int = 0) -> None:
        self.error_rate = error_rate
        self._random = random.Random(f"annotator-{seed}")

    def judge(self, pair: tuple[int, int], quality: Mapping[int, float], belief: Mapping[int, float]) -> Verdict:
        """`pair`: the machine's (chosen, rejected); `quality`: how right each candidate is, higher is better; `belief`:
        its mean log-prob, by which a rejected one is taken."""
        chosen, rejected = pair
        errs = self._random.random() < self.error_rate
        if quality[chosen] > quality[rejected]:
            return Verdict("override", rejected, chosen) if errs else Verdict("accept", chosen, rejected)
        if errs:
            return Verdict("accept", chosen, rejected)
        best = max(quality, key=lambda c: (quality[c], c == chosen, belief[c], -c))
        worse = [c for c in quality if quality[c] < quality[best]]
        if not worse:
            return Verdict("tie")
        return Verdict("override", best, max(worse, key=lambda c: (c == rejected, belief[c], -c)))
