"""Candidates, votes and scores: what jobs compute, appended with where it came from."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from m3po.store.connection import Connection, one, registered, scalar
from m3po.store.instructions import Images, beside_prompts, now, prompts
from m3po.store.writers import add_writer
from m3po.text import earlier_fingerprint, same_answer_key


def sampler_id(con: Connection, fingerprint: str, config: dict, policy: str | None = None) -> int:
    """The sampler with this model and these settings; made when there is none yet. `policy` is what people call it."""
    text = json.dumps(config, sort_keys=True)
    found = _known(con, "sampler", fingerprint, "config", text)
    if found is not None:
        return found
    return scalar(
        con,
        "INSERT INTO samplers (fingerprint, config, policy, created_at) VALUES (?, ?, ?, ?) RETURNING sampler_id",
        [fingerprint, text, policy, now()],
    )


def _known(con: Connection, table: str, fingerprint: str, column: str, value: str) -> int | None:
    """The sampler or scorer with this fingerprint; one of an earlier version is known by the longer one from now on."""
    sql = f"SELECT {table}_id FROM {table}s WHERE fingerprint = ? AND {column} = ?"
    found = scalar(con, sql, [fingerprint, value])
    if found is None and earlier_fingerprint(fingerprint) != fingerprint:
        found = scalar(con, sql, [earlier_fingerprint(fingerprint), value])
        if found is not None:
            con.execute(f"UPDATE {table}s SET fingerprint = ? WHERE {table}_id = ?", [fingerprint, found])
    return found


def unsampled(con: Connection, sampler: int, limit: int, images: Images) -> pa.Table:
    """Prompts of the train split that this sampler has not answered yet, at most `limit` (0 = all) in all.

    The limit counts those it answered before: `limit 100` twice samples 100, not 200.
    """
    ids = con.execute(
        "SELECT instruction_id FROM instructions WHERE split = 'train' ORDER BY instruction_id"
        + (f" LIMIT {int(limit)}" if limit else "")
    ).fetchall()
    done = con.execute("SELECT instruction_id FROM sampled WHERE sampler_id = ?", [sampler]).fetchall()
    done_ids = {row[0] for row in done}
    return prompts(con, [row[0] for row in ids if row[0] not in done_ids], images)


def ingest_samples(con: Connection, shard: Path, sampler: int, run_id: int) -> int:
    """Merge a shard of answers: a new text is a new candidate, a known one gets this sampler's votes.

    What another run of the same sampler answered meanwhile (an old run that is resumed) is not counted again.
    """
    table = pq.read_table(shard)
    others = con.execute(
        "SELECT instruction_id FROM sampled WHERE sampler_id = ? AND run_id <> ?", [sampler, run_id]
    ).fetchall()
    if others:
        known = pc.is_in(table.column("instruction_id"), pa.array([row[0] for row in others], pa.int64()))
        table = table.filter(pc.invert(known))
    keys = [same_answer_key(text) for text in table.column("text").to_pylist()]
    table = table.append_column("same_key", pa.array(keys, pa.string()))
    with registered(con, "shard", table):
        con.execute(
            """
            INSERT INTO candidates (instruction_id, text, same_key, origin, finish_reason, created_at)
            SELECT instruction_id, arg_min(text, rank), same_key, 'sampled',
                   -- one complete sample of a text is enough to know that it ends there
                   CASE WHEN bool_or(finish_reason = 'stop') THEN 'stop' ELSE 'length' END, $now
            FROM (SELECT *, row_number() OVER () AS rank FROM shard) s
            WHERE NOT EXISTS (SELECT 1 FROM candidates c
                              WHERE c.instruction_id = s.instruction_id AND c.same_key = s.same_key)
            GROUP BY instruction_id, same_key ORDER BY instruction_id, min(rank)
            """,
            {"now": now()},
        )
        con.execute(
            """
            INSERT INTO votes
            SELECT c.candidate_id, $sampler, sum(s.votes)
            FROM shard s JOIN candidates c USING (instruction_id, same_key)
            GROUP BY c.candidate_id
            """,
            {"sampler": sampler},
        )
        if "sampler_logp_sum" in table.column_names:  # an older version's shard has none
            con.execute(
                """
                INSERT INTO sampler_logprobs
                SELECT c.candidate_id, $sampler, s.sampler_logp_sum, s.sampler_n_tokens
                FROM shard s JOIN candidates c USING (instruction_id, same_key)
                WHERE s.sampler_logp_sum IS NOT NULL
                """,
                {"sampler": sampler},
            )
        con.execute(
            "INSERT INTO sampled SELECT DISTINCT $s, instruction_id, $r FROM shard",
            {"s": sampler, "r": run_id},
        )
    return table.num_rows


def add_human(con: Connection, instruction_id: int, text: str, annotator: str) -> int:
    """An answer written by a human; a text that is already a candidate is that candidate, and the annotator's own as
    well. Returns its id."""
    key = same_answer_key(text)
    known = scalar(
        con,
        "SELECT candidate_id FROM candidates WHERE instruction_id = ? AND same_key = ?",
        [instruction_id, key],
    )
    if known is not None:
        add_writer(con, instruction_id, known, annotator)
        return known
    return scalar(
        con,
        "INSERT INTO candidates (instruction_id, text, same_key, origin, annotator, created_at)"
        " VALUES (?, ?, ?, 'human', ?, ?) RETURNING candidate_id",
        [instruction_id, text, key, annotator, now()],
    )


def scorer_id(con: Connection, kind: str, name: str, fingerprint: str) -> int:
    """The scorer of `kind` (logp, mas) with this content; made when there is none yet."""
    found = _known(con, "scorer", fingerprint, "kind", kind)
    if found is not None:
        return found
    return scalar(
        con,
        "INSERT INTO scorers (kind, name, fingerprint, created_at) VALUES (?, ?, ?, ?) RETURNING scorer_id",
        [kind, name, fingerprint, now()],
    )


def longest_answer(con: Connection) -> int | None:
    """Tokens of the longest answer with a log-prob by the active scorer; None when there is none."""
    scorer = active_scorer(con, "logp")
    return scalar(con, "SELECT max(n_tokens) FROM logprobs WHERE scorer_id = ?", [scorer])


def set_scorer_range(con: Connection, scorer: int, low: float | None, high: float | None) -> None:
    con.execute("UPDATE scorers SET range_low = ?, range_high = ? WHERE scorer_id = ?", [low, high, scorer])


def activate(con: Connection, kind: str, scorer: int | None) -> None:
    """Make this the scorer whose values are shown and selected by (None: no scorer's); earlier ones stay stored."""
    if active_scorer(con, kind) != scorer:
        con.execute("INSERT INTO active_scorers VALUES (?, ?, ?)", [kind, scorer, now()])


def activate_scorers(con: Connection, logp: int | None, mas: int | None, *, only_first: bool = False) -> None:
    """Activate both (None: leave as it is); `only_first`: a kind that has an active scorer keeps it."""
    for kind, scorer in (("logp", logp), ("mas", mas)):
        if scorer is not None and not (only_first and active_scorer(con, kind) is not None):
            activate(con, kind, scorer)


def has_unscored_edits(con: Connection, since: dt.datetime) -> bool:
    """Whether a human wrote an answer after `since` that lacks a score by an active scorer."""
    missing = scalar(
        con,
        """
        SELECT count(*) FROM candidates c
        LEFT JOIN logprobs l ON l.candidate_id = c.candidate_id AND l.scorer_id = $logp
        LEFT JOIN mas_scores m ON m.candidate_id = c.candidate_id AND m.scorer_id = $mas
        WHERE c.origin = 'human' AND c.created_at >= $since AND (l.candidate_id IS NULL OR m.candidate_id IS NULL)
        """,
        {"logp": active_scorer(con, "logp"), "mas": active_scorer(con, "mas"), "since": since},
    )
    return missing > 0


def active_scorer(con: Connection, kind: str) -> int | None:
    return scalar(con, "SELECT scorer_id FROM active_scorers WHERE kind = ? ORDER BY since DESC LIMIT 1", [kind])


def active_scorers(con: Connection) -> dict[str, int | None]:
    """Each kind's active scorer; a kind that never had one is not among them."""
    return dict(con.execute("SELECT kind, scorer_id FROM active_scorers ORDER BY since").fetchall())


def scorer_info(con: Connection, scorer: int | None) -> dict | None:
    return one(con, "SELECT * FROM scorers WHERE scorer_id = ?", [scorer]) if scorer is not None else None


def count_without_image(con: Connection, mas: int) -> int:
    """Instructions without an image that have a candidate without a MAS by this scorer."""
    sql = """
        SELECT count(DISTINCT instruction_id) FROM candidates JOIN instructions USING (instruction_id)
        WHERE len(image_ids) = 0 AND candidate_id NOT IN (SELECT candidate_id FROM mas_scores WHERE scorer_id = ?)
    """
    return scalar(con, sql, [mas])


def unscored(
    con: Connection,
    logp: int | None,
    mas: int | None,
    images: Images,
    *,
    needs_image: bool = False,
    among: list[int] | None = None,
    only_edits: bool = False,
) -> pa.Table:
    """Prompts with their candidates that lack the log-prob by scorer `logp` or the MAS by `mas` (None: not wanted);
    `needs_image`: a MAS is wanted only where there is an image; `among`: of these instructions alone; `only_edits`:
    of what humans wrote alone."""
    table = con.sql(
        """
        WITH missing AS (
            SELECT c.instruction_id, c.candidate_id, c.text, coalesce(c.finish_reason = 'length', false) AS truncated,
                   $logp IS NOT NULL AND l.candidate_id IS NULL AS want_logp,
                   $mas IS NOT NULL AND m.candidate_id IS NULL
                       AND (NOT $needs_image OR len(i.image_ids) > 0) AS want_mas
            FROM candidates c JOIN instructions i USING (instruction_id)
            LEFT JOIN logprobs l ON l.candidate_id = c.candidate_id AND l.scorer_id = $logp
            LEFT JOIN mas_scores m ON m.candidate_id = c.candidate_id AND m.scorer_id = $mas
            WHERE ($among IS NULL OR c.instruction_id IN (SELECT unnest($among::BIGINT[])))
              AND (NOT $only_edits OR c.origin = 'human'))
        SELECT instruction_id, list(candidate_id ORDER BY candidate_id) AS candidate_ids,
               list(text ORDER BY candidate_id) AS texts, list(truncated ORDER BY candidate_id) AS truncated,
               list(want_logp ORDER BY candidate_id) AS want_logp, list(want_mas ORDER BY candidate_id) AS want_mas
        FROM missing WHERE want_logp OR want_mas GROUP BY instruction_id ORDER BY instruction_id
        """,
        params={"logp": logp, "mas": mas, "needs_image": needs_image, "among": among, "only_edits": only_edits},
    ).to_arrow_table()
    return beside_prompts(con, table, images)


_OPTIONAL = {
    "mas_minimum": pa.float64(),
    "claims": pa.list_(pa.struct([("text", pa.string()), ("upheld", pa.bool_()), ("p_yes", pa.float64())])),
}


def ingest_scores(con: Connection, shard: Path, logp: int | None, mas: int | None, run_id: int) -> int:
    """Append a shard of scores; a candidate that another run scored meanwhile keeps its first value."""
    table = pq.read_table(shard)
    for name in ("mas_minimum", "claims"):  # a run that an older version began has none
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows, _OPTIONAL[name]))
    with registered(con, "shard", table):
        if logp is not None:
            con.execute(
                """
                INSERT INTO logprobs
                SELECT candidate_id, $scorer, $run, logp_sum, n_tokens, token_ids, token_logps, token_offsets, $now
                FROM shard WHERE logp_sum IS NOT NULL AND candidate_id NOT IN
                    (SELECT candidate_id FROM logprobs WHERE scorer_id = $scorer)
                """,
                {"scorer": logp, "run": run_id, "now": now()},
            )
        if mas is not None:
            con.execute(
                """
                CREATE OR REPLACE TEMP TABLE judged AS
                SELECT candidate_id, mas, mas_minimum, claims
                FROM shard WHERE mas IS NOT NULL AND candidate_id NOT IN
                    (SELECT candidate_id FROM mas_scores WHERE scorer_id = $scorer)
                """,
                {"scorer": mas},
            )
            con.execute(
                "INSERT INTO mas_scores (candidate_id, scorer_id, run_id, mas, created_at, minimum)"
                " SELECT candidate_id, $scorer, $run, mas, $now, mas_minimum FROM judged",
                {"scorer": mas, "run": run_id, "now": now()},
            )
            con.execute(
                """
                INSERT INTO claims (candidate_id, scorer_id, number, text, p_yes, upheld)
                SELECT candidate_id, $scorer, number, claim.text, claim.p_yes, claim.upheld
                FROM (SELECT candidate_id, unnest(claims) AS claim, generate_subscripts(claims, 1) AS number
                      FROM judged)
                """,
                {"scorer": mas},
            )
            con.execute("DROP TABLE judged")
    return table.num_rows


def count_without_log_prob(con: Connection) -> int:
    """Answers of remote policies that no model on this machine has given a log-prob (the active one's counts)."""
    remote = con.execute("SELECT sampler_id FROM samplers WHERE starts_with(fingerprint, 'remote:')").fetchall()
    if not remote:
        return 0
    return scalar(
        con,
        """
        SELECT count(*) FROM (
            SELECT DISTINCT candidate_id FROM votes WHERE sampler_id IN (SELECT unnest($remote::BIGINT[])))
        ANTI JOIN (SELECT candidate_id FROM logprobs WHERE scorer_id = $logp) USING (candidate_id)
        """,
        {"logp": active_scorer(con, "logp"), "remote": [row[0] for row in remote]},
    )


def counts(con: Connection) -> dict[str, int]:
    """How many candidates there are and for how many instructions (of the train split: `answered_train`), how many
    instructions were sampled here, how many candidates have both signals."""
    logp, mas = active_scorer(con, "logp"), active_scorer(con, "mas")
    answered = one(
        con,
        "SELECT count(*) AS answered_instructions, count(*) FILTER (split = 'train') AS answered_train"
        " FROM instructions SEMI JOIN candidates USING (instruction_id)",
    )
    return {
        "candidates": scalar(con, "SELECT count(*) FROM candidates"),
        **answered,
        "sampled_instructions": scalar(con, "SELECT count(DISTINCT instruction_id) FROM sampled"),
        "scored_candidates": _count_scored(con, logp, mas),
    }


def _count_scored(con: Connection, logp: int | None, mas: int | None) -> int:
    """Candidates with both signals; a scorer scores each once, so where one scored them all, the other's count."""
    everything = scalar(con, "SELECT count(*) FROM candidates")
    by_logp = scalar(con, "SELECT count(*) FROM logprobs WHERE scorer_id = ?", [logp])
    by_mas = scalar(con, "SELECT count(*) FROM mas_scores WHERE scorer_id = ?", [mas])
    if everything in (by_logp, by_mas) or not min(by_logp, by_mas):
        return min(by_logp, by_mas)
    return scalar(
        con,
        "SELECT count(*) FROM logprobs WHERE scorer_id = $logp"
        " AND candidate_id IN (SELECT candidate_id FROM mas_scores WHERE scorer_id = $mas)",
        {"logp": logp, "mas": mas},
    )
