"""The training worker as the server starts it: a process of its own, told by files, killed and gone on with."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
from runs_here import work_here

from m3po.jobs.folder import RunFolder
from m3po.jobs.schemas import TRAIN_INPUT
from m3po.jobs.worker import Worker
from m3po.text import build_messages
from m3po.training.presets import build_train_config
from m3po.training.trainer import PairTrainer

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def write_run(folder: Path, policy: Path, n_pairs: int, **overrides) -> RunFolder:
    run = RunFolder(folder)
    settings = {"batch_size": "2", "learning_rate": "0.003", "lora_r": "4"}
    config = build_train_config(str(policy), "demo", {**settings, **{k: str(v) for k, v in overrides.items()}})
    run.write_config(dataclasses.asdict(config))
    (run.path.parent.parent / "config.toml").write_text("# what a worker obeys\n")
    rows = []
    for n in range(n_pairs):
        path = run.path / f"{n}.png"
        tiny.build_image(n).save(path)
        rows.append(
            {
                "instruction_id": n,
                "name": f"'row-{n}' of tiny",
                "images": [str(path)],
                "messages": json.dumps(build_messages("Describe the picture.", 1)),
                "chosen_id": 2 * n,
                "rejected_id": 2 * n + 1,
                "chosen": f"A red boat and {n} trees.",
                "rejected": "A blue fish.",
                "human": n == 0,
            }
        )
    pq.write_table(pa.Table.from_pylist(rows, schema=TRAIN_INPUT), run.input_path)
    return run


def start(run: RunFolder) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with run.log_path.open("ab") as log:
        command = [sys.executable, "-m", "m3po.jobs.train", str(run.path)]
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=environment)


def steps_told(run: RunFolder) -> list[int]:
    return [event["step"] for event in run.read_events()[0] if event["event"] == "metrics"]


def wait_for_step(run: RunFolder, process: subprocess.Popen, step: int) -> None:
    deadline = time.monotonic() + 120
    while step not in steps_told(run):
        assert process.poll() is None, run.log_tail()
        assert time.monotonic() < deadline, run.log_tail()
        time.sleep(0.02)


def test_a_killed_run_is_gone_on_with_and_ends_at_the_same_step(tiny_policy, tmp_path):
    run = write_run(tmp_path / "runs" / "1", tiny_policy, n_pairs=10, epochs=10)  # 50 steps, a checkpoint every 5
    process = start(run)
    wait_for_step(run, process, 7)
    process.send_signal(signal.SIGKILL)
    process.wait()
    told = steps_told(run)
    assert max(told) < 50, "the run was over before it could be killed"
    assert not run.worker_alive()

    assert work_here(run, "train") == 0, run.read_events()[0][-1]
    events = run.read_events()[0]
    again = steps_told(run)[len(told) :]
    assert again[0] in range(6, max(told) + 2), "it started over instead of going on from a checkpoint"
    assert again == list(range(again[0], 51))
    result = events[-1]["result"]
    assert events[-1]["event"] == "finished"
    assert (result["steps"], result["pairs"], result["human_pairs"]) == (50, 10, 1)
    assert (run.adapter_path / "adapter_model.safetensors").exists()
    assert not (run.path / "checkpoints").exists()


def test_a_run_killed_at_its_reference_log_probs_computes_the_others_alone(tiny_policy, tmp_path, monkeypatch):
    run = write_run(tmp_path / "runs" / "1", tiny_policy, n_pairs=120, batch_size=1, max_steps=1)
    lines = run.path / "reference.jsonl"
    process = start(run)
    deadline = time.monotonic() + 120
    while not lines.exists() or lines.read_bytes().count(b"}") < 6:
        assert process.poll() is None and time.monotonic() < deadline, run.log_tail()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = lines.read_bytes().count(b"}\n")
    assert 6 <= kept < 120 and not (run.path / "reference.parquet").exists()

    computed = []
    compute = PairTrainer.reference_logps

    def count(trainer, batch):
        found = compute(trainer, batch)
        computed.extend(found[0].tolist())
        return found

    monkeypatch.setattr(PairTrainer, "reference_logps", count)
    assert work_here(run, "train") == 0, run.read_events()[0][-1]
    assert len(computed) == 120 - kept
    assert pq.read_table(run.path / "reference.parquet").num_rows == 120


def test_a_stop_file_ends_the_run_with_an_adapter_and_a_checkpoint(tiny_policy, tmp_path, monkeypatch):
    run = write_run(tmp_path / "runs" / "1", tiny_policy, n_pairs=10, epochs=200)
    emit = Worker.emit

    def emit_and_stop(job, event, **values):
        emit(job, event, **values)
        if event == "metrics" and values["step"] == 3:
            run.request_stop()

    monkeypatch.setattr(Worker, "emit", emit_and_stop)
    assert work_here(run, "train") == 3
    assert max(steps_told(run)) <= 4
    last = run.read_events()[0][-1]
    assert last["event"] == "stopped"
    assert "of 1000" in last["message"]
    assert (run.adapter_path / "adapter_config.json").exists()
    assert list((run.path / "checkpoints").glob("checkpoint-*"))


def test_what_cannot_work_fails_in_one_sentence(tmp_path):
    run = write_run(tmp_path / "runs" / "1", tmp_path / "no such model", n_pairs=0)
    assert work_here(run, "train") == 1
    message = run.read_events()[0][-1]["message"]
    assert "no pair" in message and "review" in message
