"""What runs are given is read and frozen outside of transactions, so that nobody who edits an answer waits for it."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import workspaces
from runs_here import open_quietly

from m3po import files
from m3po.jobs.planning import plans
from m3po.settings import SampleConfig, ScoreConfig, SelectConfig, TrainConfig
from m3po.store import instructions


@pytest.fixture
def studio(tmp_path: Path):
    studio = open_quietly(workspaces.make_workspace(tmp_path, n=3))
    yield studio
    studio.close()


@pytest.fixture
def long_work(studio, monkeypatch) -> list[str]:
    """What is done of that which takes long for many instructions; doing it inside a transaction fails."""
    write, build, sync = studio.db.write, instructions.build_messages, files.os.fsync
    writing, done = [], []

    def watch(change, **lane):
        writing.append(True)
        try:
            return write(change, **lane)
        finally:
            writing.pop()

    def outside(name, do):
        def call(*given, **named):
            assert not writing, f"{name} inside a transaction"
            done.append(name)
            return do(*given, **named)

        return call

    monkeypatch.setattr(studio.db, "write", watch)
    monkeypatch.setattr(instructions, "build_messages", outside("prompt", build))
    monkeypatch.setattr(files.os, "fsync", outside("file", sync))
    return done


@pytest.mark.parametrize("options", [{}, {"pilot": 2, "k": 16}], ids=["sample", "pilot"])
def test_sampling_reads_its_prompts_outside(studio, long_work, tiny_policy, options) -> None:
    run = studio.start_sample(SampleConfig(policy=str(tiny_policy), **options))
    _, table = plans.prepare(studio.workspace, run)
    assert table.num_rows == len(long_work) == options.get("pilot", 3)


@pytest.mark.parametrize("options", [{}, {"group": "judge"}], ids=["score", "group"])
def test_scoring_reads_its_prompts_outside(studio, long_work, tiny_policy, options) -> None:
    policy, group = str(tiny_policy), f"judge:{tiny_policy}" if options else None
    run = studio.start_score(ScoreConfig(policy=None if group else policy, mas=None, group=group))
    _, table = plans.prepare(studio.workspace, run)
    assert table.num_rows == len(long_work) == 3


@pytest.mark.parametrize("image", ["blank", "swap"])
def test_the_image_dependence_test_reads_its_prompts_outside(studio, long_work, tiny_policy, image) -> None:
    run = studio.start_score(ScoreConfig(policy=str(tiny_policy), mas=None, image=image, activate=False))
    plans.prepare(studio.workspace, run)
    assert len(long_work) == 3


def test_a_training_is_frozen_outside_and_whole_before_it_can_be_started(studio, long_work, tiny_policy) -> None:
    studio.select(SelectConfig(delta=0, length_ratio=0))
    run = studio.start_train(TrainConfig(policy=str(tiny_policy)))
    folder = studio.runner.folder(run.id)
    assert pq.read_table(folder.input_path).num_rows == run.config["pairs"] == 3
    assert folder.read_config()["policy"] == str(tiny_policy)
    assert long_work.count("prompt") == 3 and "file" in long_work


@pytest.mark.parametrize("step", ["queue", "evaluated_fingerprint"])
def test_a_training_that_cannot_be_queued_leaves_nothing_behind(studio, tiny_policy, monkeypatch, step) -> None:
    studio.select(SelectConfig(delta=0, length_ratio=0))

    def refuse(*_, **__):
        raise RuntimeError("no")

    monkeypatch.setattr(studio.runner if step == "queue" else plans, step, refuse)
    with pytest.raises(RuntimeError):
        studio.start_train(TrainConfig(policy=str(tiny_policy)), evaluate=False)
    assert list(studio.runner.root.glob("*")) == [] and studio.runs() == []
