"""What is said of a pair by its words and tokens alone, against oracles that know nothing of the code."""

from __future__ import annotations

from difflib import SequenceMatcher

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3po.evaluation.lengths import BINS, count_differences, describe_lengths
from m3po.training.pair_checks import (
    NEAR_RATIO,
    PairProblem,
    check_length,
    differ_by_one,
    find_near_equal,
    similarity,
)

WORDS = st.lists(st.sampled_from("abc"), max_size=6)


def edit_distance(a: list[str], b: list[str]) -> int:
    """Levenshtein's, by the textbook's table."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, above = [i], row
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1]


@given(WORDS, WORDS)
def test_one_word_is_edit_distance_one(a, b):
    assert differ_by_one(a, b) == (edit_distance(a, b) == 1)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.data())
def test_the_bounds_never_change_what_is_near(a, data):
    b = list(a)
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(b)))
        b[place : place + 1] = [data.draw(st.integers(0, 3))]
    full = SequenceMatcher(None, a, b, autojunk=False).ratio()
    assert (similarity(a, b) >= NEAR_RATIO) == (full >= NEAR_RATIO)


@pytest.mark.parametrize(
    ("chosen", "rejected", "near"),
    [
        ("Yes", "No", False),  # one word of one: the pair is that word
        ("A red boat.", "A blue boat.", False),
        ("There is a red boat here.", "There is a blue boat here.", True),
        ("There is a boat here now.", "There is a red boat here now.", True),
        ("There is a red boat.", "There is a red boat", True),
        ("YES!", "yes", True),
        ("There is a red boat here.", "There is a blue fish here.", False),
        ("...", "!", False),  # no words at all
    ],
)
def test_which_answers_are_near_equal_by_their_words(chosen, rejected, near):
    tokens = [list(text.encode()) for text in (chosen, rejected)]
    words_alone = ([1, 2], [3, 4])  # tokens that have nothing in common
    assert bool(find_near_equal(chosen, rejected, *words_alone)) == near
    assert find_near_equal(chosen, chosen, *([tokens[0]] * 2)) or chosen == "..."


def test_tokens_alone_make_answers_near_equal_from_the_ratio_on():
    a = list(range(20))
    assert find_near_equal("alpha beta", "gamma delta", a, [*a[:19], 99]) == "95% of their tokens are the same"
    assert find_near_equal("alpha beta", "gamma delta", a[:19], [*a[:18], 99]) == ""  # 36 / 38 = 0.947


def test_a_pair_fits_as_long_as_the_model_reads_it():
    check_length(60, 4, 64)
    check_length(10**6, 4, None)
    with pytest.raises(PairProblem, match=r"its 65 tokens are more than the 64 that the model reads \(60 of the") as e:
        check_length(60, 5, 64)
    assert e.value.kind == "too_long"


def test_length_figures_against_figures_by_hand():
    """30 pairs longer, 10 shorter, 10 equal. Wilson by hand: p = 0.75, n = 40, z = 1.96: centre
    (0.75 + 3.8415 / 80) / (1 + 3.8415 / 40) = 0.72809, half 1.96 * sqrt(0.1875 / 40 + 3.8415 / 6400) / 1.09604
    = 0.13007."""
    chosen, rejected = np.full(50, 20), np.repeat([14, 28, 20], [30, 10, 10])
    found = describe_lengths(chosen, rejected)
    assert (found["pairs"], found["unequal"], found["longer"], found["share"]) == (50, 40, 30, 0.75)
    assert found["interval"] == pytest.approx([0.59802, 0.85816], abs=2e-4)
    assert found["mean_difference"] == pytest.approx((30 * 6 - 10 * 8) / 50)
    assert found["biased"]
    histogram = found["histogram"]
    told = {c: n for c, n in zip(histogram["centres"], histogram["counts"], strict=True) if n}
    assert told == {6: 30, -8: 10, 0: 10}


@pytest.mark.parametrize(
    ("longer", "shorter", "biased"),
    [(0, 0, False), (5, 1, False), (590, 410, False), (600, 400, True), (10, 90, True), (6, 0, True)],
)
def test_a_bias_is_told_where_it_is_sure_and_large(longer, shorter, biased):
    found = describe_lengths(np.repeat([2, 1], [longer, shorter]), np.repeat([1, 2], [longer, shorter]))
    assert found["biased"] == biased


@given(st.lists(st.integers(-500, 500), min_size=1, max_size=80))
def test_every_difference_is_in_one_bin_and_in_the_right_one(values):
    found = count_differences(np.array(values))
    width, centres = found["width"], found["centres"]
    assert sum(found["counts"]) == len(values) and len(centres) <= BINS and centres[len(centres) // 2] == 0
    assert width % 2 == 1
    expected = [0] * len(centres)
    for value in values:
        inside = [n for n, c in enumerate(centres) if abs(value - c) <= width // 2]
        expected[inside[0] if inside else (0 if value < 0 else -1)] += 1
    assert found["counts"] == expected
