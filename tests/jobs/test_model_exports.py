"""What becomes of a finished run: its adapter for others, alone or merged, and the next round from it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tiny
from PIL import Image
from runs_here import finish_here, open_quietly
from workspaces import add_instruction, make_selected

from m3po.errors import JobError, UsageError
from m3po.models.policy import Policy
from m3po.training.presets import build_train_config
from m3po.workspace_config import WorkspaceConfig

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tiny_policy, tmp_path_factory):
    """A workspace with a run that was trained for three steps and measured; copy it before use."""
    path = make_selected(tmp_path_factory.mktemp("exports"), 4, WorkspaceConfig(policy=str(tiny_policy)))
    studio = open_quietly(path)
    studio.db.write(lambda con: add_instruction(con, "unseen", split="heldout"))
    config = build_train_config(
        str(tiny_policy), "demo", {"max_steps": "3", "batch_size": "2", "learning_rate": "0.01"}
    )
    finish_here(studio, studio.start_train(config))
    assert finish_here(studio, studio.results()[0]["after_run"]).state == "finished"
    studio.close()
    return path


@pytest.fixture
def studio(trained, tmp_path):
    opened = open_quietly(shutil.copytree(trained, tmp_path / "ws"))
    yield opened
    opened.close()


def believed(policy: Policy) -> np.ndarray:
    """Log-probs of some tokens of an answer about an image."""
    image = Image.fromarray(np.arange(40 * 40 * 3, dtype=np.uint8).reshape(40, 40, 3))
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is this?"}]}]
    return np.array(policy.log_probs([messages], [[image]], [["A red boat and a tree."]])[0][0].log_probs)


def test_an_adapter_is_exported_with_what_it_was_trained_on(studio, tmp_path):
    run = studio.results()[0]["run"]
    out = tmp_path / "out"
    report = studio.export_adapter(run.id, out)
    assert report["path"] == str(out) and "run" in report["message"]
    card = (out / "README.md").read_text()
    assert run.config["content_hash"] in card and "4 preference pairs" in card and "learning_rate: 0.01" in card
    assert "## Held-out figures" in card or "not measured" in card
    assert str(studio.workspace.path.parent) not in card and "/policy" not in card  # where it lies is nobody's business
    json.loads((out / "adapter_config.json").read_text())
    for again in (out, tmp_path):
        with pytest.raises(UsageError, match="not an empty folder"):
            studio.export_adapter(run.id, again)
    with pytest.raises(JobError, match="no training run 99"):
        studio.export_adapter(99, tmp_path / "new")
    assert not list(tmp_path.glob(".*part"))


def test_a_merged_model_says_what_policy_and_adapter_say(studio, tiny_policy, tmp_path):
    run = studio.results()[0]["run"]
    out = tmp_path / "merged"
    merging = finish_here(studio, studio.start_merge(run.id, out))
    assert merging.state == "finished", studio.run_log(merging.id)
    assert merging.result["dtype"] == "float32" and "DPO on 4 preference pairs" in (out / "README.md").read_text()
    adapted = believed(Policy.load(str(tiny_policy), str(studio.runner.folder(run.id).adapter_path)))
    plain = believed(Policy.load(str(tiny_policy)))
    assert np.abs(adapted - plain).max() > 1e-4  # else the next line would say nothing
    np.testing.assert_allclose(believed(Policy.load(str(out))), adapted, atol=1e-5)
    with pytest.raises(UsageError, match="not an empty folder"):
        studio.start_merge(run.id, out)


def test_the_next_round_answers_and_scores_with_the_adapter(studio, tmp_path):
    run = studio.results()[0]["run"]
    tiny.build_mas(tmp_path / "mas")
    last = studio.start_round(run.id)
    assert last.kind == "select"
    adapter = str(studio.runner.folder(run.id).adapter_path)
    queued = [each for each in studio.runs() if each.active]
    assert {each.kind for each in queued} == {"sample", "score", "select"}
    for each in queued:
        if each.kind != "select":
            assert (each.config["policy"], each.config["adapter"]) == (run.config["policy"], adapter)
    with pytest.raises(JobError, match="give a training run"):
        studio.start_round(last.id)
