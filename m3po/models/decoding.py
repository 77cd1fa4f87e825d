"""What sampling is made of: reproducible uniforms, the draw itself, and a key-value cache that rows can
share.

Every draw is a pure function of (instruction seed, sample number, step): a counter-based hash gives a
uniform, which the inverse of the cumulative distribution in vocabulary order turns into a token. So an answer
does not depend on which other instructions were in its batch, nor on how often a job was interrupted. What
remains is rounding: logits differ in the last bits with the shape of a batch, which moves a draw only when
the uniform lies within that of a border.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer

_SHAREABLE = (DynamicLayer, DynamicSlidingWindowLayer)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def row_keys(seeds: list[int], k: int) -> np.ndarray:
    """One 64-bit key a (instruction, sample): (len(seeds) * k,), an instruction's samples side by side."""
    seed = np.array([s & 0xFFFFFFFFFFFFFFFF for s in seeds], dtype=np.uint64)
    with np.errstate(over="ignore"):
        samples = _mix(np.arange(1, k + 1, dtype=np.uint64) * _GOLDEN)
        return _mix(_mix(seed)[:, None] + samples[None, :]).ravel()


def uniforms(keys: np.ndarray, step: int) -> np.ndarray:
    """Uniforms in [0, 1) of `step` (from 0), one a key, float64 with 53 random bits."""
    with np.errstate(over="ignore"):
        bits = _mix(keys + np.uint64(step + 1) * _GOLDEN)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def pick_tokens(logits: torch.Tensor, u: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """Draw one token a row: logits (rows, vocabulary), uniforms (rows,) -> ids (rows,). Temperature 0 is
    greedy.

    top_p keeps the smallest set of most probable tokens whose mass reaches it (Holtzman et al. 2020), at
    least one.
    """
    if temperature == 0:
        return logits.argmax(-1)
    probs = torch.softmax(logits.float() / temperature, -1)
    if top_p < 1:
        ordered, order = probs.sort(dim=-1, descending=True, stable=True)
        drop = ordered.cumsum(-1) - ordered >= top_p
        probs = probs.masked_fill(torch.zeros_like(drop).scatter(-1, order, drop), 0)
    # The Metal backend has no float64; elsewhere a float32 sum over 100,000 tokens would lose the rare ones.
    cumulative = probs.to(torch.float32 if probs.device.type == "mps" else torch.float64).cumsum(-1)
    target = u.to(cumulative.dtype)[:, None] * cumulative[:, -1:]
    # right=True: a token without mass has an empty interval and is never drawn, not even by u = 0
    ids = torch.searchsorted(cumulative, target, right=True)[:, 0]
    last = probs.shape[-1] - 1 - (probs.flip(-1) > 0).int().argmax(-1)  # u * total may round up to the total
    return torch.minimum(ids, last)


class RoomyLayer(DynamicLayer):
    """A cache layer with room to grow: a step writes one column where DynamicLayer copies all of the past."""

    def __init__(self, layer: DynamicLayer, room: int) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = layer.dtype, layer.device, True
        self._room = room
        self._keys, self._values = _widen(layer.keys, room), _widen(layer.values, room)
        self._show(layer.keys.shape[-2])

    def _show(self, length: int) -> None:
        self.keys, self.values = self._keys[:, :, :length], self._values[:, :, :length]

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs):
        start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        if end > self._keys.shape[-2]:
            room = max(self._room, end - start)
            self._keys, self._values = _widen(self.keys, room), _widen(self.values, room)
        self._keys[:, :, start:end] = key_states
        self._values[:, :, start:end] = value_states
        self._show(end)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        length = self.keys.shape[-2]
        self._keys, self._values = (
            _widen(self.keys[indices], self._room),
            _widen(self.values[indices], self._room),
        )
        self._show(length)


def _widen(states: torch.Tensor, room: int) -> torch.Tensor:
    batch, heads, length, dim = states.shape
    wide = states.new_empty(batch, heads, length + room, dim)
    wide[:, :, :length] = states
    return wide


def can_share(cache: object) -> bool:
    """True if rows of this cache can be selected and repeated: attention layers, no recurrent state."""
    return isinstance(cache, Cache) and all(type(layer) in _SHAREABLE for layer in cache.layers)


def select_rows(cache: Cache, rows: torch.Tensor, room: int = 0) -> Cache:
    """A new cache that holds row `rows[i]` of `cache` as its row i; `cache` stays as it is.

    `room` > 0 leaves space for that many further tokens before anything is copied again.
    """
    selected = copy.copy(cache)
    selected.layers = [copy.copy(layer) for layer in cache.layers]
    for n, layer in enumerate(selected.layers):
        if layer.is_initialized:
            layer.batch_select_indices(rows.to(layer.keys.device))  # a model may be spread over several
            if room and type(layer) is DynamicLayer:
                selected.layers[n] = RoomyLayer(layer, room)
    return selected
