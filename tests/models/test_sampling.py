"""Sampling: the exact distribution, reproducible draws whatever the batch, and how an answer ends."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import tiny
import torch

from m3po.models.decoding import row_keys, uniforms
from m3po.models.policy import Policy
from m3po.text import build_messages

PROMPTS = [
    build_messages("Is there a fish?", 1),
    build_messages("Describe the picture in a few words, and say what color the house has.", 2),
    build_messages("Hello!", 0),
    build_messages("x", 1, system="Be short."),
]
IMAGES = [[tiny.build_image(1)], [tiny.build_image(2), tiny.build_image(3)], [], [tiny.build_image(4)]]


@pytest.fixture(scope="module")
def policy(tiny_policy: Path) -> Policy:
    return Policy.load(tiny_policy)


def next_token_probs(policy: Policy, messages: list[dict], images: list, said: list[int]) -> torch.Tensor:
    """Softmax of a plain forward over prompt and what was said so far."""
    processor = policy.chat.processor
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = processor(text=[text], images=images or None, return_tensors="pt", add_special_tokens=False)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([said], dtype=torch.long)], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    with torch.no_grad():
        return policy.model(**inputs, use_cache=False).logits[0, -1].double().softmax(-1)


def draw_by_hand(probs: torch.Tensor, u: float, temperature: float, top_p: float) -> int:
    """Inverse CDF in vocabulary order over the tempered nucleus, in plain Python."""
    weights = [p ** (1 / temperature) for p in probs.tolist()]
    total = sum(weights)
    weights = [w / total for w in weights]
    kept: dict[int, float] = {}
    for token in sorted(range(len(weights)), key=lambda n: -weights[n]):
        if top_p < 1 and sum(kept.values()) >= top_p:
            break
        kept[token] = weights[token]
    target, seen = u * sum(kept.values()), 0.0
    for token in sorted(kept):
        seen += kept[token]
        if seen > target:
            return token
    return max(kept)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9), (1.5, 0.5)])
def test_every_step_draws_from_the_plain_forward(policy: Policy, temperature: float, top_p: float) -> None:
    seeds, k = [11, 12, 13, 14], 2
    answers = policy.sample(PROMPTS, IMAGES, k=k, temperature=temperature, top_p=top_p, max_new_tokens=6, seeds=seeds)
    keys = row_keys(seeds, k).reshape(4, k)
    for n, row in enumerate(answers):
        for j, answer in enumerate(row):
            said: list[int] = []
            for step, token in enumerate(answer.token_ids):
                probs = next_token_probs(policy, PROMPTS[n], IMAGES[n], said)
                u = float(uniforms(keys[n, j : j + 1], step)[0])
                assert token == draw_by_hand(probs, u, temperature, top_p)
                said.append(token)


def test_first_token_follows_the_model(policy: Policy) -> None:
    probs = next_token_probs(policy, PROMPTS[0], IMAGES[0], [])
    n = 4000
    [answers] = policy.sample(PROMPTS[:1], IMAGES[:1], k=n, max_new_tokens=1, seeds=[3])
    counts = Counter(answer.token_ids[0] for answer in answers)
    top = probs.topk(8)
    for token, p in zip(top.indices.tolist(), top.values.tolist(), strict=True):
        assert abs(counts[token] / n - p) < 4.5 * (p * (1 - p) / n) ** 0.5
    rest = 1 - top.values.sum().item()
    assert abs(1 - sum(counts[t] for t in top.indices.tolist()) / n - rest) < 4.5 * (rest / n) ** 0.5


@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_answers_do_not_depend_on_the_batch(policy: Policy, top_p: float) -> None:
    options = {"temperature": 1.0, "top_p": top_p, "max_new_tokens": 24}
    seeds = [101, 102, 103, 104]
    together = policy.sample(PROMPTS, IMAGES, k=5, seeds=seeds, **options)
    alone = [
        policy.sample([p], [i], k=5, seeds=[s], **options)[0] for p, i, s in zip(PROMPTS, IMAGES, seeds, strict=True)
    ]
    backwards = policy.sample(PROMPTS[::-1], IMAGES[::-1], k=5, seeds=seeds[::-1], **options)[::-1]
    fewer = policy.sample(PROMPTS, IMAGES, k=2, seeds=seeds, **options)
    assert together == alone == backwards
    assert [row[:2] for row in together] == fewer
    assert policy.sample(PROMPTS, IMAGES, k=5, seeds=[s + 1 for s in seeds], **options) != together


def test_plain_way_draws_the_same(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"k": 3, "max_new_tokens": 16, "seeds": [1, 2, 3, 4], "top_p": 0.95}
    shared = policy.sample(PROMPTS, IMAGES, **options)
    monkeypatch.setattr(policy.core, "shares", False)
    assert policy.sample(PROMPTS, IMAGES, **options) == shared


@pytest.mark.parametrize("language", ["mistral", "lfm2"])
@pytest.mark.filterwarnings("ignore:.*cannot be shared")
def test_other_architectures_draw_from_the_plain_forward(tmp_path: Path, language: str) -> None:
    other = Policy.load(tiny.build_policy(tmp_path, language=language))
    answers = other.greedy(PROMPTS, IMAGES, max_new_tokens=8)
    for messages, images, answer in zip(PROMPTS, IMAGES, answers, strict=True):
        for step, token in enumerate(answer.token_ids):
            assert token == next_token_probs(other, messages, images, list(answer.token_ids[:step])).argmax()


def test_greedy_equals_generate(policy: Policy) -> None:
    answers = policy.greedy(PROMPTS, IMAGES, max_new_tokens=12)
    processor = policy.chat.processor
    for messages, images, answer in zip(PROMPTS, IMAGES, answers, strict=True):
        text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        inputs = processor(text=[text], images=images or None, return_tensors="pt", add_special_tokens=False)
        out = policy.model.generate(**inputs, do_sample=False, max_new_tokens=12)
        expected = out[0, inputs["input_ids"].shape[1] :].tolist()
        assert list(answer.token_ids) == expected
        assert answer.text == processor.tokenizer.decode(expected, skip_special_tokens=True).strip()


def test_how_answers_end(policy: Policy) -> None:
    limit = 60
    rows = policy.sample(PROMPTS, IMAGES, k=32, max_new_tokens=limit, seeds=[5, 6, 7, 8])
    answers = [answer for row in rows for answer in row]
    stopped = [answer for answer in answers if answer.finish_reason == "stop"]
    cut = [answer for answer in answers if answer.finish_reason == "length"]
    assert stopped and cut and len(stopped) + len(cut) == len(answers)
    assert all(a.token_ids[-1] == 3 and 3 not in a.token_ids[:-1] and len(a.token_ids) <= limit for a in stopped)
    assert all(len(a.token_ids) == limit and 3 not in a.token_ids for a in cut)
    assert all("</s>" not in a.text and a.text == a.text.strip() for a in answers)


def test_the_tower_sees_each_image_once(policy: Policy) -> None:
    seen: list[int] = []
    tower = policy.model.model.vision_tower

    def count(_module, args, _kwargs) -> None:
        seen.append(len(args[0]))

    handle = tower.register_forward_pre_hook(count, with_kwargs=True)
    try:
        policy.sample(PROMPTS, IMAGES, k=6, max_new_tokens=4, seeds=[1, 2, 3, 4])
        assert sum(seen) == 4
        seen.clear()
        policy.log_probs(PROMPTS, IMAGES, [["Yes", "No", "Perhaps."]] * 4)
        assert sum(seen) == 4
    finally:
        handle.remove()


def test_wrong_numbers_of_arguments(policy: Policy) -> None:
    with pytest.raises(ValueError, match="1 seeds for 4 prompts"):
        policy.sample(PROMPTS, IMAGES, k=1, seeds=[1])
    with pytest.raises(ValueError, match="lists of images"):
        policy.greedy(PROMPTS, IMAGES[:1])
