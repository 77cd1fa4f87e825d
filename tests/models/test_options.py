"""How a policy is loaded: each option does what it says, or is refused in one sentence before weights are read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny
import torch

from m3po.errors import ModelError, UsageError
from m3po.models import checks, memory
from m3po.models.policy import Policy
from m3po.settings import EvaluateConfig, ModelOptions, SampleConfig, ScoreConfig, TrainConfig
from m3po.text import build_messages

PROMPT, ANSWERS = [build_messages("Describe the picture.", 1)], [["A red boat and a sun."]]


def log_prob(policy: Policy) -> float:
    return policy.log_probs(PROMPT, [[tiny.build_image(1)]], ANSWERS)[0][0].logp_sum


@pytest.fixture(scope="module")
def plain(tiny_policy: Path) -> float:
    return log_prob(Policy.load(tiny_policy))


@pytest.mark.parametrize("options", [{"device_map": "cpu"}, {"device_map": "auto"}, {"attention": "eager"}])
def test_where_and_how_it_computes_changes_nothing(tiny_policy: Path, plain: float, options: dict) -> None:
    policy = Policy.load(tiny_policy, options=ModelOptions(**options))
    if "attention" in options:
        assert policy.model.config._attn_implementation == "eager"
    assert log_prob(policy) == pytest.approx(plain, abs=1e-4)
    assert policy.sample(PROMPT, [[tiny.build_image(1)]], k=2, max_new_tokens=4, seeds=[1])


def test_the_number_type_is_the_one_asked_for(tiny_policy: Path, tiny_adapter: Path, plain: float) -> None:
    policy = Policy.load(tiny_policy, options=ModelOptions(dtype="bfloat16"))
    assert {parameter.dtype for parameter in policy.model.parameters()} == {torch.bfloat16}
    assert plain != log_prob(policy) == pytest.approx(plain, abs=1)
    adapted = Policy.load(tiny_policy, tiny_adapter, options=ModelOptions(dtype="bfloat16"))  # beside, not merged
    merged = Policy.load(tiny_policy, tiny_adapter)
    assert log_prob(adapted) == pytest.approx(log_prob(merged), abs=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"quantise": "4bit"}, "quantise = 4bit needs"),
        ({"attention": "flash_attention_2"}, "needs the package flash-attn: pip install flash-attn"),
        ({"device_map": "cuda:7"}, "device_map = cuda:7 cannot be used here"),
        ({"device_map": "moon"}, "device_map = moon cannot be used here"),
        ({"max_pixels": 100}, "sees every image at 32 x 32 pixels: leave max_pixels out"),
        ({"min_pixels": 100}, "leave min_pixels out"),
    ],
)
def test_what_cannot_be_is_said_before_the_weights_are_read(
    tiny_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options, words
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # a machine without a GPU
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(memory, "GPU_FILES", ())
    folder = shutil.copytree(tiny_policy, tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"never read")
    with pytest.raises(ModelError, match=words) as caught:
        Policy.load(folder, options=ModelOptions(**options))
    assert str(caught.value).count(". ") == 0 and str(caught.value).endswith(".")


def test_quantisation_wants_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "GPU_FILES", (str(tmp_path),))  # a machine with a GPU
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)  # and nothing that hides it
    with pytest.raises(ModelError, match="quantise = 8bit needs the package bitsandbytes: pip install bitsandbytes"):
        checks.check_policy("some/model", options=ModelOptions(quantise="8bit"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "int8"}, "choose one of auto, float32"),
        ({"attention": "fast"}, "choose one of nothing, eager"),
        ({"quantise": "2bit"}, "choose one of nothing, 4bit"),
        ({"device_map": "a b"}, "give auto or a device"),
        ({"max_pixels": -1}, "give 0"),
        ({"max_pixels": 10, "min_pixels": 20}, "at most max_pixels, 10"),
        ({"trust_remote_code": "yes"}, "true or false"),
    ],
)
def test_a_wrong_value_is_wrong_usage(options: dict, words: str) -> None:
    for kind in (SampleConfig, EvaluateConfig, TrainConfig):
        with pytest.raises(UsageError, match=words):
            kind(policy="p", **options)
    with pytest.raises(UsageError, match=words):
        ScoreConfig(policy="p", mas=None, **options)


def test_training_in_float16_is_refused() -> None:
    with pytest.raises(UsageError, match="float16 overflows"):
        TrainConfig(policy="p", dtype="float16")


def _text_model(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))


def _clip(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "clip", "architectures": ["CLIPModel"]}))


def _video_part(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl", "vision_config": {}}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_text_model, "llama model, which answers no image instructions"),
        (_clip, "clip model, which answers no image instructions"),
        (_video_part, "needs torchvision for its processor"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "no chat template"),
        (lambda folder: (folder / "processor_config.json").unlink(), "no image processor"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (lambda folder: shutil.rmtree(folder), "does not exist"),
    ],
)
def test_the_server_refuses_it_by_its_files_alone(tiny_policy: Path, tmp_path: Path, change, words: str) -> None:
    folder = shutil.copytree(tiny_policy, tmp_path / "model")
    checks.check_policy(str(folder))
    change(folder)
    with pytest.raises(ModelError, match=words) as caught:
        checks.check_policy(str(folder))
    assert str(folder) in str(caught.value)


def test_of_a_hub_id_nothing_is_known_yet() -> None:
    checks.check_policy("some/model")


def test_models_that_need_torchvision_are_those_with_a_video_part() -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    assert set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES) >= checks.NEED_TORCHVISION
    assert {"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "smolvlm", "internvl"} <= checks.NEED_TORCHVISION
