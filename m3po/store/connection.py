"""One DuckDB file, one process, many threads: how the rest of the store gets its connections.

Writers hand in a function that takes the connection and run in one transaction. There are two lanes: what somebody
decides in the review never waits behind a bulk write. Both lanes append decisions (an import brings votes), which
DuckDB lets both commit, for neither changes a row that is there. An answer that somebody writes is a candidate, as
ingested ones are, and goes through the bulk lane: it waits for the transaction under way, so keep those short.
Database errors are translated here and nowhere else.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import duckdb

from m3po.errors import StorageError, WorkspaceError
from m3po.store.migrations import migrate

T = TypeVar("T")
Connection = duckdb.DuckDBPyConnection

# A checkpoint (the log's content goes into the file) holds up every commit, so it waits for a quiet moment: it comes
# with bulk writes, when the log has grown and nobody has decided for a while. DuckDB's own comes at 1 GB.
CHECKPOINT_BYTES = 16_000_000
QUIET_SECONDS = 2.0
GIVE_WAY_SECONDS = 1.0  # the longest that a bulk write waits for decisions before it goes on all the same

# A page and its workspace of a million instructions stay below 1.5 GB; what does not fit is put on the disk meanwhile.
MEMORY_LIMIT = "600MB"
THREADS = min(os.cpu_count() or 1, 8)  # each takes memory of its own

DISK_FULL = "The disk is full: free some space and try again; everything stored until now is kept."


class Database:
    """The workspace's database, open read-write in this process alone."""

    def __init__(self, path: Path, *, memory_limit: str = MEMORY_LIMIT, threads: int = THREADS) -> None:
        config = {"memory_limit": memory_limit, "threads": threads, "checkpoint_threshold": "1GB"}
        with translated(path):
            self._root = duckdb.connect(str(path), config=config)
        self.path = path
        self._lanes = {"bulk": threading.RLock(), "decision": threading.RLock()}
        self._local = threading.local()
        self._deciding = threading.Condition()
        self._decisions_under_way = 0
        self._last_decision = 0.0
        self._written = {"bulk": 0, "decision": 0}
        with translated(path):
            migrate(self._root)

    def _cursor(self) -> Connection:
        if not hasattr(self._local, "cursor"):
            self._local.cursor = self._root.cursor()
        return self._local.cursor

    @property
    def state(self) -> tuple[int, int]:
        """How many bulk writes and how many decisions were stored when this thread's read or write began: what is read
        in it knows of at least those. Equal states: nothing was stored in between."""
        return getattr(self._local, "state", None) or (self._written["bulk"], self._written["decision"])

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Note the state before a transaction begins, so that what it reads is never older than it says."""
        if getattr(self._local, "state", None):  # inside another one
            yield
            return
        self._local.state = self.state
        try:
            yield
        finally:
            self._local.state = None

    def read(self, query: Callable[[Connection], T]) -> T:
        """Run `query` on this thread's own cursor."""
        with translated(self.path), self._noted():
            return query(self._cursor())

    def read_at_once(self, query: Callable[[Connection], T]) -> T:
        """The same, but all that `query` reads, in however many statements, is of one moment."""
        with translated(self.path), self._noted():
            cursor = self._cursor()
            cursor.execute("BEGIN")
            try:
                return query(cursor)
            finally:
                _rollback(cursor)

    def write(self, change: Callable[[Connection], T], *, lane: str = "bulk") -> T:
        """Run `change` in one transaction; it is on disk when this returns, or nothing of it is.

        Decisions go first: a bulk write that has not begun lets those pass that are under way.
        """
        if lane == "decision":
            with self._decides(), self._lanes[lane]:
                return self._commit(change, lane)
        with self._lanes[lane]:
            with self._deciding:
                self._deciding.wait_for(lambda: not self._decisions_under_way, timeout=GIVE_WAY_SECONDS)
            result = self._commit(change, lane)
            self._checkpoint_if_quiet()
            return result

    @contextmanager
    def _decides(self) -> Iterator[None]:
        with self._deciding:
            self._decisions_under_way += 1
        try:
            yield
        finally:
            with self._deciding:
                self._decisions_under_way -= 1
                self._last_decision = time.monotonic()
                self._deciding.notify_all()

    def _commit(self, change: Callable[[Connection], T], lane: str) -> T:
        with translated(self.path), self._noted():
            cursor = self._cursor()
            cursor.execute("BEGIN")
            try:
                result = change(cursor)
            except BaseException:
                _rollback(cursor)
                raise
            try:
                cursor.execute("COMMIT")
            except duckdb.Error:
                _rollback(cursor)
                raise
            finally:
                self._written[lane] += 1  # one writer a lane at a time
            return result

    def _checkpoint_if_quiet(self) -> None:
        log = self.path.with_name(self.path.name + ".wal")
        if time.monotonic() - self._last_decision < QUIET_SECONDS or self._decisions_under_way:
            return
        with contextlib.suppress(OSError):
            if log.stat().st_size >= CHECKPOINT_BYTES:
                with contextlib.suppress(duckdb.Error):  # somebody writes at this moment, or the disk is full: later
                    self._cursor().execute("CHECKPOINT")

    def close(self) -> None:
        self._root.close()


def _rollback(cursor: Connection) -> None:
    with contextlib.suppress(duckdb.Error):  # the failed statement may have ended the transaction
        cursor.execute("ROLLBACK")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what DuckDB says about disk and lock into one sentence for the user; bugs pass as they are.

    What a decision may meet names the folder by its last part: where the workspace lies is told to curators alone.
    """
    try:
        yield
    except duckdb.Error as error:
        text = str(error)
        first = text.splitlines()[0].replace(str(path.parent), path.parent.name)
        name = f"{path.parent.name}/{path.name}"
        # A full disk shows up under several names, depending on what was being written.
        if any(words in text for words in ("No space left", "max_temp_directory_size", "quota exceeded")):
            raise StorageError(DISK_FULL) from error
        if isinstance(error, duckdb.IOException) and "lock" in text.lower():
            raise WorkspaceError(
                f"{path} is open in another program: close that program, or use its page or command line."
            ) from error
        if "Could not write" in text or "Failed to commit" in text:
            raise StorageError(
                f"{name} cannot be written ({first.rpartition(': ')[2]}): see to the disk and its limits, then try "
                "again; everything stored until now is kept."
            ) from error
        if isinstance(error, duckdb.IOException | duckdb.SerializationException):
            raise StorageError(f"{name} cannot be read or written ({first}): restore it from a copy.") from error
        if isinstance(error, duckdb.OutOfMemoryException | duckdb.FatalException):
            raise StorageError(f"The database gave up ({first}); restart the app, nothing stored is lost.") from error
        raise


def rows(con: Connection, sql: str, parameters: object = None) -> list[dict]:
    """The result as one dict a row."""
    cursor = con.execute(sql, parameters) if parameters is not None else con.execute(sql)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]


def one(con: Connection, sql: str, parameters: object = None) -> dict | None:
    """The first row as a dict, or None."""
    found = rows(con, sql, parameters)
    return found[0] if found else None


def scalar(con: Connection, sql: str, parameters: object = None):
    """The first value of the first row, or None."""
    # fetchall: a result that is not read to its end blocks the connection's next relation
    found = (con.execute(sql, parameters) if parameters is not None else con.execute(sql)).fetchall()
    return found[0][0] if found else None


NEAR = 10_000  # rows of a table that are read together anyway


def among(column: str, ids: Iterable[int]) -> str:
    """The condition that `column` is one of `ids`, written out: so DuckDB skips every block of a table that by its
    least and largest value holds none of them, which it does not for a list that is a parameter."""
    return f"{column} IN ({', '.join(str(int(each)) for each in ids) or 'NULL'})"


def rows_among(con: Connection, sql: str, column: str, ids: Iterable[int]) -> list[dict]:
    """The rows of `sql` (which ends in a WHERE clause, or WHERE) whose `column` is one of `ids` that may lie far apart:
    each neighbourhood is looked up by itself, where one condition on all would look through the whole table."""
    groups: list[list[int]] = []
    for number in sorted(set(ids)):
        if groups and number - groups[-1][-1] < NEAR:
            groups[-1].append(number)
        else:
            groups.append([number])
    return rows(con, " UNION ALL ".join(f"{sql} {among(column, group)}" for group in groups)) if groups else []


@contextmanager
def registered(con: Connection, name: str, table: object) -> Iterator[None]:
    """An Arrow table under a name, for one statement or two."""
    con.register(name, table)
    try:
        yield
    finally:
        con.unregister(name)
