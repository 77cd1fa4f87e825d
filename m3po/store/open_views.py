"""Who was shown which item openly, on Review or in a list of pairs, so that a vote is called blind only where nothing
hidden was seen before.

Known in memory at once, stored some seconds later beside the requests: who pages through items waits for no disk. What
was shown in the last seconds before a crash is forgotten.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import pyarrow as pa

from m3po.errors import StorageError
from m3po.store.bulk import insert_table
from m3po.store.connection import Connection, Database
from m3po.store.instructions import now

log = logging.getLogger("m3po.store")
WAIT = 3.0  # seconds that views are collected for one write
RETRY = 30.0  # seconds until what could not be written is tried again


class OpenViews:
    """The items that each person was shown openly, of one database; close it before that."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._lock, self._storing = threading.Lock(), threading.Lock()
        self._known: dict[str, set[int]] = {}
        self._waiting: list[tuple[str, int]] = []
        self._timer: threading.Timer | None = None
        self._closed = False

    def add(self, annotator: str, instruction_id: int) -> None:
        """Sent to this person's browser, drawn or fetched ahead: it may have been looked at."""
        known = self._of(annotator)
        with self._lock:
            if instruction_id in known:
                return
            known.add(instruction_id)
            self._waiting.append((annotator, instruction_id))
            self._set_timer(WAIT)

    def has(self, annotator: str, instruction_id: int) -> bool:
        known = self._of(annotator)
        with self._lock:
            return instruction_id in known

    def _of(self, annotator: str) -> set[int]:
        with self._lock:
            known = self._known.get(annotator)
        if known is None:  # not under the lock: others page on meanwhile
            stored = self._db.read(lambda con: viewed_by(con, annotator))
            with self._lock:
                known = self._known.setdefault(annotator, stored)
        return known

    def store(self) -> None:
        """Write what waits; what cannot be written goes on waiting, and is tried again by itself."""
        with self._storing:
            with self._lock:
                views, self._waiting = self._waiting, []
                if self._timer is not None:
                    self._timer.cancel()  # no thread is left that finds nothing, or the end of Python
                    self._timer = None
            if not views:
                return
            try:
                # One statement in the decisions' lane: a bulk write empties what is kept of the items.
                self._db.write(lambda con: add_views(con, views), lane="decision")
            except BaseException:
                with self._lock:
                    self._waiting = views + self._waiting
                    self._set_timer(RETRY)
                raise

    def _set_timer(self, seconds: float) -> None:
        """Call it under the lock."""
        if self._timer is None and not self._closed:
            self._timer = threading.Timer(seconds, self._on_timer)
            self._timer.daemon = True
            self._timer.start()

    def _on_timer(self) -> None:
        if not self._closed:
            self._try_to_store()

    def _try_to_store(self) -> None:
        try:
            self.store()
        except StorageError as error:
            log.warning("what was shown openly is not stored yet: %s", error)
        except Exception:
            log.exception("what was shown openly is not stored yet")

    def close(self) -> None:
        """Store the rest; one that is storing at this moment ends first. A request that comes later sets no timer."""
        with self._lock:
            self._closed = True
        self._try_to_store()


def add_views(con: Connection, views: Sequence[tuple[str, int]]) -> None:
    """`views`: (annotator, instruction), none of which is there yet."""
    annotators, ids = zip(*views, strict=True)
    insert_table(
        con, "open_views", pa.table({"annotator": annotators, "instruction_id": ids, "seen_at": [now()] * len(ids)})
    )


def viewed_by(con: Connection, annotator: str) -> set[int]:
    sql = "SELECT DISTINCT instruction_id FROM open_views WHERE annotator = ?"
    return {row[0] for row in con.execute(sql, [annotator]).fetchall()}
