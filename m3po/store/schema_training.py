"""Migrations from 17: what is known of pairs before they are trained on."""

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


_SIDES = """
-- Blind votes on the answers of two evaluation runs to one held-out instruction. Only added to: the newest of a person
-- counts. The verdict is of the runs; left: which of the two stood on that side.
CREATE TABLE side_votes (
    first_run BIGINT, second_run BIGINT, instruction_id BIGINT, annotator VARCHAR, verdict VARCHAR, left_side VARCHAR,
    voted_at TIMESTAMP);
"""


def m020_sides(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_SIDES)
