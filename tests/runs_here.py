"""A workspace's runs done in the test's own process: the runner's and the worker's code, without the seconds that a
process takes to start."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import time
from types import SimpleNamespace

import pytest

from m3po import console
from m3po.errors import RunStopped
from m3po.jobs.folder import RunFolder
from m3po.jobs.runner import JobRunner
from m3po.jobs.worker import Worker, obey, sentence_for
from m3po.studio import Studio
from m3po.types import Run


def open_quietly(path) -> Studio:
    """A Studio whose runner looks at nothing by itself."""
    studio = Studio.open(path)
    studio.runner.close()
    return studio


def work_here(folder: RunFolder, kind: str) -> int:
    """What `python -m m3po.jobs.<kind>` does with a run's folder; returns what its exit status would be."""
    job = Worker(folder)
    job.emit("started", pid=os.getpid())
    try:
        obey(folder)
        result = importlib.import_module(f"m3po.jobs.{kind}").run(job)
    except RunStopped as error:
        job.emit("stopped", message=str(error))
        return 3
    except Exception as error:
        job.emit("failed", message=sentence_for(error))
        return 1
    finally:
        os.close(job._lock)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    job.emit("finished", result=result or {})
    return 0


def run_here(studio: Studio, run: Run) -> Run:
    """Start a queued run, do its work, ingest what it told; returns it as it ended. Where it has nothing to do for a
    worker, the next one in the queue may be what is done."""
    runner = studio.runner
    spawned = []
    runner._spawn = spawned.append  # what would be a process is done below
    runner.tick()
    if not spawned:
        return studio.run(run.id)
    at_work = studio.run(spawned[0].id)
    work_here(runner.folder(at_work.id), at_work.kind)
    runner._look_after(at_work)
    return studio.run(run.id)


def finish_here(studio: Studio, run: Run) -> Run:
    """`run_here` for a run that waits for others: all that come before it are done first."""
    for _ in range(10):
        run = run_here(studio, run)
        if not run.active:
            return run
    raise AssertionError(f"run {run.id} is still {run.state}")


def let_commands_work_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on a command that watches its run does the work of it itself, where it would wait for a process."""
    runners: list[JobRunner] = []

    def spawn(runner: JobRunner, run: Run) -> None:
        folder = runner.folder(run.id)
        with folder.log_path.open("a") as log, contextlib.redirect_stdout(log):  # what the command prints is its own
            work_here(folder, run.kind)

    def wait(seconds: float) -> None:
        runners[-1].tick()  # in this thread: a worker takes signals
        time.sleep(0.01)  # an import is a thread

    monkeypatch.setattr(JobRunner, "start", lambda runner: runners.append(runner))
    monkeypatch.setattr(JobRunner, "_spawn", spawn)
    monkeypatch.setattr(console, "time", SimpleNamespace(sleep=wait))
