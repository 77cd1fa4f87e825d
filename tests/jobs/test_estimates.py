"""Memory and time of a training before it starts: by former runs, by counting, and refused where it cannot fit."""

from __future__ import annotations

import dataclasses

import pytest
import workspaces
from runs_here import open_quietly

from m3po.errors import JobError
from m3po.jobs.planning import estimates
from m3po.models import memory
from m3po.store import runs
from m3po.training.presets import build_train_config
from m3po.workspace_config import WorkspaceConfig


@pytest.fixture
def studio(tmp_path, tiny_policy, monkeypatch):
    monkeypatch.setattr(memory, "gpu_in_sight", lambda: False)
    studio = open_quietly(workspaces.make_selected(tmp_path, 4, WorkspaceConfig(policy=str(tiny_policy))))
    yield studio
    studio.close()


def add_run(studio, policy: str, seconds: float, **config: object) -> int:
    """A run of 10 steps of 8 pairs, `seconds` in its steps and 4 s around them, 100 tokens a step."""

    def add(con) -> int:
        values = {"policy": policy, "method": "dpo", "batch_size": 8, "gradient_accumulation": 1, **config}
        run_id = runs.add_run(con, "train", values, "")
        result = {"seconds": seconds + 4, "steps": 10, "pairs": 80}
        runs.update_run(con, run_id, state="finished", result=result)
        runs.add_metrics(con, run_id, [(10, "seconds", seconds), (10, "tokens", 1000.0)])
        return run_id

    return studio.db.write(add)


def test_time_is_that_of_the_same_model_pair_by_pair(studio, tiny_policy):
    config = build_train_config(str(tiny_policy), "demo", {"max_steps": "70", "batch_size": "4"})
    run = add_run(studio, str(tiny_policy), 20.0)
    known = studio.db.read(lambda con: estimates.read_known(con, config, "of this model"))
    # 2 s a step of 8 pairs are 1 s a step of 4; 4 s around 80 pairs are 2 s around 40.
    told = estimates.estimate(known, config, 40).time
    assert told.startswith(
        f"Training takes about 72 s for 70 steps (by run {run} of the same model: 1 s a step, 2 s around them)"
    )
    add_run(studio, str(tiny_policy), 1.0, absorbed="pack")  # measured on another machine
    assert studio.db.read(lambda con: estimates.read_known(con, config, "")).same.run == run
    known = studio.db.read(lambda con: estimates.read_known(con, dataclasses.replace(config, method="sft"), ""))
    assert known.same is None and known.other is None


def test_of_a_model_never_trained_it_is_counted_and_called_rough(studio, tiny_policy, monkeypatch):
    config = build_train_config(str(tiny_policy), "demo", {"max_steps": "100"})
    monkeypatch.setattr(estimates, "cpu_speed", lambda: 1e9)
    shown = studio.train_preview(config)
    shape = memory.read_shape(tiny_policy)
    longest = studio.db.read(lambda con: estimates.read_known(con, config, "")).longest
    tokens = 2 * (memory.image_tokens(tiny_policy) + estimates.PROMPT_TEXT_TOKENS + longest)
    seconds = 4 * shape.parameters * tokens * (800 + shown["pairs"]) / 1e9
    assert f"about {max(1, seconds):.0f} s for 100 steps (very roughly, from parameters" in shown["time"]
    run = add_run(studio, str(tiny_policy), 20.0, fingerprint="another")
    seconds = 4 * shape.parameters * tokens * (800 + shown["pairs"]) / (4 * shape.parameters * 100 / 2.0)
    told = studio.train_preview(config)["time"]
    assert f"about {seconds / 60:.0f} min for" in told and f"by the speed of run {run} of another model" in told


def test_gradient_checkpointing_is_a_forward_more_there_and_here(studio, tiny_policy, monkeypatch):
    monkeypatch.setattr(estimates, "cpu_speed", lambda: 1e9)
    each = memory.read_shape(tiny_policy).parameters * 100
    add_run(studio, str(tiny_policy), 20.0, fingerprint="another", gradient_checkpointing="true")
    config = build_train_config(str(tiny_policy), "demo")
    known = studio.db.read(lambda con: estimates.read_known(con, config, "this"))
    assert estimates._speed(known.other) == pytest.approx(6 * each / 2.0)


def test_time_on_several_gpus_is_that_of_all_of_them(studio, tiny_policy, monkeypatch):
    """Four GPUs take a quarter of the steps' time, by a run of one; every one of them computes the reference."""
    monkeypatch.setattr(memory, "count_gpus", lambda: 4)
    add_run(studio, str(tiny_policy), 20.0, fingerprint="another", preset="gpu24")
    settings = {"gradient_checkpointing": "false", "batch_size": "2", "gradient_accumulation": "1"}
    config = build_train_config(str(tiny_policy), "gpus_fsdp", settings)
    with monkeypatch.context() as here:
        here.setattr(memory, "gpu_in_sight", lambda: True)
        known = studio.db.read(lambda con: estimates.read_known(con, config, "this"))
        shape = memory.read_shape(tiny_policy)
        told = estimates._describe_time(known, config, 8000, shape, 100)
    work = shape.parameters * 100 * 8000
    seconds = (4 * work / 4 + 4 * work) / (6 * shape.parameters * 100 / 2.0)
    assert f"about {seconds / 3600:.1f} h for 1,000 steps" in told


def test_what_cannot_fit_is_refused_with_a_remedy_and_queues_nothing(studio, tiny_policy, monkeypatch):
    config = build_train_config(str(tiny_policy), "demo")
    assert studio.train_preview(config)["refusal"] == ""
    monkeypatch.setattr(memory, "total_memory", lambda every_device=False: 2**20)
    shown = studio.train_preview(config)
    assert shown["refusal"].endswith(f"this machine has 1 MiB in all: {estimates.REMEDY}.")
    assert shown["problems"][0] == shown["refusal"] and shown["memory"] == ""
    with pytest.raises(JobError, match="this machine has 1 MiB in all: set a smaller batch_size"):
        studio.start_train(config)
    assert studio.runs(("train",)) == []
    monkeypatch.setattr(memory, "total_memory", lambda every_device=False: 2**40)
    monkeypatch.setattr(memory, "free_memory", lambda: 2**20)
    assert "End what else uses it" in studio.train_preview(config)["problems"][-1]
