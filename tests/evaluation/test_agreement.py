"""Kappa and alpha against well-kept libraries and a textbook's example, and their intervals."""

import tracemalloc

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from m3po.evaluation.agreement import cohen_kappa, collect, krippendorff_alpha, pairwise

LABELS = st.sampled_from(["machine", "tie", "all_wrong", "1>2", "2>1", "3>4"])


@settings(max_examples=30)
@given(st.lists(st.tuples(LABELS, LABELS), min_size=2, max_size=40))
def test_kappa_is_that_of_scikit_learn(pairs):
    assume(len({label for pair in pairs for label in pair}) > 1)
    expected = cohen_kappa_score([a for a, _ in pairs], [b for _, b in pairs])
    assert cohen_kappa(pairs).value == pytest.approx(expected, abs=1e-9)


@settings(max_examples=30)
@given(st.lists(st.dictionaries(st.sampled_from("abcd"), LABELS, max_size=4), min_size=2, max_size=30))
def test_alpha_is_that_of_krippendorff(units):
    compared = [unit for unit in units if len(unit) > 1]
    assume(len({label for unit in compared for label in unit.values()}) > 1)
    names = sorted({label for unit in units for label in unit.values()})
    matrix = [[names.index(unit[who]) if who in unit else np.nan for unit in units] for who in "abcd"]
    expected = krippendorff.alpha(
        reliability_data=matrix, level_of_measurement="nominal", value_domain=range(len(names))
    )
    assert krippendorff_alpha(dict(enumerate(units))).value == pytest.approx(expected, abs=1e-9)


def test_alpha_of_krippendorffs_own_example():
    """Computing Krippendorff's Alpha-Reliability (2011), section C: nominal data of four observers, 0.743."""
    table = {
        "A": [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        "B": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        "C": [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        "D": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    }
    rows = [(item, who, str(label)) for who, row in table.items() for item, label in enumerate(row) if label]
    assert krippendorff_alpha(collect(rows)).value == pytest.approx(0.743, abs=5e-4)


def test_the_interval_holds_the_value_and_shrinks_with_more_items():
    draw = np.random.default_rng(3)

    def judged(n):
        truth = draw.integers(0, 3, n)
        return [(str(t), str(t if draw.random() < 0.8 else draw.integers(0, 3))) for t in truth]

    few, many = cohen_kappa(judged(40)), cohen_kappa(judged(1000))
    for found in (few, many):
        assert found.interval[0] < found.value < found.interval[1] <= 1
    width = [found.interval[1] - found.interval[0] for found in (few, many)]
    # Cohen's own large-sample error of kappa: half a width is near 1.96 times it
    pairs = judged(1000)
    observed = np.mean([a == b for a, b in pairs])
    expected = sum(np.mean([a == k for a, _ in pairs]) * np.mean([b == k for _, b in pairs]) for k in "012")
    error = np.sqrt(observed * (1 - observed) / 1000) / (1 - expected)
    assert width[0] > 2 * width[1] and width[1] == pytest.approx(2 * 1.96 * error, rel=0.2)


def test_every_two_who_share_an_item_are_compared_and_nobody_else():
    rows = [(1, "ann", "x"), (1, "bob", "x"), (2, "ann", "y"), (2, "bob", "y"), (3, "cy", "x"), (4, "ann", "y")]
    found = pairwise(collect(rows))
    assert list(found) == [("ann", "bob")]
    assert found[("ann", "bob")].value == 1 and found[("ann", "bob")].items == 2


def test_where_nothing_can_be_said_nothing_is():
    assert cohen_kappa([]).value is None
    assert cohen_kappa([("machine", "machine")] * 9).value is None  # one label throughout: chance agrees always
    assert krippendorff_alpha({1: {"ann": "x"}}).value is None
    assert krippendorff_alpha({1: {"ann": "x", "bob": "x"}}).value is None


def test_many_items_are_resampled_in_little_memory():
    pairs = [("machine", ("machine", "tie")[n % 3 == 0]) for n in range(4000)] + [("tie", "tie")] * 1000
    tracemalloc.start()
    try:
        found = cohen_kappa(pairs)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.interval[0] < found.value < found.interval[1] and peak < 30e6  # all weights at once are 40 MB
