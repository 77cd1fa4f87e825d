"""Training runs that are over, without a training: the runner freezes and ends them, the margins are given by hand."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from m3po.demo.models import demo_models
from m3po.jobs.worker import Worker
from m3po.settings import TrainConfig
from m3po.studio import Studio
from m3po.types import Run

BETA = 0.1
POLICY = str(demo_models()[0])  # known by its files, never loaded


def write_margins(studio: Studio, run_id: int, margins: Mapping[int, tuple[float, float]]) -> None:
    """What a worker leaves of the pairs of these instructions: (before, after) each."""
    folder = studio.runner.folder(run_id)
    frozen = {row["instruction_id"]: row for row in pq.read_table(folder.input_path).to_pylist()}
    rows = [
        {name: frozen[number][name] for name in ("instruction_id", "chosen_id", "rejected_id")}
        | {"logp_margin_before": before, "logp_margin_after": after, "reward_margin": BETA * (after - before)}
        for number, (before, after) in margins.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder.path / "margins.parquet")


def end_by_hand(studio: Studio, run_id: int) -> Run:
    """Of a queued run of a Studio that was opened quietly (runs_here): what its worker says last, and what follows."""
    job = Worker(studio.runner.folder(run_id))
    job.emit("finished", result={"adapter": "adapter", "packages": {"torch": "9.9"}})
    os.close(job._lock)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    studio.runner._claim(run_id, "running")
    studio.runner._look_after(studio.run(run_id))
    return studio.run(run_id)


def train_by_hand(studio: Studio, margins: Mapping[int, tuple[float, float]] | None, **settings: object) -> Run:
    """None: a run that measured nothing."""
    run = studio.start_train(TrainConfig(policy=POLICY, **settings), evaluate=False)
    if margins is not None:
        write_margins(studio, run.id, margins)
    return end_by_hand(studio, run.id)
