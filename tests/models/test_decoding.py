"""The draw against plain oracles: exact probabilities, nucleus, independence of the batch."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m3po.models.decoding import RoomyLayer, pick_tokens, row_keys, uniforms


def nucleus_by_hand(probs: list[float], top_p: float) -> list[float]:
    """The smallest set of most probable tokens whose mass reaches top_p, renormalised, one at a time."""
    kept: dict[int, float] = {}
    for token in sorted(range(len(probs)), key=lambda n: (-probs[n], n)):
        if sum(kept.values()) >= top_p:
            break
        kept[token] = probs[token]
    total = sum(kept.values())
    return [kept.get(n, 0.0) / total for n in range(len(probs))]


@settings(max_examples=60)
@given(
    logits=st.lists(st.integers(-40, 40), min_size=1, max_size=12),
    temperature=st.sampled_from([0.3, 1.0, 2.5]),
    top_p=st.sampled_from([0.05, 0.5, 0.9, 1.0]),
)
def test_draw_is_the_inverse_of_the_cumulative(logits: list[int], temperature: float, top_p: float) -> None:
    row = torch.tensor(logits) / 8
    probs = torch.softmax(row / temperature, 0).tolist()
    expected = nucleus_by_hand(probs, top_p)
    grid = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    drawn = pick_tokens(row.expand(len(grid), -1), grid, temperature, top_p)
    measured = np.bincount(drawn.numpy(), minlength=len(logits)) / len(grid)
    # An even grid of uniforms hits an interval of length p within one point of p.
    if top_p == 1 or all(abs(sum(sorted(probs)[-n:]) - top_p) > 1e-6 for n in range(len(probs) + 1)):
        np.testing.assert_allclose(measured, expected, atol=2 / 4000)


def test_extreme_uniforms_never_draw_what_has_no_mass() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]]).expand(2, -1)
    u = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert pick_tokens(logits, u, 1.0, 1.0).tolist() == [1, 2]
    assert pick_tokens(logits, u, 1.0, 0.4).tolist() in ([1, 1], [2, 2])
    assert pick_tokens(torch.tensor([[0.0, 3.0, 1.0]]), u[:1], 0.0, 1.0).tolist() == [1]


def test_uniforms_are_uniform_and_depend_on_the_key_alone() -> None:
    keys = row_keys([0, 1, 2**63, -5], 64)
    assert len(set(keys.tolist())) == 256
    values = np.stack([uniforms(keys, step) for step in range(64)])
    assert values.min() >= 0 and values.max() < 1
    counts, _ = np.histogram(values, bins=16, range=(0, 1))
    expected = values.size / 16
    assert ((counts - expected) ** 2 / expected).sum() < 45  # chi-squared, 15 degrees of freedom: p < 1e-4
    assert abs(np.corrcoef(values[:-1].ravel(), values[1:].ravel())[0, 1]) < 0.03
    np.testing.assert_array_equal(row_keys([2**63], 64), keys[128:192])
    np.testing.assert_array_equal(uniforms(keys[7:9], 5), values[5, 7:9])


def test_roomy_layer_holds_what_a_dynamic_layer_holds() -> None:
    from transformers.cache_utils import DynamicLayer

    generator = torch.Generator().manual_seed(0)
    plain = DynamicLayer()
    plain.update(*torch.randn(2, 3, 2, 5, 4, generator=generator))
    roomy = RoomyLayer(plain, room=2)
    for n, width in enumerate((1, 1, 1, 4, 9)):
        step = torch.randn(2, plain.keys.shape[0], 2, width, 4, generator=generator)
        for ours, theirs in zip(roomy.update(*step), plain.update(*step), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
        assert roomy.get_seq_length() == plain.get_seq_length()
        if n == 2:
            for layer in (plain, roomy):
                layer.batch_select_indices(torch.tensor([2, 0]))
