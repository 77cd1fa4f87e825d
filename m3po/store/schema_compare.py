"""The migration for comparisons of training methods."""

from __future__ import annotations

import duckdb

_COMPARISONS = """
-- A comparison trains several arms with several seeds; each is an ordinary run of its own, frozen when it was queued.
-- `options`: JSON, what was asked for; `told`: JSON, what was planned: pairs, steps, what is left out.
CREATE SEQUENCE comparison_ids;
CREATE TABLE comparisons (
    comparison_id BIGINT DEFAULT nextval('comparison_ids'), options VARCHAR, told VARCHAR, created_at TIMESTAMP);
-- `mark`: what the run begins with and trains on; equal marks are equal runs. `facts`: JSON, what its pairs are worth.
CREATE TABLE comparison_runs (
    comparison_id BIGINT, arm VARCHAR, seed INTEGER, mark VARCHAR, train_run BIGINT, evaluate_run BIGINT,
    facts VARCHAR);
"""


def m019_comparisons(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_COMPARISONS)
