"""What people decided, along the rising ids of the review index: what stands of all, and of each annotator's own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from m3po.store.connection import Connection
from m3po.store.standing import current_row, standing_rows
from m3po.store.walks import position_of
from m3po.types import VERDICTS

FEW = 100  # changed items whose decisions are read one by one; of more, all are read
UNDECIDED = 0  # in `verdict`; a verdict is its place in VERDICTS + 1
SKIP = "skip"  # the verdict that leaves an item waiting, where nobody says more; a flag passes it on to others
_SKIPPED = VERDICTS.index(SKIP) + 1


def waiting(verdict: np.ndarray) -> np.ndarray:
    """Which of them are not reviewed: nobody said anything, or it was skipped and no more."""
    return (verdict == UNDECIDED) | (verdict == _SKIPPED)


def in_turn(waits: np.ndarray, verdict: np.ndarray) -> np.ndarray:
    """Of what waits, what comes now: that on which nobody said anything; when that is done, what was skipped."""
    fresh = waits & (verdict == UNDECIDED)
    return fresh if fresh.any() else waits


def count_reviewed(counts: Mapping[str, int]) -> int:
    """How many items are reviewed, of how many each verdict stands on."""
    return sum(counts.values()) - counts.get(SKIP, 0)


class Verdicts:
    """Arrays along `ids`, the index's; call it under the index's lock."""

    def __init__(self, ids: np.ndarray) -> None:
        self.forget(ids)

    def forget(self, ids: np.ndarray) -> None:
        """Begin anew, over these ids."""
        self.ids = ids
        self.stored = self._newest = 0  # how many rows were read, and the newest of them
        self.verdict = np.zeros(len(self.ids), np.uint8)  # what stands of all, UNDECIDED or a place in VERDICTS + 1
        self.own: dict[str, np.ndarray] = {}  # the same of each annotator's own decisions
        self.reason_names: list[str] = [""]
        self.reason = np.zeros(len(self.ids), np.uint16)  # of what stands of all: a place in reason_names
        self.own_reason: dict[str, np.ndarray] = {}

    def lengthen(self, ids: np.ndarray) -> None:
        """`ids` has new ones at its end, on which no decision was read."""
        count, self.ids = len(ids) - len(self.ids), ids

        def longer(values: np.ndarray) -> np.ndarray:
            return np.append(values, np.zeros(count, values.dtype))

        self.verdict, self.reason = longer(self.verdict), longer(self.reason)
        self.own, self.own_reason = (
            {name: longer(values) for name, values in kept.items()} for kept in (self.own, self.own_reason)
        )

    def newer(self, con: Connection) -> list[tuple[int, int]]:
        """(instruction, decision) of all rows behind the newest that was read."""
        sql = "SELECT instruction_id, decision_id FROM decisions WHERE decision_id > ?"
        return con.execute(sql, [self._newest]).fetchall()

    def read(self, con: Connection, newer: list[tuple[int, int]], all_of_them: bool = False) -> None:
        """Whatever wrote them: each row names the one instruction whose standing decision it may have changed."""
        if all_of_them or len(newer) > FEW:
            self.forget(self.ids)
            sql = "SELECT count(*), coalesce(max(decision_id), 0) FROM decisions"
            [(stored, newest)] = con.execute(sql).fetchall()
            self._take_all_standing(con)
            self.stored, self._newest = stored, newest
        elif newer:
            self._take_standing(con, {instruction_id for instruction_id, _ in newer})
            self.stored += len(newer)
            self._newest = max(decision_id for _, decision_id in newer)

    def _take_all_standing(self, con: Connection) -> None:
        columns = "instruction_id, verdict, coalesce(reason, '') AS reason, annotator, role"
        for view in ("current_decisions", "standing_decisions"):
            found = con.sql(f"SELECT {columns} FROM {view}").to_arrow_table()
            places = np.searchsorted(self.ids, found["instruction_id"].to_numpy())
            there = np.append(self.ids, -1)[places] == found["instruction_id"].to_numpy()  # the others are held out
            if view == "standing_decisions":  # a curator's last word is no vote of hers
                there &= found["role"].is_null().to_numpy()
            places, found = places[there], found.filter(pa.array(there))
            verdicts = pc.index_in(found["verdict"], pa.array(VERDICTS)).to_numpy().astype(np.uint8) + 1
            reasons = self._reason_codes(found["reason"])
            if view == "current_decisions":
                self.verdict[places], self.reason[places] = verdicts, reasons
                continue
            names = found["annotator"].to_numpy()
            for name in set(names):
                his, (own, own_reason) = names == name, self.own_arrays(name)
                own[places[his]], own_reason[places[his]] = verdicts[his], reasons[his]

    def _take_standing(self, con: Connection, changed: set[int]) -> None:
        """What stands on these instructions now."""
        standing = standing_rows(con, changed)
        places = {number: place for number in changed if (place := position_of(self.ids, number)) >= 0}
        for kept in (self.verdict, self.reason, *self.own.values(), *self.own_reason.values()):
            kept[list(places.values())] = 0
        for number, place in places.items():
            said = standing.get(number, [])
            for row in said:
                if row["role"] is None:
                    own, own_reason = self.own_arrays(row["annotator"])
                    own[place], own_reason[place] = self._codes(row)
            if said:
                self.verdict[place], self.reason[place] = self._codes(current_row(said))

    def own_arrays(self, annotator: str) -> tuple[np.ndarray, np.ndarray]:
        """Verdict and reason of the annotator's own decisions, to be filled."""
        for kept, like in ((self.own, self.verdict), (self.own_reason, self.reason)):
            if annotator not in kept:
                kept[annotator] = np.zeros_like(like)
        return self.own[annotator], self.own_reason[annotator]

    def _codes(self, row: dict) -> tuple[int, int]:
        reason = row["reason"] or ""
        if reason not in self.reason_names:
            self.reason_names.append(reason)
        return VERDICTS.index(row["verdict"]) + 1, self.reason_names.index(reason)

    def _reason_codes(self, reasons: pa.ChunkedArray) -> np.ndarray:
        for name in pc.unique(reasons).to_pylist():
            if name not in self.reason_names:
                self.reason_names.append(name)
        return pc.index_in(reasons, pa.array(self.reason_names)).to_numpy().astype(np.uint16)
