"""Changes between two models' answers against McNemar's exact test and against all swaps, tried one by one."""

from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3po.evaluation.comparison import change_intervals
from m3po.evaluation.metrics import METRICS, build_vocabulary, summarise
from m3po.evaluation.paired import compare_rows, judge_answer, swap_test


def mcnemar(better, worse):
    """Two-sided exact binomial test of the images that differ."""
    n = better + worse
    return min(1.0, 2 * sum(comb(n, k) for k in range(min(better, worse) + 1)) / 2**n)


def rates(better, worse, same=20):
    before = [0] * better + [1] * worse + [0, 1] * same
    after = [1] * better + [0] * worse + [0, 1] * same
    return [np.array([[hit, 1] for hit in hits]) for hits in (before, after)]


@given(st.integers(0, 6), st.integers(0, 6))
def test_of_one_right_or_wrong_answer_an_image_it_is_mcnemars_exact_test(better, worse):
    assert swap_test(*rates(better, worse)) == pytest.approx(mcnemar(better, worse))


def test_random_swaps_come_near_it_and_are_the_same_each_time():
    for better, worse in ((30, 14), (40, 36), (25, 5)):
        p = swap_test(*rates(better, worse))
        assert p == pytest.approx(mcnemar(better, worse), abs=0.03) and p == swap_test(*rates(better, worse))
    assert swap_test(*rates(60, 0)) == 1 / 2000  # never zero: so many swaps cannot tell less


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(0, 3), st.integers(1, 3)), max_size=6))
def test_of_ratios_it_is_the_share_of_swaps_with_as_large_a_change(rows):
    rows = [(1, 2, 1, 2), *rows]
    before, after = (np.array([row[at : at + 2] for row in rows]) for at in (0, 2))
    found = []
    for swap in product((False, True), repeat=len(rows)):
        sides = [row[2:] + row[:2] if swapped else row for row, swapped in zip(rows, swap, strict=True)]
        (a, b, c, d) = map(sum, zip(*sides, strict=True))
        found.append(abs(c / d - a / b))
    share = sum(change >= found[0] - 1e-9 for change in found) / len(found)
    assert swap_test(before, after) == pytest.approx(share)


def test_a_change_is_told_where_the_two_intervals_overlap():
    rows = [{"instruction_id": n, "category": "color", "answer": "red", "objects": None} for n in range(40)]
    for n, row in enumerate(rows):
        row |= {"before": "red" if n < 20 else "blue", "after": "red" if n < 29 else "blue"}
    one, two = (summarise([{**row, "text": row[side]} for row in rows]) for side in ("before", "after"))
    assert one.intervals["color_accuracy"][1] > two.intervals["color_accuracy"][0]
    assert compare_rows(rows) == {"color_accuracy": pytest.approx(2 / 2**9)}


def test_all_questions_after_an_image_are_swapped_together_as_its_interval_resamples_them():
    """Six questions after each of five images: three became right, two wrong, as in every swap."""
    rows = [
        {"instruction_id": 6 * image + n, "images": [f"{image}.png"], "category": "color", "answer": "red",
         "objects": None, "before": before, "after": after}
        for image, (before, after) in enumerate([("blue", "red")] * 3 + [("red", "blue")] * 2)
        for n in range(6)
    ]  # fmt: skip
    assert compare_rows(rows) == {"color_accuracy": 1.0}
    low, high = change_intervals(rows)["color_accuracy"]
    assert low < 0 < high
    alone = [{**row, "images": [f"{row['instruction_id']}.png"]} for row in rows]
    assert compare_rows(alone)["color_accuracy"] == pytest.approx(mcnemar(18, 12), abs=0.03)
    four_better = [{**row, "before": "blue", "after": "red"} for row in rows[:24]]
    assert compare_rows(four_better) == {"color_accuracy": 2 / 2**4}  # not 2 / 2**24


def test_every_figure_of_two_like_sides_is_surely_no_change():
    kinds = {"describe": "x", "exist_present": "Yes.", "exist_random": "No.", "exist_partner_absent": "No."}
    rows = [
        {"instruction_id": n, "category": kind, "answer": answer, "objects": ["boat"], "before": text, "after": text}
        for n, (kind, answer, text) in enumerate((k, a, t) for k, a in kinds.items() for t in ("Yes, a boat.", "No."))
    ]
    found = compare_rows(rows)
    assert set(found.values()) == {1.0} and set(found) < set(METRICS) and "yes_no_partner_f1" in found


def test_an_answer_is_judged_by_its_truth():
    rows = [
        {"category": "describe", "answer": None, "objects": ["boat", "sun"]},
        {"category": "exist_random", "answer": "No.", "objects": None},
        {"category": "count", "answer": "two", "objects": ["fish"]},
        {"category": None, "answer": None, "objects": None},
    ]
    vocabulary = build_vocabulary(rows)
    judged = judge_answer(rows[0], "A boat, two boats and a fish.", vocabulary)
    assert judged == {"right": False, "there": ["boat"], "not_there": ["fish"]}
    assert judge_answer(rows[0], "Nothing here.", vocabulary)["right"] is True
    assert [judge_answer(rows[1], text, vocabulary)["right"] for text in ("No, there is none.", "Yes.")] == [
        True,
        False,
    ]
    assert [judge_answer(rows[2], text, vocabulary)["right"] for text in ("2", "3")] == [True, False]
    assert judge_answer(rows[3], "anything", vocabulary)["right"] is None
