"""Runs that the server does itself in a thread, because they need the database: import and export.

They have a folder, progress, stop and resume like the others; resumed, they are done again, which adds only the rest.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from m3po.errors import M3poError, RunStopped
from m3po.jobs.pace import Pace
from m3po.jobs.worker import sentence_for
from m3po.store import runs
from m3po.store.connection import Database
from m3po.store.instructions import now

log = logging.getLogger("m3po.jobs")

# Does a run: its config, its folder, what to tell; returns the result with its `message`, and whether it went well.
Work = Callable[[dict, Path, "Teller"], tuple[dict, bool]]
SERVER_KINDS = ("import", "export")


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

    def start(self, kind: str, config: dict, command: str) -> int:
        """Add a run and begin; returns its id."""
        run_id = self.db.write(lambda con: runs.add_run(con, kind, config, command))
        self.begin(run_id, kind, config)
        return run_id

    def begin(self, run_id: int, kind: str, config: dict) -> None:
        values = {"state": "running", "started_at": now(), "unit": "rows", "message": "", "ended_at": None, "done": 0}
        self._update(run_id, **values)
        self._stops[run_id] = threading.Event()
        name = f"{kind}-{run_id}"
        threading.Thread(target=self._do, args=(run_id, kind, config), name=name, daemon=True).start()

    def stop(self, run_id: int) -> None:
        """After the rows that are under way."""
        if run_id in self._stops:
            self._stops[run_id].set()

    def interrupt_lost(self) -> None:
        """At the start of the app: with the one before they ended."""
        for run in self.db.read(runs.read_active):
            if run.kind in self.work:
                self._update(run.id, state="interrupted", message="The app was stopped; resume to go on.")

    def _do(self, run_id: int, kind: str, config: dict) -> None:
        tell = Teller(lambda **values: self._update(run_id, **values), self._stops[run_id])
        try:
            result, good = self.work[kind](config, self.root / f"{run_id:06d}", tell)
            done = {"done": result.get("seen", result.get("rows", 0)), "ended_at": now(), "rate": None}
            done["total"] = max(done["done"], result.get("total", 0))
            state = "finished" if good else "failed"
            self._update(run_id, state=state, result=result, message=result["message"], **done)
        except RunStopped as error:
            self._update(run_id, state="stopped", message=str(error), ended_at=now(), rate=None)
        except Exception as error:
            if not isinstance(error, M3poError):
                log.exception("%s %s failed", kind, run_id)
            self._update(run_id, state="failed", message=sentence_for(error), ended_at=now(), rate=None)

    def _update(self, run_id: int, **values: object) -> None:
        self.db.write(lambda con: runs.update_run(con, run_id, **values))
