"""The sampling worker as a real process: killed, resumed, fed bad items; its shards stay what they should be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
from runs_here import work_here

from m3po.errors import ModelError, RunStopped
from m3po.jobs import batches
from m3po.jobs.folder import RunFolder
from m3po.jobs.sample import instruction_seed, merge_answers, run
from m3po.jobs.schemas import SAMPLE_INPUT
from m3po.jobs.worker import Worker
from m3po.models.policy import Answer
from m3po.text import build_messages, same_answer_key

N = 24


def make_run(folder: Path, policy: Path, images: list[Path | None], **options: object) -> RunFolder:
    """A run's folder with one instruction an entry of `images`."""
    rows = [
        {
            "instruction_id": 10 + n,
            "name": f"'row-{n}' of tiny",
            "images": [str(path)] if path else [],
            "messages": json.dumps(build_messages(f"What is in picture {n}?", int(path is not None))),
        }
        for n, path in enumerate(images)
    ]
    run_folder = RunFolder(folder)
    defaults = {"policy": str(policy), "k": 4, "max_new_tokens": 12, "batch_size": 4, "sampler": 1}
    run_folder.write_config({**defaults, **options})
    pq.write_table(pa.Table.from_pylist(rows, schema=SAMPLE_INPUT), run_folder.input_path)
    return run_folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    paths = [folder / f"{n}.png" for n in range(N)]
    for n, path in enumerate(paths):
        tiny.build_image(n).save(path)
    return paths


# The worker as it is, but with small shards and a rest after each: a kill that follows the first one comes mid-way.
SLOW_WORKER = """
import time
from m3po.jobs import batches, sample, worker
batches.SHARD_INSTRUCTIONS = 4
write = worker.Worker.write_shard
worker.Worker.write_shard = lambda *args: (write(*args), time.sleep(0.5))
worker.main(sample.run)
"""


def start(folder: RunFolder, *command: str) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with folder.log_path.open("ab") as log:
        return subprocess.Popen([sys.executable, *command, str(folder.path)], stdout=log, stderr=log, env=environment)


def read_rows(folder: RunFolder) -> list[dict]:
    return [row for path in folder.shards() for row in pq.read_table(path).to_pylist()]


def events(folder: RunFolder, name: str) -> list[dict]:
    return [event for event in folder.read_events()[0] if event["event"] == name]


def run_here(folder: RunFolder) -> dict:
    """The worker's code in this process: no start-up time, and the test can reach in."""
    job = Worker(folder)
    try:
        return run(job)
    finally:
        os.close(job._lock)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, tiny_policy: Path, images: list[Path]) -> None:
    whole = make_run(tmp_path / "whole", tiny_policy, images)
    result = run_here(whole)
    assert result["sampled"] == N and result["skipped"] == 0
    assert result["policy_fingerprint"].startswith("sha256:")

    killed = make_run(tmp_path / "runs" / "killed", tiny_policy, images)
    (tmp_path / "config.toml").write_text("# what a worker obeys\n")
    process = start(killed, "-c", SLOW_WORKER)
    try:
        deadline = time.monotonic() + 120
        while not killed.shards() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert killed.shards(), killed.log_tail()
    first = events(killed, "progress")[0]
    assert first["message"] == "Loading the model" and first["unit"] == "instructions" and first["total"] == N

    before = len({row["instruction_id"] for row in read_rows(killed)})
    assert work_here(killed, "sample") == 0, killed.read_events()[0][-1]
    assert events(killed, "finished")[-1]["result"]["sampled"] == N
    assert 0 < before < N

    def by_instruction(folder: RunFolder) -> list[dict]:
        return sorted(read_rows(folder), key=lambda row: row["instruction_id"])

    assert by_instruction(killed) == by_instruction(whole)


def test_votes_add_up_and_texts_are_distinct(tmp_path: Path, tiny_policy: Path, images: list[Path]) -> None:
    folder = make_run(tmp_path, tiny_policy, [*images[:3], None], k=16, max_new_tokens=1)
    run_here(folder)
    rows = read_rows(folder)
    votes = Counter()
    for row in rows:
        votes[row["instruction_id"]] += row["votes"]
        assert row["finish_reason"] in ("stop", "length")
    assert votes == {10 + n: 16 for n in range(4)}
    keys = [(row["instruction_id"], same_answer_key(row["text"])) for row in rows]
    assert len(keys) == len(set(keys)) < 64


def test_batch_size_and_neighbours_change_nothing(tmp_path: Path, tiny_policy: Path, images: list[Path]) -> None:
    one = make_run(tmp_path / "one", tiny_policy, images[:6], batch_size=1)
    many = make_run(tmp_path / "many", tiny_policy, images[:6], batch_size=6)
    part = make_run(tmp_path / "part", tiny_policy, images[:6], limit=2)
    for folder in (one, many, part):
        run_here(folder)
    assert read_rows(one) == read_rows(many)
    assert read_rows(part) == [row for row in read_rows(one) if row["instruction_id"] < 12]
    other = make_run(tmp_path / "other", tiny_policy, images[:6], seed=1)
    run_here(other)
    assert read_rows(other) != read_rows(one)


def test_bad_items_cost_only_themselves(tmp_path: Path, tiny_policy: Path, images: list[Path]) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(images[0].read_bytes()[:60])
    bad = [images[0], broken, tmp_path / "missing.png", images[1], images[2]]
    folder = make_run(tmp_path / "run", tiny_policy, bad)
    table = pq.read_table(folder.input_path).to_pylist()
    table[3]["messages"] = json.dumps(build_messages("far too long " * 2000, 1))
    pq.write_table(pa.Table.from_pylist(table, schema=SAMPLE_INPUT), folder.input_path)
    result = run_here(folder)
    assert result["sampled"] == 2 and result["skipped"] == 3
    assert {row["instruction_id"] for row in read_rows(folder)} == {10, 14}
    messages = [event["message"] for event in events(folder, "warning")]
    assert [message.split(" is skipped")[0] for message in messages] == [
        f"Instruction 'row-{n}' of tiny" for n in (1, 2, 3)
    ]
    assert "broken.png" in messages[0] and "missing.png" in messages[1] and "at most 1024" in messages[2]


def test_out_of_memory_halves_the_batch(
    tmp_path: Path, tiny_policy: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from m3po.models.policy import Policy

    calm = make_run(tmp_path / "calm", tiny_policy, images[:7])
    run_here(calm)
    sample, sizes = Policy.sample, []

    def small_memory(self, prompts, *args, **options):
        sizes.append(len(prompts))
        if len(prompts) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return sample(self, prompts, *args, **options)

    monkeypatch.setattr(Policy, "sample", small_memory)
    folder = make_run(tmp_path / "tight", tiny_policy, images[:7])
    assert run_here(folder)["sampled"] == 7
    assert sizes[:3] == [4, 2, 2] and max(sizes[1:]) == 2
    assert read_rows(folder) == read_rows(calm)
    assert "Out of memory: going on with 2" in events(folder, "warning")[0]["message"]


def test_stop_keeps_what_was_done(
    tmp_path: Path, tiny_policy: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(tmp_path, tiny_policy, images[:12])
    add = batches._Shards.add

    def add_then_stop(self, results) -> None:
        add(self, results)
        folder.request_stop()

    monkeypatch.setattr(batches._Shards, "add", add_then_stop)
    with pytest.raises(RunStopped):
        run_here(folder)
    assert {row["instruction_id"] for row in read_rows(folder)} == {10, 11, 12, 13}


def test_a_model_that_is_none_fails_in_a_sentence(tmp_path: Path, images: list[Path]) -> None:
    folder = make_run(tmp_path / "run", tmp_path / "no-model-here", images[:1])
    with pytest.raises(ModelError, match="no-model-here does not exist"):
        run_here(folder)
    assert not read_rows(folder)


def test_merge_keeps_the_first_text_and_a_whole_ending() -> None:
    answers = [
        Answer("A  boat.", (1,), "length"),
        Answer("A fish.", (2,), "length"),
        Answer("A boat.", (3,), "stop"),
        Answer("e\u0301", (4,), "stop"),
        Answer("é", (5,), "stop"),
    ]
    rows = merge_answers(7, answers)
    assert [(row["text"], row["votes"], row["finish_reason"]) for row in rows] == [
        ("A  boat.", 2, "stop"),
        ("A fish.", 1, "length"),
        ("e\u0301", 2, "stop"),
    ]
    assert {row["instruction_id"] for row in rows} == {7}


def test_seeds_differ_by_run_and_instruction() -> None:
    seeds = {instruction_seed(seed, instruction) for seed in range(30) for instruction in range(30)}
    assert len(seeds) == 900
    assert instruction_seed(0, 1) == instruction_seed(0, 1)
