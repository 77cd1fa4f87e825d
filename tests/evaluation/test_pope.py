"""POPE's reading of answers, and its figures against counts made by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3po.evaluation.metrics import PARTNER_ABSENT, PRESENT, summarise
from m3po.evaluation.pope import parse_yes_no


@pytest.mark.parametrize(
    ("text", "says_yes"),
    [
        ("Yes.", True),
        ("yes", True),
        ("Yes, there is a boat.", True),
        ("No.", False),
        ("No, there is no boat.", False),
        ("No, but there is a fish.", False),
        ("There is not a boat in the picture.", False),
        ("There is no boat", False),
        ("There isn't a boat.", True),  # the published script looks for three words only
        ("Yes. There is no doubt.", True),  # the first sentence counts
        ("Not sure", True),
        ("nothing", True),
        ("A boat,no,a ship", True),  # commas are removed, not replaced: "boatnoa" is no "no"
        ("", True),
    ],
)
def test_reads_an_answer_as_the_published_script_does(text, says_yes):
    assert parse_yes_no(text) is says_yes


def published_script(text):
    """The lines of POPE's evaluate.py, as an oracle."""
    if text.find(".") != -1:
        text = text.split(".")[0]
    text = text.replace(",", "")
    words = text.split(" ")
    return "no" if "No" in words or "not" in words or "no" in words else "yes"


@given(st.lists(st.sampled_from(["No", "no", "not", "yes", "Yes", ",", ".", " ", "isn't", "\n"])).map("".join))
def test_agrees_with_the_published_script(text):
    assert parse_yes_no(text) is (published_script(text) == "yes")


def figures(pairs):
    """Of (label is yes, answer is yes) pairs, as many labels yes as no."""
    words = {True: "Yes.", False: "No."}
    rows = [
        {"instruction_id": n, "category": PRESENT if label else PARTNER_ABSENT, "answer": words[label],
         "text": words[answer]}
        for n, (label, answer) in enumerate(pairs)
    ]  # fmt: skip
    metrics = summarise(rows).metrics
    return [metrics[f"yes_no_partner_{name}"] for name in ("accuracy", "precision", "recall", "f1", "yes_ratio")]


def test_figures_of_a_case_counted_by_hand():
    # 3 right yes, 1 wrong yes, 4 right no, 2 wrong no
    pairs = [(True, True)] * 3 + [(False, True)] + [(False, False)] * 4 + [(True, False)] * 2
    f1 = 2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5)
    assert figures(pairs) == [7 / 10, 3 / 4, 3 / 5, pytest.approx(f1), 4 / 10]


def test_nothing_measured_is_none_not_zero():
    accuracy, precision, recall, f1, yes_ratio = figures([(False, False), (True, False)])
    assert (accuracy, recall, f1, yes_ratio) == (0.5, 0, 0, 0) and precision is None


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_figures_stay_within_bounds_and_f1_between_precision_and_recall(answers):
    pairs = [(label, answer) for both in answers for label, answer in zip((True, False), both, strict=True)]
    accuracy, precision, recall, f1, _ = figures(pairs)
    assert 0 <= accuracy <= 1
    if precision and recall:
        low, high = sorted((precision, recall))
        assert low - 1e-12 <= f1 <= high + 1e-12
