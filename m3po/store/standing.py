"""What stands of the decisions on a few items, worked out from their rows: the twin of the views `standing_decisions`
and `current_decisions`, which go through all decisions and take longer than all else that is read of an item.

The tests hold the two against each other.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from m3po.store.connection import Connection, among, rows
from m3po.types import ADJUDICATED, IMPORTED, NO_VOTES, TRAINING_VERDICTS


def standing_rows(
    con: Connection, instruction_ids: Iterable[int], *, without: int | None = None
) -> dict[int, list[dict]]:
    """The decisions on these instructions that stand, by instruction, oldest first: of each annotator the newest that
    was not undone, a curator's last word beside the own vote. `original`: the decision that this one redoes, itself
    where it redoes none; a redo is as old as that. `without`: a decision that is taken for undone, and all that redid
    it."""
    ids = list(instruction_ids)
    if not ids:
        return {}
    # an undo names the instruction of what it revokes, so that all of an item's rows are here
    found = rows(con, f"SELECT * FROM decisions WHERE {among('instruction_id', ids)}")
    revoked = {row["revokes"] for row in found} - {None}
    originals = _originals(con, [row["decision_id"] for row in found]) if revoked else {}
    gone = originals.get(without, without)
    said_at = {row["decision_id"]: row["decided_at"] for row in found}
    voices: dict[tuple, list[dict]] = {}
    for row in found:
        row["original"] = originals.get(row["decision_id"], row["decision_id"])
        if row["revokes"] is None and row["decision_id"] not in revoked and row["original"] != gone:
            voices.setdefault((row["instruction_id"], row["annotator"], row["role"]), []).append(row)
    standing: dict[int, list[dict]] = {}
    for (number, *_), said in voices.items():
        standing.setdefault(number, []).append(_newest(said, said_at))
    return {number: sorted(said, key=_place) for number, said in standing.items()}


def original_of(con: Connection, decision_id: int) -> int:
    """The decision that this one redoes, itself where it redoes none."""
    return _originals(con, [decision_id]).get(decision_id, decision_id)


def _originals(con: Connection, decision_ids: Iterable[int]) -> dict[int, int]:
    """Of those of the decisions that are a redo."""
    of_these = among("decision_id", decision_ids)
    sql = f"SELECT decision_id, original FROM redone WHERE original IS NOT NULL AND {of_these}"
    return dict(con.execute(sql).fetchall())


def _place(row: dict) -> int:
    return row["original"]


def _newest(said: Sequence[dict], said_at: Mapping[int, dt.datetime | None]) -> dict:
    """Of one voice's rows; what somebody decided here stands against an older vote of theirs that was imported."""
    times = [said_at[row["original"]] for row in said if row["reason"] != IMPORTED]
    here = [at for at in times if at is not None]

    def key(row: dict) -> tuple:
        at = row["decided_at"]
        older = row["reason"] == IMPORTED and at is not None and bool(here) and at <= max(here)
        return (not older, row["original"])

    return max(said, key=key)


def current_row(standing: Sequence[dict]) -> dict | None:
    """Of one item's standing decisions what counts: the newest adjudication, else the newest of the majority; with
    `agreed`: whether it is final or has more than half of the votes. A flag counts where nobody voted, a skip where
    nobody said anything else."""
    final = [row for row in standing if row["role"] == ADJUDICATED]
    if final:
        return max(final, key=_place) | {"agreed": True}
    if not standing:
        return None
    said = [row for row in standing if row["verdict"] not in NO_VOTES]
    said = said or [row for row in standing if row["verdict"] != "skip"] or standing
    same = Counter(map(_outcome, said))
    found = max(said, key=lambda row: (same[_outcome(row)], row["original"]))
    return found | {"agreed": same[_outcome(found)] * 2 > len(said)}


def _outcome(row: dict) -> str | None:
    """Two say the same where theirs are equal: the pair, or the verdict that leaves it out of training."""
    if row["verdict"] in NO_VOTES:
        return "none"
    if row["verdict"] not in TRAINING_VERDICTS:
        return row["verdict"]
    if row["chosen"] is None or row["rejected"] is None:
        return None
    return f"{row['chosen']}>{row['rejected']}"
