"""The schema: numbered migrations, and a ledger of those that ran. One that has landed never changes."""

from __future__ import annotations

from collections.abc import Callable

import duckdb

from m3po.errors import WorkspaceError
from m3po.store.migrations import making_pairs, reviewing

MIGRATIONS: list[Callable[[duckdb.DuckDBPyConnection], None]] = [
    making_pairs.m001_first,
    making_pairs.m002_ratings,
    making_pairs.m003_samplers,
    making_pairs.m004_judgements,
    making_pairs.m005_given,
    making_pairs.m006_pools,
    reviewing.m007_decision_keys,
    reviewing.m008_auto_accept,
    reviewing.m009_people,
    reviewing.m010_remarks,
    reviewing.m011_redone,
    reviewing.m012_gold,
    reviewing.m013_votes,
    reviewing.m014_places,
    reviewing.m015_writers,
    reviewing.m016_open_views,
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
