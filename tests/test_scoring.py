"""The formulas against definitions written another way, and the properties that they promise."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3po import scoring

values = st.lists(st.floats(-5, 5).map(lambda x: round(x, 2)), min_size=1, max_size=40)
unit = st.floats(0, 1)


@given(values)
def test_percentile_is_the_mean_of_the_ranks_that_a_value_could_take(xs):
    # Independent definition: sort; a value's possible places are those of its equals; take their mean, centred.
    ordered = sorted(xs)
    for x, got in zip(xs, scoring.percentile(xs), strict=True):
        places = [i for i, y in enumerate(ordered) if y == x]
        assert got == pytest.approx((sum(places) / len(places) + 0.5) / len(xs), abs=1e-12)


def test_percentile_by_hand():
    assert scoring.percentile([3.0, 1.0, 2.0, 2.0]) == [0.875, 0.125, 0.5, 0.5]
    assert scoring.percentile([7.0]) == [0.5]
    assert scoring.percentile([2.0, 2.0, 2.0]) == [0.5, 0.5, 0.5]


@given(values)
def test_minmax_spans_the_unit_interval_and_keeps_the_order(xs):
    got = scoring.minmax(xs)
    if len(set(xs)) == 1:
        assert got == [0.5] * len(xs)
    else:
        assert min(got) == 0 and max(got) == 1
        assert all((a <= b) == (x <= y) for a, x in zip(got, xs, strict=True) for b, y in zip(got, xs, strict=True))


@given(st.lists(st.floats(-20, 0), min_size=1, max_size=30))
def test_confidence_is_the_geometric_mean_of_token_probabilities(log_probs):
    product = math.prod(math.exp(x) for x in log_probs)
    got = scoring.confidence(sum(log_probs), len(log_probs))
    assert 0 < got <= 1
    if product > 1e-250:
        assert got == pytest.approx(product ** (1 / len(log_probs)), rel=1e-6)


def test_confidence_refuses_an_answer_without_tokens():
    with pytest.raises(ValueError, match="at least one token"):
        scoring.confidence(0.0, 0)


@given(unit, unit, unit, unit, unit)
def test_scores_stay_in_the_unit_interval_and_move_the_right_way(a, b, more, wc, wr):
    good, hard = scoring.good(a, b, wc), scoring.hard(a, b, wr)
    assert -1e-12 <= good <= 1 + 1e-12 and -1e-12 <= hard <= 1 + 1e-12
    assert 0 <= scoring.m3p_score(min(max(good, 0), 1), min(max(hard, 0), 1)) <= 1
    better = max(a, more)
    assert scoring.good(better, b, wc) >= good - 1e-12  # better aligned is never a worse chosen
    assert scoring.hard(better, b, wr) <= hard + 1e-12  # nor a harder negative


def test_m3p_score_by_hand():
    # chosen: A 0.9, B 0.5, wc 0.8 -> 0.82; rejected: A 0.2, B 0.7, wr 0.5 -> 0.75
    assert scoring.good(0.9, 0.5, 0.8) == pytest.approx(0.82)
    assert scoring.hard(0.2, 0.7, 0.5) == pytest.approx(0.75)
    assert scoring.m3p_score(0.82, 0.75) == pytest.approx(0.785)
