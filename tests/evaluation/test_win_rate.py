"""Win rates by a scorer against cases counted by hand, and their intervals against what is known of them."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3po.evaluation.intervals import wilson_interval
from m3po.evaluation.preference import sign_test
from m3po.evaluation.win_rate import win_rate


def test_a_case_counted_by_hand():
    judged = [("a", 0.1, 0.2), ("a", 0.5, 0.4), ("b", 0.3, 0.3), ("c", 0.1, 0.9), ("d", 0.2, 0.8)]
    found = win_rate(judged, same=2)
    assert (found["wins"], found["losses"], found["ties"]) == (3, 1, 3)
    assert found["win_rate"] == 3 / 4 and found["p"] == 2 / 2**2  # image a is undecided; c and d fall on one side
    assert 0 <= found["low"] < 3 / 4 < found["high"] <= 1


def test_nothing_decided_is_none_and_all_won_is_not_certain():
    found = win_rate([("a", 0.1, 0.1)], same=1)
    assert found["ties"] == 2 and [found[name] for name in ("win_rate", "low", "high", "p")] == [None] * 4
    assert win_rate([]) == {"wins": 0, "losses": 0, "ties": 0, "win_rate": None, "low": None, "high": None, "p": None}
    all_won = win_rate([(n, 0.0, 1.0) for n in range(5)])
    assert (all_won["low"], all_won["high"]) == wilson_interval(5, 5)


def test_turned_round_wins_are_losses_and_images_are_drawn_whole():
    rng = np.random.default_rng(0)
    judged = [(n, *rng.random(2)) for n in range(200)]
    found, turned = win_rate(judged), win_rate([(image, b, a) for image, a, b in judged])
    assert found["win_rate"] == pytest.approx(1 - turned["win_rate"]) and found["wins"] == turned["losses"]
    assert found["low"] == pytest.approx(1 - turned["high"]) and found["p"] == turned["p"]
    # Each image ten times over tells no more than once.
    tenfold = win_rate([each for each in judged for _ in range(10)])
    assert tenfold["high"] - tenfold["low"] == pytest.approx(found["high"] - found["low"], rel=0.1)


def test_few_images_are_not_certain():
    one = win_rate([("a", 0.1, 0.2), ("a", 0.2, 0.1)])
    assert (one["win_rate"], one["wins"], one["losses"]) == (0.5, 1, 1)
    assert one["low"] < 0.15 and one["high"] > 0.85  # Wilson's of half a win in one trial


def test_p_is_of_whole_images_where_one_has_several_questions():
    """Eight images won and six lost whole, ten questions each: as sure as 14 coins, not as 140."""
    judged = [(image, 0.0, 1.0 if image < 8 else -1.0) for image in range(14) for _ in range(10)]
    coins = win_rate([(image, 0.0, 1.0 if image < 8 else -1.0) for image in range(14)])
    assert coins["p"] == sign_test(8, 6) == pytest.approx(0.791, abs=0.001)
    assert win_rate(judged)["p"] == pytest.approx(coins["p"], abs=0.04)  # by random swaps


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([-1.0, 0.0, 1.0])), min_size=1, max_size=12))
def test_p_is_that_of_all_swaps_of_images(judged):
    found = win_rate([(image, 0.0, second) for image, second in judged])
    nets = [sum(second for one, second in judged if one == image) for image in range(4)]
    changes = [
        abs(sum(sign * net for sign, net in zip(signs, nets, strict=True))) for signs in product((1, -1), repeat=4)
    ]
    expected = sum(change >= abs(sum(nets)) for change in changes) / len(changes)
    assert found["p"] == (None if found["win_rate"] is None else pytest.approx(expected))
