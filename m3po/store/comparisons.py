"""Comparisons of training methods: what was asked for, and which runs belong to each."""

from __future__ import annotations

import json
from collections.abc import Mapping

from m3po.store.connection import Connection, one, rows, scalar
from m3po.store.instructions import now
from m3po.store.runs import as_run
from m3po.types import Run


def add_comparison(con: Connection, options: Mapping, told: Mapping) -> int:
    return scalar(
        con,
        "INSERT INTO comparisons (options, told, created_at) VALUES (?, ?, ?) RETURNING comparison_id",
        [json.dumps(options, sort_keys=True), json.dumps(told), now()],
    )


def add_comparison_run(
    con: Connection,
    comparison: int,
    arm: str,
    seed: int,
    mark: str,
    facts: Mapping,
    train_run: int | None,
    evaluate_run: int,
) -> None:
    con.execute(
        "INSERT INTO comparison_runs VALUES (?, ?, ?, ?, ?, ?, ?)",
        [comparison, arm, seed, mark, train_run, evaluate_run, json.dumps(facts)],
    )


def read_comparison(con: Connection, comparison: int | None = None) -> dict | None:
    """`id`, `options`, `told`, `created_at` of a comparison, without a number the newest; None where there is none."""
    where = "comparison_id = ?" if comparison is not None else "true ORDER BY comparison_id DESC LIMIT 1"
    return _read(con, where, [comparison] if comparison is not None else [])


def comparison_ids(con: Connection) -> list[int]:
    """The newest first."""
    return [row[0] for row in con.execute("SELECT comparison_id FROM comparisons ORDER BY 1 DESC").fetchall()]


def same_comparison(con: Connection, options: Mapping) -> dict | None:
    """The newest one with these options, as read_comparison gives it."""
    where = "options = ? ORDER BY comparison_id DESC LIMIT 1"
    return _read(con, where, [json.dumps(options, sort_keys=True)])


def _read(con: Connection, where: str, parameters: list) -> dict | None:
    row = one(con, f"SELECT * FROM comparisons WHERE {where}", parameters)
    if row is None:
        return None
    told = {name: json.loads(row[name]) for name in ("options", "told")}
    return {"id": row["comparison_id"], "created_at": row["created_at"], **told}


def read_comparison_runs(con: Connection, comparison: int) -> list[dict]:
    """`arm`, `seed`, `mark`, `facts` and the runs `train` (None of the base) and `evaluate`, in the order planned."""
    found = rows(con, "SELECT * FROM comparison_runs WHERE comparison_id = ? ORDER BY rowid", [comparison])
    runs = _runs(con, [row[name] for row in found for name in ("train_run", "evaluate_run")])
    return [_with_runs(row, runs) for row in found]


def arms_of_runs(con: Connection) -> dict[int, str]:
    """Of every training run that is of a comparison, which arm it is and with which seed, in words."""
    sql = "SELECT train_run, arm, seed FROM comparison_runs WHERE train_run IS NOT NULL"
    return {run: f"{arm}, seed {seed}" for run, arm, seed in con.execute(sql).fetchall()}


def finished_marks(con: Connection) -> dict[str, tuple[int, int]]:
    """The training and the evaluation of each mark that some comparison finished; the newest count."""
    sql = (
        "SELECT mark, train_run, evaluate_run FROM comparison_runs"
        " JOIN (SELECT run_id AS train_run, state AS trained FROM runs) USING (train_run)"
        " JOIN (SELECT run_id AS evaluate_run, state AS evaluated FROM runs) USING (evaluate_run)"
        " WHERE trained = 'finished' AND evaluated = 'finished' ORDER BY comparison_id"
    )
    return {mark: (train, evaluate) for mark, train, evaluate in con.execute(sql).fetchall()}


def _with_runs(row: dict, runs: Mapping[int, Run]) -> dict:
    return {
        **{name: row[name] for name in ("arm", "seed", "mark")},
        "facts": json.loads(row["facts"]),
        "train": runs.get(row["train_run"]),
        "evaluate": runs[row["evaluate_run"]],
    }


def _runs(con: Connection, run_ids: list[int | None]) -> dict[int, Run]:
    wanted = [run_id for run_id in run_ids if run_id is not None]
    found = rows(con, "SELECT * FROM runs WHERE run_id IN (SELECT unnest(?::BIGINT[]))", [wanted])
    return {row["run_id"]: as_run(row) for row in found}


def answers_of(con: Connection, run_id: int) -> dict[int, str]:
    """What an evaluation was answered, by instruction."""
    return dict(con.execute("SELECT instruction_id, text FROM answers WHERE run_id = ?", [run_id]).fetchall())


def any_train_truth(con: Connection) -> bool:
    sql = (
        "SELECT count(*) FROM truth JOIN instructions USING (instruction_id)"
        " WHERE split = 'train' AND (answer IS NOT NULL OR objects IS NOT NULL)"
    )
    return scalar(con, sql) > 0
