"""A stop waits for a real worker as its own steps and checkpoints take, and ends one that is stuck with the truth."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from runs_here import open_quietly
from training_here import SETTINGS, build_rows
from warm_processes import start_warm

from m3po.jobs import stopping
from m3po.jobs.folder import RunFolder
from m3po.jobs.schemas import TRAIN_INPUT
from m3po.jobs.worker import Worker
from m3po.studio import Studio
from m3po.training import attempts
from m3po.training.checkpoints import count_done, find_checkpoint
from m3po.training.presets import build_train_config
from m3po.training.trainer import PairTrainer
from m3po.types import Run
from m3po.workspace_config import WorkspaceConfig

pytestmark = pytest.mark.slow
GRACE = 0.4
SLOW = 5 * GRACE  # seconds of a step, beyond the time after which every silent worker was killed


class Training:
    """A run whose worker is a process, and whose runner looks when it is told to."""

    def __init__(self, folder: Path, policy: Path) -> None:
        self.studio = open_quietly(Studio.create(folder / "ws", WorkspaceConfig(policy=str(policy))))
        self.runner = self.studio.runner
        config = dataclasses.asdict(
            build_train_config(str(policy), "demo", {**SETTINGS, "epochs": "30", "save_steps": "4"})
        )
        columns = [{name: row.get(name) for name in TRAIN_INPUT.names} for row in build_rows(folder)]
        frozen = self.runner.freeze("train", config, pa.Table.from_pylist(columns, schema=TRAIN_INPUT))
        self.number = self.runner.queue_frozen(
            [frozen], lambda con: self.runner.queue(con, "train", config, "", frozen=frozen)
        )
        self.folder = self.runner.folder(self.number)

    def steps(self) -> list[int]:
        return [event["step"] for event in self.folder.read_events()[0] if event["event"] == "metrics"]

    def look_until(self, what) -> Run:
        deadline = time.monotonic() + 120
        while not what():
            assert time.monotonic() < deadline, self.folder.log_tail()
            self.runner.tick()
            time.sleep(0.02)
        return self.studio.run(self.number)

    def stop_behind(self, step: int) -> Run:
        """As it is when the worker has ended."""
        self.look_until(lambda: step in self.steps())
        self.runner.stop(self.number)
        assert self.studio.run(self.number).message == "Stopping after the present step ..."
        return self.look_until(lambda: not self.studio.run(self.number).active)

    def saved(self) -> int:
        return count_done(find_checkpoint(self.folder.path / "checkpoints"))


@pytest.fixture
def training(tiny_policy, tmp_path, monkeypatch) -> Iterator[Training]:
    monkeypatch.setattr(stopping, "GRACE_SECONDS", GRACE)
    start_warm(monkeypatch)
    training = Training(tmp_path, tiny_policy)
    yield training
    training.studio.close()


def delay_steps(monkeypatch, begin: int, seconds: float) -> None:
    """From step `begin` on each takes so long."""
    take = PairTrainer.training_step

    def wait(trainer, *args, **options):
        if trainer.state.global_step + 1 >= begin:
            time.sleep(seconds)
        return take(trainer, *args, **options)

    monkeypatch.setattr(PairTrainer, "training_step", wait)


def test_a_step_that_takes_longer_than_the_grace_is_finished_and_saved(training, monkeypatch):
    delay_steps(monkeypatch, 2, SLOW)
    run = training.stop_behind(2)
    assert run.state == "stopped" and "Stopped by the user after step 3 of 90" in run.message
    assert training.steps() == [1, 2, 3] and training.saved() == 3


def test_a_checkpoint_that_is_written_slowly_is_waited_for(training, monkeypatch):
    save = attempts.save_adapter

    def save_slowly(model, folder, *args):
        with folder.with_name("adapter.slow").open("wb", buffering=0) as file:
            for _ in range(30):
                file.write(b"weights")
                time.sleep(GRACE / 4)
        save(model, folder, *args)

    monkeypatch.setattr(attempts, "save_adapter", save_slowly)
    delay_steps(monkeypatch, 1, SLOW / 4)  # so that a busy machine is no stuck worker
    run = training.stop_behind(2)
    assert run.state == "stopped" and "Stopped by the user after step" in run.message
    assert training.saved() == training.steps()[-1] and (training.folder.adapter_path / "README.md").exists()


def test_a_worker_that_is_stuck_is_killed_and_told_with_what_is_kept(training, monkeypatch):
    delay_steps(monkeypatch, 6, 600)
    run = training.stop_behind(5)
    assert run.state == "stopped" and run.message.startswith("Stopped by force: it had written nothing for ")
    assert run.message.endswith("; it goes on from its checkpoint of step 4. The run can be resumed.")
    assert training.saved() == 4 and training.steps()[-1] == 5


def test_the_longest_step_is_of_one_attempt(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "000001")
    folder.write_config({})
    job = Worker(folder)
    seconds = iter([0, 10, 13, 18, 900, 901, 902])
    monkeypatch.setattr("m3po.jobs.worker.time.time", lambda: next(seconds))
    assert stopping.longest_step(folder) == 0
    for event in ("started", "progress", "progress", "progress", "started", "progress", "progress"):
        job.emit(event, done=1, total=9, unit="steps")
    assert stopping.longest_step(folder) == 5
