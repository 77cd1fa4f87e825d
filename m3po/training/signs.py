"""What the figures of a running training warn of, in words: rules over the last steps, each told once a run. No torch.

Every rule compares a mean over WINDOW steps with its standard error, so that the noise between batches says nothing.
Rewards are beta times the log-prob's change against the reference: a chosen answer's own log-prob moves with its length
from batch to batch, its change does not.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import deque
from collections.abc import Mapping

LN2 = math.log(2)
WINDOW = 20  # steps that a mean is taken over
SURE = 3.0  # standard errors that a mean must be away from where it would be harmless
STEPS = 10  # steps in a row that are stuck, and
GRADIENTS = 3  # gradients in a row that are nothing, or EXPLODED times the median of those before
EXPLODED = 10.0
FALL = 1.0  # nats that a chosen answer has lost, on the mean: e times less likely
HUGE = 1e30  # no figure of a run: beyond, a sum of squares would overflow
MARGIN = 0.01  # reward margin below which nothing rises: rounding alone makes one
CHANCE = 0.55  # accuracy below which the margin orders hardly more pairs than a coin


def is_sign(warning: str) -> bool:
    """Whether a run's warning is of its figures; the others are of pairs that it leaves out, and the like."""
    return re.match(r"Step \d+: ", warning) is not None


class Signs:
    """Feed it every step's figures, as m3po.training.reporting reports them; what is no number is passed over.

    `plain`: the loss is DPO's sigmoid alone, which begins at ln 2. `prefers`: False for SFT and GRPO, which make no
    margin. `samples`: True for GRPO, which learns from answers of its own.
    """

    def __init__(self, beta: float, *, plain: bool = True, prefers: bool = True, samples: bool = False) -> None:
        self._beta, self._plain, self._prefers, self._samples = beta, plain, prefers, samples
        self._told: set[str] = set()
        self._recent: dict[str, deque[float]] = {}
        self._norms: list[float] = []
        self._rate = 0.0
        self._still = 0  # steps in a row at ln 2, or with rewards of 0, after the warm-up

    def add(self, step: int, values: Mapping[str, float | None]) -> list[str]:
        """What step `step` makes known for the first time, one sentence each."""
        known = {name: value for name, value in values.items() if value is not None and abs(value) < HUGE}
        for name, value in known.items():
            self._recent.setdefault(name, deque(maxlen=WINDOW)).append(value)
        found = []
        for name, look in (
            ("stuck", self._stuck),
            ("fall", self._chosen_falls),
            ("margin", self._margin_alone),
            ("gradient", self._gradient),
        ):
            sentence = look(step, known)
            if sentence and name not in self._told:
                self._told.add(name)
                found.append(sentence)
        return found

    def _stuck(self, step: int, known: Mapping[str, float]) -> str:
        rate = known.get("learning_rate", self._rate)
        warmed = 0 < rate <= self._rate
        self._rate = rate
        rewards = [known.get(f"rewards/{side}") for side in ("chosen", "rejected")]
        at_ln2 = self._plain and abs(known.get("loss", 0.0) - LN2) < 1e-4
        still = self._prefers and (at_ln2 or all(reward is not None and abs(reward) < 1e-4 for reward in rewards))
        self._still = self._still + 1 if warmed and still else 0
        if self._still < STEPS:
            return ""
        where = f"stuck at {LN2:.4f} (ln 2)" if at_ln2 else "not moving the rewards from 0"
        return (
            f"Step {step}: the loss is {where} since {STEPS} steps, so nothing is learned yet: raise the learning "
            "rate, and check the pairs (an answer that is empty or cut away teaches nothing)."
        )

    def _chosen_falls(self, step: int, known: Mapping[str, float]) -> str:
        mean, error = self._mean("rewards/chosen")
        if mean is None or not self._prefers:
            return ""
        nats, error = mean / self._beta, error / self._beta
        if nats > -FALL or nats + SURE * error >= 0:
            return ""
        return (
            f"Step {step}: the log-prob of the chosen answers falls, by {-nats:.1f} nats on the mean of the last "
            f"{WINDOW} steps: the model unlearns them, too. Add the supervised loss (loss_type=sigmoid+sft), raise "
            "beta, or lower the learning rate."
        )

    def _margin_alone(self, step: int, known: Mapping[str, float]) -> str:
        margin, error = self._mean("rewards/margins")
        accuracy, _ = self._mean("rewards/accuracies")
        if margin is None or accuracy is None or not self._prefers:
            return ""
        if margin <= max(MARGIN, SURE * error) or accuracy >= CHANCE:
            return ""
        return (
            f"Step {step}: the reward margin rises ({margin:.3g} on the mean of the last {WINDOW} steps) without "
            f"accuracy ({accuracy:.0%} of the pairs): a few pairs carry it. Look at the pairs with the largest gaps, "
            "and lower the learning rate."
        )

    def _gradient(self, step: int, known: Mapping[str, float]) -> str:
        norm = known.get("grad_norm")
        if norm is None:
            return ""
        before, last = self._norms[: 1 - GRADIENTS], [*self._norms[1 - GRADIENTS :], norm]
        self._norms = [*self._norms, norm][-WINDOW - GRADIENTS :]
        if len(last) == GRADIENTS and not any(last):
            why = (
                "the answers sampled for an instruction all get the same reward. Sample more of them "
                "(trl.num_generations), or let another scorer reward them (reward)."
                if self._samples
                else "every answer of these pairs is beyond what the loss asks for, or empty. Check the pairs, or "
                "choose another loss_type."
            )
            return f"Step {step}: the gradient's norm is 0 since {GRADIENTS} steps, so no weight moves: {why}"
        usual = statistics.median(before) if len(before) >= WINDOW // 2 else 0.0
        if usual and min(last) > EXPLODED * usual:
            return (
                f"Step {step}: the gradient's norm explodes, {min(last):.3g} and more since {GRADIENTS} steps against "
                f"{usual:.3g} before: lower the learning rate, or lengthen the warm-up (warmup_ratio)."
            )
        return ""

    def _mean(self, name: str) -> tuple[float | None, float]:
        """Mean and its standard error over the last WINDOW steps; None while there are fewer."""
        values = self._recent.get(name, ())
        if len(values) < WINDOW:
            return None, 0.0
        return statistics.fmean(values), statistics.stdev(values) / math.sqrt(WINDOW)
