"""Which items an assignment takes and who gets which: pure functions of ids, strata and a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from m3po.errors import UsageError

STRATA = ("m3p_score", "source", "none")
DECILES = 10


def check_share(overlap: float) -> None:
    """Raises UsageError for what is no share of an assignment."""
    if not 0 <= overlap <= 1:
        raise UsageError(f"An overlap of {overlap} is no share: give a number from 0 to 1.")


def seeded(ids: np.ndarray, seed: int) -> np.ndarray:
    """A random-looking uint64 for each id, always the same for a seed (SplitMix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        x = ids.astype(np.uint64) + np.uint64(seed % 2**64) * np.uint64(0xD1342543DE82EF95)
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def seed_of(*words: object) -> int:
    """A seed from words, as an annotator's name."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, words)).encode()).digest()[:8], "big")


def deciles(values: np.ndarray) -> np.ndarray:
    """The tenth that each value lies in, 0 to 9, by rank; those without a value (nan) are a stratum apart, 10."""
    strata = np.full(len(values), DECILES)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    strata[order] = np.arange(len(order)) * DECILES // max(len(order), 1)
    return strata


def stratified_order(ids: np.ndarray, strata: Sequence[object] | np.ndarray, seed: int) -> np.ndarray:
    """Places of `ids` in an order whose every beginning has each stratum in proportion, at random within it: the i-th
    of a stratum of n stands at (i + 0.5) / n of the whole."""
    if not len(ids):
        return np.empty(0, np.int64)
    _, kind = np.unique(np.asarray(strata), return_inverse=True)
    chance = seeded(ids, seed)
    by_stratum = np.lexsort((chance, kind))
    sizes = np.bincount(kind)
    starts = np.cumsum(sizes) - sizes
    within = np.arange(len(ids)) - starts[kind[by_stratum]]
    share = np.empty(len(ids))
    share[by_stratum] = (within + 0.5) / sizes[kind[by_stratum]]
    return np.lexsort((chance, share))


def deal(
    ids: Sequence[int], strata: Sequence[object], annotators: Sequence[str], n_shared: int
) -> dict[str, list[int]]:
    """Each one's items: the first `n_shared` of `ids` go to everybody, the others in turn, stratum by stratum. Of a
    stratified order the shared ones are in proportion, and so is everybody's own part."""
    shared = list(ids[:n_shared])
    rest = [ids[i] for i in sorted(range(n_shared, len(ids)), key=lambda i: strata[i])]
    return {name: shared + rest[place :: len(annotators)] for place, name in enumerate(annotators)}


def queue_order(ids: Sequence[int], annotator: str, seed: int) -> list[int]:
    """`ids` in the annotator's own random order, so that gold items stand anywhere among the others."""
    keys = seeded(np.asarray(ids, np.int64), seed_of("queue", annotator, seed))
    return [ids[i] for i in np.argsort(keys, kind="stable")]
