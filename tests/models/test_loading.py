"""A model folder that is none: each is refused with one sentence that names it and says what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch

from m3po.errors import ModelError
from m3po.models import checks
from m3po.models.alignment import load_scorer
from m3po.models.loading import load_policy_model, load_processor


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:50_000])


def _forget_a_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors[
        "model.language_model.norm.weight" if "model.language_model.norm.weight" in tensors else sorted(tensors)[-1]
    ]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _remote_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "somebodys_own"
    config["auto_map"] = {"AutoConfig": "configuration_own.OwnConfig"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "configuration_own.py").write_text("raise SystemExit('code of the model was run')")


BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda d: (d / "config.json").unlink(), "config.json"),
    "broken config": (lambda d: (d / "config.json").write_text("{"), "configuration"),
    "unknown architecture": (lambda d: (d / "config.json").write_text('{"model_type": "nope"}'), "nope"),
    "code of its own": (_remote_code, "trust-remote-code"),
    "no tokenizer": (lambda d: (d / "tokenizer.json").unlink(), "no tokenizer"),
    "broken tokenizer": (lambda d: (d / "tokenizer.json").write_text("{"), "tokenizer"),
    "no template": (lambda d: (d / "chat_template.jinja").unlink(), "chat template"),
    "no image processor": (lambda d: (d / "processor_config.json").unlink(), "processor"),
    "no weights": (lambda d: (d / "model.safetensors").unlink(), "no weights"),
    "pickled weights": (lambda d: (d / "model.safetensors").rename(d / "pytorch_model.bin"), "safetensors"),
    "cut off weights": (_cut, "damaged or cut off"),
    "a tensor missing": (_forget_a_tensor, "lacks 1 of its weights"),
}


@pytest.mark.parametrize("name", BAD_FOLDERS)
def test_bad_folder_is_one_sentence(tiny_policy: Path, tmp_path: Path, name: str) -> None:
    damage, words = BAD_FOLDERS[name]
    folder = tmp_path / "model"
    shutil.copytree(tiny_policy, folder)
    damage(folder)
    with pytest.raises(ModelError) as caught:
        load_policy_model(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert words in message
    assert "\n" not in message and message.endswith(".")


@pytest.mark.parametrize("name", ["/nowhere/model", "./nowhere", "a/b/c"])
def test_missing_folder_is_named(name: str) -> None:
    with pytest.raises(ModelError, match="does not exist") as caught:
        load_policy_model(name)
    assert name in str(caught.value)


def test_unreachable_hub_id_is_named() -> None:
    with pytest.raises(
        ModelError, match=r"nobody/nothing is neither a folder here nor in the cache.*downloading is off"
    ):
        load_policy_model("nobody/nothing")


def test_wrong_kind_of_model(tiny_policy: Path, tiny_mas: Path) -> None:
    with pytest.raises(ModelError, match="clip model, which answers no image instructions"):
        load_policy_model(tiny_mas)
    with pytest.raises(ModelError, match="llava model, which cannot score alignment"):
        load_scorer(tiny_policy)


VIDEO_PROCESSORS = {
    "qwen2_5_vl": ("Qwen2_5_VLProcessor", "Qwen2VLImageProcessor"),
    "qwen3_vl": ("Qwen3VLProcessor", "Qwen2VLImageProcessor"),
    "smolvlm": ("SmolVLMProcessor", "SmolVLMImageProcessor"),
    "internvl": ("InternVLProcessor", "GotOcr2ImageProcessor"),
    "llava_onevision": ("LlavaOnevisionProcessor", "LlavaOnevisionImageProcessor"),
}


@pytest.mark.parametrize("model_type", VIDEO_PROCESSORS)
def test_missing_torchvision_is_said(tmp_path: Path, model_type: str) -> None:
    """The app's own environment has none: what transformers raises is the real thing."""
    processor_class, image_processor = VIDEO_PROCESSORS[model_type]
    tiny.build_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    files = {"processor_class": processor_class, "image_processor_type": image_processor}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(files))
    (tmp_path / "chat_template.jinja").write_text(tiny.CHAT_TEMPLATE)
    for ask in (checks.check_policy, load_processor):  # before anything is started, and where the list is too short
        with pytest.raises(ModelError, match="needs torchvision for its processor: install the torchvision build"):
            ask(str(tmp_path))


def test_another_missing_package_is_named(tiny_policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from m3po.models import loading

    def refuse(*_: object, **__: object) -> None:  # SmolVLM's processor, behind its torchvision
        raise ImportError(
            "Package `num2words` is required to run SmolVLM processor. Install it with `pip install num2words`."
        )

    monkeypatch.setattr(loading.AutoProcessor, "from_pretrained", refuse)
    with pytest.raises(ModelError, match="needs the Python package num2words: pip install num2words"):
        loading.load_processor(str(tiny_policy))


def test_adapter_changes_the_model_and_bad_ones_are_refused(
    tiny_policy: Path, tiny_adapter: Path, tmp_path: Path
) -> None:
    base, _ = load_policy_model(tiny_policy)
    adapted, _ = load_policy_model(tiny_policy, tiny_adapter)
    assert type(adapted) is type(base)
    before, after = dict(base.named_parameters()), dict(adapted.named_parameters())
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all("language_model" in name for name in changed)

    with pytest.raises(ModelError, match=r"no adapter_config\.json"):
        load_policy_model(tiny_policy, tiny_policy)
    folder = tmp_path / "adapter"
    shutil.copytree(tiny_adapter, folder)
    (folder / "adapter_model.safetensors").write_bytes(b"\x00" * 10)
    with pytest.raises(ModelError, match="damaged or cut off"):
        load_policy_model(tiny_policy, folder)


def test_adapter_of_another_model_is_refused(tiny_policy: Path, tiny_adapter: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    shutil.copytree(tiny_adapter, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["target_modules"] = ["no_such_layer"]
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="does not fit this model"):
        load_policy_model(tiny_policy, folder)
