"""Override rates, the threshold and the agreement curve, each against a count by hand or a slow twin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3po.evaluation.annotator import SimulatedAnnotator, Verdict
from m3po.evaluation.calibration import best_of_curve, decisions_needed, find_threshold, override_bins, rate_of
from m3po.evaluation.intervals import wilson_interval


def test_bins_by_hand_and_their_bounds():
    scores = np.array([0.70, 0.72, 0.7499, 0.75, 1.0, 0.0])
    wrong = np.array([True, False, False, True, False, False])
    rows = override_bins(scores, wrong, np.append(scores, [0.31, 0.7]))
    told = [(row["from"], row["to"], row["pairs"], row["decided"], row["overridden"]) for row in rows]
    assert told == [
        (0.0, 0.05, 1, 1, 0),
        (0.3, 0.35, 1, 0, 0),
        (0.7, 0.75, 4, 3, 1),
        (0.75, 0.8, 1, 1, 1),
        (0.95, 1.0, 1, 1, 0),
    ]
    assert (rows[2]["low"], rows[2]["high"]) == wilson_interval(1, 3)
    assert rows[1]["rate"] is None and rows[1]["high"] is None


decided = st.lists(st.tuples(st.sampled_from([0.2, 0.4, 0.5, 0.6, 0.8, 0.9]), st.booleans()), max_size=60)


@settings(max_examples=60)
@given(decided, st.sampled_from([0.1, 0.3, 0.6]))
def test_the_threshold_is_the_lowest_score_that_holds(pairs, target):
    scores, wrong = np.array([s for s, _ in pairs]), np.array([w for _, w in pairs], bool)
    holds = []
    for score in sorted(set(scores.tolist())):
        above = [w for s, w in pairs if s >= score]
        if wilson_interval(sum(above), len(above))[1] <= target:
            holds.append((score, len(above), sum(above)))
    found = find_threshold(scores, wrong, target)
    assert (found and (found["score"], found["decided"], found["overridden"])) == (holds[0] if holds else None)


@pytest.mark.parametrize("target", [0.01, 0.05, 0.2])
def test_how_many_decisions_it_takes(target):
    n = decisions_needed(target)
    assert wilson_interval(0, n)[1] <= target < wilson_interval(0, n - 1)[1]


def test_the_interval_of_the_rates_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    wrong = rng.binomial(80, 0.1, size=1000)
    hits = sum(row["low"] <= 0.1 <= row["high"] for row in (rate_of(int(w), 80) for w in wrong))
    assert 0.93 < hits / 1000 < 0.98


def test_a_curve_whose_best_point_is_clear():
    points = np.array([0.0, 0.5, 1.0])
    rng = np.random.default_rng(0)
    agrees = rng.random((3, 400)) < np.array([[0.3], [0.8], [0.4]])
    found = best_of_curve(points, agrees, seed=3)
    assert found["best"] == 1 and (found["point_low"], found["point_high"]) == (0.5, 0.5)
    assert found["rate"] == pytest.approx(agrees.mean(axis=1).tolist())
    assert (found["low"], found["high"]) == wilson_interval(int(agrees[1].sum()), 400)
    assert found["left_out"] == pytest.approx(found["rate"][1])  # the same point wins in every part
    assert best_of_curve(points, agrees, seed=3) == found


def test_a_single_decision_is_not_sure():
    found = best_of_curve(np.array([0.0, 1.0]), np.array([[False], [True]]))
    assert found["rate"] == [0, 1] and found["high"] == 1
    assert found["low"] == pytest.approx(1 / (1 + 1.96**2), abs=0.001)  # Wilson's lower end of 1 of 1: n / (n + z^2)


def test_points_that_are_as_good_lie_in_the_interval():
    """A weight that changes no pick agrees as the next one does: nothing says that the middle one is the best."""
    points = np.linspace(0, 1, 5)
    agrees = np.zeros((5, 30), bool)
    agrees[1:4, :20] = True
    found = best_of_curve(points, agrees)
    assert (found["best"], found["tied"]) == (2, [0.25, 0.75])
    assert (found["point_low"], found["point_high"]) == (0.25, 0.75)


def test_a_best_point_of_pure_noise_is_not_as_good_as_it_looks():
    """40 points that agree by a coin's toss: the best looks better than a half, and the left-out estimate does not."""
    rng = np.random.default_rng(0)
    looks, honest = [], []
    for _ in range(20):
        found = best_of_curve(np.linspace(0, 1, 40), rng.random((40, 60)) < 0.5)
        looks.append(found["rate"][found["best"]])
        honest.append(found["left_out"])
    assert np.mean(looks) > 0.6 and abs(np.mean(honest) - 0.5) < 0.04


def test_few_decisions_and_a_plateau():
    agrees = np.array([[True, True], [True, True], [True, True], [False, True]])
    found = best_of_curve(np.array([0.1, 0.2, 0.3, 0.4]), agrees)
    assert found["best"] == 1 and found["left_out"] is None  # the middle of the plateau; too few to leave some out


def test_the_simulated_annotator_without_errors_and_with_errors_alone():
    belief = {1: -0.1, 2: -0.5, 3: -0.2}
    sure, wrong = SimulatedAnnotator(0.0), SimulatedAnnotator(1.0)
    right = {1: 1.0, 2: 0.0, 3: 0.0}
    assert sure.judge((1, 2), right, belief) == Verdict("accept", 1, 2)
    assert wrong.judge((1, 2), right, belief) == Verdict("override", 2, 1)
    assert sure.judge((2, 3), right, belief) == Verdict("override", 1, 3)  # the rejected one stays, if it is worse
    assert sure.judge((2, 1), right, belief) == Verdict("override", 1, 3)  # else the wrong one that is most believed
    assert wrong.judge((2, 3), right, belief) == Verdict("accept", 2, 3)
    assert sure.judge((1, 2), {1: 1.0, 2: 1.0, 3: 1.0}, belief) == Verdict("tie")


def test_the_simulated_annotator_errs_at_the_stated_rate():
    annotator = SimulatedAnnotator(0.1, seed=5)
    errs = sum(annotator.judge((1, 2), {1: 1, 2: 0}, {1: 0, 2: 0}).verdict != "accept" for _ in range(2000))
    assert 0.08 < errs / 2000 < 0.12
