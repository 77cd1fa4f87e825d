"""Migrations 1 to 6: what is imported, sampled, scored and selected, and the first decisions."""

from __future__ import annotations

import json

import duckdb

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


def m001_first(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_FIRST)


_RATINGS = """
-- What a file says of an answer in numbers, by name (VLFeedback: Helpfulness, ...); the scorer `column:NAME` reads it.
CREATE TABLE ratings (candidate_id BIGINT, name VARCHAR, value DOUBLE);
"""


def m002_ratings(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_RATINGS)


_SAMPLERS = """
ALTER TABLE samplers ADD COLUMN policy VARCHAR;
-- What a remote policy's server says of its own answer; never a log-prob to pick or train by (those are in logprobs).
CREATE TABLE sampler_logprobs (candidate_id BIGINT, sampler_id BIGINT, logp_sum DOUBLE, n_tokens INTEGER);
"""


def m003_samplers(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_SAMPLERS)
    # The name of an older sampler's policy stands in the runs that it answered in.
    sql = "SELECT DISTINCT s.sampler_id, r.config FROM sampled s JOIN runs r USING (run_id) ORDER BY r.run_id"
    for sampler, config in con.execute(sql).fetchall():
        policy = json.loads(config).get("policy")
        con.execute("UPDATE samplers SET policy = ? WHERE sampler_id = ? AND policy IS NULL", [policy, sampler])


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


def m004_judgements(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_JUDGEMENTS)


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


def m005_given(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_GIVEN)


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


def m006_pools(con: duckdb.DuckDBPyConnection) -> None:
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
