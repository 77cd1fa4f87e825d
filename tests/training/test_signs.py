"""What a training's figures warn of: once each, not before it is sure, and nothing where all is well."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3po.training.signs import WINDOW, Signs

BETA = 0.1


def told(points: list[dict], **options) -> list[tuple[int, str]]:
    signs = Signs(BETA, **options)
    return [(step, words) for step, values in enumerate(points, start=1) for words in signs.add(step, values)]


def healthy(step: int, noise: random.Random) -> dict:
    """As the demo's own run goes: rewards apart, accuracy up, a warm-up, then a falling rate."""
    gain = 0.1 * (1 - math.exp(-step / 20))
    chosen, rejected = gain + noise.gauss(0, 0.02), -gain + noise.gauss(0, 0.02)
    return {
        "loss": math.log1p(math.exp(rejected - chosen)), "rewards/chosen": chosen, "rewards/rejected": rejected,
        "rewards/margins": chosen - rejected, "rewards/accuracies": min(1.0, 0.6 + gain * 3 + noise.random() * 0.1),
        "grad_norm": 0.5 + noise.random() * 0.5, "learning_rate": 2e-4 * min(step / 5, 1 - step / 200),
        "logps/chosen": -20 + noise.gauss(0, 8),
    }  # fmt: skip


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_a_run_that_goes_well_is_left_alone(seed):
    noise = random.Random(seed)
    assert told([healthy(step, noise) for step in range(1, 120)]) == []


def test_a_loss_at_ln_2_is_told_once_and_only_after_the_warm_up():
    still = {"loss": 0.69315, "rewards/chosen": 0.0, "rewards/rejected": 0.0, "grad_norm": 0.3}
    rising = [{**still, "learning_rate": 1e-6 * step} for step in range(1, 40)]
    assert told(rising) == []
    [(step, words)] = told(rising + [{**still, "learning_rate": 39e-6}] * 60)
    assert step == 39 + 10 and "stuck at 0.6931 (ln 2)" in words and "raise the learning rate" in words
    [(_, words)] = told([{**still, "loss": 2.1, "learning_rate": 1e-4}] * 60, plain=False)  # sigmoid+sft: not at ln 2
    assert "not moving the rewards from 0" in words
    moved = {**still, "rewards/chosen": 0.2, "rewards/rejected": -0.2, "loss": 0.51, "learning_rate": 1e-4}
    assert told([moved if step % 10 == 9 else {**still, "learning_rate": 1e-4} for step in range(60)]) == []


def test_chosen_answers_that_lose_log_prob_beyond_the_noise_are_told():
    noise = random.Random(3)

    def fall(nats: float, spread: float) -> list[tuple[int, str]]:
        return told([{"rewards/chosen": BETA * (nats + noise.gauss(0, spread))} for _ in range(60)])

    [(step, words)] = fall(-3.0, 1.0)
    assert step == WINDOW and "falls, by 3." in words.replace("2.9", "3.") and "sigmoid+sft" in words
    assert fall(-0.5, 0.1) == []  # sure, but little
    assert fall(-1.2, 40.0) == []  # much, but not sure
    assert fall(3.0, 1.0) == []
    assert told([{"rewards/chosen": -1.0}] * 60, prefers=False) == []


def test_a_margin_that_a_few_pairs_carry_is_told():
    noise = random.Random(5)
    carried = [
        {"rewards/margins": 0.5 + noise.gauss(0, 0.1), "rewards/accuracies": 0.375 + 0.25 * (step % 2)}
        for step in range(60)
    ]
    [(step, words)] = told(carried)
    assert step == WINDOW and "50% of the pairs" in words and "a few pairs carry it" in words
    assert told([{**values, "rewards/accuracies": 0.9} for values in carried]) == []
    assert told([{**values, "rewards/margins": values["rewards/margins"] * 1e-6} for values in carried]) == []
    assert told([{**values, "rewards/margins": noise.gauss(0, 0.5)} for values in carried]) == []


@pytest.mark.parametrize(("norms", "at", "words"), [
    ([0.5] * 15 + [0.0] * 5, 18, "norm is 0 since 3 steps"),
    ([0.0] * 30, 3, "norm is 0"),
    ([0.5] * 15 + [9.0, 9.0, 9.0, 9.0], 18, "explodes, 9 and more"),
    ([0.5] * 15 + [9.0, 0.5, 9.0, 0.0, 0.0, 0.5], None, ""),  # single batches
    ([0.5] * 5 + [9.0] * 5, None, ""),  # nothing to compare with yet
])  # fmt: skip
def test_gradients_that_are_nothing_or_too_much(norms, at, words):
    found = told([{"grad_norm": norm} for norm in norms])
    assert [step for step, _ in found] == ([at] if at else [])
    assert all(words in sentence for _, sentence in found)


def test_answers_that_are_all_rewarded_alike_are_told_as_such():
    [(step, words)] = told([{"grad_norm": 0.0, "reward_std": 0.0}] * 5, plain=False, prefers=False, samples=True)
    assert step == 3 and "all get the same reward" in words and "pairs" not in words


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies",
                             "grad_norm", "learning_rate"]),
            st.none() | st.floats() | st.just(0.0) | st.just(0.6931472),
        ),
        max_size=60,
    )
)  # fmt: skip
def test_whatever_comes_each_rule_speaks_once_at_most(points):
    found = [words.partition(": ")[2][:20] for _, words in told(points)]
    assert len(found) == len(set(found)) <= 4
