"""Who was shown which item openly on Review, so that a vote is called blind only where nothing hidden was seen before.

Known in memory at once, stored some seconds later beside the requests: who pages through items waits for no disk. What
was shown in the last seconds before a crash is forgotten.
"""

from __future__ import annotations

import logging
import threading

from m3po.errors import StorageError
from m3po.store import open_views
from m3po.store.connection import Database

log = logging.getLogger("m3po.views")
WAIT = 3.0  # seconds that views are collected for one write


class Views:
    """The items that each person was shown openly, of one database; close it before that."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._lock, self._storing = threading.Lock(), threading.Lock()
        self._known: dict[str, set[int]] = {}
        self._waiting: list[tuple[str, int]] = []
        self._timer: threading.Timer | None = None

    def add(self, annotator: str, instruction_id: int) -> None:
        """Sent to this person's browser, drawn or fetched ahead: it may have been looked at."""
        with self._lock:
            known = self._of(annotator)
            if instruction_id in known:
                return
            known.add(instruction_id)
            self._waiting.append((annotator, instruction_id))
            if self._timer is None:
                self._timer = threading.Timer(WAIT, self.store)
                self._timer.daemon = True
                self._timer.start()

    def has(self, annotator: str, instruction_id: int) -> bool:
        with self._lock:
            return instruction_id in self._of(annotator)

    def _of(self, annotator: str) -> set[int]:
        if annotator not in self._known:
            self._known[annotator] = self._db.read(lambda con: open_views.viewed_by(con, annotator))
        return self._known[annotator]

    def store(self) -> None:
        """Write what waits; on a full disk it goes on waiting."""
        with self._storing:
            with self._lock:
                views, self._waiting = self._waiting, []
                if self._timer is not None:
                    self._timer.cancel()  # no thread is left that finds nothing, or the end of Python
                    self._timer = None
            if not views:
                return
            try:
                self._db.write(lambda con: open_views.add_views(con, views), lane="decision")
            except StorageError as error:
                log.warning("what was shown openly is not stored yet: %s", error)
                with self._lock:
                    self._waiting = views + self._waiting

    def close(self) -> None:
        """Store the rest; one that is storing at this moment ends first."""
        self.store()
