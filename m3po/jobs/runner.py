"""Starts workers one after another, tails what they tell, and finds them again after a restart of the server.

A run lives in its folder and its own process: closing every tab or killing the server changes nothing for it.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from m3po.errors import JobError, M3poError
from m3po.files import replace_file, storage_error
from m3po.jobs import schemas
from m3po.jobs.folder import LOCK_FD, RunFolder
from m3po.jobs.ingest import Tail, ingest_events
from m3po.jobs.server_runs import SERVER_KINDS
from m3po.jobs.stopping import Stopping
from m3po.jobs.worker import sentence_for
from m3po.store import runs
from m3po.store.connection import Connection, Database
from m3po.store.instructions import now
from m3po.training.checkpoints import say_kept
from m3po.types import Run

log = logging.getLogger("m3po.jobs")

POLL_SECONDS = 0.25
MAX_FAILURES = 5  # looks in a row that raised, before a run is given up
KILLED = (
    "The worker was killed; resume to go on where it was. If it happens again, main memory runs out, and the system "
    "kills what takes most of it: start a new run with a smaller batch size."
)
PACKAGE_ROOT = Path(__file__).resolve().parents[2]
INPUT_SCHEMAS = {
    "sample": schemas.SAMPLE_INPUT,
    "score": schemas.SCORE_INPUT,
    "train": schemas.TRAIN_INPUT,
    "evaluate": schemas.EVALUATE_INPUT,
    "preflight": schemas.PREFLIGHT_INPUT,
    "merge": schemas.NO_INPUT,
    "judge": schemas.SCORE_INPUT,
}

T = TypeVar("T")
# Freezes a run's input when its turn comes: the worker's config and input table, or the result itself where the
# server does the work (select) or there is nothing to do.
Prepare = Callable[[Run], "tuple[dict, pa.Table] | dict"]


class JobRunner:
    """One worker at a time, in the order queued."""

    def __init__(
        self, db: Database, root: Path, *, prepare: Prepare, on_end: Callable[[Run], None] | None = None
    ) -> None:
        self.db = db
        self.root = root
        self.prepare = prepare
        self.on_end = on_end
        self._tails: dict[int, Tail] = {}
        self._processes: dict[int, subprocess.Popen] = {}
        self._stops: dict[int, Stopping] = {}
        self._failures: dict[int, int] = {}
        self._taken: dict[Path, Path] = {}  # what `freeze` wrote -> the run's folder that it became
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="job-runner", daemon=True)

    def start(self) -> None:
        self._thread.start()
        atexit.register(self.close)  # a thread that is still inside DuckDB when Python ends would abort the process

    def close(self) -> None:
        """Stop looking; a running worker goes on and is found again at the next start."""
        atexit.unregister(self.close)
        self._closed = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def folder(self, run_id: int) -> RunFolder:
        return RunFolder(self.root / f"{run_id:06d}")

    def queue(
        self, con: Connection, kind: str, config: dict, command: str, *, frozen: Path | None = None, **links: int | None
    ) -> int:
        """Add a run to the queue, inside the caller's transaction; returns its id. `frozen`: a folder that `freeze`
        returned becomes the run's; the transaction is then that of `queue_frozen`."""
        run_id = runs.add_run(con, kind, config, command, **links)
        folder = self.folder(run_id).path
        if folder.exists():  # of a run that a restored copy of the database no longer knows: kept, but not gone on with
            folder.rename(folder.with_name(f"{folder.name}-{time.time_ns()}"))
        if frozen is not None:
            frozen.rename(folder)
            self._taken[frozen] = folder
        self._wake.set()
        return run_id

    def queue_frozen(self, frozen: Collection[Path], change: Callable[[Connection], T]) -> T:
        """What `change` returns, which queues runs of the folders `frozen`, whole or not at all: where it raises, none
        of the folders that those runs were given is left. None of `frozen` is left in any case."""
        try:
            found = self.db.write(change)
        except BaseException:
            for path in frozen:
                shutil.rmtree(self._taken.get(path, path), ignore_errors=True)
            raise
        finally:
            for path in frozen:
                self._taken.pop(path, None)
                shutil.rmtree(path, ignore_errors=True)  # still there where no run took it
        self._wake.set()
        return found

    def freeze(self, kind: str, config: dict, table: pa.Table) -> Path:
        """Write what a worker will read into a folder that has yet to become a run's: `queue` takes it. Writing takes
        its time, and inside of the transaction that queues the run everybody would wait for it."""
        folder = RunFolder(self.root / f"frozen-{time.time_ns()}")
        try:
            self._write(folder, kind, config, table)
        except BaseException:
            shutil.rmtree(folder.path, ignore_errors=True)
            raise
        return folder.path

    def _write(self, folder: RunFolder, kind: str, config: dict, table: pa.Table) -> None:
        try:
            folder.write_config(config)
            schema = INPUT_SCHEMAS[kind]
            with replace_file(folder.input_path) as part:
                pq.write_table(table.select(schema.names).cast(schema), part)
        except OSError as error:
            raise storage_error(folder.path, error) from error

    def wake(self) -> None:
        self._wake.set()

    def stop(self, run_id: int) -> None:
        """Ask a run to stop: a queued one at once, a running one after its present batch or step, however long that
        takes; one that lingers and writes nothing is killed."""
        run = self._get(run_id)
        if run.state == "queued" and self._claim(
            run_id, "stopped", message="Stopped before it started.", ended_at=now()
        ):
            self._finish(run_id)
        elif self._get(run_id).state == "running":
            self.folder(run_id).request_stop()
            self._stops.setdefault(run_id, Stopping(self.folder(run_id)))
            what = "step" if run.kind == "train" and run.unit == "steps" else "batch"
            self.db.write(lambda con: runs.update_run(con, run_id, message=f"Stopping after the present {what} ..."))

    def stop_all(self, run_ids: Iterable[int]) -> int:
        """Stop those of one training or comparison that wait or are at work, from the last to the first, so that none
        begins because another ended; but for what other runs want, as the measurement of a model that both begin with.
        How many that were."""
        own, stopped = sorted(set(run_ids), reverse=True), 0
        for run_id in own:
            wanted = self.db.read(lambda con, run_id=run_id: runs.is_wanted(con, run_id, own))
            if not wanted and self._get(run_id).active:
                self.stop(run_id)
                stopped += 1
        return stopped

    def resume(self, run_id: int) -> Run:
        """Queue an ended run again: its worker skips what its shards or checkpoints already hold."""
        run = self._get(run_id)
        if run.state not in ("stopped", "failed", "interrupted"):
            raise JobError(f"Run {run_id} is {run.state}: only a stopped, failed or interrupted run can be resumed.")
        if not run.resumable:
            raise JobError(f"Run {run_id} cannot be resumed. {run.message}")
        self.folder(run_id).clear_stop()
        self._stops.pop(run_id, None)

        def requeue(con: Connection) -> None:
            for again in (run_id, *runs.never_started_after(con, run_id)):  # its followers come back with it
                runs.update_run(con, again, state="queued", message="", ended_at=None, rate=None)

        self.db.write(requeue)
        self._wake.set()
        return self._get(run_id)

    def _claim(self, run_id: int, state: str, **values: object) -> bool:
        """Take a queued run out of the queue; False when somebody (a stop, a start) was quicker."""
        return self.db.write(lambda con: runs.claim(con, run_id, state, **values))

    def _get(self, run_id: int) -> Run:
        run = self.db.read(lambda con: runs.read_run(con, run_id))
        if run is None:
            raise JobError(f"There is no run {run_id}: see the list of runs for those there are.")
        return run

    def _loop(self) -> None:
        while not self._closed:
            try:
                self.tick()
            except Exception:  # the loop must outlive one bad look; what went wrong is in the server's log
                log.exception("the job runner stumbled; it goes on")
                time.sleep(1)
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()

    def tick(self) -> None:
        """One look at every active run; starts the next one when none is running."""
        for run in self._active():
            if run.state == "running":
                self._look_after_safely(run)
        active = self._active()
        if not any(run.state == "running" for run in active):
            for run in active:  # oldest first
                if not self.folder(run.id).worker_alive() and self._start_if_ready(run):  # an old worker may linger
                    break

    def _active(self) -> list[Run]:
        """Runs with a worker of their own, oldest first; imports and exports are threads of the server."""
        return [run for run in self.db.read(runs.read_active) if run.kind not in SERVER_KINDS]

    def _look_after_safely(self, run: Run) -> None:
        """One run that cannot be read (a damaged shard, a lost file) must not hold up the others for ever."""
        try:
            self._look_after(run)
            self._failures.pop(run.id, None)
        except Exception as error:
            log.exception("run %s could not be looked after", run.id)
            self._failures[run.id] = self._failures.get(run.id, 0) + 1
            if self._failures[run.id] >= MAX_FAILURES:
                self.folder(run.id).request_stop()
                self._end(run.id, "failed", sentence_for(error))

    def _look_after(self, run: Run) -> None:
        folder, tail = self.folder(run.id), self._tails.setdefault(run.id, Tail())
        alive = self._alive(run.id, folder)  # before reading: what a dead worker wrote is then all there
        config = folder.read_config()
        ending = self.db.write(lambda con: ingest_events(con, run.id, run.kind, config, folder, tail))
        if ending:
            self._finish(run.id)
        elif not alive:
            tail_lines = folder.log_tail(3)
            if run.id in self._stops or folder.stop_path.exists():
                self._end(run.id, "stopped", self._describe_stop(run, folder))
            elif tail_lines and self._exit_code(run.id) not in (None, 0) and self._exit_code(run.id) > 0:
                self._end(
                    run.id,
                    "failed",
                    f"The worker ended before it could say why: {tail_lines.splitlines()[-1]}",
                )
            else:
                self._end(run.id, "interrupted", KILLED)
        elif run.id in self._stops or folder.stop_path.exists():
            self._press(run.id, folder)

    def _alive(self, run_id: int, folder: RunFolder) -> bool:
        process = self._processes.get(run_id)
        if process is not None and process.poll() is None:
            return True
        return folder.worker_alive()

    def _exit_code(self, run_id: int) -> int | None:
        process = self._processes.get(run_id)
        return process.poll() if process else None

    def _press(self, run_id: int, folder: RunFolder) -> None:
        """A worker that was asked to stop and lingers gets a signal; one that writes nothing either is killed."""
        stopping = self._stops.get(run_id)
        if stopping is None:  # asked before this server began
            stopping = self._stops[run_id] = Stopping(folder)
        pid = folder.worker_pid()
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if stopping.is_stuck():
                stopping.killed_after = stopping.silence()
                os.kill(pid, signal.SIGKILL)
            elif stopping.needs_signal():
                stopping.signalled = True
                os.kill(pid, signal.SIGTERM)

    def _describe_stop(self, run: Run, folder: RunFolder) -> str:
        """Of a worker that is gone and told no end."""
        stopping = self._stops.get(run.id)
        why = "Stopped"
        if stopping is not None and stopping.killed_after:
            why = f"Stopped by force: it had written nothing for {stopping.killed_after:.0f} seconds"
        if run.kind == "train":
            return f"{why}; {say_kept(folder.path)}. The run can be resumed."
        return f"{why}; what was finished is kept and the run can be resumed."

    def _start_if_ready(self, run: Run) -> bool:
        after = self.db.read(lambda con: runs.after_id(con, run.id))
        if after is not None:
            before = self._get(after)
            if before.active:
                return False
            if before.state != "finished":
                self._end(run.id, "stopped", f"Not started, because run {after} ({before.kind}) was {before.state}.")
                return False
        try:
            if not self.folder(run.id).input_path.exists():  # else frozen at launch, or resumed
                prepared = self.prepare(run)
                if isinstance(prepared, dict):  # done inside the server
                    times = {"started_at": now(), "ended_at": now()}
                    message = prepared.get("message", "")
                    if self._claim(run.id, "finished", result=prepared, message=message, done=1, total=1, **times):
                        self._finish(run.id)
                    return False
                self._write(self.folder(run.id), run.kind, *prepared)
            if not self._claim(run.id, "running"):  # stopped while its input was being prepared
                return False
            self._spawn(run)
            return True
        except M3poError as error:
            self._end(run.id, "failed", str(error))
        except Exception as error:
            log.exception("run %s could not be started", run.id)
            self._end(run.id, "failed", sentence_for(error))
        return False

    def _spawn(self, run: Run) -> None:
        folder = self.folder(run.id)
        lock = os.open(folder.lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            environment = os.environ | {
                LOCK_FD: str(lock),
                "PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH")])),
                "PYTHONUNBUFFERED": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1",
            }
            self.db.write(lambda con: runs.update_run(con, run.id, started_at=now(), message="Starting ..."))
            with folder.log_path.open("ab") as output:
                self._processes[run.id] = subprocess.Popen(
                    [sys.executable, "-m", f"m3po.jobs.{run.kind}", str(folder.path)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(lock,),
                    env=environment,
                    start_new_session=True,  # a signal to the server's terminal is not one to the worker
                )
        finally:
            os.close(lock)  # the worker's copy keeps the lock for as long as it lives

    def _end(self, run_id: int, state: str, message: str) -> None:
        self.db.write(lambda con: runs.update_run(con, run_id, state=state, message=message, ended_at=now(), rate=None))
        self._finish(run_id)

    def _finish(self, run_id: int) -> None:
        self._tails.pop(run_id, None)
        self._stops.pop(run_id, None)
        if self.on_end:  # before the wait: who looks on must not see a gap before what follows is queued
            self.on_end(self._get(run_id))
        process = self._processes.pop(run_id, None)
        if process is not None:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                log.warning("worker of run %s told its end but lingers", run_id)
        self._wake.set()
