"""Migrations from 17: what is known of pairs before they are trained on, and what runs did to them."""

from __future__ import annotations

import duckdb

_PAIRS = """
-- What a check of a training set (a run of kind preflight) found, one row a finding; pairs without one have no row.
CREATE TABLE pair_findings (
    run_id BIGINT, instruction_id BIGINT, chosen BIGINT, rejected BIGINT, kind VARCHAR, detail VARCHAR);
-- Pairs that are left out of training sets and pair exports. Only added to: the newest row of a pair counts. Another
-- pair of the same instruction is not excluded by it.
CREATE TABLE excluded_pairs (
    instruction_id BIGINT, chosen BIGINT, rejected BIGINT, why VARCHAR, excluded_by VARCHAR, excluded_at TIMESTAMP,
    withdrawn BOOLEAN);
CREATE VIEW standing_exclusions AS
    SELECT * EXCLUDE (withdrawn) FROM (
        SELECT * FROM excluded_pairs
        QUALIFY row_number() OVER (PARTITION BY instruction_id, chosen, rejected ORDER BY rowid DESC) = 1)
    WHERE NOT withdrawn;
"""


def m017_pairs(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_PAIRS)


_LINEAGE = """
-- What a training run did to each pair that it learned from: its log-prob margin (sum over the chosen answer's tokens
-- less that of the rejected one, nats) by the reference and after the run, and beta times what it gained; NULL where
-- the model gave no finite number. A run's rows are added together, in the order of instructions.
CREATE TABLE pair_changes (
    run_id BIGINT, instruction_id BIGINT, chosen BIGINT, rejected BIGINT, margin_before DOUBLE, margin_after DOUBLE,
    reward_margin DOUBLE);
-- The runs whose pair_changes are there, each once.
CREATE TABLE measured_runs (run_id BIGINT, pairs BIGINT, measured_at TIMESTAMP);
-- The decisions that stood when a run's pairs were frozen, those that kept a pair out with them; a row of `decisions`
-- never changes. `agreed`: whether its item's voters agree on it; NULL where another one speaks for the item.
CREATE TABLE run_decisions (run_id BIGINT, instruction_id BIGINT, decision_id BIGINT, agreed BOOLEAN);
-- Of older runs only those that gave a pair are known.
INSERT INTO run_decisions
    SELECT run_id, instruction_id, decision_id, true FROM run_pairs WHERE decision_id IS NOT NULL;
"""


def m018_lineage(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_LINEAGE)


_SIDES = """
-- Blind votes on the answers of two evaluation runs to one held-out instruction. Only added to: the newest of a person
-- counts. The verdict is of the runs; left: which of the two stood on that side.
CREATE TABLE side_votes (
    first_run BIGINT, second_run BIGINT, instruction_id BIGINT, annotator VARCHAR, verdict VARCHAR, left_side VARCHAR,
    voted_at TIMESTAMP);
"""


def m020_sides(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_SIDES)
