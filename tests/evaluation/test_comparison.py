"""Several arms on the same images: counts by image, intervals over images and seeds, pairs by the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from m3po.evaluation.chair import Vocabulary
from m3po.evaluation.comparison import compare_arms, count_by_image, judge_change
from m3po.evaluation.metrics import summarise
from m3po.evaluation.pair_truth import answer_quality, gains_by_margin, judge_pairs, margin_edges, pair_rates

DRAWS = 400


def row(number: int, image: str, category: str, text: str, answer: str | None = None, objects=None) -> dict:
    known = {"answer": answer, "objects": objects, "category": category}
    return {"instruction_id": number, "images": [image] if image else [], "text": text, **known}


ROWS = [
    row(1, "a", "describe", "a boat and a fish", objects=["boat"]),
    row(2, "a", "exist_present", "Yes.", "Yes"),
    row(3, "b", "exist_popular", "Yes.", "No"),
    row(4, "b", "color", "red", "red"),
    row(5, "", "color", "blue", "red"),
]


def test_counts_by_image_add_up_to_the_figures_of_all_rows():
    found = count_by_image(ROWS, ["fish"])
    metrics = summarise(ROWS, ["fish"]).metrics
    assert set(found) == set(metrics) and {"yes_no_popular_f1", "chair_i", "color_accuracy"} <= set(found)
    for key, counts in found.items():
        part, whole = counts.sum(axis=0)
        assert counts.shape == (3, 2) and (part / whole if whole else None) == metrics[key]
    assert found["chair_i"].tolist() == [[1, 2], [0, 0], [0, 0]]
    assert found["color_accuracy"].tolist() == [[0, 0], [1, 1], [0, 1]]


def test_the_mean_is_over_seeds_and_the_difference_is_paired():
    easy, hard = np.array([[1, 1]] * 100 + [[0, 1]] * 100), np.array([[1, 1]] * 90 + [[0, 1]] * 110)
    report = compare_arms({"base": {0: hard, 1: hard}, "m3po": {0: easy, 1: hard}}, ("base", "m3po"), resamples=DRAWS)
    assert report["m3po"]["mean"] == pytest.approx(0.475) and report["m3po"]["each"] == {"0": 0.5, "1": 0.45}
    change = report["m3po"]["change"]["base"]
    assert change["mean"] == pytest.approx(0.025) and judge_change(change, True) == "noise"  # of two seeds, one differs
    assert report["base"]["change"]["m3po"]["mean"] == pytest.approx(-0.025)
    assert set(report["base"]["change"]) == {"m3po"}
    # One image in twenty differs, at each seed: unpaired, the two wide intervals would say nothing of it.
    report = compare_arms({"base": dict.fromkeys((0, 1), hard), "m3po": dict.fromkeys((0, 1), easy)}, ("base",))
    assert judge_change(report["m3po"]["change"]["base"], True) == "better"
    assert report["m3po"]["low"] < report["base"]["high"]


def test_an_interval_is_as_wide_as_the_binomial_says():
    one = {0: np.array([[n % 2, 1] for n in range(400)])}
    found = compare_arms({"base": one}, (), resamples=2000)["base"]
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * (0.25 / 400) ** 0.5, rel=0.1)


def test_images_are_drawn_whole():
    """Ten questions after each of twenty images, all right or all wrong: as much as twenty trials, not two hundred."""
    found = compare_arms({"base": {0: np.array([[10 * (n % 2), 10] for n in range(20)])}}, (), resamples=2000)["base"]
    assert found["high"] - found["low"] == pytest.approx(2 * 2.09 * (0.25 / 20) ** 0.5, rel=0.12)


def normal_runs(rng: np.random.Generator, images: int, of_images: float, of_seeds: float) -> dict[int, np.ndarray]:
    """Three seeds of a figure that is 0 in truth, with that standard deviation of an image's value and, over the root
    of their number, of a seed's."""
    values = rng.normal(0, of_images, images)
    shifts = rng.normal(0, of_seeds / images**0.5, 3)
    return {seed: np.stack([values + shift, np.ones(images)], axis=1) for seed, shift in enumerate(shifts)}


@pytest.mark.parametrize(("of_images", "of_seeds"), [(0, 1), (1, 2), (1, 1), (1, 0)])
def test_of_three_seeds_the_interval_has_the_truth_in_it_as_often_as_it_says(of_images, of_seeds):
    rng, hits, repeats = np.random.default_rng(11), 0, 1000
    base = np.array([[0, 1]] * 40)
    for _ in range(repeats):
        runs = normal_runs(rng, 40, of_images, of_seeds)
        found = compare_arms({"base": dict.fromkeys(runs, base), "m3po": runs}, ("base",), resamples=200)["m3po"]
        change = found["change"]["base"]
        assert (change["low"], change["high"]) == (found["low"], found["high"])  # the base is one run, without an error
        hits += found["low"] <= 0 <= found["high"]
    assert 0.92 <= hits / repeats <= 0.98


def test_the_interval_is_students_where_seeds_alone_vary_and_is_cut_off_at_what_can_be():
    runs = {seed: np.array([[value, 10]] * 30) for seed, value in enumerate((7, 8, 9))}
    found = compare_arms({"m3po": runs}, ())["m3po"]
    half = t.ppf(0.975, 2) * np.std([0.7, 0.8, 0.9], ddof=1) / 3**0.5
    assert (found["low"], found["high"]) == pytest.approx((0.8 - half, 0.8 + half))
    cut = compare_arms({"m3po": runs}, (), within=(0, 1))["m3po"]
    assert found["high"] > 1 and cut["high"] == 1 and cut["low"] == found["low"]


def test_what_images_move_at_one_seed_alone_is_counted_once():
    """Each seed answers by lot: what parts the seeds is what the images moved."""
    rng = np.random.default_rng(0)
    widths = []
    for _ in range(60):
        runs = {seed: np.stack([rng.normal(0, 1, 100), np.ones(100)], axis=1) for seed in range(20)}
        found = compare_arms({"m3po": runs}, (), resamples=200)["m3po"]
        widths.append(found["high"] - found["low"])
    assert np.mean(widths) == pytest.approx(2 * t.ppf(0.975, 19) / 2000**0.5, rel=0.12)  # counted twice: by 1.41 wider


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12), st.integers(1, 3))
def test_an_arm_is_never_better_than_itself(rows, seeds):
    counts = np.array([[min(pair), max(pair)] for pair in rows])
    runs = dict.fromkeys(range(seeds), counts)
    change = compare_arms({"base": runs, "m3po": runs}, ("base",), resamples=20)["m3po"]["change"]["base"]
    if counts[:, 1].any():
        assert (change["mean"], change["low"], change["high"]) == (0, 0, 0)
        assert judge_change(change, True) == "noise"
    else:
        assert change["mean"] is None and judge_change(change, True) == "same"


def test_a_change_is_judged_by_its_direction():
    up, across = {"mean": 0.2, "low": 0.1, "high": 0.3}, {"mean": 0.2, "low": -0.1, "high": 0.3}
    assert [judge_change(up, better) for better in (True, False, None)] == ["better", "worse", "same"]
    assert judge_change(across, True) == "noise" and judge_change(None, True) == "same"


def test_pairs_are_judged_by_the_truth():
    vocabulary = Vocabulary(["boat", "fish"])
    scene = {"answer": None, "objects": ["boat"], "category": "describe"}
    yes = {"answer": "Yes, there is.", "objects": [], "category": "exist_present"}
    none = {"answer": None, "objects": None, "category": None}
    assert answer_quality(scene, "a boat and a fish", vocabulary) == 0
    assert answer_quality(scene, "a boat", vocabulary) == 1
    assert answer_quality(yes, "No, there is not.", vocabulary) == 0
    assert answer_quality(none, "a boat", vocabulary) is None
    counts = judge_pairs(
        [
            (scene, "a boat", "a boat and a fish"),  # better; the rejected one is wrong
            (scene, "a boat", "nothing"),  # better, but the rejected one says nothing wrong
            (yes, "No.", "Yes."),  # worse
            (yes, "Yes.", "Yes, there is."),  # equal
            (none, "a", "b"),
        ],
        vocabulary,
    )
    assert counts == {"judged": 4, "better": 2, "equal": 1, "worse": 1, "rejected_wrong": 1}
    rates = pair_rates(counts)
    assert rates["precision"]["mean"] == 0.5 and rates["rejected_wrong"]["mean"] == 0.25
    assert rates["precision"]["low"] < 0.5 < rates["precision"]["high"]
    assert pair_rates(dict.fromkeys(counts, 0)) == {}


def test_gains_are_told_by_what_the_model_believed_first():
    before, after = [-4.0, -2.0, -1.0, 1.0, 3.0], [-1.0, 1.0, 2.0, 1.0, 5.0]
    rows = [{"logp_margin_before": b, "logp_margin_after": a} for b, a in zip(before, after, strict=True)]
    edges = margin_edges(before)
    assert edges == [-2.0, 0.0, 2.0]
    found = gains_by_margin(rows, edges)
    assert [(bin["low"], bin["high"], bin["pairs"]) for bin in found] == [
        (None, -2.0, 1), (-2.0, 0.0, 2), (0.0, 2.0, 1), (2.0, None, 1),
    ]  # fmt: skip
    assert [bin["gain"] for bin in found] == [3.0, 3.0, 0.0, 2.0]
    assert found[1]["preferred_before"] == 0 and found[1]["preferred_after"] == 1
    assert margin_edges([1.0]) == [0.0] and gains_by_margin([], [0.0]) == []
