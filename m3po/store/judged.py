"""What scorers say of evaluations' answers; only added to."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from m3po.store.connection import Connection, registered, rows


def add_judged(con: Connection, run_id: int, path: Path) -> None:
    """Append a shard of a judging run: `candidate_id` is the side, rows without MAS are left out."""
    table = pq.read_table(path, columns=["instruction_id", "candidate_id", "mas"])
    with registered(con, "shard", table):
        con.execute(
            "INSERT INTO judged_answers SELECT ?, instruction_id, candidate_id, mas FROM shard WHERE mas IS NOT NULL",
            [run_id],
        )


def read_judged(con: Connection, run_id: int) -> list[dict]:
    """Of each instruction whose two answers were judged: `images` (ids), `first` and `second` (MAS)."""
    return rows(
        con,
        """
        SELECT instruction_id, image_ids AS images, a.mas AS first, b.mas AS second
        FROM (SELECT * FROM judged_answers WHERE run_id = $run AND side = 0) a
        JOIN (SELECT * FROM judged_answers WHERE run_id = $run AND side = 1) b USING (instruction_id)
        JOIN instructions USING (instruction_id) ORDER BY instruction_id
        """,
        {"run": run_id},
    )
