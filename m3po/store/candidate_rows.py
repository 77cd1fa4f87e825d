"""The candidates of some instructions with all that is known of each: votes, scores, values of a selection, claims."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from m3po.store.candidates import active_scorers
from m3po.store.connection import Connection, among, one, rows, scalar
from m3po.store.scorers import parts_of


@dataclass(frozen=True)
class Bearings:
    """By what items are read: the active scorers, and the selection with its pool, its weights and its MAS scorer."""

    selection: int | None
    logp: int | None
    mas: int | None
    group: int | None
    pool: int | None = None
    weight_chosen: float = 0.0
    weight_rejected: float = 0.0
    selected_mas: int | None = None
    claimers: tuple[int, ...] = ()  # the scorers whose claims count: the MAS scorer and its parts; none without claims


def read_bearings(con: Connection, selection: int | None) -> Bearings:
    active = active_scorers(con)
    found = Bearings(selection, *(active.get(kind) for kind in ("logp", "mas", "group")))
    if scalar(con, "SELECT count(*) FROM claims"):
        found = replace(found, claimers=tuple(sorted({*parts_of(con, found.mas), found.mas} - {None})))
    picked = one(con, "SELECT pool_id, config, mas_scorer FROM selections WHERE selection_id = ?", [selection])
    if picked is None:
        return found
    weights = json.loads(picked["config"])
    return replace(
        found,
        pool=picked["pool_id"],
        weight_chosen=float(weights["weight_chosen"]),
        weight_rejected=float(weights["weight_rejected"]),
        selected_mas=picked["mas_scorer"],
    )


def candidates_of(
    con: Connection, instruction_ids: list[int], selection: int | None, at: Bearings | None = None
) -> dict[int, list[dict]]:
    """The candidates of each instruction under the active scorers, in id order, with the selection's values.
    `given_by`: (sampler, votes) of those that gave it.

    Several small queries, each for a few rows of one table: joined in one, each table would be looked through.
    `at`: the bearings of the selection, where they are known already.
    """
    at = at or read_bearings(con, selection)
    found = rows(
        con,
        "SELECT candidate_id, instruction_id, text, origin, finish_reason FROM candidates"
        f" WHERE {among('instruction_id', instruction_ids)} ORDER BY instruction_id, candidate_id",
    )
    empty = dict.fromkeys(_OF_CANDIDATE)
    known = {row["candidate_id"]: row | empty | {"votes": 0, "claims": [], "given_by": []} for row in found}
    if known:
        of_these = among("candidate_id", known)
        sql = f"SELECT candidate_id, sampler_id, votes FROM votes WHERE {of_these}"
        for candidate_id, sampler, votes in sorted(con.execute(sql).fetchall()):
            known[candidate_id]["votes"] += votes
            known[candidate_id]["given_by"].append((sampler, votes))
        for row in [
            *rows(
                con,
                "SELECT candidate_id, logp_sum, n_tokens, logp_sum / n_tokens AS logp_mean,"
                f" exp(logp_sum / n_tokens) AS confidence FROM logprobs WHERE scorer_id = ? AND {of_these}",
                [at.logp],
            ),
            *rows(
                con,
                f"SELECT candidate_id, mas, minimum AS mas_minimum FROM mas_scores WHERE scorer_id = ? AND {of_these}",
                [at.mas],
            ),
            *_values_of(con, instruction_ids, at),
        ]:
            known[row["candidate_id"]] |= row
        _add_claims(con, known, of_these, at.claimers)
        _add_groups(con, known, of_these, at.group)
    grouped: dict[int, list[dict]] = {instruction_id: [] for instruction_id in instruction_ids}
    for row in known.values():
        grouped[row["instruction_id"]].append(row)
    return grouped


_OF_CANDIDATE = (
    "votes", "mas", "mas_minimum", "logp_sum", "n_tokens", "logp_mean", "confidence", "a", "b", "good", "hard",
    "claims", "same_as", "group_votes",
)  # fmt: skip


def _add_claims(con: Connection, known: dict[int, dict], of_these: str, claimers: tuple[int, ...]) -> None:
    if not claimers:
        return
    sql = f"SELECT candidate_id, text, upheld, p_yes FROM claims WHERE {among('scorer_id', claimers)} AND {of_these}"
    for row in rows(con, f"{sql} ORDER BY scorer_id, number"):
        known[row.pop("candidate_id")]["claims"].append(row)


def _values_of(con: Connection, instruction_ids: list[int], at: Bearings) -> list[dict]:
    """A, B, good and hard (m3po.scoring) as the selection froze them."""
    if at.pool is None:
        return []
    sql = (
        f"SELECT candidate_ids, a, b FROM pool_values WHERE pool_id = ? AND {among('instruction_id', instruction_ids)}"
    )
    wc, wr = at.weight_chosen, at.weight_rejected
    return [
        {"candidate_id": i, "a": a, "b": b, "good": wc * a + (1.0 - wc) * b, "hard": wr * (1.0 - a) + (1.0 - wr) * b}
        for lists in con.execute(sql, [at.pool]).fetchall()
        for i, a, b in zip(*lists, strict=True)
    ]


def _add_groups(con: Connection, known: dict[int, dict], of_these: str, group: int | None) -> None:
    """Which answers mean the same by the newest run of each instruction, and their votes together."""
    if group is None:
        return
    votes: dict[int, int] = {}
    found = rows(
        con,
        f"SELECT candidate_id, same_as FROM answer_groups WHERE scorer_id = ? AND {of_these}"
        " QUALIFY run_id = max(run_id) OVER (PARTITION BY instruction_id)",
        [group],
    )
    for row in found:
        votes[row["same_as"]] = votes.get(row["same_as"], 0) + known[row["candidate_id"]]["votes"]
    for row in found:
        known[row["candidate_id"]] |= {"same_as": row["same_as"], "group_votes": votes[row["same_as"]]}
