"""What checks of training sets found, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from m3po.store.bulk import insert_table
from m3po.store.connection import Connection, among, registered, rows, rows_among, scalar


def add_findings(con: Connection, run_id: int, shard: Path) -> None:
    """Of a shard of PREFLIGHT_OUTPUT what was found, once however often it is told."""
    found = [
        {"run_id": run_id, "instruction_id": row["instruction_id"], "chosen": row["chosen_id"]}
        | {"rejected": row["rejected_id"], **finding}
        for row in pq.read_table(shard).to_pylist()
        for finding in row["findings"]
    ]
    if found:
        insert_table(con, "pair_findings", pa.Table.from_pylist(found))


def count_findings(con: Connection, run_id: int, kinds: Sequence[str] = ()) -> int:
    """How many findings of these kinds (none named: of any) a check has."""
    where, parameters = _where(run_id, kinds)
    return scalar(con, f"SELECT count(*) FROM pair_findings f WHERE {where}", parameters)


def tally(con: Connection, run_id: int) -> dict[str, dict[str, int]]:
    """By kind how many pairs were `found`, and how many of those are `excluded` now."""
    found = rows(
        con,
        "SELECT kind, count(*) AS found, count(e.instruction_id) AS excluded FROM pair_findings f"
        " LEFT JOIN standing_exclusions e USING (instruction_id, chosen, rejected) WHERE run_id = ? GROUP BY kind",
        [run_id],
    )
    return {row.pop("kind"): row for row in found}


def read_findings(con: Connection, run_id: int, kinds: Sequence[str], limit: int, offset: int) -> list[dict]:
    """`instruction_id, source, id, chosen, rejected, kind, detail` (ids of candidates) with `excluded`: whether that
    pair is left out of training, in the order of the instructions."""
    where, parameters = _where(run_id, kinds)
    found = rows(
        con,
        "SELECT f.* EXCLUDE (run_id), e.instruction_id IS NOT NULL AS excluded FROM pair_findings f"
        " LEFT JOIN standing_exclusions e USING (instruction_id, chosen, rejected)"
        f" WHERE {where} ORDER BY f.instruction_id, f.kind LIMIT ? OFFSET ?",
        [*parameters, limit, offset],
    )
    sql = "SELECT instruction_id, source, external_id AS id FROM instructions WHERE"
    named = rows_among(con, sql, "instruction_id", [row["instruction_id"] for row in found])
    by_id = {row["instruction_id"]: row for row in named}
    return [row | by_id.get(row["instruction_id"], {}) for row in found]


def found_pairs(
    con: Connection, run_id: int, kinds: Sequence[str] = (), instruction_ids: Sequence[int] = ()
) -> list[tuple[int, int, int, str, str]]:
    """(instruction, chosen, rejected, kind, detail) of every finding that is of these kinds and on these instructions;
    none named: of any. A pair's findings follow each other."""
    where, parameters = _where(run_id, kinds)
    if instruction_ids:
        where += f" AND {among('instruction_id', instruction_ids)}"
    sql = f"SELECT instruction_id, chosen, rejected, kind, detail FROM pair_findings f WHERE {where} ORDER BY ALL"
    return con.execute(sql, parameters).fetchall()


def without_left_out(con: Connection, run_id: int, checked: pa.Table, kinds: Sequence[str]) -> pa.Table:
    """Of rows of PREFLIGHT_OUTPUT those that train: not excluded now, and without a finding of these kinds."""
    same = "c.instruction_id = o.instruction_id AND c.chosen_id = o.chosen AND c.rejected_id = o.rejected"
    found = "SELECT * FROM pair_findings WHERE run_id = $run AND kind IN (SELECT unnest($kinds::VARCHAR[]))"
    with registered(con, "checked_pairs", checked):
        return con.sql(
            f"SELECT c.* FROM checked_pairs c ANTI JOIN standing_exclusions o ON {same} ANTI JOIN ({found}) o ON {same}"
            " ORDER BY c.instruction_id",
            params={"run": run_id, "kinds": list(kinds)},
        ).to_arrow_table()


def _where(run_id: int, kinds: Sequence[str]) -> tuple[str, list]:
    if not kinds:
        return "f.run_id = ?", [run_id]
    return "f.run_id = ? AND f.kind IN (SELECT unnest(?::VARCHAR[]))", [run_id, list(kinds)]
