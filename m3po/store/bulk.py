"""Whole tables that are made elsewhere and complete, ids and all: they go in as they are, a batch a statement."""

from __future__ import annotations

import pyarrow as pa

from m3po.store.connection import Connection, registered


def insert_table(con: Connection, name: str, table: pa.Table) -> None:
    """Append `table` to the database's table `name`; its columns are named as there, and those it lacks stay empty."""
    columns = ", ".join(table.column_names)
    with registered(con, "whole_table", table):
        con.execute(f"INSERT INTO {name} ({columns}) SELECT {columns} FROM whole_table")
