"""The batch size that a job finds by itself, and what becomes of one that did not fit."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
import torch

from m3po.jobs import evaluate
from m3po.jobs.batch_plans import REMOTE_ANSWERS, plan_batch, plan_judge
from m3po.jobs.batches import run_batches
from m3po.jobs.folder import RunFolder
from m3po.jobs.schemas import EVALUATE_INPUT
from m3po.jobs.score import _Scoring
from m3po.jobs.worker import Worker
from m3po.models import memory
from m3po.models.policy import Policy
from m3po.models.remote_judge import load_remote_judge
from m3po.settings import EvaluateConfig, ModelOptions
from m3po.text import build_messages


@pytest.fixture(scope="module")
def policy(tiny_policy: Path) -> Policy:
    return Policy.load(tiny_policy, options=ModelOptions(device_map="cpu"))  # a GPU takes more at a time


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[dict]:
    found = []
    for n in range(7):
        path = tmp_path_factory.mktemp("images") / f"{n}.png"
        tiny.build_image(n).save(path)
        row = {"instruction_id": n, "name": f"'row-{n}' of tiny", "images": [str(path)], "instruction": "Is it a boat?"}
        row["messages"] = json.dumps(build_messages("Is it a boat?", 1))
        found.append(row | {"answer": "Yes.", "objects": None, "category": "exist_present"})
    return found


def test_where_memory_is_ample_a_cpu_takes_what_it_always_took(policy: Policy, rows: list[dict]) -> None:
    sizes = {kind: plan_batch(policy, rows, kind, 0, answer=128, k=1 if kind == "evaluate" else 8) for kind in
             ("sample", "score", "evaluate")}  # fmt: skip
    assert {kind: plan.size for kind, plan in sizes.items()} == {"sample": 16, "score": 16, "evaluate": 32}
    for plan in sizes.values():
        assert plan.sentence.startswith("Memory: ") and f"{plan.size} instructions at a time" in plan.sentence
    assert plan_batch(policy, rows, "sample", 0, answer=128, k=256).size == 2  # 512 answers at once


def test_little_memory_makes_it_smaller_and_a_number_is_kept(policy: Policy, rows, monkeypatch) -> None:
    each = memory.sampling_bytes(policy.core.shape(), 24, 128, 8, 4)
    monkeypatch.setattr(memory, "free_memory", lambda: 4 * each)
    assert 1 <= plan_batch(policy, rows, "sample", 0, answer=128, k=8).size < 4
    assert plan_batch(policy, rows, "sample", 5, answer=128, k=8).size == 5
    monkeypatch.setattr(memory, "free_memory", lambda: None)
    assert plan_batch(policy, rows, "sample", 0, answer=128, k=8).sentence == ""


def evaluate_here(folder: Path, policy: Path, rows: list[dict], **settings) -> tuple[dict, RunFolder]:
    run = RunFolder(folder)
    run.write_config(dataclasses.asdict(EvaluateConfig(policy=str(policy), max_new_tokens=6, **settings)))
    pq.write_table(pa.Table.from_pylist(rows, schema=EVALUATE_INPUT), run.input_path)
    return evaluate.run(Worker(run)), run


def test_out_of_memory_halves_an_evaluations_batch_and_goes_on(tiny_policy, rows, tmp_path, monkeypatch) -> None:
    calm, _ = evaluate_here(tmp_path / "calm", tiny_policy, rows)
    greedy, sizes = Policy.greedy, []

    def small_memory(self, prompts, *args):
        sizes.append(len(prompts))
        if len(prompts) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return greedy(self, prompts, *args)

    monkeypatch.setattr(Policy, "greedy", small_memory)
    result, run = evaluate_here(tmp_path / "tight", tiny_policy, rows)
    assert sizes[0] == 7 and max(sizes[-3:]) <= 2
    assert result["metrics"] == calm["metrics"] and result["counts"] == calm["counts"]
    events = run.read_events()[0]
    warnings = [event["message"] for event in events if event["event"] == "warning"]
    assert any("Out of memory: going on with" in text for text in warnings)
    told = [event["message"] for event in events if event["event"] == "progress" and event["message"]]
    assert any(text.startswith("Memory: ") for text in told)  # before the first batch


@pytest.mark.parametrize("hogs", [{3}, set(range(7))])
def test_what_does_not_fit_even_alone_costs_that_instruction(rows, tmp_path, monkeypatch, hogs) -> None:
    released = []  # what a full collection of this process's garbage costs is not the worker's
    monkeypatch.setattr(memory, "gc", SimpleNamespace(collect=lambda: released.append(1)))
    folder = RunFolder(tmp_path / "run")
    folder.write_config({})
    sizes, answered = [], []
    ids = [row["instruction_id"] for row in rows]

    def work(items):
        sizes.append(len(items))
        if any(ids.index(item.id) in hogs for item in items):
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
            )
        answered.extend(item.id for item in items)
        return [[] for _ in items]

    walk = partial(run_batches, Worker(folder), rows, work, EVALUATE_INPUT, batch_size=4, done=0, total=7)
    if len(hogs) == 7:
        with pytest.raises(RuntimeError, match="allocate memory"):
            walk()
    else:
        assert walk() == (6, 1) and answered == [each for each in ids if each != ids[3]]
        assert sizes == [4, 2, 2, 1, 1, 3]  # what follows is not made to pay for it
    warnings = [event["message"] for event in folder.read_events()[0] if event["event"] == "warning"]
    assert sum("does not fit into memory, even alone" in text for text in warnings) == len(hogs)
    assert released


def test_a_judge_is_estimated_too_and_a_stop_waits_for_one_instruction(policy: Policy, rows, monkeypatch) -> None:
    plan = plan_judge(policy, rows, 0, answer=64, questions=8)
    assert plan.size == 1 and plan.sentence.startswith("Memory: ") and "1 instruction at a time" in plan.sentence
    assert "not be enough" not in plan.sentence
    assert plan_judge(policy, rows, 5, answer=64, questions=8).size == 5
    once = memory.judging_once(policy.core.shape(), 24, 64, 8, 4)
    assert once == 8 * memory.judging_once(policy.core.shape(), 24, 64, 1, 4)
    assert memory.judging_once(policy.core.shape(), 24, 64, 99, 4) == 2 * once  # no more than 16 go at once
    monkeypatch.setattr(memory, "free_memory", lambda: once / 2)
    assert "may not be enough" in plan_judge(policy, rows, 0, answer=64, questions=8).sentence
    monkeypatch.setattr(memory, "free_memory", lambda: None)
    assert plan_judge(policy, rows, 0, answer=64, questions=8).sentence == ""


@pytest.mark.parametrize("answers", [1, 8, 100])
def test_a_remote_judge_is_asked_few_answers_between_two_looks_at_the_stop(answers: int) -> None:
    scoring = object.__new__(_Scoring)  # without the models, which a server has
    scoring.policy, scoring.scorer = None, load_remote_judge("remote:m@http://localhost:1/v1")
    size = scoring.plan(0, [{"texts": ["x"] * answers}]).size
    assert size == max(1, REMOTE_ANSWERS // answers) and scoring.plan(7, [{"texts": ["x"]}]).size == 7
