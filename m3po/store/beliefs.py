"""How strongly the policy believes each token of an answer, and how much of that it owes to the image."""

from __future__ import annotations

from m3po.store.candidates import active_scorer, scorer_info
from m3po.store.connection import Connection, among, rows, scalar
from m3po.types import TokenBeliefs

# A signal computed with another image than the instruction's own is a scorer of a kind of its own, `logp_blank`,
# `mas_swap` ...; its fingerprint begins with that of the scorer that it is the counterpart of.
BLANK, SWAP = "blank", "swap"


def variant_kind(kind: str, image: str) -> str:
    """`logp` or `mas` with the image as it is (empty), blanked or swapped."""
    return f"{kind}_{image}" if image else kind


def variant_fingerprint(fingerprint: str, image: str, seed: int = 0) -> str:
    """What computed a signal with another image: the models, and what was done with the image."""
    return {"": fingerprint, BLANK: f"{fingerprint}|blank", SWAP: f"{fingerprint}|swap:{seed}"}[image]


def variant_scorer(con: Connection, kind: str, image: str) -> int | None:
    """The newest counterpart of the active `logp` or `mas` scorer with another image; None where there is none."""
    info = scorer_info(con, active_scorer(con, kind))
    if info is None:
        return None
    return scalar(
        con,
        "SELECT max(scorer_id) FROM scorers WHERE kind = ? AND starts_with(fingerprint, ?)",
        [variant_kind(kind, image), f"{info['fingerprint']}|{image}"],
    )


def token_beliefs(con: Connection, instruction_ids: list[int]) -> list[TokenBeliefs]:
    """Every answer to these instructions that has token log-probs by the active scorer; a few milliseconds.

    Those with the blanked image are there where the same tokens were scored with it.
    """
    sql = f"SELECT candidate_id, instruction_id, text FROM candidates WHERE {among('instruction_id', instruction_ids)}"
    answers = {row["candidate_id"]: row for row in rows(con, f"{sql} ORDER BY instruction_id, candidate_id")}
    # Several small queries, each for a few rows of one table: joined in one, each table would be looked through.
    own, blanked = (
        {
            row["candidate_id"]: row
            for row in rows(
                con,
                "SELECT candidate_id, token_ids, token_logps, token_offsets FROM logprobs"
                f" WHERE scorer_id = ? AND {among('candidate_id', answers)}",
                [scorer],
            )
        }
        if answers and scorer is not None
        else {}
        for scorer in (active_scorer(con, "logp"), variant_scorer(con, "logp", BLANK))
    )
    found = []
    for number, answer in answers.items():
        row, blank = own.get(number), blanked.get(number)
        if row is None or not row["token_logps"]:
            continue
        comparable = blank is not None and blank["token_ids"] == row["token_ids"]
        found.append(
            TokenBeliefs(
                instruction_id=answer["instruction_id"],
                candidate_id=number,
                text=answer["text"],
                offsets=tuple(row["token_offsets"]),
                log_probs=tuple(row["token_logps"]),
                blank_log_probs=tuple(blank["token_logps"]) if comparable else None,
            )
        )
    return found
