"""Which items an assignment takes: every beginning in proportion, everybody's share alike, and the same by seed."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3po.assigning import deal, deciles, queue_order, seed_of, seeded, stratified_order


@settings(max_examples=80)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.integers(0, 2**63), st.data())
def test_every_beginning_has_each_stratum_in_proportion(strata, seed, data):
    ids = np.arange(1, len(strata) + 1)
    order = stratified_order(ids, strata, seed)
    assert sorted(order.tolist()) == list(range(len(strata)))
    length = data.draw(st.integers(1, len(strata)))
    taken, whole = Counter(strata[i] for i in order[:length]), Counter(strata)
    for kind, size in whole.items():
        # half an item from where a stratum's next one is due, and what the others' halves move the end by
        assert abs(taken[kind] - length * size / len(strata)) <= 0.5 + 0.5 * len(whole) * size / len(strata) + 1e-9


def test_ten_equal_strata_differ_by_one_at_most():
    order = stratified_order(np.arange(1000), np.arange(1000) % 10, seed=5)
    assert set(Counter(int(i) % 10 for i in order[:300]).values()) <= {29, 30, 31}
    assert order.tolist() != stratified_order(np.arange(1000), np.arange(1000) % 10, seed=6).tolist()
    assert order.tolist() == stratified_order(np.arange(1000), np.arange(1000) % 10, seed=5).tolist()


def test_deciles_are_by_rank_and_missing_scores_stand_apart():
    values = np.array([np.nan, *np.random.default_rng(0).normal(size=200)])
    found = deciles(values)
    assert found[0] == 10 and Counter(found[1:].tolist()) == dict.fromkeys(range(10), 20)
    assert values[found == 0].max() < values[found == 9].min()
    assert deciles(np.full(3, np.nan)).tolist() == [10, 10, 10]


@settings(max_examples=50)
@given(st.integers(1, 60), st.integers(1, 6), st.data())
def test_all_are_dealt_once_but_the_shared_ones_to_everybody(n, people, data):
    names = [f"p{i}" for i in range(people)]
    shared = data.draw(st.integers(0, n))
    strata = data.draw(st.lists(st.sampled_from("ab"), min_size=n, max_size=n))
    dealt = deal(range(n), strata, names, shared)
    times = Counter(item for own in dealt.values() for item in own)
    assert times == {item: people if item < shared else 1 for item in range(n)}
    sizes = [len(own) for own in dealt.values()]
    assert max(sizes) - min(sizes) <= 1
    for kind in "ab":
        own = [sum(strata[item] == kind for item in items) for items in dealt.values()]
        assert max(own) - min(own) <= 1


def test_each_has_an_order_of_her_own_and_always_the_same():
    ids = list(range(1, 60))
    ann, bob = (queue_order(ids, name, 0) for name in ("ann", "bob"))
    assert sorted(ann) == sorted(bob) == ids and ann != bob != ids
    assert ann == queue_order(ids, "ann", 0) != queue_order(ids, "ann", 1)


def test_the_hash_spreads_and_is_splitmix64():
    """Reference: SplitMix64 seeded with 0 begins with these three values; its state grows by the golden gamma."""
    gamma = 0x9E3779B97F4A7C15
    states = np.array([0, gamma, 2 * gamma % 2**64], np.uint64)
    assert [hex(int(v)) for v in seeded(states, 0)] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4", "0x6c45d188009454f"]
    assert np.mean(seeded(np.arange(10_000), 3) > 2**63) == pytest.approx(0.5, abs=0.02)
    assert seed_of("a", "bc") != seed_of("ab", "c")
