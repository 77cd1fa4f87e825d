"""Simulated RLHF for real on a tiny policy: a reward goes to its own answer, and the adapter alone moves."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import tiny
import workspaces
from runs_here import open_quietly
from safetensors.torch import load_file
from trl import GRPOTrainer

from m3po.errors import JobError, RunStopped, UsageError
from m3po.jobs.planning import trainings
from m3po.text import build_messages
from m3po.training import grpo
from m3po.training.presets import build_train_config
from m3po.types import Judgement


class Notes:
    """A reporter that keeps what it is told, and asks to stop after a step."""

    def __init__(self, stop_after: int = 0) -> None:
        self.steps: list[dict] = []
        self.warnings: list[str] = []
        self.stop_after = stop_after

    @property
    def stop_requested(self) -> bool:
        return bool(self.stop_after) and len(self.steps) >= self.stop_after

    def emit(self, event: str, **values) -> None:
        self.warnings.append(values["message"])

    def progress(self, done: int, total: int, unit: str, *, message: str = "") -> None:
        pass

    def metrics(self, step: int, **values: float) -> None:
        self.steps.append({"step": step, **values})


def rows_of(folder: Path, n: int) -> list[dict]:
    rows = []
    for number in range(n):
        path = folder / f"{number}.png"
        tiny.build_image(number).save(path)
        messages = json.dumps(build_messages(f"What is in picture {number}?", 1))
        rows.append({"name": f"r{number}", "instruction_id": number, "images": [str(path)], "messages": messages})
    return rows


class Lengths:
    """Scores an answer by its length, and says what it was asked."""

    def score(self, prompts, images, answers):
        self.asked = [prompt[-1]["content"][-1]["text"] for prompt in prompts]
        assert len(prompts) == len(images) == len(answers) and all(len(each) == 1 for each in images)
        return [[Judgement(float(len(text))) for text in row] for row in answers]


def test_each_answer_is_rewarded_beside_its_own_instruction(tmp_path):
    scorer = Lengths()
    reward = grpo.reward_of(scorer, rows_of(tmp_path, 3))
    spoken = [[{"role": "assistant", "content": text}] for text in ("a", "bbb", "cc", "dddd")]
    assert reward(completions=spoken, row=[2, 0, 2, 0], prompts=None) == [1.0, 3.0, 2.0, 4.0]
    assert scorer.asked == ["What is in picture 2?", "What is in picture 0?"]


@pytest.mark.slow
def test_a_stopped_run_is_gone_on_with_and_only_the_adapter_moved(tiny_policy, tiny_mas, tmp_path):
    given = {"method": "grpo", "reward": str(tiny_mas), "batch_size": "2", "max_steps": "3", "lora_r": "2"}
    given |= {"trl.max_completion_length": "6"}
    config = build_train_config(str(tiny_policy), "demo", given)
    rows = rows_of(tmp_path, 3)
    blind = {**rows[0], "name": "no image", "images": [], "messages": json.dumps(build_messages("Hello?", 0))}
    before = load_file(tiny_policy / "model.safetensors")

    stopped = Notes(stop_after=1)
    with pytest.raises(RunStopped, match="after step 2 of 3"):
        grpo.train_by_reward(config, [*rows, blind], tmp_path, stopped)
    assert stopped.warnings == [
        "Instruction no image is left out: it has no image, and the scorer compares an answer with one."
    ]
    first = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    notes = Notes()
    result = grpo.train_by_reward(config, rows, tmp_path, notes)
    assert (result["steps"], result["pairs"], result["left_out"]) == (3, 3, 0)
    assert [step["step"] for step in notes.steps] == list(range(len(stopped.steps) + 1, 4))
    assert all(-1 <= step["reward"] <= 1 for step in notes.steps)
    last = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert any((last[name] != first[name]).any() for name in last) and all("language_model" in name for name in last)
    after = load_file(tiny_policy / "model.safetensors")
    assert all((after[name] == before[name]).all() for name in before)
    assert not (tmp_path / "checkpoints").exists()
    assert "GRPO, with the MAS of" in (tmp_path / "adapter" / "README.md").read_text()


@pytest.fixture
def config(tiny_policy, tiny_mas):
    given = {"method": "grpo", "reward": str(tiny_mas), "batch_size": "2", "max_steps": "2", "lora_r": "2"}
    given |= {"save_steps": "1", "trl.max_completion_length": "6"}
    return build_train_config(str(tiny_policy), "demo", given)


@pytest.mark.slow
def test_a_run_is_told_as_every_training_is_and_takes_no_step_twice(config, tmp_path, monkeypatch):
    rows, notes = rows_of(tmp_path, 3), Notes()
    with monkeypatch.context() as patch:
        patch.setattr(grpo, "remove_checkpoints", lambda folder: None)  # as if it was killed right there
        result = grpo.train_by_reward(config, rows, tmp_path, notes)
    assert {"code", "processes", "packages", "final"} <= set(result) and result["final"]["reward"] <= 1
    assert all(step["seconds"] > 0 and step["tokens_per_second"] > 0 for step in notes.steps)
    assert any((tmp_path / "tensorboard").iterdir())
    trained = load_file(tmp_path / "adapter" / "adapter_model.safetensors")

    again = Notes()
    assert grpo.train_by_reward(config, rows, tmp_path, again)["steps"] == 2 and again.steps == []
    kept = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert all((kept[name] == trained[name]).all() for name in trained)


@pytest.mark.slow
def test_a_gradient_that_is_no_number_is_told_with_its_step(config, tmp_path, monkeypatch):
    norm = GRPOTrainer._get_grad_norm

    def spoil(trainer, model, grad_norm=None):
        return float("nan") if trainer.state.global_step == 1 else norm(trainer, model, grad_norm)

    monkeypatch.setattr(GRPOTrainer, "_get_grad_norm", spoil)
    with pytest.raises(JobError, match=r"gradient's norm became nan at step 2.*lower the learning rate"):
        grpo.train_by_reward(config, rows_of(tmp_path, 2), tmp_path, Notes())


@pytest.mark.slow
def test_a_step_wants_no_more_instructions_than_there_are(config, tmp_path):
    config = dataclasses.replace(config, batch_size=1, gradient_accumulation=4)
    result = grpo.train_by_reward(config, rows_of(tmp_path, 3), tmp_path, Notes())
    assert (result["steps"], result["pairs"]) == (2, 3) and result["final"]


def test_what_cannot_reward_new_answers_is_refused(tmp_path):
    studio = open_quietly(workspaces.make_workspace(tmp_path, n=1))
    try:

        def given(**values):
            return trainings.with_reward(
                studio.workspace, build_train_config("p", "demo", {"method": "grpo", **values})
            )

        assert given().reward == "scorer"  # the active one
        assert given(reward="vqa:judge").reward == "vqa:judge"
        assert trainings.with_reward(studio.workspace, build_train_config("p")).reward == ""
        for reward in ("column:stars", "0.5*clip:a + 0.5*clip:b", "remote:judge@http://localhost:1/v1"):
            with pytest.raises(UsageError, match="cannot reward the answers that GRPO samples"):
                given(reward=reward)
        studio.db.write(lambda con: con.execute("DELETE FROM active_scorers").fetchall())
        with pytest.raises(JobError, match="no scorer is active: score first"):
            given()
    finally:
        studio.close()
    with pytest.raises(JobError, match="GRPO begins with the bare policy"):
        config = build_train_config("p", "demo", {"method": "grpo", "reward": "s"}, adapter="a")
        grpo.train_by_reward(config, [], tmp_path, Notes())
