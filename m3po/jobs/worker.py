"""The worker's side of a run: lock, events, shards, stop, and how an exception becomes one clear sentence.

A job module is started as `python -m m3po.jobs.<kind> runs/<id>` and reads

    def run(job: Worker) -> dict | None: ...     # the returned dict is the run's result
    if __name__ == "__main__":
        main(run)
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

# Threads that wait by spinning take the cores from the server and from other workers: beside one busy
# process a small model's step took 40 times as long. Read when OpenMP is loaded, hence before the imports.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pyarrow as pa
import pyarrow.parquet as pq

from m3po.errors import M3poError, RunStopped, UnusableModelError
from m3po.jobs.folder import LOCK_FD, RunFolder
from m3po.jobs.supervising import die_with_parent, leave_word
from m3po.training import ranks
from m3po.workspace_config import check_specs

OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
DISK_FULL = "The disk is full: free some space, then resume this run; what was finished is kept."


class Worker:
    """What a job may do to the outside world: read its input, tell events, write shards."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.config = folder.read_config()
        self._stop = self._torn = False
        folder.shards_path.mkdir(parents=True, exist_ok=True)
        # Of several processes that train together the one that supervises them has the lock, and the first tells.
        self._lock = None if ranks.is_rank() else _take_lock(folder)
        self._events = (Path(os.devnull) if ranks.rank() else folder.events_path).open("ab", buffering=0)
        if not ranks.is_rank() and self._events.tell() and not folder.events_path.read_bytes().endswith(b"\n"):
            self._events.write(b"\n")  # a killed predecessor may have left half a line
        for (
            shard
        ) in folder.shards():  # one that a killed predecessor renamed but never told; ingesting twice is nothing
            self.emit("shard", name=shard.name)
        signal.signal(signal.SIGTERM, self._on_signal)
        self._last_progress = 0.0

    def _on_signal(self, *_: object) -> None:
        self._stop = True

    def emit(self, event: str, **values: object) -> None:
        """Append one event; `t` is the time in seconds since the epoch. nan and inf are written as null."""
        record = {"t": time.time(), "event": event, **_finite(values)}
        line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
        if self._torn:
            line = b"\n" + line
        written = self._events.write(line)
        self._torn = written < len(line)  # a disk that fills up takes the beginning, and raises only at the next
        if self._torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def progress(self, done: int, total: int, unit: str, *, message: str = "") -> None:
        """Tell how far it is, at most five times a second (the first and the last always)."""
        now = time.monotonic()
        if 0 < done < total and now - self._last_progress < 0.2:
            return
        self._last_progress = now
        self.emit("progress", done=done, total=total, unit=unit, message=message)

    def metrics(self, step: int, **values: float) -> None:
        """One point of the training curves, e.g. `metrics(10, loss=0.6, **{"rewards/margins": 0.1})`."""
        self.emit("metrics", step=step, values=values)

    def read_input(self) -> list[dict]:
        """The frozen input, one dict a row; one that an older version froze has no names."""
        rows = pq.read_table(self.folder.input_path).to_pylist()
        return [{"name": str(row["instruction_id"]), **row} for row in rows]

    def write_shard(self, rows: list[dict], schema: pa.Schema) -> None:
        """Write rows whole under a temporary name, rename, announce. Numbering goes on after a resume."""
        number = len(self.folder.shards()) + 1
        path = self.folder.shards_path / f"{number:06d}.parquet"
        part = path.with_suffix(".part")
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.rename(path)
        self.emit("shard", name=path.name, rows=len(rows))

    def finished_keys(self, column: str) -> set:
        """Values of `column` in the shards that an earlier attempt of this run finished."""
        keys: set = set()
        for path in self.folder.shards():
            keys.update(pq.read_table(path, columns=[column]).column(column).to_pylist())
        return keys

    @property
    def stop_requested(self) -> bool:
        return self._stop or self.folder.stop_path.exists()

    def check_stop(self) -> None:
        """Raise RunStopped when the user asked to stop: call it between batches."""
        if self.stop_requested:
            raise RunStopped("Stopped by the user; what was finished is kept and the run can be resumed.")


def _take_lock(folder: RunFolder) -> int:
    """The run's lock: handed down by the runner, who took it before the start, or taken here."""
    handed_down = os.environ.pop(LOCK_FD, None)
    lock = int(handed_down) if handed_down else os.open(folder.lock_path, os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(lock, False)
    if not handed_down:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def obey(folder: RunFolder) -> None:
    """Hold the run to its workspace's `remote = false`, whoever started it: no server is asked, nothing is downloaded.

    Before a library of Hugging Face is imported, which reads its switch once. Raises UsageError, and WorkspaceError
    as RunFolder.read_workspace_config does.
    """
    config = folder.read_workspace_config()
    check_specs(config, folder.read_config())
    if not config.remote:
        os.environ |= dict.fromkeys(OFFLINE, "1")


def main(run: Callable[[Worker], dict | None]) -> None:
    """Run a job module's `run` on the folder named on the command line; exit 0 finished, 3 stopped, 1 failed."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.simplefilter("ignore", FutureWarning)  # of pinned libraries, about their own next version
    with contextlib.suppress(OSError):
        os.nice(5)  # the page and its decisions come first
    if len(sys.argv) != 2:
        sys.exit(f"usage: python -m m3po.jobs.<kind> RUN_FOLDER (got {sys.argv[1:]})")
    try:
        job = Worker(RunFolder(sys.argv[1]))
    except BlockingIOError:
        sys.exit("this run already has a worker")
    if ranks.is_rank():
        die_with_parent()
        if not job.folder.worker_alive():
            sys.exit("the worker that started this process is gone")  # before the kernel was asked to say so
        if ranks.rank():
            sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 -- the first one prints
    else:
        job.emit("started", pid=os.getpid())
    try:
        obey(job.folder)
        result = run(job)
    except RunStopped as error:
        job.emit("stopped", message=str(error))
        sys.exit(3)
    except BaseException as error:
        traceback.print_exc()
        sys.stderr.flush()
        if ranks.is_rank():
            leave_word(job.folder.path, sentence_for(error))
        with contextlib.suppress(OSError):  # a full disk takes no event either: the server then reads the log
            job.emit("failed", message=sentence_for(error), final=isinstance(error, UnusableModelError))
        sys.exit(1)
    if isinstance(result, int):  # other processes did the work and told its end
        sys.exit(result)
    job.emit("finished", result=result or {})


def sentence_for(error: BaseException) -> str:
    """What happened and what to do, in one sentence; the traceback is in the log."""
    if isinstance(error, M3poError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DISK_FULL
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{str(error.filename)[:300]} cannot be used ({error.strerror}): check the path and its permissions."
    name, text = type(error).__name__, str(error).strip().split("\n")[0][:300]
    if (
        "OutOfMemory" in name
        or re.search("out of memory|allocate memory", text.lower())
        or isinstance(error, MemoryError)
    ):
        return "The device ran out of memory: start a new run with a smaller batch size."
    if name == "ArrowInvalid":  # input.parquet, or a shard
        return f"A file of this run is damaged ({text}): start a new run with the same settings."
    if isinstance(error, KeyboardInterrupt):
        return "The worker was interrupted; resume this run to go on."
    return f"Unexpected {name}: {text or 'no message'}; the log has the details."


def _finite(value: object) -> object:
    """JSON has no nan: a metric that is not a number becomes null, and the page says so."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
