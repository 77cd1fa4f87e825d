"""Everybody's votes: side by side on an item, as ratings to compare, as figures a person, and as the whole history."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from m3po.store.connection import Connection, among, rows, scalar
from m3po.store.decisions import DISPUTED, as_decision, current_decision
from m3po.store.standing import standing_rows
from m3po.store.tags import tags_by_item
from m3po.store.verdicts import SKIP
from m3po.types import ADJUDICATED, IMPORTED, NO_VOTES, Decision

BREAK_SECONDS = 300.0  # who looked longer at one item than this was not at work on it


def own_vote(con: Connection, instruction_id: int, annotator: str) -> dict | None:
    """The annotator's own decision that stands, adjudications aside."""
    return own_votes(con, [instruction_id], annotator).get(instruction_id)


def own_votes(con: Connection, instruction_ids: Sequence[int], annotator: str) -> dict[int, dict]:
    """`own_vote` on each of these instructions that has one."""
    standing = standing_rows(con, instruction_ids)
    return {
        number: row
        for number, said in standing.items()
        for row in said
        if row["annotator"] == annotator and row["role"] is None
    }


def own_decision(con: Connection, instruction_id: int, annotator: str, *, last_word: bool) -> dict | None:
    """What the annotator said here that stands, and can be said again with another reason or note: their vote, or with
    `last_word` the last word on the item where that is theirs; none that came with a file."""
    own = own_vote(con, instruction_id, annotator)
    if last_word:
        current = current_decision(con, instruction_id)
        own = current if current and current["annotator"] == annotator else own
    return own if own and own["reason"] != IMPORTED else None


def count_voters(con: Connection, instruction_id: int) -> int:
    """How many ever decided on an item."""
    sql = "SELECT count(DISTINCT annotator) FROM decisions WHERE instruction_id = ? AND revokes IS NULL"
    return scalar(con, sql, [instruction_id])


def is_adjudicated(con: Connection, instruction_id: int) -> bool:
    """Whether a curator's last word stands on an item."""
    return any(row["role"] == ADJUDICATED for row in standing_rows(con, [instruction_id]).get(instruction_id, ()))


def is_disputed(con: Connection, instruction_id: int) -> bool:
    """Whether voters disagree on an item, as in decisions.DISPUTED."""
    current = current_decision(con, instruction_id)
    return current is not None and not current["agreed"]


def votes_of(con: Connection, instruction_id: int) -> tuple[Decision, ...]:
    """Everybody's decision that stands, oldest first, a curator's last word at the end."""
    said = standing_rows(con, [instruction_id]).get(instruction_id, [])
    return tuple(as_decision(row) for row in sorted(said, key=lambda row: row["role"] == ADJUDICATED))


def ever_voted(con: Connection, instruction_id: int, annotator: str) -> bool:
    """Whether they ever said something on it, undone or not: then they have seen what is hidden until the vote."""
    sql = (
        "SELECT count(*) FROM decisions WHERE instruction_id = ? AND annotator = ?"
        f" AND verdict NOT IN {(*NO_VOTES, 'undo')}"
    )
    return bool(scalar(con, sql, [instruction_id, annotator]))


def ratings(con: Connection, selection: int | None) -> list[tuple[int, str, str]]:
    """(instruction, annotator, what they said first), one row for each whose vote stands on the train split; skipped
    and flagged ones are none. A pair is called `machine` where it is the selection's, else `chosen>rejected`; other
    verdicts are themselves, so that two say the same exactly when their labels are equal.

    The first vote alone is an independent one: it showed what others said. Where it was changed since, what stands may
    be theirs.
    """
    return con.execute(
        f"""
        WITH own AS (
            SELECT * FROM decisions WHERE revokes IS NULL AND role IS NULL AND verdict NOT IN {NO_VOTES}),
        first_votes AS (
            SELECT * FROM own
            QUALIFY row_number() OVER (PARTITION BY annotator, instruction_id ORDER BY decision_id) = 1)
        SELECT d.instruction_id, d.annotator,
               CASE WHEN d.verdict NOT IN ('accept', 'override') THEN d.verdict
                    WHEN d.chosen = p.chosen AND d.rejected = p.rejected THEN 'machine'
                    ELSE d.chosen || '>' || d.rejected END
        FROM first_votes d JOIN instructions i USING (instruction_id)
        JOIN standing_decisions s ON s.instruction_id = d.instruction_id AND s.annotator = d.annotator
             AND s.role IS NULL AND s.verdict NOT IN {NO_VOTES}
        LEFT JOIN selection_pairs p ON p.instruction_id = d.instruction_id AND p.selection_id = $selection
        WHERE i.split = 'train'
        ORDER BY 1, 2
        """,
        {"selection": selection},
    ).fetchall()


def figures(con: Connection) -> list[dict]:
    """One row an annotator who decided or was assigned something, by name: `annotator, assigned, done` (those of them
    that were voted on or flagged), `decisions` (that stand), `median_seconds`, `seconds` (in all, breaks cut), `timed`,
    `gold_seen`, `gold_right`, `last_at` (UTC).

    A gold item measures by the first vote that somebody ever gave on it, undone or changed since: it alone was given
    before the vote showed what others said. It counts where it came after the first last word on the item (which may
    rest on earlier votes), and that was hidden: it was given blind, or while the item stood in the voter's queue and
    had not been shown to them before, or came with a file.
    """
    return rows(
        con,
        f"""
        WITH own AS (SELECT * FROM standing_decisions WHERE role IS NULL),
        queued AS (SELECT DISTINCT annotator, instruction_id FROM queues),
        work AS (
            SELECT q.annotator, count(*) AS assigned,
                   count(*) FILTER (coalesce(o.verdict <> '{SKIP}', false)) AS done
            FROM queued q LEFT JOIN own o USING (annotator, instruction_id) GROUP BY 1),
        pace AS (
            SELECT annotator, count(*) AS decisions, median(seconds) AS median_seconds, count(seconds) AS timed,
                   sum(least(seconds, {BREAK_SECONDS})) FILTER (seconds IS NOT NULL) AS seconds,
                   max(decided_at) AS last_at
            FROM own GROUP BY 1),
        on_gold AS (
            SELECT * FROM decisions WHERE revokes IS NULL AND instruction_id IN (SELECT instruction_id FROM gold)),
        last_words AS (
            SELECT instruction_id, min(decision_id) AS since FROM on_gold WHERE role IS NOT NULL GROUP BY 1),
        first_votes AS (
            SELECT * FROM on_gold WHERE role IS NULL AND verdict NOT IN {NO_VOTES}
            QUALIFY row_number() OVER (PARTITION BY annotator, instruction_id ORDER BY decision_id) = 1),
        places AS (
            SELECT annotator, instruction_id, withdrawn, changed_at AS since, lead(changed_at) OVER (
                PARTITION BY assignment_id, annotator, instruction_id ORDER BY rowid) AS until FROM assigned),
        measured AS (
            SELECT v.annotator, count(*) AS gold_seen, count(*) FILTER (
                CASE WHEN g.verdict IN ('accept', 'override')
                     THEN v.verdict IN ('accept', 'override') AND v.chosen = g.chosen AND v.rejected = g.rejected
                     ELSE v.verdict = g.verdict END) AS gold_right
            FROM first_votes v JOIN gold g USING (instruction_id) JOIN last_words USING (instruction_id)
            JOIN decisions d ON d.decision_id = g.decision_id AND d.annotator <> v.annotator
            WHERE v.decision_id > last_words.since AND (v.blind OR v.reason = '{IMPORTED}' OR EXISTS (
                SELECT 1 FROM places p WHERE p.annotator = v.annotator AND p.instruction_id = v.instruction_id
                AND NOT p.withdrawn AND p.since <= v.decided_at AND coalesce(v.decided_at < p.until, true)
                AND NOT EXISTS (SELECT 1 FROM open_views o WHERE o.annotator = v.annotator
                                AND o.instruction_id = v.instruction_id AND o.seen_at < p.since)))
            GROUP BY 1)
        SELECT annotator, coalesce(assigned, 0) AS assigned, coalesce(done, 0) AS done,
               coalesce(decisions, 0) AS decisions, median_seconds, seconds, coalesce(timed, 0) AS timed, last_at,
               coalesce(gold_seen, 0) AS gold_seen, coalesce(gold_right, 0) AS gold_right
        FROM pace FULL JOIN work USING (annotator) LEFT JOIN measured USING (annotator) ORDER BY annotator
        """,
    )


def disputed(con: Connection, limit: int) -> tuple[int, list[dict]]:
    """How many items of the train split voters disagree about, and the first of them with who said what: `votes`, and
    the `texts` of the answers that these took, by candidate."""
    found = rows(
        con,
        f"""
        SELECT i.instruction_id, i.source, i.external_id, i.instruction, count(*) OVER () AS total
        FROM ({DISPUTED}) JOIN instructions i USING (instruction_id) WHERE i.split = 'train'
        ORDER BY i.instruction_id LIMIT ?
        """,
        [limit],
    )
    for row in found:
        row["votes"] = votes_of(con, row["instruction_id"])
    took = {c for row in found for vote in row["votes"] for c in (vote.chosen, vote.rejected) if c is not None}
    sql = f"SELECT candidate_id, text FROM candidates WHERE {among('candidate_id', took)}"
    texts = dict(con.execute(sql).fetchall()) if took else {}
    for row in found:
        row["texts"] = texts
    return (found[0]["total"] if found else 0), found


HISTORY_COLUMNS = (
    "decision_id", "at", "annotator", "role", "source", "id", "instruction_id", "instruction", "verdict", "chosen_id",
    "chosen", "rejected_id", "rejected", "seconds", "reason", "note", "blind", "selection_id", "shown",
    "revokes", "revoked", "revoked_at", "guideline", "tags", "redoes", "redone_by",
)  # fmt: skip


def history_rows(con: Connection, batch: int = 1000) -> Iterator[dict]:
    """Every decision ever made, oldest first, undone ones and the undoing included: HISTORY_COLUMNS. `shown` is the
    machine's pick and every answer's MAS and log-prob as they were then, `guideline` the version that held then (None:
    none was written yet), `tags` those that stand on the item now, times are UTC. A redo is a decision that `redoes`
    another one, under the name of who made that; `redone_by` says who did it."""
    newest = 0
    while found := rows(
        con,
        """
        SELECT d.decision_id, d.decided_at AS "at", d.annotator, coalesce(d.role, '') AS role, i.source,
               i.external_id AS id, d.instruction_id, i.instruction, d.verdict, d.chosen AS chosen_id, c.text AS chosen,
               d.rejected AS rejected_id, j.text AS rejected, d.seconds, coalesce(d.reason, '') AS reason,
               coalesce(d.note, '') AS note, coalesce(d.blind, false) AS blind, d.selection_id, d.shown, d.revokes,
               (SELECT max(version) FROM guideline_versions WHERE written_at <= d.decided_at) AS guideline,
               r.decision_id IS NOT NULL AS revoked, r.decided_at AS revoked_at, x.redoes, x.redone_by
        FROM (SELECT * FROM decisions WHERE decision_id > ? ORDER BY decision_id LIMIT ?) d
        JOIN instructions i USING (instruction_id)
        LEFT JOIN candidates c ON c.candidate_id = d.chosen
        LEFT JOIN candidates j ON j.candidate_id = d.rejected
        LEFT JOIN (SELECT revokes, min(decision_id) AS decision_id, min(decided_at) AS decided_at
                   FROM decisions WHERE revokes IS NOT NULL GROUP BY 1) r ON r.revokes = d.decision_id
        LEFT JOIN (SELECT redone.decision_id, u.revokes AS redoes, redone.annotator AS redone_by
                   FROM redone JOIN decisions u ON u.decision_id = redone.undo_id) x ON x.decision_id = d.decision_id
        ORDER BY d.decision_id
        """,
        [newest, batch],
    ):
        newest = found[-1]["decision_id"]
        tags = tags_by_item(con, [row["instruction_id"] for row in found])
        for row in found:
            row |= {"tags": tags.get(row["instruction_id"], []), "shown": json.loads(row["shown"] or "null")}
            yield {name: row[name] for name in HISTORY_COLUMNS}
