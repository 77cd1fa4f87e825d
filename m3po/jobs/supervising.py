"""The worker of a training in several processes: it holds the run's lock, starts them by `accelerate launch`, hands a
stop on, and says what happened where none of them could. It and they die together."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from m3po.errors import JobError, RunStopped
from m3po.jobs.folder import RunFolder
from m3po.models import memory
from m3po.training import ranks

WORD = "said-by-{rank}.txt"  # why a process failed, in the run's folder
PARENT_DIED = 1  # PR_SET_PDEATHSIG of prctl(2)
POLL = 0.1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """On Linux the kernel ends this process when the one that started it ends, however that ends; elsewhere nothing
    does."""
    if _libc is not None:
        _libc.prctl(PARENT_DIED, signal.SIGKILL)


def supervise(folder: RunFolder, processes: int, stop_requested: Callable[[], bool]) -> int:
    """Start the processes of a run and wait for them; the exit status of the first one's end: 0 finished, 3 stopped, 1
    failed. `stop_requested()`: whether this worker was asked to stop.

    Raises JobError where they ended and the first told no end.
    """
    for old in folder.path.glob(WORD.format(rank="*")):
        old.unlink()
    known = folder.events_path.stat().st_size
    started = subprocess.Popen(
        [sys.executable, *ranks.launch_words(folder.path, processes, _free_port())],
        env=os.environ
        | {ranks.RANKS: str(processes)}
        | ({} if memory.gpu_in_sight() else {"ACCELERATE_USE_CPU": "true"}),
        preexec_fn=die_with_parent,
    )
    while started.poll() is None:
        if stop_requested():
            folder.request_stop()  # which all of them see; a signal would be another one's step
        time.sleep(POLL)
    ends = [event["event"] for event in folder.read_events(known)[0]]
    for end, status in (("finished", 0), ("stopped", 3), ("failed", 1)):
        if end in ends:
            return status
    if stop_requested():
        raise RunStopped("Stopped by the user; what was finished is kept and the run can be resumed.")
    said = sorted(folder.path.glob(WORD.format(rank="*")), key=lambda path: path.stat().st_mtime)
    if said:
        raise JobError(said[0].read_text(encoding="utf-8"))
    raise JobError(
        f"One of the {processes} processes ended before it could say why (status {started.returncode}): see the log, "
        "then resume this run."
    )


def leave_word(folder: Path, sentence: str) -> None:
    """Why this process ends, for the worker that supervises it."""
    (folder / WORD.format(rank=ranks.rank())).write_text(sentence, encoding="utf-8")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
