"""The evaluation worker as the server starts it, on a tiny random model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
from runs_here import work_here

from m3po.evaluation.metrics import summarise
from m3po.images import load_rgb
from m3po.jobs.folder import RunFolder
from m3po.jobs.schemas import EVALUATE_INPUT
from m3po.models.policy import Policy
from m3po.settings import EvaluateConfig
from m3po.text import build_messages

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def write_run(folder: Path, policy: Path, n_rows: int = 7, **settings) -> tuple[RunFolder, list[dict]]:
    run = RunFolder(folder)
    settings = {"batch_size": 2, "max_new_tokens": 8, **settings}
    run.write_config(dataclasses.asdict(EvaluateConfig(policy=str(policy), **settings)))
    (run.path.parent.parent / "config.toml").write_text("# what a worker obeys\n")
    rows = []
    for n in range(n_rows):
        path = run.path / f"{n}.png"
        tiny.build_image(n).save(path)
        instruction = f"Is there a boat in picture {n}?"
        rows.append(
            {
                "instruction_id": n,
                "name": f"'row-{n}' of tiny",
                "images": [str(path)],
                "messages": json.dumps(build_messages(instruction, 1)),
                "instruction": instruction,
                "answer": None if n == 6 else "Yes, there is." if n % 2 else "No.",
                "objects": ["boat"] if n == 5 else None,
                "category": None if n == 6 else "exist_present" if n % 2 else "exist_random",
            }
        )
    pq.write_table(pa.Table.from_pylist(rows, schema=EVALUATE_INPUT), run.input_path)
    return run, rows


def answers_of(run: RunFolder) -> dict[int, str]:
    rows = [row for path in run.shards() for row in pq.read_table(path).to_pylist()]
    assert len({row["instruction_id"] for row in rows}) == len(rows), "an instruction was answered twice"
    return {row["instruction_id"]: row["text"] for row in rows}


def greedy(policy: Policy, row: dict) -> str:
    images = [[load_rgb(path) for path in row["images"]]]
    return policy.greedy([json.loads(row["messages"])], images, max_new_tokens=8)[0].text


def test_a_run_goes_on_where_it_was_with_the_greedy_answers_of_the_adapted_model(tiny_policy, tiny_adapter, tmp_path):
    run, rows = write_run(tmp_path / "runs" / "1", tiny_policy, adapter=str(tiny_adapter))
    Path(rows[4]["images"][0]).write_bytes(b"no image")
    run.shards_path.mkdir()
    finished = pa.table({"instruction_id": [0, 1], "text": ["kept", "as it was"]})
    pq.write_table(finished, run.shards_path / "000001.parquet")
    assert work_here(run, "evaluate") == 0, run.log_tail()

    answers = answers_of(run)
    policy = Policy.load(tiny_policy, tiny_adapter)
    fresh = {row["instruction_id"]: greedy(policy, row) for row in rows if row["instruction_id"] not in (0, 1, 4)}
    assert answers == {0: "kept", 1: "as it was", **fresh}

    events = run.read_events()[0]
    warnings = [event["message"] for event in events if event["event"] == "warning"]
    assert len(warnings) == 1 and "Instruction 'row-4' of tiny" in warnings[0]
    progress = [event for event in events if event["event"] == "progress"]
    assert progress[0]["done"] == 2
    assert (progress[-1]["done"], progress[-1]["total"], progress[-1]["unit"]) == (7, 7, "instructions")

    result = events[-1]["result"]
    answered = [{**row, "text": answers[row["instruction_id"]]} for row in rows if row["instruction_id"] != 4]
    summary = summarise(answered)
    assert result["metrics"] == summary.metrics
    assert result["metrics"]["yes_no_random_accuracy"] is not None
    assert result["counts"] == {**summary.counts, "left_out": 1}
    assert result["counts"]["without_truth"] == 1
    assert result["intervals"]["yes_no_random_accuracy"] == list(summary.intervals["yes_no_random_accuracy"])
    assert (result["policy"], result["adapter"]) == (str(tiny_policy), str(tiny_adapter))


def test_an_empty_split_is_named(tiny_policy, tmp_path):
    run, _ = write_run(tmp_path / "runs" / "1", tiny_policy, n_rows=0)
    assert work_here(run, "evaluate") == 1
    message = run.read_events()[0][-1]["message"]
    assert "heldout" in message and "import" in message
