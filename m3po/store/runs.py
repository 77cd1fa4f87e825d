"""Runs: their state, progress, curves, answers and the pairs they were trained on."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection

import pyarrow as pa

from m3po.store.connection import Connection, registered, rows, scalar
from m3po.store.instructions import now
from m3po.types import Run


def add_run(
    con: Connection,
    kind: str,
    config: dict,
    command: str,
    *,
    parent: int | None = None,
    after: int | None = None,
) -> int:
    """Queue a run. `parent`: the run it belongs to; `after`: the run that must have finished before it starts."""
    return scalar(
        con,
        "INSERT INTO runs (kind, state, config, command, parent_id, after_id, created_at, done, total, unit, message,"
        " event_offset) VALUES (?, 'queued', ?, ?, ?, ?, ?, 0, 0, '', '', 0) RETURNING run_id",
        [kind, json.dumps(config), command, parent, after, now()],
    )


def update_run(con: Connection, run_id: int, **values: object) -> None:
    """Set columns of a run; dicts are stored as JSON."""
    for name in ("config", "result"):
        if isinstance(values.get(name), dict):
            values[name] = json.dumps(values[name])
    names = ", ".join(f"{name} = ?" for name in values)
    con.execute(f"UPDATE runs SET {names} WHERE run_id = ?", [*values.values(), run_id])


def read_runs(con: Connection, kinds: tuple[str, ...] | None = None, limit: int = 50) -> list[Run]:
    """Newest first."""
    where = "WHERE kind IN (SELECT unnest(?::VARCHAR[]))" if kinds else ""
    parameters = [list(kinds)] if kinds else []
    return [
        as_run(row) for row in rows(con, f"SELECT * FROM runs {where} ORDER BY run_id DESC LIMIT {limit}", parameters)
    ]


def read_active(con: Connection) -> list[Run]:
    """Queued and running ones, oldest first."""
    return [as_run(row) for row in rows(con, "SELECT * FROM runs WHERE state IN ('queued', 'running') ORDER BY run_id")]


def score_is_under_way(con: Connection) -> bool:
    """Whether a scoring run is queued or running, or ended a moment ago: its follower is queued right after it."""
    sql = "SELECT count(*) FROM runs WHERE kind = 'score' AND (state IN ('queued', 'running') OR ended_at > ?)"
    return scalar(con, sql, [now() - dt.timedelta(seconds=5)]) > 0


def add_warnings(con: Connection, run_id: int, messages: list[str]) -> None:
    """What a worker left out and why, or warns of, one sentence an item; a resumed one says some of it again."""
    if messages:
        told = {row[0] for row in con.execute("SELECT message FROM run_warnings WHERE run_id = ?", [run_id]).fetchall()}
        fresh = [[run_id, message] for message in dict.fromkeys(messages) if message not in told]
        if fresh:
            con.executemany("INSERT INTO run_warnings VALUES (?, ?)", fresh)


def read_warnings(con: Connection, run_id: int, limit: int = 1000) -> list[str]:
    sql = "SELECT message FROM run_warnings WHERE run_id = ? ORDER BY rowid LIMIT ?"
    return [row[0] for row in con.execute(sql, [run_id, limit]).fetchall()]


def read_run(con: Connection, run_id: int) -> Run | None:
    found = rows(con, "SELECT * FROM runs WHERE run_id = ?", [run_id])
    return as_run(found[0]) if found else None


def claim(con: Connection, run_id: int, state: str, **values: object) -> bool:
    """Move a run from `queued` to `state`, with other `values` at once, unless it is queued no more."""
    sql = "UPDATE runs SET state = ? WHERE run_id = ? AND state = 'queued' RETURNING run_id"
    claimed = bool(con.execute(sql, [state, run_id]).fetchall())
    if claimed and values:
        update_run(con, run_id, **values)
    return claimed


def never_started_after(con: Connection, run_id: int) -> list[int]:
    """Runs that waited for this one, directly or through another, and were put off when it ended."""
    sql = """
        WITH RECURSIVE followers AS (
            SELECT run_id FROM runs WHERE after_id = $run AND state = 'stopped' AND started_at IS NULL
            UNION SELECT r.run_id FROM runs r JOIN followers f ON r.after_id = f.run_id
            WHERE r.state = 'stopped' AND r.started_at IS NULL)
        SELECT run_id FROM followers ORDER BY run_id"""
    return [row[0] for row in con.execute(sql, {"run": run_id}).fetchall()]


def is_wanted(con: Connection, run_id: int, besides: Collection[int]) -> bool:
    """Whether a run that waits or is at work, other than those, begins after this one or is compared with it."""
    sql = """
        SELECT count(*) FROM runs WHERE state IN ('queued', 'running') AND run_id NOT IN (SELECT unnest(?::BIGINT[]))
        AND (after_id = ? OR try_cast(json_extract_string(config, '$.before_run') AS BIGINT) = ?)"""
    return scalar(con, sql, [list(besides), run_id, run_id]) > 0


def after_id(con: Connection, run_id: int) -> int | None:
    return scalar(con, "SELECT after_id FROM runs WHERE run_id = ?", [run_id])


def event_offset(con: Connection, run_id: int) -> int:
    return scalar(con, "SELECT event_offset FROM runs WHERE run_id = ?", [run_id]) or 0


def as_run(row: dict) -> Run:
    left = max(0, (row["total"] or 0) - (row["done"] or 0))
    rate = row["rate"]
    running = row["state"] == "running"
    return Run(
        id=row["run_id"],
        kind=row["kind"],
        state=row["state"],
        config=json.loads(row["config"]),
        created_at=row["created_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        done=row["done"] or 0,
        total=row["total"] or 0,
        unit=row["unit"] or "",
        rate=rate if running else None,
        eta=left / rate if running and rate and left else None,
        message=row["message"] or "",
        result=json.loads(row["result"]) if row["result"] else None,
        parent_id=row["parent_id"],
        command=row["command"] or "",
    )


def add_metrics(con: Connection, run_id: int, points: list[tuple[int, str, float | None]]) -> None:
    """Append (step, name, value) points of the training curves."""
    if not points:
        return
    steps, names, values = zip(*points, strict=True)
    table = pa.table(
        {
            "step": pa.array(steps, pa.int64()),
            "name": pa.array(names, pa.string()),
            "value": pa.array(values, pa.float64()),
        }
    )
    with registered(con, "points", table):
        con.execute("INSERT INTO run_metrics SELECT ?, step, name, value FROM points", [run_id])


def count_metrics(con: Connection, run_id: int) -> int:
    """How many points there are of all curves: another number, other curves."""
    return scalar(con, "SELECT count(*) FROM run_metrics WHERE run_id = ?", [run_id])


def read_metrics(con: Connection, run_id: int, most: int = 0) -> dict[str, list[tuple[int, float | None]]]:
    """Each curve as (step, value) points in step order; a resumed run's later value of a step counts.

    With `most`, about so many points a curve: of a longer one the means of as many steps each, at the last of them.
    """
    sql = """
        WITH latest AS (
            SELECT name, step, last(value ORDER BY rowid) AS value FROM run_metrics WHERE run_id = $run
            GROUP BY name, step),
        width AS (
            SELECT CASE WHEN $most = 0 THEN 1 ELSE greatest(1, ceil(max(step) / $most))::BIGINT END AS steps
            FROM latest)
        SELECT name, max(step), avg(value) FROM latest, width GROUP BY name, (step - 1) // width.steps
        ORDER BY name, max(step)"""
    curves: dict[str, list[tuple[int, float | None]]] = {}
    for name, step, value in con.execute(sql, {"run": run_id, "most": most}).fetchall():
        curves.setdefault(name, []).append((step, value))
    return curves


def written_hashes(con: Connection, out: str) -> set[str]:
    """The SHA-256 of what exports of this workspace wrote to the file `out`."""
    found = rows(con, "SELECT result FROM runs WHERE kind = 'export' AND result IS NOT NULL")
    results = [json.loads(row["result"]) for row in found]
    return {result["sha256"] for result in results if result.get("path") == out and "sha256" in result}


def shard_is_new(con: Connection, run_id: int, name: str) -> bool:
    """Note a shard as ingested; False when it was before (a kill between commit and offset)."""
    if scalar(con, "SELECT count(*) FROM ingested_shards WHERE run_id = ? AND name = ?", [run_id, name]):
        return False
    con.execute("INSERT INTO ingested_shards VALUES (?, ?)", [run_id, name])
    return True


def add_answers(con: Connection, run_id: int, table: pa.Table) -> None:
    """Append the greedy answers of an evaluation."""
    with registered(con, "shard", table):
        con.execute("INSERT INTO answers SELECT ?, instruction_id, text FROM shard", [run_id])


def read_answers(con: Connection, before: int, after: int) -> list[dict]:
    """Answers of two evaluations side by side, of what both answered, in instruction order."""
    return rows(
        con,
        """
        SELECT instruction_id, b.text AS before, a.text AS after
        FROM (SELECT * FROM answers WHERE run_id = $before) b
        JOIN (SELECT * FROM answers WHERE run_id = $after) a USING (instruction_id)
        ORDER BY instruction_id
        """,
        {"before": before, "after": after},
    )


def add_run_pairs(con: Connection, run_id: int, pairs: list[dict]) -> None:
    """Freeze the curated set that a run trains on."""
    table = pa.Table.from_pylist(
        [
            {name: pair[name] for name in ("instruction_id", "chosen", "rejected", "human", "decision_id")}
            for pair in pairs
        ],
        schema=pa.schema(
            [
                ("instruction_id", pa.int64()),
                ("chosen", pa.int64()),
                ("rejected", pa.int64()),
                ("human", pa.bool_()),
                ("decision_id", pa.int64()),
            ]
        ),
    )
    with registered(con, "pairs", table):
        con.execute("INSERT INTO run_pairs SELECT ?, * FROM pairs", [run_id])
