"""The figures of an evaluation against a small case counted by hand; intervals against known values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from m3po.evaluation.intervals import bootstrap_interval, ratio_of, student_quantile, wilson_interval
from m3po.evaluation.metrics import METRICS, summarise


def row(number, category, text, answer=None, objects=None):
    return {"instruction_id": number, "category": category, "text": text, "answer": answer, "objects": objects}


CASE = [
    row(1, "describe", "I see a boat and a fish.", "x", ["boat", "sun"]),  # fish is hallucinated, sun missed
    row(2, "describe", "I see a sun.", "x", ["sun"]),
    row(3, "exist_present", "Yes, there is a boat.", "Yes, there is a boat."),
    row(4, "exist_present", "No.", "Yes, there is a sun."),
    row(5, "exist_random", "No, there is no car.", "No, there is no car."),
    row(6, "exist_partner_absent", "Yes, there is a fish.", "No, there is no fish."),
    row(7, "exist_partner_absent", "No.", "No, there is no bird."),
    row(8, "easy_vqa", "It is a circle.", "It is a circle."),
    row(9, "color", "The boat is blue.", "The boat is red."),
    row(10, "count", "There are 2 things.", "There are two things."),
    row(11, "where", "left", "right"),
    row(12, "my own", "It is red.", "red"),
    row(13, None, "anything", None, None),  # no truth
    row(14, "color", "red", None),  # none either
]


def test_a_case_counted_by_hand():
    metrics, counts = summarise(CASE, vocabulary=["fish"])
    assert counts["rows"] == 14
    assert counts["without_truth"] == 2
    assert metrics["chair_s"] == 1 / 2
    assert metrics["chair_i"] == 1 / 3
    assert metrics["object_recall"] == 2 / 3
    assert metrics["describe_words"] == (7 + 4) / 2
    assert metrics["partner_absent_accuracy"] == metrics["partner_absent_yes_rate"] == 1 / 2
    # partner: rows 6, 7 against 3, 4: one of each cell of the confusion table
    for name in ("accuracy", "precision", "recall", "f1", "yes_ratio"):
        assert metrics[f"yes_no_partner_{name}"] == 1 / 2
    # random: row 5 against as many present rows, one: row 3
    assert metrics["yes_no_random_accuracy"] == 1
    assert counts["yes_no_random_rows"] == 2
    assert metrics["easy_vqa_accuracy"] == 1
    assert metrics["color_accuracy"] == 0
    assert metrics["count_accuracy"] == 1
    assert metrics["where_accuracy"] == 0
    assert metrics["answer_accuracy"] == 0
    assert metrics["answer_contains"] == 1


def test_fish_is_no_hallucination_where_nobody_names_it_as_an_object():
    assert summarise(CASE).metrics["chair_s"] == 0


def test_every_figure_is_described_and_no_row_makes_no_figure():
    summary = summarise(CASE)
    assert set(summary.metrics) <= set(METRICS)
    assert list(summary.metrics) == [key for key in METRICS if key in summary.metrics]
    for key, metric in METRICS.items():
        assert metric.key == key
        assert metric.unit in ("fraction", "words", "points")
        assert metric.description.endswith(".")
    assert summarise([]).metrics == {}


def test_a_workspace_with_answers_alone_gets_an_accuracy():
    rows = [row(1, None, "Red.", "red"), row(2, None, "blue", "red")]
    assert summarise(rows).metrics == {"answer_accuracy": 0.5, "answer_contains": 0.5}


def test_descriptions_without_a_category_are_told_by_their_objects():
    assert summarise([row(1, None, "a boat", None, ["boat"])]).metrics["object_recall"] == 1


@given(st.permutations(CASE))
def test_the_order_of_the_rows_does_not_matter(rows):
    assert summarise(rows) == summarise(CASE)


def test_every_interval_holds_its_value():
    summary = summarise(CASE, vocabulary=["fish"])
    for key, (low, high) in summary.intervals.items():
        assert low <= summary.metrics[key] <= high, key


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_interval_gives_published_values(hits, total, low, high):
    assert wilson_interval(hits, total) == pytest.approx((low, high), abs=5e-5)


def test_students_quantile_is_scipys_also_of_broken_degrees():
    for freedom in (1, 1.3, 2, 2.7, 6.1, 19, 199, 1e4, 1e7):
        assert student_quantile(freedom) == pytest.approx(t.ppf(0.975, freedom), rel=2e-4)


def test_bootstrap_agrees_with_the_normal_interval_of_a_mean():
    values = np.random.default_rng(1).normal(5, 2, 400)
    low, high = bootstrap_interval(np.stack([values, np.ones(400)], axis=1), ratio_of(0, 1))
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.04)
    assert bootstrap_interval(np.zeros((3, 2)), ratio_of(0, 1)) is None
