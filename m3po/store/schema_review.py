"""Migrations 7 to 16: reviewing by several people."""

from __future__ import annotations

import duckdb

_DECISION_KEYS = """
-- The page's own id of a decision, so that one that is sent again (its answer was lost) is not stored a second time.
-- A table of its own: a view of decisions does not survive another column.
CREATE TABLE decision_keys (instruction_id BIGINT, annotator VARCHAR, client_id VARCHAR, decision_id BIGINT);
"""


def m007_decision_keys(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_DECISION_KEYS)


_AUTO_ACCEPT = """
-- From which M3P-Score a selection's pairs are taken without eyes (none: withdrawn), and what that rests on. The newest
-- row of a selection counts. An audit is a random slice of what one such row accepts, to be looked at all the same.
CREATE SEQUENCE auto_accept_ids; CREATE SEQUENCE audit_ids;
CREATE TABLE auto_accepts (
    auto_accept_id BIGINT DEFAULT nextval('auto_accept_ids'), selection_id BIGINT, score DOUBLE, target DOUBLE,
    decided BIGINT, overridden BIGINT, annotator VARCHAR, set_at TIMESTAMP);
CREATE TABLE audits (
    audit_id BIGINT DEFAULT nextval('audit_ids'), auto_accept_id BIGINT, selection_id BIGINT, population BIGINT,
    seed BIGINT, annotator VARCHAR, drawn_at TIMESTAMP);
CREATE TABLE audit_items (audit_id BIGINT, instruction_id BIGINT);
"""


def m008_auto_accept(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_AUTO_ACCEPT)


_PEOPLE = """
-- `role` is 'adjudicated' for a curator's last word, else empty; `blind`: the scores, the machine's pick and all other
-- decisions were hidden, and had been until then.
ALTER TABLE decisions ADD COLUMN role VARCHAR;
ALTER TABLE decisions ADD COLUMN blind BOOLEAN;
-- Who judges what. All are only added to: the newest row of an assignment's settings, of (assignment, annotator,
-- instruction) and of a gold item counts.
CREATE SEQUENCE assignment_ids;
CREATE TABLE assignments (
    assignment_id BIGINT DEFAULT nextval('assignment_ids'), created_by VARCHAR, created_at TIMESTAMP, config VARCHAR,
    blind BOOLEAN);
CREATE TABLE assignment_overlaps (assignment_id BIGINT, overlap DOUBLE, changed_by VARCHAR, changed_at TIMESTAMP);
CREATE TABLE assigned (
    assignment_id BIGINT, annotator VARCHAR, instruction_id BIGINT, place BIGINT, gold BOOLEAN, withdrawn BOOLEAN,
    changed_at TIMESTAMP);
CREATE VIEW queues AS
    SELECT * EXCLUDE (withdrawn) FROM (
        SELECT * FROM assigned
        QUALIFY row_number() OVER (PARTITION BY assignment_id, annotator, instruction_id ORDER BY rowid DESC) = 1)
    WHERE NOT withdrawn;
-- A gold item is one whose right decision is known: a curator's adjudication of it, as long as that is not undone.
CREATE TABLE gold_items (
    instruction_id BIGINT, decision_id BIGINT, marked_by VARCHAR, marked_at TIMESTAMP, withdrawn BOOLEAN);
CREATE VIEW gold AS
    SELECT g.instruction_id, g.decision_id, d.verdict, d.chosen, d.rejected, g.marked_by, g.marked_at
    FROM (SELECT * FROM gold_items QUALIFY row_number() OVER (PARTITION BY instruction_id ORDER BY rowid DESC) = 1) g
    JOIN decisions d USING (decision_id)
    WHERE NOT g.withdrawn AND NOT EXISTS (SELECT 1 FROM decisions r WHERE r.revokes = d.decision_id);
-- The newest stored; but what somebody decided here stands against an older vote of theirs that is imported, and an
-- adjudication stands beside its curator's own vote.
CREATE OR REPLACE VIEW standing_decisions AS
    SELECT * EXCLUDE (decided_here) FROM (
        SELECT *, max(CASE WHEN reason IS DISTINCT FROM 'imported' THEN decided_at END)
               OVER (PARTITION BY instruction_id, annotator, role) AS decided_here
        FROM decisions d
        WHERE revokes IS NULL AND NOT EXISTS (SELECT 1 FROM decisions r WHERE r.revokes = d.decision_id))
    QUALIFY row_number() OVER (
        PARTITION BY instruction_id, annotator, role
        ORDER BY coalesce(reason = 'imported' AND decided_at <= decided_here, false), decision_id DESC) = 1;
-- As before; the newest adjudication is final, however many voted otherwise.
CREATE OR REPLACE VIEW current_decisions AS
    WITH outcomes AS (
        SELECT *, coalesce(role = 'adjudicated', false) AS final,
               CASE WHEN verdict IN ('accept', 'override') THEN chosen || '>' || rejected ELSE 'out' END AS outcome
        FROM standing_decisions),
    counted AS (
        SELECT *, count(*) OVER (PARTITION BY instruction_id, outcome, final) AS same,
               count(*) OVER (PARTITION BY instruction_id, final) AS voters
        FROM outcomes)
    SELECT * EXCLUDE (same, voters, outcome, final), final OR same * 2 > voters AS agreed FROM counted
    QUALIFY row_number() OVER (
        PARTITION BY instruction_id
        ORDER BY final DESC, CASE WHEN final THEN 0 ELSE same END DESC, decision_id DESC) = 1;
"""


def m009_people(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_PEOPLE)


_REMARKS = """
-- What annotators go by; only added to, so that the version that held for a decision follows from its time. `reasons`
-- is a JSON list.
CREATE TABLE guideline_versions (
    version BIGINT, text VARCHAR, reasons VARCHAR, author VARCHAR, written_at TIMESTAMP);
-- Words put on items, whatever is decided about them. Only added to: the newest row of (item, tag, annotator) counts.
-- `set_by` took it off where that was not the annotator.
CREATE TABLE item_tags (
    instruction_id BIGINT, tag VARCHAR, annotator VARCHAR, set_at TIMESTAMP, withdrawn BOOLEAN, set_by VARCHAR);
CREATE VIEW standing_tags AS
    SELECT instruction_id, tag, annotator, set_at FROM (
        SELECT * FROM item_tags
        QUALIFY row_number() OVER (PARTITION BY instruction_id, tag, annotator ORDER BY rowid DESC) = 1)
    WHERE NOT withdrawn;
"""


def m010_remarks(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_REMARKS)


_REDONE = """
-- Which decisions are a redo, of which undo, and by whom. A table of its own: the views of decisions stay as they are.
CREATE TABLE redone (decision_id BIGINT, undo_id BIGINT, annotator VARCHAR);
"""


def m011_redone(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_REDONE)


_GOLD = """
-- Others are measured by the last word that stands now: one who corrects a gold item corrects what is right. It is gold
-- as long as the decision that was marked is not undone.
CREATE OR REPLACE VIEW gold AS
    WITH marks AS (
        SELECT instruction_id, decision_id, marked_by, marked_at, withdrawn FROM gold_items
        QUALIFY row_number() OVER (PARTITION BY instruction_id ORDER BY rowid DESC) = 1),
    finals AS (
        SELECT instruction_id, decision_id, verdict, chosen, rejected FROM decisions d
        WHERE role = 'adjudicated' AND NOT EXISTS (SELECT 1 FROM decisions r WHERE r.revokes = d.decision_id)
        QUALIFY row_number() OVER (PARTITION BY instruction_id ORDER BY decision_id DESC) = 1)
    SELECT m.instruction_id, f.decision_id, f.verdict, f.chosen, f.rejected, m.marked_by, m.marked_at
    FROM marks m JOIN finals f USING (instruction_id)
    WHERE NOT m.withdrawn AND NOT EXISTS (SELECT 1 FROM decisions r WHERE r.revokes = m.decision_id);
"""


def m012_gold(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_GOLD)


_VOTES = """
-- Why somebody rejected an answer, of votes that came with a file: their `reason` in decisions says that they did.
CREATE TABLE imported_reasons (decision_id BIGINT, reason VARCHAR);
-- As before; but a skip or a flag is no vote: it counts as what stands only where nobody said anything else.
CREATE OR REPLACE VIEW current_decisions AS
    WITH outcomes AS (
        SELECT *, coalesce(role = 'adjudicated', false) AS final, verdict NOT IN ('skip', 'flag') AS votes,
               CASE WHEN verdict IN ('accept', 'override') THEN chosen || '>' || rejected ELSE 'out' END AS outcome
        FROM standing_decisions),
    counted AS (
        SELECT *, count(*) OVER (PARTITION BY instruction_id, outcome, final, votes) AS same,
               count(*) OVER (PARTITION BY instruction_id, final, votes) AS voters
        FROM outcomes)
    SELECT * EXCLUDE (same, voters, outcome, final, votes), final OR same * 2 > voters AS agreed FROM counted
    QUALIFY row_number() OVER (
        PARTITION BY instruction_id
        ORDER BY final DESC, CASE WHEN final THEN true ELSE votes END DESC, CASE WHEN final THEN 0 ELSE same END DESC,
                 decision_id DESC) = 1;
"""


def m013_votes(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_VOTES)


_PLACES = """
-- A redo puts a decision back where it was among its annotator's: before those that were made since. `original`: the
-- decision that it is equal to, which was itself no redo (none known: of before, when a redo was the newest).
ALTER TABLE redone ADD COLUMN original BIGINT;
-- As before, with `original`: the decision itself, where it redoes none.
CREATE OR REPLACE VIEW standing_decisions AS
    SELECT * EXCLUDE (said_at, decided_here) FROM (
        SELECT *, max(CASE WHEN reason IS DISTINCT FROM 'imported' THEN said_at END)
               OVER (PARTITION BY instruction_id, annotator, role) AS decided_here
        FROM (
            SELECT d.*, coalesce(x.original, d.decision_id) AS original, coalesce(x.said_at, d.decided_at) AS said_at
            FROM decisions d
            LEFT JOIN (SELECT redone.decision_id, original, o.decided_at AS said_at
                       FROM redone JOIN decisions o ON o.decision_id = original) x USING (decision_id)
            WHERE revokes IS NULL AND NOT EXISTS (SELECT 1 FROM decisions r WHERE r.revokes = d.decision_id)))
    QUALIFY row_number() OVER (
        PARTITION BY instruction_id, annotator, role
        ORDER BY coalesce(reason = 'imported' AND decided_at <= decided_here, false), original DESC) = 1;
-- As before; but who says all wrong and who says all right do not say the same, and a skip takes no flag away.
CREATE OR REPLACE VIEW current_decisions AS
    WITH outcomes AS (
        SELECT *, coalesce(role = 'adjudicated', false) AS final, verdict NOT IN ('skip', 'flag') AS votes,
               CASE WHEN verdict IN ('accept', 'override') THEN chosen || '>' || rejected
                    WHEN verdict IN ('skip', 'flag') THEN 'none' ELSE verdict END AS outcome
        FROM standing_decisions),
    counted AS (
        SELECT *, count(*) OVER (PARTITION BY instruction_id, outcome, final, votes) AS same,
               count(*) OVER (PARTITION BY instruction_id, final, votes) AS voters
        FROM outcomes)
    SELECT * EXCLUDE (same, voters, outcome, final, votes), final OR same * 2 > voters AS agreed FROM counted
    QUALIFY row_number() OVER (
        PARTITION BY instruction_id
        ORDER BY final DESC, CASE WHEN final THEN true ELSE votes END DESC, CASE WHEN final THEN 0 ELSE same END DESC,
                 verdict = 'flag' DESC, original DESC) = 1;
CREATE OR REPLACE VIEW gold AS
    WITH marks AS (
        SELECT instruction_id, decision_id, marked_by, marked_at, withdrawn FROM gold_items
        QUALIFY row_number() OVER (PARTITION BY instruction_id ORDER BY rowid DESC) = 1),
    finals AS (
        SELECT instruction_id, decision_id, verdict, chosen, rejected FROM decisions d
        LEFT JOIN redone x USING (decision_id)
        WHERE role = 'adjudicated' AND NOT EXISTS (SELECT 1 FROM decisions r WHERE r.revokes = d.decision_id)
        QUALIFY row_number() OVER (PARTITION BY instruction_id ORDER BY coalesce(x.original, d.decision_id) DESC) = 1)
    SELECT m.instruction_id, f.decision_id, f.verdict, f.chosen, f.rejected, m.marked_by, m.marked_at
    FROM marks m JOIN finals f USING (instruction_id)
    WHERE NOT m.withdrawn AND NOT EXISTS (SELECT 1 FROM decisions r WHERE r.revokes = m.decision_id);
"""


def m014_places(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_PLACES)


_WRITERS = """
-- Who else wrote an answer that a person had written before, word for word: it is theirs too. Only added to.
CREATE TABLE more_writers (candidate_id BIGINT, annotator VARCHAR, written_at TIMESTAMP);
"""


def m015_writers(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_WRITERS)


_OPEN_VIEWS = """
-- What was sent to somebody's browser with scores, picks or others' decisions, once each. Only added to.
CREATE TABLE open_views (annotator VARCHAR, instruction_id BIGINT, seen_at TIMESTAMP);
"""


def m016_open_views(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_OPEN_VIEWS)
