"""A workspace's runs done in the test's own process: the runner's and the worker's code, without the seconds that a
process takes to start."""

from __future__ import annotations

import importlib
import os
import signal

from m3po.errors import RunStopped
from m3po.jobs.worker import Worker, obey, sentence_for
from m3po.studio import Studio
from m3po.types import Run


def open_quietly(path) -> Studio:
    """A Studio whose runner looks at nothing by itself."""
    studio = Studio.open(path)
    studio.runner.close()
    return studio


def run_here(studio: Studio, run: Run) -> Run:
    """Start a queued run, do its work, ingest what it told; returns it as it ended."""
    runner = studio.runner
    spawned = []
    runner._spawn = spawned.append  # what would be a process is done below
    runner.tick()
    run = studio.run(run.id)
    if not spawned or run.state != "running":
        return run
    folder = runner.folder(run.id)
    job = Worker(folder)
    job.emit("started", pid=os.getpid())
    try:
        obey(folder)
        result = importlib.import_module(f"m3po.jobs.{run.kind}").run(job)
    except RunStopped as error:
        job.emit("stopped", message=str(error))
    except Exception as error:
        job.emit("failed", message=sentence_for(error))
    else:
        job.emit("finished", result=result or {})
    finally:
        os.close(job._lock)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    runner._look_after(run)
    return studio.run(run.id)
