"""The schema, as numbered migrations and a ledger of those that ran. A migration that has landed never changes."""

from __future__ import annotations

import json
from collections.abc import Callable

import duckdb

from m3po.errors import WorkspaceError

_FIRST = """
-- Keys: integer surrogates inside; no index on text (8 million SHA keys would need over 1 GB).
CREATE SEQUENCE image_ids; CREATE SEQUENCE instruction_ids; CREATE SEQUENCE candidate_ids;
CREATE SEQUENCE sampler_ids; CREATE SEQUENCE scorer_ids; CREATE SEQUENCE selection_ids;
CREATE SEQUENCE decision_ids; CREATE SEQUENCE run_ids;

CREATE TABLE sources (source VARCHAR, path VARCHAR, imported_at TIMESTAMP);
CREATE TABLE images (
    image_id BIGINT DEFAULT nextval('image_ids'), sha256 VARCHAR, suffix VARCHAR,
    width INTEGER, height INTEGER, n_bytes BIGINT, split VARCHAR);
CREATE TABLE instructions (
    instruction_id BIGINT DEFAULT nextval('instruction_ids'), source VARCHAR, external_id VARCHAR,
    split VARCHAR, image_ids BIGINT[], system VARCHAR, turns VARCHAR, instruction VARCHAR, content_hash VARCHAR);
-- Truth is read by evaluation alone: no policy, scorer or selection joins this table.
CREATE TABLE truth (instruction_id BIGINT, answer VARCHAR, objects VARCHAR[], category VARCHAR);

CREATE TABLE samplers (
    sampler_id BIGINT DEFAULT nextval('sampler_ids'), fingerprint VARCHAR, config VARCHAR, created_at TIMESTAMP);
CREATE TABLE sampled (sampler_id BIGINT, instruction_id BIGINT, run_id BIGINT);
CREATE TABLE candidates (
    candidate_id BIGINT DEFAULT nextval('candidate_ids'), instruction_id BIGINT, text VARCHAR, same_key VARCHAR,
    origin VARCHAR, finish_reason VARCHAR, annotator VARCHAR, created_at TIMESTAMP);
CREATE TABLE votes (candidate_id BIGINT, sampler_id BIGINT, votes INTEGER);

-- A computed score is never overwritten: another model or other settings make another scorer.
CREATE TABLE scorers (
    scorer_id BIGINT DEFAULT nextval('scorer_ids'), kind VARCHAR, name VARCHAR, fingerprint VARCHAR,
    range_low DOUBLE, range_high DOUBLE, created_at TIMESTAMP);
CREATE TABLE logprobs (
    candidate_id BIGINT, scorer_id BIGINT, run_id BIGINT, logp_sum DOUBLE, n_tokens INTEGER,
    token_ids INTEGER[], token_logps FLOAT[], token_offsets INTEGER[], created_at TIMESTAMP);
CREATE TABLE mas_scores (candidate_id BIGINT, scorer_id BIGINT, run_id BIGINT, mas DOUBLE, created_at TIMESTAMP);
CREATE TABLE active_scorers (kind VARCHAR, scorer_id BIGINT, since TIMESTAMP);

CREATE TABLE selections (
    selection_id BIGINT DEFAULT nextval('selection_ids'), config VARCHAR, logp_scorer BIGINT, mas_scorer BIGINT,
    pairs BIGINT, content_hash VARCHAR, created_at TIMESTAMP);
CREATE TABLE selection_values (
    selection_id BIGINT, instruction_id BIGINT, candidate_id BIGINT, a DOUBLE, b DOUBLE, good DOUBLE, hard DOUBLE);
CREATE TABLE selection_pairs (
    selection_id BIGINT, instruction_id BIGINT, chosen BIGINT, rejected BIGINT,
    m3p_score DOUBLE, logp_margin DOUBLE, mas_gap DOUBLE, no_pair_reason VARCHAR);

-- Append-only. An undo is a row that revokes; what is current is a view.
CREATE TABLE decisions (
    decision_id BIGINT DEFAULT nextval('decision_ids'), instruction_id BIGINT, verdict VARCHAR, chosen BIGINT,
    rejected BIGINT, annotator VARCHAR, decided_at TIMESTAMP, seconds DOUBLE, reason VARCHAR, note VARCHAR,
    selection_id BIGINT, shown VARCHAR, revokes BIGINT);
CREATE VIEW standing_decisions AS
    SELECT * FROM decisions d
    WHERE revokes IS NULL
      AND NOT EXISTS (SELECT 1 FROM decisions r WHERE r.revokes = d.decision_id)
    QUALIFY row_number() OVER (PARTITION BY instruction_id, annotator ORDER BY decision_id DESC) = 1;
-- Where several decided, the majority counts; `agreed` is false where there is none, and the pair stays out.
CREATE VIEW current_decisions AS
    WITH outcomes AS (
        SELECT *, CASE WHEN verdict IN ('accept', 'override') THEN chosen || '>' || rejected ELSE 'out' END AS outcome
        FROM standing_decisions),
    counted AS (
        SELECT *, count(*) OVER (PARTITION BY instruction_id, outcome) AS same,
               count(*) OVER (PARTITION BY instruction_id) AS voters
        FROM outcomes)
    SELECT * EXCLUDE (same, voters, outcome), same * 2 > voters AS agreed FROM counted
    QUALIFY row_number() OVER (PARTITION BY instruction_id ORDER BY same DESC, decision_id DESC) = 1;

CREATE TABLE runs (
    run_id BIGINT DEFAULT nextval('run_ids'), kind VARCHAR, state VARCHAR, config VARCHAR, command VARCHAR,
    parent_id BIGINT, after_id BIGINT, created_at TIMESTAMP, started_at TIMESTAMP, ended_at TIMESTAMP,
    done BIGINT, total BIGINT, unit VARCHAR, rate DOUBLE, message VARCHAR, result VARCHAR, event_offset BIGINT);
CREATE TABLE run_metrics (run_id BIGINT, step BIGINT, name VARCHAR, value DOUBLE);
CREATE TABLE run_warnings (run_id BIGINT, message VARCHAR);
CREATE TABLE ingested_shards (run_id BIGINT, name VARCHAR);
CREATE TABLE run_pairs (
    run_id BIGINT, instruction_id BIGINT, chosen BIGINT, rejected BIGINT, human BOOLEAN, decision_id BIGINT);
CREATE TABLE answers (run_id BIGINT, instruction_id BIGINT, text VARCHAR);
"""


_RATINGS = """
-- What a file says of an answer in numbers, by name (VLFeedback: Helpfulness, ...); the scorer `column:NAME` reads it.
CREATE TABLE ratings (candidate_id BIGINT, name VARCHAR, value DOUBLE);
"""

_GIVEN = """
-- The preference that a data set comes with, to compare with: no review, never undone, no part of current_decisions.
CREATE TABLE given_preferences (
    instruction_id BIGINT, verdict VARCHAR, chosen BIGINT, rejected BIGINT, annotator VARCHAR, given_at TIMESTAMP,
    note VARCHAR, imported_at TIMESTAMP);
-- One an instruction: the first that was imported.
CREATE VIEW given_pairs AS
    SELECT instruction_id, chosen, rejected, annotator, note FROM given_preferences
    WHERE verdict IN ('accept', 'override') AND chosen IS NOT NULL AND rejected IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY instruction_id ORDER BY imported_at, rowid) = 1;
-- As before, but by time: a vote that is imported late is no newer for that.
CREATE OR REPLACE VIEW standing_decisions AS
    SELECT * FROM decisions d
    WHERE revokes IS NULL
      AND NOT EXISTS (SELECT 1 FROM decisions r WHERE r.revokes = d.decision_id)
    QUALIFY row_number() OVER (
        PARTITION BY instruction_id, annotator ORDER BY decided_at DESC, decision_id DESC) = 1;
"""


_SAMPLERS = """
ALTER TABLE samplers ADD COLUMN policy VARCHAR;
-- What a remote policy's server says of its own answer; never a log-prob to pick or train by (those are in logprobs).
CREATE TABLE sampler_logprobs (candidate_id BIGINT, sampler_id BIGINT, logp_sum DOUBLE, n_tokens INTEGER);
"""

_JUDGEMENTS = """
-- The score of an answer's worst part (sentence), where it was judged in parts.
ALTER TABLE mas_scores ADD COLUMN minimum DOUBLE;
-- The statements of an answer that a `claims:` scorer asked its judge about, in their order.
CREATE TABLE claims (
    candidate_id BIGINT, scorer_id BIGINT, number INTEGER, text VARCHAR, p_yes DOUBLE, upheld BOOLEAN);
-- What a weighted mean is made of: the part's weight (they sum to 1) and the range that its values are scaled by.
CREATE TABLE scorer_parts (scorer_id BIGINT, part BIGINT, weight DOUBLE, range_low DOUBLE, range_high DOUBLE);
-- Answers that mean the same, by a scorer of kind `group`; `same_as` is the group's lowest candidate. New answers group
-- an instruction anew: its newest run counts.
CREATE TABLE answer_groups (
    scorer_id BIGINT, instruction_id BIGINT, candidate_id BIGINT, same_as BIGINT, run_id BIGINT);
"""

_POOLS = """
-- What a pick rule sees of the candidates that it may pick, one row an instruction, with their normalised values: kept
-- once for all rules, weights and margins. `reason`: why nothing can be picked. `state`: what it was made from; empty
-- where that is not known. `content`: of each answer, see m3po.store.pools.
CREATE SEQUENCE pool_ids;
CREATE TABLE pools (
    pool_id BIGINT DEFAULT nextval('pool_ids'), logp_scorer BIGINT, mas_scorer BIGINT, normalise VARCHAR,
    allow_truncated BOOLEAN, state VARCHAR, created_at TIMESTAMP);
CREATE TABLE pool_values (
    pool_id BIGINT, instruction_id BIGINT, reason VARCHAR, candidate_ids BIGINT[], mas DOUBLE[], logp_mean DOUBLE[],
    n_tokens INTEGER[], a DOUBLE[], b DOUBLE[], content UBIGINT[]);
ALTER TABLE selections ADD COLUMN pool_id BIGINT;
ALTER TABLE selection_pairs ADD COLUMN chosen_tokens INTEGER;
ALTER TABLE selection_pairs ADD COLUMN rejected_tokens INTEGER;
ALTER TABLE selection_pairs ADD COLUMN chosen_mas DOUBLE;
ALTER TABLE selection_pairs ADD COLUMN rejected_mas DOUBLE;
ALTER TABLE selection_pairs ADD COLUMN chosen_logp_mean DOUBLE;
ALTER TABLE selection_pairs ADD COLUMN rejected_logp_mean DOUBLE;
"""
_PAIR_VALUES = """
UPDATE selection_pairs SET {role}_tokens = l.n_tokens, {role}_logp_mean = l.logp_sum / l.n_tokens
    FROM selections s JOIN logprobs l ON l.scorer_id = s.logp_scorer
    WHERE selection_pairs.selection_id = s.selection_id AND l.candidate_id = selection_pairs.{role};
UPDATE selection_pairs SET {role}_mas = m.mas
    FROM selections s JOIN mas_scores m ON m.scorer_id = s.mas_scorer
    WHERE selection_pairs.selection_id = s.selection_id AND m.candidate_id = selection_pairs.{role};
"""
_POOL_OF_VALUES = """
INSERT INTO pool_values (pool_id, instruction_id, candidate_ids, mas, logp_mean, n_tokens, a, b)
    SELECT $pool, v.instruction_id, list(v.candidate_id ORDER BY v.candidate_id), list(m.mas ORDER BY v.candidate_id),
           list(l.logp_sum / l.n_tokens ORDER BY v.candidate_id), list(l.n_tokens ORDER BY v.candidate_id),
           list(v.a ORDER BY v.candidate_id), list(v.b ORDER BY v.candidate_id)
    FROM selection_values v
    LEFT JOIN mas_scores m ON m.candidate_id = v.candidate_id AND m.scorer_id = $mas
    LEFT JOIN logprobs l ON l.candidate_id = v.candidate_id AND l.scorer_id = $logp
    WHERE v.selection_id = $selection GROUP BY v.instruction_id ORDER BY v.instruction_id
"""


_DECISION_KEYS = """
-- The page's own id of a decision, so that one that is sent again (its answer was lost) is not stored a second time.
-- A table of its own: a view of decisions does not survive another column.
CREATE TABLE decision_keys (instruction_id BIGINT, annotator VARCHAR, client_id VARCHAR, decision_id BIGINT);
"""


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


def _m001_first(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_FIRST)


def _m002_ratings(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_RATINGS)


def _m003_samplers(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_SAMPLERS)
    # The name of an older sampler's policy stands in the runs that it answered in.
    sql = "SELECT DISTINCT s.sampler_id, r.config FROM sampled s JOIN runs r USING (run_id) ORDER BY r.run_id"
    for sampler, config in con.execute(sql).fetchall():
        policy = json.loads(config).get("policy")
        con.execute("UPDATE samplers SET policy = ? WHERE sampler_id = ? AND policy IS NULL", [policy, sampler])


def _m004_judgements(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_JUDGEMENTS)


def _m005_given(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_GIVEN)


def _m006_pools(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_POOLS)
    for role in ("chosen", "rejected"):
        con.execute(_PAIR_VALUES.format(role=role))
    # Selections that differ in weight or margin alone had the same values: they share a pool.
    sums = "SELECT selection_id, count(*), sum(hash(candidate_id, a, b)) FROM selection_values GROUP BY 1"
    values = {selection: rest for selection, *rest in con.execute(sums).fetchall()}
    sql = "SELECT selection_id, config, logp_scorer, mas_scorer, created_at FROM selections ORDER BY 1"
    pools: dict[tuple, int] = {}
    for selection, text, logp, mas, created in con.execute(sql).fetchall():
        config = json.loads(text)
        key = (logp, mas, config.get("normalise", "percentile"), config.get("allow_truncated", False))
        seen = (*key, *values.get(selection, ()))
        if seen not in pools:
            insert = (
                "INSERT INTO pools (logp_scorer, mas_scorer, normalise, allow_truncated, state, created_at)"
                " VALUES (?, ?, ?, ?, '', ?) RETURNING pool_id"
            )
            [(pools[seen],)] = con.execute(insert, [*key, created]).fetchall()
            con.execute(_POOL_OF_VALUES, {"pool": pools[seen], "mas": mas, "logp": logp, "selection": selection})
        con.execute("UPDATE selections SET pool_id = ? WHERE selection_id = ?", [pools[seen], selection])
    con.execute("DROP TABLE selection_values")


def _m007_decision_keys(con: duckdb.DuckDBPyConnection) -> None:
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


def _m008_auto_accept(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_AUTO_ACCEPT)


def _m009_people(con: duckdb.DuckDBPyConnection) -> None:
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


def _m010_remarks(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_REMARKS)


_REDONE = """
-- Which decisions are a redo, of which undo, and by whom. A table of its own: the views of decisions stay as they are.
CREATE TABLE redone (decision_id BIGINT, undo_id BIGINT, annotator VARCHAR);
"""


def _m011_redone(con: duckdb.DuckDBPyConnection) -> None:
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


def _m012_gold(con: duckdb.DuckDBPyConnection) -> None:
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


def _m013_votes(con: duckdb.DuckDBPyConnection) -> None:
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
-- As before; but who says all wrong and who says all right do not say the same.
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
                 original DESC) = 1;
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


def _m014_places(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_PLACES)


_WRITERS = """
-- Who else wrote an answer that a person had written before, word for word: it is theirs too. Only added to.
CREATE TABLE more_writers (candidate_id BIGINT, annotator VARCHAR, written_at TIMESTAMP);
"""


def _m015_writers(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_WRITERS)


_OPEN_VIEWS = """
-- What was sent to somebody's browser with scores, picks or others' decisions, once each. Only added to.
CREATE TABLE open_views (annotator VARCHAR, instruction_id BIGINT, seen_at TIMESTAMP);
"""


def _m016_open_views(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_OPEN_VIEWS)


MIGRATIONS: list[Callable[[duckdb.DuckDBPyConnection], None]] = [
    _m001_first,
    _m002_ratings,
    _m003_samplers,
    _m004_judgements,
    _m005_given,
    _m006_pools,
    _m007_decision_keys,
    _m008_auto_accept,
    _m009_people,
    _m010_remarks,
    _m011_redone,
    _m012_gold,
    _m013_votes,
    _m014_places,
    _m015_writers,
    _m016_open_views,
]


def migrate(con: duckdb.DuckDBPyConnection) -> None:
    """Bring the database to the newest schema, each migration in a transaction of its own.

    Raises WorkspaceError when the database was written by a newer version of the product.
    """
    con.execute("CREATE TABLE IF NOT EXISTS migrations (number INTEGER, name VARCHAR, applied_at TIMESTAMP)")
    applied = con.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchone()[0]
    if applied > len(MIGRATIONS):
        raise WorkspaceError(
            f"This workspace was written by a newer M3PO Studio (schema {applied}, this one knows "
            f"{len(MIGRATIONS)}); update the app."
        )
    for number, migration in enumerate(MIGRATIONS, start=1):
        if number <= applied:
            continue
        con.execute("BEGIN")
        try:
            migration(con)
            con.execute("INSERT INTO migrations VALUES (?, ?, now()::TIMESTAMP)", [number, migration.__name__])
        except BaseException:
            con.execute("ROLLBACK")
            raise
        con.execute("COMMIT")
