"""What an import brings beside its rows: answers, their ratings, the votes on them and the given preferences.

The statements read the table `placed` (`n`, `instruction_id`) that m3po.store.imports has registered.
"""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from m3po.store.connection import Connection, registered, scalar
from m3po.store.instructions import now
from m3po.types import IMPORTED

_NEW_ANSWERS = """
    SELECT p.instruction_id, a.text, a.same_key, a.origin, a.n, a.place
    FROM new_answers a JOIN placed p USING (n)
    WHERE NOT EXISTS (SELECT 1 FROM candidates c WHERE c.instruction_id = p.instruction_id AND c.same_key = a.same_key
                      AND c.instruction_id IN (SELECT instruction_id FROM placed))
    QUALIFY row_number() OVER (PARTITION BY p.instruction_id, a.same_key ORDER BY a.n, a.place) = 1
    ORDER BY a.n, a.place
"""
# Which candidate each answer of the file is.
_ANSWER_IDS = """
    SELECT a.n, a.place, p.instruction_id, c.candidate_id FROM new_answers a JOIN placed p USING (n)
    JOIN candidates c ON c.instruction_id = p.instruction_id AND c.same_key = a.same_key
    WHERE c.instruction_id BETWEEN (SELECT min(instruction_id) FROM placed) AND (SELECT max(instruction_id) FROM placed)
"""
_INSERT_RATINGS = """
    INSERT INTO ratings
    SELECT i.candidate_id, r.name, first(r.value ORDER BY r.n, r.place)
    FROM new_ratings r JOIN answer_ids i USING (n, place)
    WHERE NOT EXISTS (SELECT 1 FROM ratings o WHERE o.candidate_id = i.candidate_id AND o.name = r.name)
    GROUP BY 1, 2
"""
# Two answers that are one candidate make no pair: then nobody preferred anything.
_PLACED_DECISIONS = """
    SELECT p.instruction_id, c.candidate_id AS chosen, r.candidate_id AS rejected, d.annotator, d.decided_at, d.seconds,
           d.note, d.given, d.role, d.said_reason, d.blind, d.n,
           CASE WHEN d.verdict IN ('accept', 'override') AND c.candidate_id = r.candidate_id THEN 'tie'
                ELSE d.verdict END AS verdict
    FROM new_decisions d JOIN placed p USING (n)
    LEFT JOIN answer_ids c ON c.n = d.n AND c.place = d.chosen
    LEFT JOIN answer_ids r ON r.n = d.n AND r.place = d.rejected
"""
_SAME = """o.instruction_id = d.instruction_id AND o.annotator = d.annotator AND o.verdict = d.verdict
           AND o.chosen IS NOT DISTINCT FROM d.chosen AND o.rejected IS NOT DISTINCT FROM d.rejected"""
_ALIKE = "instruction_id, annotator, role, verdict, chosen, rejected"  # rows of one batch may say the same
_INSERT_GIVEN = f"""
    INSERT INTO given_preferences (instruction_id, verdict, chosen, rejected, annotator, given_at, note, imported_at)
    SELECT instruction_id, verdict, chosen, rejected, annotator, decided_at, note, $now FROM placed_decisions d
    WHERE given AND NOT EXISTS (SELECT 1 FROM given_preferences o WHERE {_SAME})
    QUALIFY row_number() OVER (PARTITION BY {_ALIKE} ORDER BY n, decided_at) = 1
    ORDER BY n
"""
# What was shown to them: the answers that were there, without a score of this workspace. A vote with a time is known
# whoever stored it, and stays undone where it was; one without a time is compared with those that came with files.
_INSERT_VOTES = f"""
    INSERT INTO decisions
        (instruction_id, verdict, chosen, rejected, annotator, decided_at, seconds, reason, note, role, blind,
         shown)
    SELECT instruction_id, verdict, chosen, rejected, annotator, coalesce(decided_at, $now), seconds, '{IMPORTED}',
           note, role, blind,
           '{{"machine": null, "candidates": {{' || coalesce(s.shown, '') || '}}}}'
    FROM placed_decisions d LEFT JOIN (
        SELECT instruction_id, string_agg('"' || candidate_id || '": [null, null]', ', ' ORDER BY candidate_id) AS shown
        FROM candidates WHERE instruction_id IN (SELECT instruction_id FROM placed_decisions) AND origin <> 'human'
        GROUP BY 1) s USING (instruction_id)
    WHERE NOT given AND NOT EXISTS (
        SELECT 1 FROM decisions o WHERE {_SAME}
        AND CASE WHEN d.decided_at IS NULL THEN o.reason = '{IMPORTED}' AND o.role IS NOT DISTINCT FROM d.role
                 ELSE o.decided_at = d.decided_at END)
    QUALIFY row_number() OVER (PARTITION BY {_ALIKE}, decided_at ORDER BY n) = 1
            AND (decided_at IS NOT NULL OR row_number() OVER (PARTITION BY {_ALIKE} ORDER BY n, decided_at) = 1)
    ORDER BY coalesce(decided_at, $now), n
    RETURNING annotator
"""
# In decisions their reason says that they are imported.
_INSERT_REASONS = f"""
    INSERT INTO imported_reasons
    SELECT o.decision_id, first(d.said_reason ORDER BY d.n) FROM placed_decisions d JOIN decisions o
    ON {_SAME} AND o.role IS NOT DISTINCT FROM d.role AND o.decided_at = coalesce(d.decided_at, $now)
    WHERE d.said_reason IS NOT NULL AND NOT d.given AND o.reason = '{IMPORTED}'
          AND NOT EXISTS (SELECT 1 FROM imported_reasons r WHERE r.decision_id = o.decision_id)
    GROUP BY 1
"""


def add_answers(
    con: Connection,
    answers: pa.Table,
    ratings: pa.Table,
    decisions: pa.Table,
) -> Counter[str]:
    """Candidates that are new, then what the file says of them. How many votes of each annotator are new."""
    with registered(con, "new_answers", answers):
        fresh = con.sql(_NEW_ANSWERS).to_arrow_table()
        if len(fresh):
            first = allocate(con, "candidate_ids", len(fresh))
            fresh = fresh.append_column("candidate_id", pa.array(range(first, first + len(fresh)), pa.int64()))
            with registered(con, "fresh_answers", fresh):
                con.execute(
                    "INSERT INTO candidates (candidate_id, instruction_id, text, same_key, origin, created_at)"
                    " SELECT candidate_id, instruction_id, text, same_key, origin, ? FROM fresh_answers",
                    [now()],
                )
        if not len(ratings) and not len(decisions):
            return Counter()
        answer_ids = con.sql(_ANSWER_IDS).to_arrow_table()
    with registered(con, "answer_ids", answer_ids):
        if len(ratings):
            with registered(con, "new_ratings", ratings):
                con.execute(_INSERT_RATINGS)
        if len(decisions):
            with registered(con, "new_decisions", decisions):
                placed = con.sql(_PLACED_DECISIONS).to_arrow_table()
            with registered(con, "placed_decisions", placed):
                con.execute(_INSERT_GIVEN, {"now": now()})
                at = {"now": now()}
                voted = con.execute(_INSERT_VOTES, at).fetchall()
                if decisions["said_reason"].null_count < len(decisions):
                    con.execute(_INSERT_REASONS, at)
                return Counter(annotator for (annotator,) in voted)
    return Counter()


def allocate(con: Connection, sequence: str, count: int) -> int:
    """The first of `count` ids in a row: only one bulk write is at work at a time."""
    return scalar(con, f"SELECT min(id) FROM (SELECT nextval('{sequence}') AS id FROM range(?))", [count]) or 0
