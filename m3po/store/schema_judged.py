"""The migration for answers of evaluations that a scorer judged."""

from __future__ import annotations

import duckdb

_JUDGED = """
-- What a scorer says of the answers of two evaluations (the run's config names them): `side` 0 is the first's answer, 1
-- the second's. Equal answers are not judged.
CREATE TABLE judged_answers (run_id BIGINT, instruction_id BIGINT, side TINYINT, mas DOUBLE);
"""


def m021_judged(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_JUDGED)
