"""Finding text in a million instructions or eight million answers, given up when the one who asked types on."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import duckdb
import numpy as np

from m3po.errors import SearchCancelled
from m3po.store.connection import Connection, scalar

KEPT_RESULTS = 8
BLOCK = 1_000_000  # ids that are looked through before one looks whether anybody waits still
# Table, the id that it is stored by, and the text
_TABLES = {
    "instructions": ("instructions", "instruction_id", "instruction"),
    "answers": ("candidates", "candidate_id", "text"),
}


@dataclass
class _Search:
    """A query under way; `cancelled` may be set before it has begun."""

    con: Connection
    cancelled: threading.Event = field(default_factory=threading.Event)


class Searches:
    """Searches under way by the client that asked, and what the last ones found."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[str, _Search] = {}
        self._found: OrderedDict[tuple, np.ndarray] = OrderedDict()

    def find(self, con: Connection, text: str, place: str, client: str = "") -> tuple[int, np.ndarray]:
        """(state, the rising ids of the instructions that have `text` in themselves or in an answer). Equal states
        mean that nothing was added since.

        A search that the same client (not "") still waits for is given up. Raises SearchCancelled when another one, or
        `cancel`, gave up this one.
        """
        table = _TABLES[place][0]
        state = scalar(con, f"SELECT count(*) FROM {table}")
        key = (text, place, state)
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return state, self._found[key]
        with self._registered(con, client) as search:
            ids = _look_through(con, text, *_TABLES[place], search.cancelled)
        with self._lock:
            self._found[key] = ids
            while len(self._found) > KEPT_RESULTS:
                self._found.popitem(last=False)
        return state, ids

    def cancel(self, client: str) -> bool:
        """Give up what the client waits for; whether there was anything."""
        with self._lock:
            return self._give_up(self._under_way.pop(client, None))

    def _give_up(self, search: _Search | None) -> bool:
        """With the lock held: a connection that is registered runs its search and nothing else."""
        if search is None:
            return False
        search.cancelled.set()
        search.con.interrupt()
        return True

    @contextmanager
    def _registered(self, con: Connection, client: str) -> Iterator[_Search]:
        search = _Search(con)
        with self._lock:
            if client:
                self._give_up(self._under_way.pop(client, None))
                self._under_way[client] = search
        try:
            yield search
        except duckdb.InterruptException:
            raise SearchCancelled() from None
        finally:
            with self._lock:
                if self._under_way.get(client) is search:
                    del self._under_way[client]
        if search.cancelled.is_set():
            raise SearchCancelled()


def _look_through(
    con: Connection, text: str, table: str, id: str, column: str, cancelled: threading.Event
) -> np.ndarray:
    """The rising ids of the instructions. Block by block: an interrupt that comes between two queries is lost."""
    # ILIKE is the faster one, but not with an ESCAPE for what it reads as wildcards.
    special = any(letter in text for letter in "\\%_")
    condition = f"contains(lower({column}), lower($text))" if special else f"{column} ILIKE $text"
    sql = f"SELECT DISTINCT instruction_id FROM {table} WHERE {id} BETWEEN $low AND $high AND {condition}"
    [(first, last)] = con.execute(f"SELECT coalesce(min({id}), 0), coalesce(max({id}), -1) FROM {table}").fetchall()
    found = [np.empty(0, np.int64)]
    for low in range(first, last + 1, BLOCK):
        if cancelled.is_set():
            raise SearchCancelled()
        asked = {"low": low, "high": low + BLOCK - 1, "text": text if special else f"%{text}%"}
        found.append(con.execute(sql, asked).fetchnumpy()["instruction_id"])
    return np.unique(np.concatenate(found))
