"""What was taken back, and what was made to stand again: rows that are added, so that both outlive a reload.

An undo is a row that revokes a decision. A redo is a new decision equal to the revoked one, and a row of `redone` that
tells it from a decision that somebody made anew.
"""

from __future__ import annotations

from m3po.store.assignments import mark_gold
from m3po.store.connection import Connection, one, scalar
from m3po.store.instructions import now


def newest_standing(con: Connection, annotator: str) -> dict | None:
    """The newest decision that the annotator made, or redid, and that no undo has revoked; what another tool brought is
    not undone here."""
    return one(
        con,
        "SELECT * FROM decisions d WHERE revokes IS NULL AND reason IS DISTINCT FROM 'imported'"
        " AND (annotator = $name OR decision_id IN (SELECT decision_id FROM redone WHERE annotator = $name))"
        " AND NOT EXISTS (SELECT 1 FROM decisions r WHERE r.revokes = d.decision_id)"
        " ORDER BY decision_id DESC LIMIT 1",
        {"name": annotator},
    )


def newest_undone(con: Connection, annotator: str) -> dict | None:
    """What the annotator's newest undo took back that is not redone yet and that no later decision of theirs followed,
    with the undo's `undo_id` and `undone_by`."""
    return one(
        con,
        "SELECT d.*, u.decision_id AS undo_id, u.annotator AS undone_by"
        " FROM decisions u JOIN decisions d ON d.decision_id = u.revokes"
        " WHERE u.annotator = $name AND u.decision_id NOT IN (SELECT undo_id FROM redone)"
        " AND u.decision_id > (SELECT coalesce(max(decision_id), 0) FROM decisions WHERE annotator = $name"
        "     AND revokes IS NULL AND reason IS DISTINCT FROM 'imported'"
        "     AND decision_id NOT IN (SELECT decision_id FROM redone))"
        " ORDER BY u.decision_id DESC LIMIT 1",
        {"name": annotator},
    )


def find_decision(con: Connection, decision_id: int) -> dict | None:
    """A row with the `undo_id` and `undone_by` of what revoked it (None: nothing did), and whether it is `redone`."""
    return one(
        con,
        "SELECT d.*, u.decision_id AS undo_id, u.annotator AS undone_by,"
        " u.decision_id IN (SELECT undo_id FROM redone) AS redone"
        " FROM decisions d LEFT JOIN decisions u ON u.revokes = d.decision_id"
        " WHERE d.decision_id = ? ORDER BY u.decision_id LIMIT 1",
        [decision_id],
    )


def undone_by_key(con: Connection, annotator: str, client_id: str) -> dict | None:
    """The decision that the annotator's page has undone already under this id of its own."""
    return one(
        con,
        "SELECT d.* FROM decision_keys k JOIN decisions u ON u.decision_id = k.decision_id"
        " JOIN decisions d ON d.decision_id = u.revokes WHERE k.annotator = ? AND k.client_id = ?",
        [annotator, client_id],
    )


def redone_by_key(con: Connection, annotator: str, client_id: str) -> dict | None:
    """The decision that the annotator's page has made already by a redo under this id of its own."""
    return one(
        con,
        "SELECT d.* FROM decision_keys k JOIN redone x ON x.decision_id = k.decision_id"
        " JOIN decisions d ON d.decision_id = k.decision_id WHERE k.annotator = ? AND k.client_id = ?",
        [annotator, client_id],
    )


def revoke(con: Connection, decision: dict, annotator: str) -> int:
    """`annotator`: who takes it back; the revoked row stays in the history. Returns the id of the undo."""
    return scalar(
        con,
        "INSERT INTO decisions (instruction_id, verdict, annotator, decided_at, revokes) VALUES (?, 'undo', ?, ?, ?)"
        " RETURNING decision_id",
        [decision["instruction_id"], annotator, now(), decision["decision_id"]],
    )


def restore(con: Connection, undone: dict, annotator: str) -> int:
    """Append what was undone once more, under its own annotator's name and on what it was shown; returns its id. A gold
    item that rested on it rests on it again. `annotator`: who redoes it."""
    kept = (
        "instruction_id, verdict, chosen, rejected, annotator, seconds, reason, note, selection_id, shown, role, blind"
    )
    decision_id = scalar(
        con,
        f"INSERT INTO decisions ({kept}, decided_at) SELECT {kept}, ? FROM decisions WHERE decision_id = ?"
        " RETURNING decision_id",
        [now(), undone["decision_id"]],
    )
    con.execute("INSERT INTO redone VALUES (?, ?, ?)", [decision_id, undone["undo_id"], annotator])
    gold = one(
        con,
        "SELECT * FROM gold_items WHERE instruction_id = ? ORDER BY rowid DESC LIMIT 1",
        [undone["instruction_id"]],
    )
    if gold and gold["decision_id"] == undone["decision_id"] and not gold["withdrawn"]:
        mark_gold(con, undone["instruction_id"], decision_id, gold["marked_by"], withdrawn=False)
    return decision_id
