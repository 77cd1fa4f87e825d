"""Where candidates come from: the samplers of a workspace, what each gave, and what its server said of it."""

from __future__ import annotations

import pyarrow as pa

from m3po.store.candidates import active_scorer
from m3po.store.connection import Connection, rows
from m3po.store.instructions import Images, prompts


def samplers_of(con: Connection, candidate_ids: list[int]) -> dict[int, list[dict]]:
    """By candidate, in sampler order: `sampler` (id), `policy`, `votes`, and `logp_sum`, `n_tokens` as a remote
    policy's server told them, else None."""
    found: dict[int, list[dict]] = {}
    sql = """
        SELECT v.candidate_id, v.sampler_id AS sampler, s.policy, v.votes, l.logp_sum, l.n_tokens
        FROM (SELECT * FROM votes WHERE candidate_id IN (SELECT unnest($ids::BIGINT[]))) v
        JOIN samplers s USING (sampler_id)
        LEFT JOIN sampler_logprobs l ON l.candidate_id = v.candidate_id AND l.sampler_id = v.sampler_id
        ORDER BY v.candidate_id, v.sampler_id
    """
    for row in rows(con, sql, {"ids": candidate_ids}):
        found.setdefault(row.pop("candidate_id"), []).append(row)
    return found


def pilot_ids(con: Connection, count: int, seed: int) -> list[int]:
    """`count` train instructions from all over the workspace, drawn by `seed`, in id order."""
    sql = """
        SELECT instruction_id FROM (
            SELECT instruction_id FROM instructions WHERE split = 'train'
            ORDER BY md5(?::VARCHAR || ':pilot:' || instruction_id), instruction_id LIMIT ?)
        ORDER BY instruction_id
    """
    return [row[0] for row in con.execute(sql, [seed, count]).fetchall()]


def unsampled_of(con: Connection, sampler: int, ids: list[int], images: Images) -> pa.Table:
    """Prompts of those instructions that this sampler has not answered yet."""
    done = {
        row[0] for row in con.execute("SELECT instruction_id FROM sampled WHERE sampler_id = ?", [sampler]).fetchall()
    }
    return prompts(con, [i for i in ids if i not in done], images)


def answers_of(con: Connection, sampler: int, ids: list[int]) -> dict[int, list[dict]]:
    """What this sampler answered to each of the instructions, with votes and the active scorers' scores."""
    sql = """
        SELECT c.instruction_id, c.candidate_id, v.votes, m.mas, l.logp_sum, l.n_tokens,
               coalesce(c.finish_reason = 'length', false) AS truncated
        FROM votes v JOIN candidates c USING (candidate_id)
        LEFT JOIN logprobs l ON l.candidate_id = c.candidate_id AND l.scorer_id = $logp
        LEFT JOIN mas_scores m ON m.candidate_id = c.candidate_id AND m.scorer_id = $mas
        WHERE v.sampler_id = $sampler AND c.instruction_id IN (SELECT unnest($ids::BIGINT[]))
        ORDER BY c.instruction_id, c.candidate_id
    """
    wanted = {"sampler": sampler, "ids": ids, "logp": active_scorer(con, "logp"), "mas": active_scorer(con, "mas")}
    found: dict[int, list[dict]] = {}
    for row in rows(con, sql, wanted):
        found.setdefault(row["instruction_id"], []).append(row)
    return found
