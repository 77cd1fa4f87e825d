"""What was taken back, and what was made to stand again: rows that are added, so that both outlive a reload.

An undo is a row that revokes a decision. A redo is a new decision equal to the revoked one, and a row of `redone` that
tells it from a decision that somebody made anew, and says which one it is equal to: it stands at the place of that, so
that an undo and its redo together change nothing.
"""

from __future__ import annotations

from m3po.store.assignments import mark_gold
from m3po.store.connection import Connection, one, scalar
from m3po.store.decisions import as_decision, read_decision
from m3po.store.instructions import now
from m3po.store.standing import original_of, standing_rows
from m3po.types import IMPORTED, Reversal


def newest_standing(con: Connection, annotator: str, *, last_words: bool) -> dict | None:
    """The newest decision of the annotator's own that no undo has revoked, whoever redid it; what another tool brought
    is not undone here. `last_words`: those, too."""
    return one(
        con,
        "SELECT d.* FROM decisions d LEFT JOIN redone x ON x.decision_id = d.decision_id"
        f" WHERE revokes IS NULL AND reason IS DISTINCT FROM '{IMPORTED}' AND d.annotator = $name"
        " AND ($last_words OR role IS NULL)"
        " AND NOT EXISTS (SELECT 1 FROM decisions r WHERE r.revokes = d.decision_id)"
        " ORDER BY coalesce(x.original, d.decision_id) DESC LIMIT 1",
        {"name": annotator, "last_words": last_words},
    )


def newest_undone(con: Connection, annotator: str, *, last_words: bool) -> dict | None:
    """Of the annotator's own decisions the one that their newest undo took back, that is not redone yet and that no
    later decision of theirs followed, with the undo's `undo_id` and `undone_by`. `last_words`: those, too."""
    return one(
        con,
        "SELECT d.*, u.decision_id AS undo_id, u.annotator AS undone_by"
        " FROM decisions u JOIN decisions d ON d.decision_id = u.revokes"
        " WHERE u.annotator = $name AND d.annotator = $name AND u.decision_id NOT IN (SELECT undo_id FROM redone)"
        " AND ($last_words OR d.role IS NULL)"
        " AND u.decision_id > (SELECT coalesce(max(decision_id), 0) FROM decisions WHERE annotator = $name"
        f"     AND revokes IS NULL AND reason IS DISTINCT FROM '{IMPORTED}'"
        "     AND decision_id NOT IN (SELECT decision_id FROM redone))"
        " ORDER BY u.decision_id DESC LIMIT 1",
        {"name": annotator, "last_words": last_words},
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


def as_reversal(con: Connection, row: dict) -> Reversal:
    """A decision that was just undone or redone."""
    there = standing_rows(con, [row["instruction_id"]], without=row["decision_id"]).get(row["instruction_id"], ())
    other = next((each for each in there if (each["annotator"], each["role"]) == (row["annotator"], row["role"])), None)
    replaced = remark = False
    if other is not None and other["reason"] != IMPORTED:
        replaced = other["original"] > original_of(con, row["decision_id"])
        remark = not replaced and all(other[name] == row[name] for name in ("verdict", "chosen", "rejected"))
    return Reversal(**vars(as_decision(row)), replaced=replaced, remark=remark)


def reversed_by_key(con: Connection, annotator: str, client_id: str, *, redo: bool) -> dict | None:
    """The decision that the annotator's page has undone already under this id of its own, or with `redo` the one that
    it has made so by a redo."""
    sql = "SELECT decision_id FROM decision_keys WHERE annotator = ? AND client_id = ?"
    known = scalar(con, sql, [annotator, client_id])
    if known is None:  # nearly always, and then the decisions need not be looked through
        return None
    of_redo, of_undo = "decision_id FROM redone", "revokes FROM decisions"
    found = scalar(con, f"SELECT {of_redo if redo else of_undo} WHERE decision_id = ?", [known])
    return None if found is None else read_decision(con, found)


def revoke(con: Connection, decision: dict, annotator: str) -> int:
    """`annotator`: who takes it back; the revoked row stays in the history. Returns the id of the undo."""
    return scalar(
        con,
        "INSERT INTO decisions (instruction_id, verdict, annotator, decided_at, revokes) VALUES (?, 'undo', ?, ?, ?)"
        " RETURNING decision_id",
        [decision["instruction_id"], annotator, now(), decision["decision_id"]],
    )


def restore(con: Connection, undone: dict, annotator: str) -> int:
    """Append what was undone once more, under its own annotator's name, on what it was shown and at its old place;
    returns its id. A gold item that rested on it rests on it again. `annotator`: who redoes it."""
    kept = (
        "instruction_id, verdict, chosen, rejected, annotator, seconds, reason, note, selection_id, shown, role, blind"
    )
    decision_id = scalar(
        con,
        f"INSERT INTO decisions ({kept}, decided_at) SELECT {kept}, ? FROM decisions WHERE decision_id = ?"
        " RETURNING decision_id",
        [now(), undone["decision_id"]],
    )
    original = original_of(con, undone["decision_id"])
    con.execute("INSERT INTO redone VALUES (?, ?, ?, ?)", [decision_id, undone["undo_id"], annotator, original])
    gold = one(
        con,
        "SELECT * FROM gold_items WHERE instruction_id = ? ORDER BY rowid DESC LIMIT 1",
        [undone["instruction_id"]],
    )
    if gold and gold["decision_id"] == undone["decision_id"] and not gold["withdrawn"]:
        mark_gold(con, undone["instruction_id"], decision_id, gold["marked_by"], withdrawn=False)
    return decision_id
