"""Pairs that people took out of training: added and taken back by rows alone, so that nothing is ever lost.

What is excluded is a pair, not its instruction: an override makes another pair, which trains.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from m3po.store.bulk import insert_table
from m3po.store.connection import Connection, among, one, rows, scalar
from m3po.store.instructions import now

PairKey = tuple[int, int, int]  # instruction, chosen, rejected


def exclude_pairs(con: Connection, reasons: dict[PairKey, str], annotator: str) -> int:
    """Leave these pairs out from now on, each with why; how many were not excluded before."""
    standing = excluded_keys(con)
    fresh = [key for key in reasons if key not in standing]
    _add(con, fresh, [reasons[key] for key in fresh], annotator, withdrawn=False)
    return len(fresh)


def excluded_keys(con: Connection) -> set[PairKey]:
    return set(con.execute("SELECT instruction_id, chosen, rejected FROM standing_exclusions").fetchall())


def include_pairs(con: Connection, instruction_ids: Sequence[int], annotator: str) -> int:
    """Take back every exclusion that stands on these instructions; how many there were."""
    wanted = among("instruction_id", instruction_ids)
    keys = con.execute(f"SELECT instruction_id, chosen, rejected FROM standing_exclusions WHERE {wanted}").fetchall()
    _add(con, keys, [""] * len(keys), annotator, withdrawn=True)
    return len(keys)


def excluded_unfound(con: Connection, run_id: int) -> list[int]:
    """Instructions with an excluded pair in which the check `run_id` found nothing: another model's check did, say."""
    sql = (
        "SELECT DISTINCT instruction_id FROM standing_exclusions ANTI JOIN"
        " (SELECT * FROM pair_findings WHERE run_id = ?) f USING (instruction_id, chosen, rejected) ORDER BY 1"
    )
    return [row[0] for row in con.execute(sql, [run_id]).fetchall()]


def _add(con: Connection, keys: Sequence[PairKey], why: list[str], annotator: str, *, withdrawn: bool) -> None:
    if not keys:
        return
    at = now()
    columns = dict(zip(("instruction_id", "chosen", "rejected"), map(list, zip(*keys, strict=True)), strict=True))
    columns |= {"why": why, "excluded_by": [annotator] * len(keys), "excluded_at": [at] * len(keys)}
    insert_table(con, "excluded_pairs", pa.table(columns | {"withdrawn": [withdrawn] * len(keys)}))


def exclusions_of(con: Connection, instruction_ids: Iterable[int]) -> dict[int, tuple[tuple[int, int, str], ...]]:
    """Of those instructions that have excluded pairs: chosen, rejected, and why and by whom."""
    if not any_excluded(con):
        return {}
    found: dict[int, tuple[tuple[int, int, str], ...]] = {}
    for row in rows(con, f"SELECT * FROM standing_exclusions WHERE {among('instruction_id', instruction_ids)}"):
        said = (row["chosen"], row["rejected"], f"{row['why']} (by {row['excluded_by']})")
        found[row["instruction_id"]] = (*found.get(row["instruction_id"], ()), said)
    return found


def any_excluded(con: Connection) -> bool:
    """Told without reading a row, for nearly always there is none."""
    return state(con) > 0


def state(con: Connection) -> int:
    """Changes whenever something was excluded or taken back."""
    return scalar(con, "SELECT count(*) FROM excluded_pairs")


def count_excluded(con: Connection, selection: int | None, least: float | None) -> dict[str, int]:
    """Of the excluded pairs those that would train else: `human` (`overridden` of them) where people decided, and
    `machine`: those of the selection where nobody did, with an M3P-Score from `least` on (-1: any; None: none)."""
    if not any_excluded(con):
        return {"human": 0, "overridden": 0, "machine": 0}
    return one(
        con,
        """
        WITH decided AS (
            SELECT * FROM current_decisions
            WHERE instruction_id IN (SELECT instruction_id FROM standing_exclusions))
        SELECT count(*) FILTER (d.agreed AND d.verdict IN ('accept', 'override')
                                AND d.chosen = e.chosen AND d.rejected = e.rejected) AS human,
               count(*) FILTER (d.agreed AND d.verdict = 'override'
                                AND d.chosen = e.chosen AND d.rejected = e.rejected) AS overridden,
               count(*) FILTER (d.decision_id IS NULL AND p.chosen = e.chosen AND p.rejected = e.rejected
                                AND ($least = -1 OR p.m3p_score >= $least)) AS machine
        FROM standing_exclusions e JOIN instructions i ON i.instruction_id = e.instruction_id AND i.split = 'train'
        LEFT JOIN decided d ON d.instruction_id = e.instruction_id
        LEFT JOIN selection_pairs p ON p.instruction_id = e.instruction_id AND p.selection_id = $selection
        """,
        {"selection": selection, "least": least},
    )
