"""Where candidates come from: the samplers of a workspace, what each gave, and what its server said of it."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pyarrow as pa

from m3po.remote_spec import parse_remote
from m3po.store.connection import Connection, among, rows
from m3po.store.instructions import Images, prompts


def samplers_of(con: Connection, candidate_ids: list[int]) -> dict[int, list[dict]]:
    """By candidate, in sampler order: `sampler` (id), `policy`, `settings`, `votes`, and `logp_sum`, `n_tokens` as a
    remote policy's server told them, else None."""
    found: dict[int, list[dict]] = {}
    of_these = among("candidate_id", candidate_ids)
    sql = f"""
        SELECT v.candidate_id, v.sampler_id AS sampler, s.policy, s.config AS settings, v.votes, l.logp_sum, l.n_tokens
        FROM (SELECT * FROM votes WHERE {of_these}) v
        JOIN samplers s USING (sampler_id)
        LEFT JOIN (SELECT * FROM sampler_logprobs WHERE {of_these}) l
          ON l.candidate_id = v.candidate_id AND l.sampler_id = v.sampler_id
        ORDER BY v.candidate_id, v.sampler_id
    """
    for row in rows(con, sql):
        row["settings"] = json.loads(row["settings"])
        found.setdefault(row.pop("candidate_id"), []).append(row)
    return found


def sampler_names(con: Connection) -> dict[int, str]:
    """Every sampler in a few words, by its number."""
    found = con.execute("SELECT sampler_id, policy, config FROM samplers").fetchall()
    return {number: name_sampler(policy, json.loads(config)) for number, policy, config in found}


def name_sampler(policy: str | None, settings: dict) -> str:
    """A sampler in a few words, as in `llava-1.5-7b-hf, K 8, T 1.0`; what is not always the same is named."""
    remote = parse_remote(policy)
    if remote:
        words = [f"{remote.model.rpartition('/')[2]} at {urlsplit(remote.url).netloc}"]
    else:
        words = [(policy or "unknown policy").rstrip("/").rpartition("/")[2]]
    words += [f"K {settings.get('k', '?')}", f"T {settings.get('temperature', '?')}"]
    if settings.get("top_p", 1.0) != 1.0:
        words.append(f"top-p {settings['top_p']}")
    if settings.get("adapter"):
        words.append(f"adapter {settings['adapter'].rstrip('/').rpartition('/')[2]}")
    if settings.get("seed"):
        words.append(f"seed {settings['seed']}")
    words += [f"{name} {settings[name]!r:.40}" for name in ("system", "prompt") if settings.get(name)]
    return ", ".join(words)


def list_samplers(con: Connection, selection: int | None) -> list[dict]:
    """Every sampler that gave something, and what: `instructions`, `answers` (votes), `distinct` ones, and
    `pair_share`: of its instructions that the selection could pick for, those whose pair it gave both sides of (None
    where there are none: what was sampled since waits for the next selection). Oldest first."""
    sql = """
        WITH given AS (
            SELECT sampler_id, sum(votes)::BIGINT AS answers, count(*) AS distinct_answers
            FROM votes GROUP BY sampler_id),
        asked AS (SELECT sampler_id, count(*) AS instructions FROM sampled GROUP BY sampler_id),
        picked AS (
            SELECT sampler_id, count(*) AS instructions FROM sampled JOIN selection_pairs p USING (instruction_id)
            WHERE p.selection_id = $selection
              AND coalesce(p.no_pair_reason, '') NOT IN ('no_candidates', 'no_mas', 'no_logprob') GROUP BY sampler_id),
        paired AS (
            SELECT c.sampler_id, count(*) AS pairs FROM selection_pairs p
            JOIN votes c ON c.candidate_id = p.chosen
            JOIN votes r ON r.candidate_id = p.rejected AND r.sampler_id = c.sampler_id
            WHERE p.selection_id = $selection GROUP BY c.sampler_id)
        SELECT s.sampler_id AS sampler, s.policy, s.fingerprint, s.config AS settings, s.created_at,
               coalesce(a.instructions, 0) AS instructions, coalesce(g.answers, 0) AS answers,
               coalesce(g.distinct_answers, 0) AS distinct_answers,
               CASE WHEN k.instructions > 0 THEN coalesce(p.pairs, 0)::DOUBLE / k.instructions END AS pair_share
        FROM samplers s LEFT JOIN asked a USING (sampler_id) LEFT JOIN given g USING (sampler_id)
        LEFT JOIN picked k USING (sampler_id) LEFT JOIN paired p USING (sampler_id)
        WHERE a.instructions > 0 OR g.answers > 0 ORDER BY s.sampler_id
    """
    found = rows(con, sql, {"selection": selection})
    for row in found:
        row["settings"] = json.loads(row["settings"])
        row["name"] = name_sampler(row["policy"], row["settings"])
        row["distinct"] = row.pop("distinct_answers")
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


def answers_of(
    con: Connection, sampler: int, ids: list[int], logp: int | None, mas: int | None
) -> dict[int, list[dict]]:
    """What this sampler answered to each of the instructions, with votes and the scores by scorers `logp` and `mas`."""
    sql = """
        SELECT c.instruction_id, c.candidate_id, v.votes, m.mas, l.logp_sum, l.n_tokens,
               coalesce(c.finish_reason = 'length', false) AS truncated
        FROM votes v JOIN candidates c USING (candidate_id)
        LEFT JOIN logprobs l ON l.candidate_id = c.candidate_id AND l.scorer_id = $logp
        LEFT JOIN mas_scores m ON m.candidate_id = c.candidate_id AND m.scorer_id = $mas
        WHERE v.sampler_id = $sampler AND c.instruction_id IN (SELECT unnest($ids::BIGINT[]))
        ORDER BY c.instruction_id, c.candidate_id
    """
    wanted = {"sampler": sampler, "ids": ids, "logp": logp, "mas": mas}
    found: dict[int, list[dict]] = {}
    for row in rows(con, sql, wanted):
        found.setdefault(row["instruction_id"], []).append(row)
    return found
