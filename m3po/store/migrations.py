"""The schema: numbered migrations, and a ledger of those that ran. One that has landed never changes."""

from __future__ import annotations

from collections.abc import Callable

import duckdb

from m3po.errors import WorkspaceError
from m3po.store import schema_compare, schema_judged, schema_pairs, schema_review, schema_training

MIGRATIONS: list[Callable[[duckdb.DuckDBPyConnection], None]] = [
    schema_pairs.m001_first,
    schema_pairs.m002_ratings,
    schema_pairs.m003_samplers,
    schema_pairs.m004_judgements,
    schema_pairs.m005_given,
    schema_pairs.m006_pools,
    schema_review.m007_decision_keys,
    schema_review.m008_auto_accept,
    schema_review.m009_people,
    schema_review.m010_remarks,
    schema_review.m011_redone,
    schema_review.m012_gold,
    schema_review.m013_votes,
    schema_review.m014_places,
    schema_review.m015_writers,
    schema_review.m016_open_views,
    schema_training.m017_pairs,
    schema_training.m018_lineage,
    schema_compare.m019_comparisons,
    schema_training.m020_sides,
    schema_judged.m021_judged,
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


def made_at(con: duckdb.DuckDBPyConnection) -> str:
    """When the database was made, in UTC: another one in the same place was made at another time."""
    return str(con.execute("SELECT min(applied_at) FROM migrations").fetchall()[0][0])
