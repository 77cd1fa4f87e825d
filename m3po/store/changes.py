"""Whether anything was stored since one last looked, told without reading a row."""

from __future__ import annotations

from m3po.store.connection import Connection, rows

# Every table whose rows are counted somewhere. All are only added to, but for truth, which no count reads, and a
# scorer's range: it is stored before scores by it or with them, so that what was read with another is read again.
_TABLES = (
    "images", "instructions", "candidates", "samplers", "sampled", "votes", "scorers", "active_scorers", "logprobs",
    "mas_scores", "selections", "selection_pairs", "decisions", "given_preferences", "auto_accepts", "excluded_pairs",
)  # fmt: skip


def state_of_store(con: Connection) -> dict[str, int]:
    """How many rows each table has: DuckDB knows that without a scan. Equal states have equal counts and figures."""
    sql = " UNION ALL ".join(f"SELECT {n} AS place, count(*) AS rows FROM {name}" for n, name in enumerate(_TABLES))
    return {_TABLES[row["place"]]: row["rows"] for row in rows(con, sql)}
