"""When an answer counts as the true one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3po.evaluation.exact import contains_truth, is_right, normalise_answer


@pytest.mark.parametrize(
    ("answer", "truth", "right"),
    [
        ("The boat is red.", "the boat is RED", True),
        ("It is a circle.", "It is the circle", True),
        ("There are three things.", "There are 3 things", True),
        ("  blue\n", "Blue!", True),
        ("left-hand side", "left hand side", True),
        ("1.5", "15", False),
        ("1,000", "1000", False),  # a separator is kept: 1,5 is not 15
        ("The boat is blue.", "The boat is red.", False),
        ("", "red", False),
        ("Yes, there is.", "yes", True),  # a bare yes or no is read as POPE reads it
        ("There is no fish.", "No.", True),
        ("Yes.", "no", False),
        ("café", "cafe\u0301", True),
    ],
)
def test_compares_after_normalisation(answer, truth, right):
    assert is_right(answer, truth) is right


def test_contains_looks_for_whole_words():
    assert contains_truth("The car is red.", "red")
    assert not contains_truth("The car is reddish.", "red")
    assert contains_truth("There are two cars.", "2")
    assert not contains_truth("anything", "")


@given(st.text())
def test_normalising_twice_changes_nothing_and_everything_equals_itself(text):
    assert normalise_answer(normalise_answer(text)) == normalise_answer(text)
    if normalise_answer(text) not in ("yes", "no"):
        assert is_right(text, text)
