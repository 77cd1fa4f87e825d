"""The pick rules over many instructions at once, in numpy: the fast twin of m3po.selection.pick.

Candidates lie one after another, those of an instruction side by side and by rising id; every step works on all of
them. The tests hold the pairs against the plain twin's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m3po.settings import SelectConfig
from m3po.types import PickRule

PICKED = -1  # in `reason`: there is a pair
REASONS = ("one_candidate", "delta", "length_ratio")


@dataclass(frozen=True)
class Candidates:
    """The candidates of n instructions that a rule may pick. `starts`: n + 1 places in the other arrays; `a`, `b` in
    [0, 1]; `logp_mean` in nats. `drawn`: the key of each where a rule sees two drawn by chance."""

    starts: np.ndarray
    ids: np.ndarray
    mas: np.ndarray
    logp_mean: np.ndarray
    n_tokens: np.ndarray
    a: np.ndarray
    b: np.ndarray
    drawn: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.starts) - 1


@dataclass(frozen=True)
class Picks:
    """Of each instruction the places of `chosen` and `rejected` among the candidates, where `reason` is PICKED; else a
    place in REASONS. `score`: the pair's M3P-Score."""

    chosen: np.ndarray
    rejected: np.ndarray
    reason: np.ndarray
    score: np.ndarray


def pick_all(candidates: Candidates, rule: PickRule, config: SelectConfig) -> Picks:
    """The pair of every instruction by `rule`. Each has at least one candidate."""
    if not len(candidates):
        nothing = np.empty(0, np.int64)
        return Picks(nothing, nothing, np.empty(0, np.int8), np.empty(0))
    segments = _Segments(candidates.starts)
    c, ratio = candidates, config.length_ratio
    open_to = _draw_two(candidates, segments) if rule.random_two else None
    chosen = segments.best(_key(rule.chosen, c, segments, config, open_to), c.mas, open_to)
    others = segments.spread(c.a[chosen]) - c.a >= config.delta
    others[chosen] = False
    if open_to is not None:
        others &= open_to
        alone = segments.count(open_to) < 2
    else:
        alone = segments.sizes < 2
    reason = np.full(len(c), PICKED, np.int8)
    reason[~segments.any(others)] = REASONS.index("delta")
    if ratio:
        tokens = segments.spread(c.n_tokens[chosen])
        others &= np.maximum(tokens, c.n_tokens) / np.minimum(tokens, c.n_tokens) <= ratio
        reason[(reason == PICKED) & ~segments.any(others)] = REASONS.index("length_ratio")
    reason[alone] = REASONS.index("one_candidate")
    rejected = segments.best(_key(rule.rejected, c, segments, config, open_to), c.mas, others)
    score = (_good(c, config, chosen) + _hard(c, config, rejected)) / 2.0
    return Picks(chosen, rejected, reason, score)


def _good(c: Candidates, config: SelectConfig, at: np.ndarray | slice = slice(None)) -> np.ndarray:
    """As m3po.scoring.good."""
    return config.weight_chosen * c.a[at] + (1.0 - config.weight_chosen) * c.b[at]


def _hard(c: Candidates, config: SelectConfig, at: np.ndarray | slice = slice(None)) -> np.ndarray:
    """As m3po.scoring.hard."""
    return config.weight_rejected * (1.0 - c.a[at]) + (1.0 - config.weight_rejected) * c.b[at]


def _key(name: str, c: Candidates, segments: _Segments, config: SelectConfig, open_to: np.ndarray | None) -> np.ndarray:
    """What a rule maximises (m3po.selection.pick)."""
    if name == "good":
        return _good(c, config)
    if name == "hard":
        return _hard(c, config)
    if name == "mas":
        return c.mas
    if name == "low_mas":
        return -c.mas
    if name == "confidence":
        return np.exp(c.logp_mean)
    assert name == "near_mean_2sd" and open_to is None
    mean = np.add.reduceat(c.mas, segments.starts) / segments.sizes
    squares = (c.mas - segments.spread(mean)) ** 2
    sd = np.sqrt(np.add.reduceat(squares, segments.starts) / segments.sizes)
    # rounded: a tie in exact arithmetic must be a tie in the twin and here alike
    return -np.round(np.abs(c.mas - segments.spread(mean - 2.0 * sd)), 9)


def _draw_two(c: Candidates, segments: _Segments) -> np.ndarray:
    """Which candidates are the two with the lowest `drawn` of their instruction."""
    order = np.lexsort((c.drawn, segments.spread(np.arange(len(c)))))
    open_to = np.empty(len(order), bool)
    open_to[order] = np.arange(len(order)) - segments.spread(segments.starts) < 2
    return open_to


class _Segments:
    """The candidates of each instruction, as places."""

    def __init__(self, starts: np.ndarray) -> None:
        self.starts = starts[:-1]
        self.sizes = np.diff(starts)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """A value an instruction, to each of its candidates."""
        return np.repeat(values, self.sizes)

    def any(self, among: np.ndarray) -> np.ndarray:
        return np.logical_or.reduceat(among, self.starts)

    def count(self, among: np.ndarray) -> np.ndarray:
        return np.add.reduceat(among, self.starts, dtype=np.int64)

    def best(self, key: np.ndarray, mas: np.ndarray, among: np.ndarray | None) -> np.ndarray:
        """Of each instruction the place with the highest key among those; ties go to the higher mas, then to the
        lower id, which comes first. Of an instruction without one, any place."""
        if among is not None:
            key = np.where(among, key, -np.inf)
        at_best = key == self.spread(np.maximum.reduceat(key, self.starts))
        found = np.flatnonzero(at_best)
        if len(found) == len(self.starts):
            return found
        mas = np.where(at_best, mas, -np.inf)
        at_best &= mas == self.spread(np.maximum.reduceat(mas, self.starts))
        # the first True of each: how many there are before it, among all that are True
        found, counts = np.flatnonzero(at_best), self.count(at_best)
        return found[np.cumsum(counts) - counts]
