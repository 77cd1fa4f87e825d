"""The pick rules as data, and a plain-Python twin of the arrays that run them (m3po.store.picking).

The twin is slow and obvious: it is the oracle of the tests, and what one reads to know what a rule does.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from m3po import scoring
from m3po.settings import SelectConfig
from m3po.types import Pair, PickRule

# A key is maximised; ties go to the higher mas, then to the lower candidate id.
RULES = {
    "m3po": PickRule("m3po", chosen="good", rejected="hard"),
    "rm_dpo": PickRule("rm_dpo", chosen="mas", rejected="low_mas"),
    "vanilla_dpo": PickRule("vanilla_dpo", chosen="mas", rejected="low_mas", random_two=True),
    "confident": PickRule("confident", chosen="mas", rejected="confidence"),
    "mean_2sd": PickRule("mean_2sd", chosen="mas", rejected="near_mean_2sd"),
    "given": PickRule("given", chosen="", rejected="", given=True),
}

# Why an instruction has no pair, in the words that the page shows.
NO_PAIR_REASONS = {
    "not_selected": "imported or scored since the last selection: press Select",
    "not_train": "not in the train split: only train makes pairs",
    "no_candidates": "no candidate yet: sample first",
    "no_mas": "no candidate has a MAS yet: score first",
    "no_logprob": "no candidate has a log-prob yet: score with a policy first",
    "truncated": "every scored answer was cut off by the token limit",
    "one_candidate": "only one distinct scored answer: nothing to compare",
    "delta": "no answer is aligned worse than the chosen one by the margin delta",
    "no_given": "the data it came from gives no preference",
    "length_ratio": "every worse-aligned answer is too long or too short beside the chosen one",
}


@dataclass(frozen=True)
class Scored:
    """What a rule may know of a candidate."""

    id: int
    instruction_id: int
    mas: float | None
    logp_sum: float | None
    n_tokens: int | None
    truncated: bool = False

    @property
    def eligible(self) -> bool:
        return self.mas is not None and self.logp_sum is not None


@dataclass(frozen=True)
class Values:
    """The normalised values of an eligible candidate that a selection freezes."""

    a: float
    b: float
    good: float
    hard: float


def random_key(seed: int, instruction_id: int, candidate_id: int) -> str:
    """32 hex digits, uniform, the same in SQL and Python."""
    return hashlib.md5(f"{seed}:{instruction_id}:{candidate_id}".encode()).hexdigest()


def normalise(candidates: Sequence[Scored], config: SelectConfig) -> dict[int, Values]:
    """A, B, good and hard of each eligible candidate, by id. `candidates` are those of the whole train split."""
    pool = [c for c in candidates if c.eligible and (config.allow_truncated or not c.truncated)]
    if not pool:
        return {}
    mas = [c.mas for c in pool]
    belief = [scoring.confidence(c.logp_sum, c.n_tokens) for c in pool]
    if config.normalise == "percentile":
        a, b = scoring.percentile(mas), scoring.percentile(belief)
    elif config.normalise == "raw":
        a, b = mas, belief
    else:
        a, b = [0.0] * len(pool), [0.0] * len(pool)
        groups: dict[int, list[int]] = {}
        for index, candidate in enumerate(pool):
            groups.setdefault(candidate.instruction_id, []).append(index)
        for members in groups.values():
            for target, source in ((a, mas), (b, belief)):
                for index, value in zip(members, scoring.minmax([source[i] for i in members]), strict=True):
                    target[index] = value
    return {
        c.id: Values(
            a_i,
            b_i,
            scoring.good(a_i, b_i, config.weight_chosen),
            scoring.hard(a_i, b_i, config.weight_rejected),
        )
        for c, a_i, b_i in zip(pool, a, b, strict=True)
    }


def pick(
    candidates: Sequence[Scored],
    values: dict[int, Values],
    config: SelectConfig,
    given: tuple[int, int] | None = None,
) -> Pair | str:
    """The pair of one instruction's `candidates`, or the reason why there is none (see NO_PAIR_REASONS).

    `given`: chosen and rejected as the data set came with them, for the rule of that name.
    """
    rule = RULES[config.rule]
    if rule.given:
        return _pick_given(candidates, values, given)
    pool = [c for c in candidates if c.id in values]
    if not pool:
        return _why_not_eligible(candidates)
    if rule.random_two:
        pool = sorted(pool, key=lambda c: random_key(config.seed, c.instruction_id, c.id))[:2]
    if len(pool) < 2:
        return "one_candidate"
    mean = sum(c.mas for c in pool) / len(pool)
    sd = math.sqrt(sum((c.mas - mean) ** 2 for c in pool) / len(pool))
    keys = {
        "good": lambda c: values[c.id].good,
        "hard": lambda c: values[c.id].hard,
        "mas": lambda c: c.mas,
        "low_mas": lambda c: -c.mas,
        "confidence": lambda c: scoring.confidence(c.logp_sum, c.n_tokens),
        # rounded: a tie in exact arithmetic must be a tie in SQL and here alike
        "near_mean_2sd": lambda c: -round(abs(c.mas - (mean - 2.0 * sd)), 9),
    }

    def best(options: list[Scored], key: str) -> Scored:
        return max(options, key=lambda c: (keys[key](c), c.mas, -c.id))

    chosen = best(pool, rule.chosen)
    others = [c for c in pool if c.id != chosen.id]
    others = [c for c in others if values[chosen.id].a - values[c.id].a >= config.delta]
    if not others:
        return "delta"
    if config.length_ratio:
        others = [c for c in others if _length_ratio(c, chosen) <= config.length_ratio]
    if not others:
        return "length_ratio"
    rejected = best(others, rule.rejected)
    return Pair(
        chosen=chosen.id,
        rejected=rejected.id,
        m3p_score=scoring.m3p_score(values[chosen.id].good, values[rejected.id].hard),
        logp_margin=chosen.logp_sum / chosen.n_tokens - rejected.logp_sum / rejected.n_tokens,
        mas_gap=chosen.mas - rejected.mas,
    )


def _pick_given(candidates: Sequence[Scored], values: dict[int, Values], given: tuple[int, int] | None) -> Pair | str:
    if given is None:
        return "no_given"
    by_id = {c.id: c for c in candidates}
    chosen, rejected = by_id[given[0]], by_id[given[1]]
    score = margin = gap = None
    if chosen.id in values and rejected.id in values:
        score = scoring.m3p_score(values[chosen.id].good, values[rejected.id].hard)
    if chosen.logp_sum is not None and rejected.logp_sum is not None:
        margin = chosen.logp_sum / chosen.n_tokens - rejected.logp_sum / rejected.n_tokens
    if chosen.mas is not None and rejected.mas is not None:
        gap = chosen.mas - rejected.mas
    return Pair(chosen.id, rejected.id, score, margin, gap)


def _length_ratio(one: Scored, other: Scored) -> float:
    return max(one.n_tokens, other.n_tokens) / min(one.n_tokens, other.n_tokens)


def _why_not_eligible(candidates: Sequence[Scored]) -> str:
    if not candidates:
        return "no_candidates"
    if all(c.mas is None for c in candidates):
        return "no_mas"
    if not any(c.eligible for c in candidates):
        return "no_logprob"
    return "truncated"
