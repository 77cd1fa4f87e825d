"""Where candidates come from: the samplers of a workspace, what each gave, and what its server said of it."""

from __future__ import annotations

from m3po.store.connection import Connection, rows


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
