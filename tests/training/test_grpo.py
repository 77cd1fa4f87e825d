"""Simulated RLHF for real on a tiny policy: a reward goes to its own answer, and the adapter alone moves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
import training_here
import workspaces
from runs_here import open_quietly
from safetensors.torch import load_file
from training_here import MEASURED, Killed, Recorder, build_rows, on_one_thread

from m3po.errors import JobError, RunStopped, UsageError
from m3po.jobs.planning import trainings
from m3po.text import build_messages
from m3po.training import grpo, options
from m3po.training.presets import build_train_config
from m3po.types import Judgement

one_thread = on_one_thread


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


def train(policy: Path, scorer: Path, rows: list[dict], folder: Path, recorder: Recorder, **overrides) -> dict:
    given = {"method": "grpo", "reward": scorer, "batch_size": 2, "max_steps": 3, "lora_r": 2, **overrides}
    config = build_train_config(str(policy), "demo", {key: str(value) for key, value in given.items()})
    return grpo.train_by_reward(config, rows, folder, recorder)


@pytest.fixture
def run(tiny_policy, tiny_mas, tmp_path, monkeypatch):
    """`train` of short answers by the tiny policy in a folder of its own: run(recorder, key=value of --set)."""
    monkeypatch.setattr(options, "GRPO_ANSWER_TOKENS", 6)
    rows = rows_of(tmp_path, 3)

    def run(recorder: Recorder, *more: dict, **overrides) -> dict:
        return train(tiny_policy, tiny_mas, [*rows, *more], tmp_path / "run", recorder, **overrides)

    return run


def adapter_of(folder: Path) -> bytes:
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.mark.slow
def test_a_stopped_run_is_gone_on_with_and_only_the_adapter_moved(run, tiny_policy, tmp_path):
    blind = {"name": "no image", "images": [], "messages": json.dumps(build_messages("Hello?", 0))}
    before = load_file(tiny_policy / "model.safetensors")
    stopped, resumed = Recorder(stop_at=1), Recorder()
    with pytest.raises(RunStopped, match="after step 2 of 3"):
        run(stopped, blind)
    assert stopped.warnings == [
        "Instruction no image is left out: it has no image, and the scorer compares an answer with one."
    ]
    first = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    result = run(resumed)
    assert (result["steps"], result["pairs"], result["left_out"]) == (3, 3, 0)
    assert [step for step, _ in stopped.points + resumed.points] == [1, 2, 3]
    last = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert any((last[name] != first[name]).any() for name in last) and all("language_model" in name for name in last)
    after = load_file(tiny_policy / "model.safetensors")
    assert all((after[name] == before[name]).all() for name in before)
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert "GRPO, with the MAS of" in (tmp_path / "run" / "adapter" / "README.md").read_text()


@pytest.mark.slow
def test_a_run_tells_its_figures_and_pace_and_its_result_is_that_of_every_training(run, tiny_policy, tmp_path):
    recorder = Recorder()
    result = run(recorder)
    pairs = training_here.train(tiny_policy, build_rows(tmp_path), tmp_path / "dpo", max_steps=1)
    assert result.keys() == pairs.keys()
    assert (result["processes"], result["code"], result["human_pairs"]) == (1, pairs["code"], 0)
    steps, figures = zip(*recorder.points, strict=True)
    assert steps == (1, 2, 3) and result["final"] == figures[-1]
    assert all(-1 <= each["reward"] <= 1 and each["kl"] >= 0 for each in figures)
    assert all({"loss", "reward_std", "grad_norm", *MEASURED} <= each.keys() for each in figures)
    assert [each["tokens"] for each in figures] == sorted({each["tokens"] for each in figures})
    [events] = (tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*")
    assert events.read_bytes().count(b"reward_std") == events.read_bytes().count(b"tokens_per_second") == 3


@pytest.mark.slow
def test_weights_that_are_no_numbers_end_the_run_in_words(run, tmp_path):
    recorder = Recorder()
    with pytest.raises(JobError, match=r"became nan at step 2.*lower the learning rate"):
        run(recorder, learning_rate=1e38, warmup_ratio=0, max_grad_norm=0)
    assert [step for step, _ in recorder.points] == [1]


@pytest.mark.slow
def test_a_run_killed_after_its_last_step_takes_no_step_more(run, tmp_path, monkeypatch):
    def kill(*_):
        raise Killed

    recorder = Recorder()
    with monkeypatch.context() as patch:
        patch.setattr(grpo, "remove_checkpoints", kill)
        with pytest.raises(Killed):
            run(Recorder())
    trained = adapter_of(tmp_path / "run")
    result = run(recorder)
    assert (result["steps"], recorder.points) == (3, []) and result["final"]["reward_std"] > 0
    assert adapter_of(tmp_path / "run") == trained


@pytest.mark.slow
def test_a_full_disk_and_full_memory_are_told_with_the_step_and_the_remedy(run, tmp_path, monkeypatch):
    """The device that is always full stands where the second checkpoint's last file but one is written."""
    second = tmp_path / "run" / "checkpoints" / "checkpoint-2"
    second.mkdir(parents=True)
    (second / "optimizer.pt").symlink_to("/dev/full")
    with pytest.raises(JobError, match=r"disk is full.* after step 2 of 3: free .*its checkpoint of step 1"):
        run(Recorder(), save_steps=1)
    assert not second.exists()

    def fail(*_):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:126] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(grpo._Trainer, "_compute_loss", fail)
    words = r"out of memory at step 2 of 3: .*\(as many instructions a step\).*trl\.num_generations"
    with pytest.raises(JobError, match=words):
        run(Recorder())


@pytest.mark.slow
def test_a_step_wants_no_more_instructions_than_there_are(run):
    result = run(Recorder(), batch_size=1, gradient_accumulation=4, max_steps=2)
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
        grpo.train_by_reward(config, [], tmp_path, Recorder())
