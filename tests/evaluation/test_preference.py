"""Blind votes summed up: by hand, against scipy, and whatever the order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from m3po.evaluation.preference import VERDICTS, sign_test, summarise_votes

VOTES = st.lists(st.tuples(st.integers(0, 8), st.sampled_from(VERDICTS)), max_size=40)


def test_an_item_goes_to_whom_more_people_preferred():
    votes = [(1, "second"), (1, "second"), (1, "first"), (2, "first"), (3, "tie"), (4, "both_bad"), (4, "both_bad"),
             (5, "first"), (5, "second"), (6, "second"), (6, "tie"), (6, "both_bad")]  # fmt: skip
    told = summarise_votes(votes)
    assert (told["items"], told["wins"], told["losses"], told["ties"], told["both_bad"]) == (6, 2, 1, 2, 1)
    assert told["win_rate"] == pytest.approx(2 / 3) and told["low"] < 2 / 3 < told["high"]
    assert summarise_votes([])["win_rate"] is None and summarise_votes([(1, "tie")])["p"] is None


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_sign_test_is_the_binomial_one(wins, losses):
    expected = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert sign_test(wins, losses) == pytest.approx(expected)


@given(VOTES)
def test_models_and_people_can_be_exchanged(votes):
    told = summarise_votes(votes)
    turned = summarise_votes(
        [(item, {"first": "second", "second": "first"}.get(said, said)) for item, said in votes[::-1]]
    )
    assert (told["wins"], told["losses"], told["p"]) == (turned["losses"], turned["wins"], turned["p"])
    assert told["items"] == told["wins"] + told["losses"] + told["ties"] + told["both_bad"]
