"""Runs that the server does itself in a thread, because they need the database: import and export.

They have a folder, progress, stop and resume like the others; resumed, they are done again, which adds only the rest.
How one ended is kept here until the database takes it: on a full disk it may refuse that, too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from m3po.errors import JobError, M3poError, RunStopped, StorageError
from m3po.jobs.pace import Pace
from m3po.jobs.worker import sentence_for
from m3po.store import runs
from m3po.store.connection import Connection, Database
from m3po.store.instructions import now
from m3po.types import Run

log = logging.getLogger("m3po.jobs")

# Does a run: its config, its folder, what to tell; returns the result with its `message`, and whether it went well.
Work = Callable[[dict, Path, "Teller"], tuple[dict, bool]]
SERVER_KINDS = ("import", "export")
STORE_AGAIN_SECONDS = 2.0  # between two tries to store how a run ended
CLOSE_SECONDS = 20.0  # for a batch, or a file, that is under way
CLOSED = "The app was stopped; resume to go on."


class Teller:
    """How a run says how far it is, and hears that it shall stop."""

    def __init__(self, update: Callable[..., None], stop: threading.Event) -> None:
        self._update, self._stop, self._pace = update, stop, Pace()

    def __call__(self, done: int, total: int) -> None:
        """Rows done, of how many (0: not known). Raises RunStopped."""
        self.check()
        if self._pace.due():
            self._update(done=done, total=total, rate=self._pace.rate(done))

    def check(self) -> None:
        """Raise RunStopped when it shall stop; tells nothing, so it may stand inside a transaction."""
        if self._stop.is_set():
            raise RunStopped("Stopped by the user.")


class ServerRuns:
    """Starts and stops them; `work` has one function a kind."""

    def __init__(self, db: Database, root: Path, work: dict[str, Work]) -> None:
        self.db, self.root, self.work = db, root, work
        self._stops: dict[int, threading.Event] = {}
        self._threads: dict[int, threading.Thread] = {}
        self._endings: dict[int, dict] = {}  # of this app's runs; the database may not have taken one yet
        self._lock = threading.Lock()  # of the three above; nothing waits for the database under it
        self._closing = threading.Event()

    def start(self, kind: str, config: dict, command: str) -> int:
        """Add a run and begin; returns its id. Raises StorageError where it cannot be noted down."""

        started = now()

        def add(con: Connection) -> int:
            run_id = runs.add_run(con, kind, config, command)
            runs.update_run(con, run_id, **_beginning(started))
            return run_id

        run_id = self.db.write(add)
        self._launch(run_id, kind, config, started)
        return run_id

    def begin(self, run_id: int, kind: str, config: dict) -> None:
        """Do an ended run again. Raises JobError for one that is at work."""

        def restart(con: Connection) -> None:
            if self.shown(runs.read_run(con, run_id)).active:
                raise JobError(f"Run {run_id} is running already: stop it first, or wait for its end.")
            runs.update_run(con, run_id, **_beginning(started))

        started = now()
        self.db.write(restart)
        self._launch(run_id, kind, config, started)

    def _launch(self, run_id: int, kind: str, config: dict, started: dt.datetime) -> None:
        stop = threading.Event()
        parts = (run_id, kind, config, stop, started)
        thread = threading.Thread(target=self._do, args=parts, name=f"{kind}-{run_id}", daemon=True)
        with self._lock:
            if self._closing.is_set():
                raise JobError(CLOSED)
            self._endings.pop(run_id, None)
            self._stops[run_id], self._threads[run_id] = stop, thread
            thread.start()

    def stop(self, run_id: int) -> None:
        """After the rows that are under way."""
        with self._lock:
            if run_id in self._stops:
                self._stops[run_id].set()

    def shown(self, run: Run) -> Run:
        """The run with its end, also where it was read before the database had taken that."""
        with self._lock:
            ending = self._endings.get(run.id)
        return dataclasses.replace(run, **{**ending, "rate": None, "eta": None}) if ending else run

    def interrupt_lost(self) -> None:
        """At the start of the app: with the one before they ended."""
        for run in self.db.read(runs.read_active):
            if run.kind in self.work:
                ending = {"state": "interrupted", "message": CLOSED}
                self._endings[run.id] = ending
                with contextlib.suppress(StorageError):  # on a full disk the workspace can still be looked at
                    self._update(run.id, **ending)
                    del self._endings[run.id]

    def close(self, patience: float = CLOSE_SECONDS) -> None:
        """Stop all of them and wait: the database closes after this. They are *interrupted*, to be resumed."""
        with self._lock:
            self._closing.set()
            threads = list(self._threads.values())
            for stop in self._stops.values():
                stop.set()
        deadline = time.monotonic() + patience
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                log.warning("%s is still at work as the app closes: it is cut off", thread.name)

    def _do(self, run_id: int, kind: str, config: dict, stop: threading.Event, started: dt.datetime) -> None:
        tell = Teller(lambda **values: self._update(run_id, **values), stop)
        try:
            result, good = self.work[kind](config, self.root / f"{run_id:06d}", tell)
            ending = {"state": "finished" if good else "failed", "result": result, "message": result["message"]}
            ending["done"] = result.get("seen", result.get("rows", 0))
            ending["total"] = max(ending["done"], result.get("total", 0))
        except RunStopped as error:
            ending = {"state": "stopped", "message": str(error)}
            if self._closing.is_set():
                ending = {"state": "interrupted", "message": CLOSED}
        except Exception as error:
            if not isinstance(error, M3poError):
                log.exception("%s %s failed", kind, run_id)
            ending = {"state": "failed", "message": sentence_for(error)}
        ending["ended_at"] = now()
        with self._lock:
            self._endings[run_id] = ending
        if self._stored(run_id, ending, started):
            with self._lock:
                if self._stops.get(run_id) is stop:  # else it was begun again
                    self._stops.pop(run_id)
                    self._threads.pop(run_id)

    def _stored(self, run_id: int, ending: dict, started: dt.datetime) -> bool:
        """Try until the database takes it; False when the app closes before that."""

        def store(con: Connection) -> None:
            if runs.read_run(con, run_id).started_at == started:  # else it was begun again meanwhile
                runs.update_run(con, run_id, **ending, rate=None)

        told = False
        while True:
            try:
                self.db.write(store)
                return True
            except StorageError as error:
                if not told:
                    log.warning("how run %s ended cannot be stored yet: %s", run_id, error)
                told = True
            if self._closing.wait(STORE_AGAIN_SECONDS):
                return False

    def _update(self, run_id: int, **values: object) -> None:
        self.db.write(lambda con: runs.update_run(con, run_id, **values))


def _beginning(started: dt.datetime) -> dict:
    return {"state": "running", "started_at": started, "unit": "rows", "message": "", "ended_at": None, "done": 0}
