"""Human decisions: append-only rows, their undo, and the curated pairs that follow from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from m3po.store.auto_accept import least_score
from m3po.store.connection import Connection, among, one, rows, scalar
from m3po.store.exclusions import count_excluded
from m3po.store.instructions import now
from m3po.store.standing import current_row, standing_rows
from m3po.types import IMPORTED, NO_VOTES, Decision, PastDecision

# Items on which several decided and no majority of them says the same, nor a curator's last word: whoever votes alone
# agrees with all who vote.
DISPUTED = "SELECT instruction_id FROM current_decisions WHERE NOT agreed"


@dataclass(frozen=True)
class NewDecision:
    """A verdict to store, with what was shown when it was made."""

    instruction_id: int
    verdict: str
    chosen: int | None
    rejected: int | None
    annotator: str
    seconds: float | None
    note: str
    reason: str
    selection_id: int | None
    shown: dict
    role: str = ""
    blind: bool = False


def add_decision(con: Connection, new: NewDecision) -> dict:
    """Append; returns the row as it is stored."""
    return one(
        con,
        "INSERT INTO decisions (instruction_id, verdict, chosen, rejected, annotator, decided_at, seconds, reason,"
        " note, selection_id, shown, role, blind) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
        [
            new.instruction_id,
            new.verdict,
            new.chosen,
            new.rejected,
            new.annotator,
            now(),
            new.seconds,
            new.reason,
            new.note,
            new.selection_id,
            json.dumps(new.shown),
            new.role or None,
            new.blind,
        ],
    )


def remember_key(con: Connection, decision_id: int, instruction_id: int, annotator: str, client_id: str) -> None:
    """In the transaction that stores the decision or the undo: see `decision_of_key`. `annotator`: who sent it."""
    con.execute("INSERT INTO decision_keys VALUES (?, ?, ?, ?)", [instruction_id, annotator, client_id, decision_id])


def decision_of_key(con: Connection, instruction_id: int, annotator: str, client_id: str) -> dict | None:
    """What the annotator's page has sent before under this id of its own; also when it was undone since."""
    sql = "SELECT decision_id FROM decision_keys WHERE instruction_id = ? AND annotator = ? AND client_id = ?"
    known = scalar(con, sql, [instruction_id, annotator, client_id])
    if known is None:  # nearly always, and then the decisions need not be joined
        return None
    return one(con, "SELECT * FROM decisions WHERE decision_id = ?", [known])


def current_rows(con: Connection, instruction_ids: Sequence[int]) -> dict[int, dict]:
    """The current decision of each of these instructions that has one."""
    standing = standing_rows(con, instruction_ids)
    return {number: row for number, said in standing.items() if (row := current_row(said)) is not None}


def repeat(con: Connection, decision: dict, annotator: str, role: str) -> int:
    """Append the same verdict under another name and role, on what the first was shown, for the same reason; returns
    its id."""
    kept = ("instruction_id", "verdict", "chosen", "rejected", "selection_id")
    shown = json.loads(decision["shown"] or "{}")
    said = {name: decision[name] for name in kept}
    reason = "" if decision["reason"] == IMPORTED else decision["reason"] or ""
    new = NewDecision(**said, annotator=annotator, seconds=None, note="", reason=reason, shown=shown, role=role)
    return add_decision(con, new)["decision_id"]


def say_again(decision: dict, reason: str, note: str) -> NewDecision:
    """The same decision, made on what it was made on, with another reason or note."""
    kept = ("instruction_id", "verdict", "chosen", "rejected", "annotator", "seconds", "selection_id")
    said = {name: decision[name] for name in kept}
    shown, blind = json.loads(decision["shown"] or "{}"), bool(decision["blind"])
    return NewDecision(**said, note=note, reason=reason, shown=shown, role=decision["role"] or "", blind=blind)


def state(con: Connection) -> tuple:
    """Changes whenever a decision was stored."""
    return con.execute("SELECT count(*), max(decision_id) FROM decisions").fetchall()[0]


def read_decision(con: Connection, decision_id: int) -> dict:
    return one(con, "SELECT * FROM decisions WHERE decision_id = ?", [decision_id])


def history(con: Connection, instruction_id: int) -> list[PastDecision]:
    """Every row on an instruction, newest first; a revoked one stays, an undo shows as verdict `undo`."""
    found = rows(
        con,
        """
        SELECT d.*, u.undone_by, u.undo_id IN (SELECT undo_id FROM redone) AS redone, x.annotator AS redone_by,
               (SELECT revokes FROM decisions WHERE decision_id = x.undo_id) AS redoes,
               d.decision_id IN (SELECT decision_id FROM standing_decisions WHERE instruction_id = $item) AS stands
        FROM decisions d
        LEFT JOIN (SELECT revokes, min(decision_id) AS undo_id, arg_min(annotator, decision_id) AS undone_by
                   FROM decisions WHERE instruction_id = $item AND revokes IS NOT NULL GROUP BY 1) u
             ON u.revokes = d.decision_id
        LEFT JOIN redone x ON x.decision_id = d.decision_id
        WHERE d.instruction_id = $item ORDER BY d.decision_id DESC
        """,
        {"item": instruction_id},
    )
    return [
        PastDecision(
            **vars(as_decision(row)),
            revokes=row["revokes"],
            redoes=row["redoes"],
            redone_by=row["redone_by"] or "",
            undone_by=row["undone_by"] or "",
            redone=bool(row["redone"]),
            stands=row["stands"],
        )
        for row in found
    ]


def current_decision(con: Connection, instruction_id: int) -> dict | None:
    return current_rows(con, [instruction_id]).get(instruction_id)


def disagreeing(decision: dict, standing: Sequence[dict]) -> tuple[str, ...]:
    """All who voted on the item of a current decision, by name, where no majority agrees; else nobody."""
    if decision["agreed"]:
        return ()
    votes = (row for row in standing if row["role"] is None and row["verdict"] not in NO_VOTES)
    return tuple(sorted(row["annotator"] for row in votes))


def as_decision(row: dict, *, stale: bool = False, disagreeing: tuple[str, ...] = ()) -> Decision:
    return Decision(
        id=row["decision_id"],
        instruction_id=row["instruction_id"],
        verdict=row["verdict"],
        chosen=row["chosen"],
        rejected=row["rejected"],
        annotator=row["annotator"],
        at=row["decided_at"],
        seconds=row["seconds"],
        note=row["note"] or "",
        reason=row["reason"] or "",
        stale=stale,
        disagreeing=disagreeing,
        role=row["role"] or "",
        blind=bool(row["blind"]),
    )


# The pairs that train but for those that are excluded: humans' where the current decision is accept or override, else
# the machine's where nobody decided. $least: the M3P-Score that those of the machine must have; -1 lets all in, none at
# all leaves them out.
_WITH_EXCLUDED = """
    SELECT i.instruction_id,
           CASE WHEN d.decision_id IS NULL THEN p.chosen ELSE d.chosen END AS chosen,
           CASE WHEN d.decision_id IS NULL THEN p.rejected ELSE d.rejected END AS rejected,
           d.decision_id IS NOT NULL AS human, d.decision_id, d.verdict
    FROM instructions i
    LEFT JOIN current_decisions d USING (instruction_id)
    LEFT JOIN selection_pairs p ON p.instruction_id = i.instruction_id AND p.selection_id = $selection
    WHERE i.split = 'train'
      AND CASE WHEN d.decision_id IS NULL
               THEN p.chosen IS NOT NULL AND coalesce($least = -1 OR p.m3p_score >= $least, false)
               ELSE d.agreed AND d.verdict IN ('accept', 'override') END
"""
CURATED_PAIRS = f"""
    SELECT q.* FROM ({_WITH_EXCLUDED}) q
    ANTI JOIN standing_exclusions e USING (instruction_id, chosen, rejected)
"""


def pairs_mark(con: Connection, selection: int | None, only: str) -> str:
    """A text that is another one when the curated pairs, those included that are excluded, are others; far cheaper than
    the hash of their content."""
    sql = f"SELECT count(*), coalesce(bit_xor(hash(instruction_id, chosen, rejected)), 0) FROM ({_WITH_EXCLUDED})"
    [(count, mixed)] = con.execute(sql, _curated(con, selection, only)).fetchall()
    return f"{count}:{mixed:016x}"


def curated_pairs(
    con: Connection, selection: int | None, only: str, *, texts: bool = True, with_excluded: bool = False
) -> list[dict]:
    """The curated set in instruction order, with both texts; `only` as in settings.EXPORT_ONLY."""
    parameters = _curated(con, selection, only)
    curated = _WITH_EXCLUDED if with_excluded else CURATED_PAIRS
    if not texts:
        return rows(con, f"SELECT * FROM ({curated}) ORDER BY instruction_id", parameters)
    return rows(
        con,
        "SELECT p.*, c.text AS chosen_text, r.text AS rejected_text,"
        " coalesce(c.finish_reason = 'length', false) AS chosen_truncated,"
        f" coalesce(r.finish_reason = 'length', false) AS rejected_truncated FROM ({curated}) p"
        " JOIN candidates c ON c.candidate_id = p.chosen JOIN candidates r ON r.candidate_id = p.rejected"
        " ORDER BY p.instruction_id",
        parameters,
    )


def pair_counts(con: Connection, selection: int | None, only: str = "all") -> dict[str, int]:
    """How many curated pairs there are, and how many of them a human accepted or overrode: as CURATED_PAIRS has them,
    counted from the decisions alone, of which there are few beside the machine's pairs. `excluded`: how many more there
    would be if none were excluded."""
    found = one(
        con,
        """
        WITH decided AS (
            SELECT d.* FROM current_decisions d JOIN instructions i USING (instruction_id) WHERE i.split = 'train')
        SELECT count(*) FILTER (agreed AND verdict IN ('accept', 'override')) AS human,
               count(*) FILTER (agreed AND verdict = 'override') AS overridden,
               (SELECT count(*) FROM selection_pairs p WHERE p.selection_id = $selection AND p.chosen IS NOT NULL
                AND p.instruction_id IN (SELECT instruction_id FROM decided)) AS replaced,
               (SELECT pairs FROM selections WHERE selection_id = $selection) AS machine
        FROM decided
        """,
        {"selection": selection},
    )
    left = (found["machine"] or 0) - found["replaced"] if only == "all" else 0
    if only == "auto":
        left = _count_accepted_unseen(con, selection)
    out = count_excluded(con, selection, _curated(con, selection, only)["least"])
    human = found["human"] - out["human"]
    return {
        "pairs": left - out["machine"] + human,
        "human": human,
        "overridden": found["overridden"] - out["overridden"],
        "excluded": out["machine"] + out["human"],
    }


def _curated(con: Connection, selection: int | None, only: str) -> dict:
    """The parameters of CURATED_PAIRS."""
    least = {"all": -1.0, "auto": least_score(con, selection)}.get(only)
    return {"selection": selection, "least": least}


def count_auto_accepted(con: Connection, selection: int | None) -> int:
    """Pairs that nobody decided about and that are taken without eyes (m3po.store.auto_accept)."""
    least = least_score(con, selection)
    if least is None:
        return 0
    return _count_accepted_unseen(con, selection) - count_excluded(con, selection, least)["machine"]


def _count_accepted_unseen(con: Connection, selection: int | None) -> int:
    least = least_score(con, selection)
    if least is None:
        return 0
    return scalar(
        con,
        "SELECT count(*) FROM selection_pairs ANTI JOIN current_decisions USING (instruction_id)"
        " WHERE selection_pairs.selection_id = ? AND m3p_score >= ? AND selection_pairs.chosen IS NOT NULL",
        [selection, least],
    )


def given_pairs(con: Connection, instruction_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """(chosen, rejected) of each of these instructions whose data set came with a pair."""
    wanted = among("instruction_id", instruction_ids)
    found = con.execute(f"SELECT instruction_id, chosen, rejected FROM given_pairs WHERE {wanted}").fetchall()
    return {number: (chosen, rejected) for number, chosen, rejected in found}


def given_counts(con: Connection, mas: int | None) -> dict[str, int]:
    """How many preferences came with the data (train split); of those whose two answers the scorer `mas` scored, where
    it puts the chosen one higher."""
    if not scalar(con, "SELECT count(*) FROM given_preferences"):
        return {"preferences": 0, "scored": 0, "mas_agrees": 0}
    return one(
        con,
        """
        SELECT count(*) AS preferences,
               count(*) FILTER (c.mas IS NOT NULL AND r.mas IS NOT NULL) AS scored,
               count(*) FILTER (c.mas > r.mas) AS mas_agrees
        FROM given_pairs g JOIN instructions i USING (instruction_id)
        LEFT JOIN mas_scores c ON c.candidate_id = g.chosen AND c.scorer_id = $mas
        LEFT JOIN mas_scores r ON r.candidate_id = g.rejected AND r.scorer_id = $mas
        WHERE i.split = 'train'
        """,
        {"mas": mas},
    )


def given_decided(con: Connection) -> dict[str, int]:
    """Of the preferences that came with the data, those where reviewers decided between the same two answers, and where
    they chose alike."""
    if not scalar(con, "SELECT count(*) FROM given_preferences"):
        return {"decided": 0, "reviewers_agree": 0}
    return one(
        con,
        """
        SELECT count(*) FILTER (d.chosen IN (g.chosen, g.rejected) AND d.rejected IN (g.chosen, g.rejected)) AS decided,
               count(*) FILTER (d.chosen = g.chosen AND d.rejected = g.rejected) AS reviewers_agree
        FROM given_pairs g JOIN instructions i USING (instruction_id)
        JOIN current_decisions d ON d.instruction_id = g.instruction_id AND d.agreed
             AND d.verdict IN ('accept', 'override')
        WHERE i.split = 'train'
        """,
    )


def reason_counts(con: Connection) -> dict[str, int]:
    """How many train instructions each reason stands on; a vote that came with a file gives none."""
    sql = (
        "SELECT reason, count(*) FROM current_decisions JOIN instructions USING (instruction_id)"
        f" WHERE split = 'train' AND agreed AND reason NOT IN ('', '{IMPORTED}') GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    return dict(con.execute(sql).fetchall())


def verdict_counts(con: Connection) -> dict[str, int]:
    """How many train instructions each verdict stands on; `disagree`: where several decided and no majority agrees."""
    sql = (
        "SELECT CASE WHEN agreed THEN verdict ELSE 'disagree' END, count(*)"
        " FROM current_decisions JOIN instructions USING (instruction_id)"
        " WHERE split = 'train' GROUP BY 1 ORDER BY 2 DESC"
    )
    return dict(con.execute(sql).fetchall())
