"""A table that goes in whole is let go of at once, not when the transaction ends."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import workspaces

from m3po.store.bulk import insert_table


@pytest.fixture
def database(tmp_path):
    database = workspaces.open_database(tmp_path)
    yield database
    database.close()


def test_what_went_in_is_not_kept_until_the_transaction_ends(database) -> None:
    size = 250_000

    def change(con) -> list[int]:
        held = []
        for n in range(3):
            ids = pc.add(pa.array(np.arange(size)), n * size)  # 2 MB of Arrow's own memory
            before = pa.total_allocated_bytes() - ids.nbytes
            insert_table(con, "audit_items", pa.table({"audit_id": np.full(size, 1), "instruction_id": ids}))
            del ids
            held.append(pa.total_allocated_bytes() - before)
        return held

    assert max(database.write(change)) < size  # bytes, of two millions
    sql = "SELECT count(*), count(DISTINCT instruction_id), max(audit_id) FROM audit_items"
    [found] = database.read(lambda con: con.execute(sql).fetchall())
    assert found == (3 * size, 3 * size, 1)


def test_columns_go_by_name_and_the_others_stay_empty(database) -> None:
    def change(con) -> list[tuple]:
        con.execute("CREATE TABLE plain (a BIGINT, b VARCHAR, c DOUBLE)")
        insert_table(con, "plain", pa.table({"c": [0.5, 1.5], "a": [1, 2]}))
        return con.execute("SELECT * FROM plain ORDER BY a").fetchall()

    assert database.write(change) == [(1, None, 0.5), (2, None, 1.5)]
