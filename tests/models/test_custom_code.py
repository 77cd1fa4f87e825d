"""A checkpoint with Python code of its own: run only where that is allowed, and then said so."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import tiny
from safetensors.torch import save_file

from m3po.errors import ModelError
from m3po.jobs.job_models import load_policy
from m3po.models.checks import check_policy
from m3po.models.fingerprint import model_fingerprint
from m3po.models.loading import load_policy_model
from m3po.models.policy import Policy
from m3po.settings import ModelOptions, SampleConfig
from m3po.text import build_messages

CODE = """
from pathlib import Path
from transformers import LlavaConfig, LlavaForConditionalGeneration
Path(r"{mark}").write_text("the code of the model was run")

class OwnConfig(LlavaConfig):
    model_type = "somebodys_own"

class OwnModel(LlavaForConditionalGeneration):
    config_class = OwnConfig
"""


@pytest.fixture
def folder(tiny_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = shutil.copytree(tiny_policy, tmp_path / "own_model")
    weights = load_policy_model(tiny_policy)[0].state_dict()  # a known type's names would be mapped, its own are not
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "somebodys_own"
    config["auto_map"] = {"AutoConfig": "own_code.OwnConfig", "AutoModelForImageTextToText": "own_code.OwnModel"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own_code.py").write_text(CODE.format(mark=tmp_path / "was-run"))
    return folder


def test_without_the_option_it_is_refused_and_never_run(folder: Path, tmp_path: Path) -> None:
    for ask in (check_policy, load_policy_model):
        with pytest.raises(ModelError, match=r"brings Python code of its own.*give --trust-remote-code") as caught:
            ask(str(folder))
        assert str(folder) in str(caught.value)
    assert not (tmp_path / "was-run").exists()


class Job:
    """The run's side: what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def emit(self, event: str, message: str) -> None:
        self.told.append((event, message))


def test_with_the_option_it_runs_and_the_run_warns_of_it(folder: Path, tiny_policy: Path, tmp_path: Path) -> None:
    job = Job()
    policy = load_policy(job, SampleConfig(policy=str(folder), trust_remote_code=True))
    [(event, warning)] = job.told
    assert event == "warning" and str(folder) in warning and "run with your rights" in warning
    assert (tmp_path / "was-run").exists() and type(policy.model).__name__ == "OwnModel"
    asked = [build_messages("What is it?", 1)], [[tiny.build_image(1)]], [["A boat."]]
    [[own]], [[plain]] = policy.log_probs(*asked), Policy.load(tiny_policy).log_probs(*asked)
    assert own.log_probs == pytest.approx(plain.log_probs, abs=1e-6)
    policy.sample(*asked[:2], k=2, max_new_tokens=3, seeds=[1])


def test_code_that_offers_no_such_model_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"]["AutoModel"] = config["auto_map"].pop("AutoModelForImageTextToText")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="offers no AutoModelForImageTextToText"):
        load_policy_model(folder, options=ModelOptions(trust_remote_code=True))


def test_a_known_architecture_needs_no_permission(tiny_policy: Path, tmp_path: Path) -> None:
    """Many checkpoints still carry the code that they had before transformers knew them; its own version is used."""
    folder = shutil.copytree(tiny_policy, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "gone.Config"}
    (folder / "config.json").write_text(json.dumps(config))
    assert type(load_policy_model(folder)[0]).__name__ == "LlavaForConditionalGeneration"


def test_what_its_code_says_is_part_of_what_the_model_is(folder: Path) -> None:
    before = [model_fingerprint(folder), model_fingerprint(folder, code=True)]
    (folder / "own_code.py").write_text("changed = True")
    after = [model_fingerprint(folder), model_fingerprint(folder, code=True)]
    assert after[0] == before[0] and after[1] != before[1]


def test_the_default_is_off() -> None:
    assert not any(field.default for field in dataclasses.fields(SampleConfig) if field.name == "trust_remote_code")
