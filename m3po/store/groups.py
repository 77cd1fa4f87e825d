"""Which answers to an instruction mean the same, as a model grouped them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from m3po.store.connection import Connection, registered
from m3po.store.instructions import Images, beside_prompts


def ungrouped(con: Connection, scorer: int, images: Images) -> pa.Table:
    """Prompts with all their answers, where one of several was not grouped by `scorer` yet, as SCORE_INPUT has them."""
    table = con.sql(
        """
        WITH known AS (SELECT DISTINCT candidate_id FROM answer_groups WHERE scorer_id = $scorer)
        SELECT c.instruction_id, list(c.candidate_id ORDER BY c.candidate_id) AS candidate_ids,
               list(c.text ORDER BY c.candidate_id) AS texts, list(false) AS truncated, list(false) AS want_logp,
               list(false) AS want_mas
        FROM candidates c LEFT JOIN known k ON k.candidate_id = c.candidate_id
        GROUP BY c.instruction_id HAVING count(*) > 1 AND count(*) > count(k.candidate_id) ORDER BY c.instruction_id
        """,
        params={"scorer": scorer},
    ).to_arrow_table()
    return beside_prompts(con, table, images)


def ingest_groups(con: Connection, shard: Path, scorer: int, run_id: int) -> int:
    """Append a shard of groups; earlier ones of the same instructions stay stored."""
    table = pq.read_table(shard)
    with registered(con, "shard", table):
        con.execute(
            "INSERT INTO answer_groups SELECT $scorer, instruction_id, candidate_id, same_as, $run FROM shard"
            " WHERE same_as IS NOT NULL",
            {"scorer": scorer, "run": run_id},
        )
    return table.num_rows
