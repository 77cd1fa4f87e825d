"""Estimates of memory: their terms against tensors that are really there."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest
import tiny

from m3po.models import memory
from m3po.models.memory import ModelShape
from m3po.models.policy import Policy
from m3po.settings import TrainConfig
from m3po.text import build_messages
from m3po.training.adapters import build_lora_config

# LLaVA-1.5-7B: 32 layers of 4096, 11008 inside, keys and values of 4096 each.
SEVEN = ModelShape(7_063_427_072, 2, 4096, 11008, 32064, 32, 32 * 2 * 4096, 32 * (4 * 8192 + 3 * 15104))


@pytest.fixture(scope="module")
def policy(tiny_policy: Path) -> Policy:
    return Policy.load(tiny_policy)


def test_the_shape_is_read_from_the_files_as_from_the_model(tiny_policy: Path, policy: Policy) -> None:
    shape = memory.read_shape(tiny_policy)
    assert shape == policy.core.shape()
    text = policy.model.config.text_config
    assert (shape.hidden, shape.inner, shape.layers) == (32, text.intermediate_size, text.num_hidden_layers)
    assert shape.vocabulary == text.vocab_size
    assert shape.weight_bytes() == sum(parameter.nbytes for parameter in policy.model.parameters())


def test_the_cache_term_is_the_size_of_the_cache(policy: Policy) -> None:
    prefix = policy.core.prefill([policy.chat.render_prompt(build_messages("What is it?", 1))], [[tiny.build_image(1)]])
    real = sum(layer.keys.nbytes + layer.values.nbytes for layer in prefix.cache.layers)
    assert real == policy.core.shape().cache * 4 * prefix.lengths[0]


def test_the_adapter_term_is_the_size_of_the_adapter(tiny_policy: Path) -> None:
    from peft import get_peft_model

    policy = Policy.load(tiny_policy)
    shape = policy.core.shape()
    model = get_peft_model(policy.model, build_lora_config(policy.model, TrainConfig(policy="p", lora_r=4)))
    assert 4 * shape.adapter == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_seven_billion_parameters_by_hand() -> None:
    """One instruction, 8 answers of 128 tokens after 640: 512 KiB of cache a token in half precision."""
    cache = (640 + 8 * 768) * 512 * 1024
    assert memory.sampling_bytes(SEVEN, 640, 128, 8, 2) == pytest.approx(cache, rel=0.03)
    assert memory.batch_that_fits(40 * memory.GIB, cache, 64) == 9
    assert memory.batch_that_fits(1.0, cache, 64) == 1
    step = memory.training_bytes(SEVEN, 640, 128, pairs=1, rank=32, checkpointing=True, number_bytes=2)
    assert 14 * memory.GIB < step < 20 * memory.GIB  # the preset for 24 GB fits into it
    more = memory.training_bytes(SEVEN, 640, 128, pairs=1, rank=32, checkpointing=False, number_bytes=2)
    assert more > 24 * memory.GIB


def test_more_of_anything_never_takes_less() -> None:
    base = memory.sampling_bytes(SEVEN, 640, 128, 8, 2)
    for prompt, answer, k, number in ((641, 128, 8, 2), (640, 129, 8, 2), (640, 128, 9, 2), (640, 128, 8, 4)):
        assert memory.sampling_bytes(SEVEN, prompt, answer, k, number) > base
    wider = dataclasses.replace(SEVEN, hidden=8192)
    assert memory.scoring_bytes(wider, 640, 2) > memory.scoring_bytes(SEVEN, 640, 2)


def test_a_folder_that_cannot_be_read_has_no_estimate(tmp_path: Path) -> None:
    assert memory.read_shape(tmp_path) is None
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 4)
    assert memory.read_shape(tmp_path) is None


def test_how_many_tokens_an_image_becomes(tiny_policy: Path, tmp_path: Path) -> None:
    assert memory.image_tokens(tiny_policy) == tiny.N_IMAGE_TOKENS
    (tmp_path / "config.json").write_text('{"vision_config": {"image_size": 336, "patch_size": 14}}')
    assert memory.image_tokens(tmp_path) == 576


@pytest.mark.parametrize("error", [subprocess.TimeoutExpired("nvidia-smi", 10), OSError("no such device")])
def test_a_driver_that_does_not_answer_leaves_the_memory_unknown(monkeypatch: pytest.MonkeyPatch, error) -> None:
    def fail(*_, **__):
        raise error

    monkeypatch.delitem(memory.sys.modules, "torch")
    monkeypatch.setattr(memory, "gpu_in_sight", lambda: True)
    monkeypatch.setattr(memory.shutil, "which", lambda name: name)
    monkeypatch.setattr(memory.subprocess, "run", fail)
    assert memory.free_memory() is None
