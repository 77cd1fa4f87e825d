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
    """Start a queued run, do its work, ingest what it told; returns it as it ended. Where it has nothing to do for a
    worker, the next one in the queue may be what is done."""
    runner = studio.runner
    spawned = []
    runner._spawn = spawned.append  # what would be a process is done below
    runner.tick()
    if not spawned:
        return studio.run(run.id)
    at_work = studio.run(spawned[0].id)
    folder = runner.folder(at_work.id)
    job = Worker(folder)
    job.emit("started", pid=os.getpid())
    try:
        obey(folder)
        result = importlib.import_module(f"m3po.jobs.{at_work.kind}").run(job)
    except RunStopped as error:
        job.emit("stopped", message=str(error))
    except Exception as error:
        job.emit("failed", message=sentence_for(error))
    else:
        job.emit("finished", result=result or {})
    finally:
        os.close(job._lock)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    runner._look_after(at_work)
    return studio.run(run.id)
