"""Who judges what: assignments, their queues, and the gold items, whose right decision is known. Only ever added to."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

from m3po.store.connection import Connection, one, registered, rows, scalar
from m3po.store.instructions import now
from m3po.types import NO_VOTES


def answered(con: Connection) -> np.ndarray:
    """Ids of all instructions with two candidates or more, rising: what a person can judge."""
    sql = "SELECT instruction_id FROM candidates GROUP BY 1 HAVING count(*) > 1 ORDER BY 1"
    return con.execute(sql).fetchnumpy()["instruction_id"].astype(np.int64)


def ever_assigned(con: Connection) -> np.ndarray:
    """Ids of all that stand in somebody's queue, or did."""
    return con.execute("SELECT DISTINCT instruction_id FROM assigned").fetchnumpy()["instruction_id"].astype(np.int64)


def sources_of(con: Connection, ids: np.ndarray) -> list[str]:
    """Their sources, in the order of `ids`."""
    with registered(con, "wanted", pa.table({"n": np.arange(len(ids)), "instruction_id": ids})):
        found = con.execute("SELECT source FROM wanted JOIN instructions USING (instruction_id) ORDER BY n").fetchall()
    return [row[0] for row in found]


def add_assignment(con: Connection, created_by: str, config: dict) -> int:
    """Returns its id; `config` as in m3po.people.People.assign."""
    return scalar(
        con,
        "INSERT INTO assignments (created_by, created_at, config, blind) VALUES (?, ?, ?, ?) RETURNING assignment_id",
        [created_by, now(), json.dumps(config), config["blind"]],
    )


def add_places(con: Connection, assignment_id: int, places: list[tuple[str, int, int, bool]], withdrawn: bool) -> None:
    """Put (annotator, instruction, place, gold) into queues, or take them out."""
    if not places:
        return
    annotators, ids, numbers, gold = zip(*places, strict=True)
    table = pa.table({"annotator": annotators, "id": ids, "place": numbers, "gold": gold})
    with registered(con, "new_places", table):
        con.execute(
            "INSERT INTO assigned SELECT ?, annotator, id, place, gold, ?, ? FROM new_places",
            [assignment_id, withdrawn, now()],
        )


def set_overlap(con: Connection, assignment_id: int, overlap: float, changed_by: str) -> None:
    con.execute("INSERT INTO assignment_overlaps VALUES (?, ?, ?, ?)", [assignment_id, overlap, changed_by, now()])


def read_assignments(con: Connection) -> list[dict]:
    """Newest first: `assignment_id, created_by, created_at, config`, and the overlap that was set last."""
    found = rows(
        con,
        "SELECT a.*, (SELECT overlap FROM assignment_overlaps o WHERE o.assignment_id = a.assignment_id"
        " ORDER BY o.rowid DESC LIMIT 1) AS overlap FROM assignments a ORDER BY assignment_id DESC",
    )
    return [row | {"config": json.loads(row["config"])} for row in found]


def queue_sizes(con: Connection, annotator: str) -> dict[int, int]:
    """How many items of each assignment stand in the annotator's queue, gold items among them."""
    sql = "SELECT assignment_id, count(*) FROM queues WHERE annotator = ? GROUP BY 1"
    return dict(con.execute(sql, [annotator]).fetchall())


def queue_rows(con: Connection, assignment_id: int) -> list[dict]:
    """Who has what of an assignment: `annotator, instruction_id, place, gold, decided` (that annotator voted)."""
    return rows(
        con,
        "SELECT q.annotator, q.instruction_id, q.place, q.gold,"
        f" coalesce(d.verdict NOT IN {NO_VOTES}, false) AS decided FROM queues q"
        " LEFT JOIN standing_decisions d ON d.instruction_id = q.instruction_id AND d.annotator = q.annotator"
        " AND d.role IS NULL WHERE q.assignment_id = ? ORDER BY q.annotator, q.place",
        [assignment_id],
    )


# ---- gold items -----------------------------------------------------------------------------------------------------


def mark_gold(con: Connection, instruction_id: int, decision_id: int, marked_by: str, *, withdrawn: bool) -> None:
    con.execute(
        "INSERT INTO gold_items VALUES (?, ?, ?, ?, ?)", [instruction_id, decision_id, marked_by, now(), withdrawn]
    )


def gold_item(con: Connection, instruction_id: int) -> dict | None:
    """`decision_id, verdict, chosen, rejected, marked_by, marked_at`."""
    return one(con, "SELECT * FROM gold WHERE instruction_id = ?", [instruction_id])


def gold_ids(con: Connection) -> np.ndarray:
    """Rising."""
    sql = "SELECT g.instruction_id FROM gold g JOIN instructions i USING (instruction_id) WHERE i.split = 'train'"
    return con.execute(f"{sql} ORDER BY 1").fetchnumpy()["instruction_id"].astype(np.int64)
