"""Whole tables that are made elsewhere and complete, ids and all: they go in as they are, a batch a statement."""

from __future__ import annotations

import pyarrow as pa

from m3po.store.connection import Connection


def insert_table(con: Connection, name: str, whole_table: pa.Table) -> None:
    """Append `whole_table` to the database's table `name`; its columns are named as there, and those it lacks stay
    empty."""
    columns = ", ".join(whole_table.column_names)
    # DuckDB finds the variable by its name. Registered, the table would be a view, which an open transaction keeps with
    # all that the table holds until it ends: a selection of a million instructions would keep 600 MB.
    con.execute(f"INSERT INTO {name} ({columns}) SELECT {columns} FROM whole_table")
