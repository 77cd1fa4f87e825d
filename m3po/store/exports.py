"""The workspace as rows for export: everything known of an instruction, or the curated pairs, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePath

from m3po.store.candidate_rows import candidates_of
from m3po.store.connection import Connection, rows
from m3po.store.decisions import curated_pairs
from m3po.store.instructions import Images, image_paths, read_turns
from m3po.store.samplers import samplers_of
from m3po.store.selections import latest_selection
from m3po.store.tags import tags_by_item
from m3po.store.verdicts import SKIP
from m3po.types import IMPORTED

BATCH = 500


def instruction_ids(con: Connection, only: str) -> list[int]:
    """In id order; `reviewed`: with a current decision other than a skip; `accepted`: with one that trains; `auto`:
    those, and the pairs that are accepted without eyes."""
    if only == "auto":
        return [pair["instruction_id"] for pair in curated_pairs(con, latest_selection(con), only, texts=False)]
    conditions = {
        "all": "true",
        "reviewed": f"d.verdict <> '{SKIP}'",
        "accepted": "d.agreed AND d.verdict IN ('accept', 'override')",
    }
    sql = (
        "SELECT i.instruction_id FROM instructions i LEFT JOIN current_decisions d USING (instruction_id)"
        f" WHERE coalesce({conditions[only]}, false) ORDER BY 1"
    )
    return [row[0] for row in con.execute(sql).fetchall()]


def source_names(con: Connection) -> list[str]:
    return [row["source"] for row in rows(con, "SELECT source FROM sources ORDER BY imported_at")]


def truth_ids(con: Connection) -> list[int]:
    """Instructions with an answer that is known, outside of the train split."""
    sql = (
        "SELECT instruction_id FROM instructions JOIN truth USING (instruction_id)"
        " WHERE split <> 'train' AND answer IS NOT NULL ORDER BY 1"
    )
    return [row[0] for row in con.execute(sql).fetchall()]


def iter_rows(
    read: Callable[[Callable[[Connection], object]], object],
    ids: list[int],
    selection: int | None,
    images: Images,
) -> Iterator[dict]:
    """The `m3po` export rows (the contract of `export --format m3po`) with their `content_hash`, a batch at a time.

    Taken by one thread, in which the decisions are those of the beginning.
    """
    ambiguous = read(_ambiguous_ids)
    read(_freeze_decisions)
    try:
        for start in range(0, len(ids), BATCH):
            batch = ids[start : start + BATCH]
            for row in read(lambda con, batch=batch: _batch_rows(con, batch, selection, images)):
                yield row | {"id": _outside_id(row["source"], row["external_id"], ambiguous)}
    finally:
        read(_forget_decisions)


# What stands of the decisions is worked out over all of them, whichever rows one asks for: once, not for every batch.
_FROZEN = {"frozen_current": "current_decisions", "frozen_standing": "standing_decisions"}


def _freeze_decisions(con: Connection) -> None:
    for name, view in _FROZEN.items():
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE {name} AS"
            f" SELECT d.* REPLACE (CASE WHEN d.reason = '{IMPORTED}' THEN r.reason ELSE d.reason END AS reason)"
            f" FROM {view} d LEFT JOIN imported_reasons r USING (decision_id) ORDER BY instruction_id"
        )


def _forget_decisions(con: Connection) -> None:
    for name in _FROZEN:
        con.execute(f"DROP TABLE IF EXISTS {name}")


def _outside_id(source: str, id: str, ambiguous: set[str]) -> str:
    """Two files that both number from 0 do not collide outside either."""
    return f"{source}/{id}" if id in ambiguous else id


def _ambiguous_ids(con: Connection) -> set[str]:
    """External ids that more than one source uses."""
    sql = "SELECT external_id FROM instructions GROUP BY external_id HAVING count(*) > 1"
    return {row[0] for row in con.execute(sql).fetchall()}


def _batch_rows(con: Connection, batch: list[int], selection: int | None, images: Images) -> list[dict]:
    by_instruction = candidates_of(con, batch, selection)
    found = rows(
        con,
        """
        SELECT i.*, p.chosen, p.rejected, p.m3p_score, p.logp_margin, p.no_pair_reason,
               d.verdict, d.chosen AS d_chosen, d.rejected AS d_rejected, d.annotator, d.reason, d.note,
               d.decided_at, d.agreed
        FROM instructions i
        LEFT JOIN selection_pairs p ON p.instruction_id = i.instruction_id AND p.selection_id = $selection
        LEFT JOIN frozen_current d ON d.instruction_id = i.instruction_id
        WHERE i.instruction_id IN (SELECT unnest($ids::BIGINT[])) ORDER BY i.instruction_id
        """,
        {"ids": batch, "selection": selection},
    )
    paths = image_paths(con, [image_id for row in found for image_id in row["image_ids"]], images)
    told = samplers_of(con, [c["candidate_id"] for members in by_instruction.values() for c in members])
    said = _said(con, batch)
    return [_row(row, by_instruction[row["instruction_id"]], paths, told, said) for row in found]


def _said(con: Connection, batch: list[int]) -> dict[str, dict[int, object]]:
    """What else is known of these instructions: truth, votes, given preferences, tags, and ratings by candidate."""
    wanted = "IN (SELECT unnest(?::BIGINT[]))"
    truth = rows(con, f"SELECT * FROM truth WHERE instruction_id {wanted}", [batch])
    votes = rows(con, f"SELECT * FROM frozen_standing WHERE instruction_id {wanted} ORDER BY decision_id", [batch])
    given = rows(con, f"SELECT * FROM given_preferences WHERE instruction_id {wanted} ORDER BY rowid", [batch])
    ratings = rows(
        con, f"SELECT r.* FROM ratings r JOIN candidates USING (candidate_id) WHERE instruction_id {wanted}", [batch]
    )
    said: dict[str, dict[int, object]] = {"truth": {row["instruction_id"]: row for row in truth}}
    for name, found in (("decisions", votes), ("given", given)):
        said[name] = {}
        for row in found:
            said[name].setdefault(row["instruction_id"], []).append(_vote(row))
    said["tags"] = tags_by_item(con, batch)
    said["ratings"] = {}
    for row in sorted(ratings, key=lambda row: row["name"]):
        said["ratings"].setdefault(row["candidate_id"], {})[row["name"]] = row["value"]
    return said


def _vote(row: dict) -> dict:
    at = row["decided_at"] if "decided_at" in row else row["given_at"]
    return {name: row[name] for name in ("verdict", "chosen", "rejected", "annotator")} | {
        "at": at.isoformat() + "Z" if at else None,
        "seconds": row.get("seconds"),
        "reason": row.get("reason") or "",
        "note": row["note"] or "",
        **{name: row[name] for name in ("role", "blind") if row.get(name)},
    }


def _row(
    row: dict, candidates: list[dict], paths: dict[int, str], told: dict[int, list[dict]], said: dict[str, dict]
) -> dict:
    pair = None
    if row["chosen"] is not None:
        pair = {name: row[name] for name in ("chosen", "rejected", "m3p_score", "logp_margin")}
    decision = None
    if row["verdict"] is not None:
        decision = {
            "verdict": row["verdict"],
            "agreed": row["agreed"],
            "chosen": row["d_chosen"],
            "rejected": row["d_rejected"],
            "annotator": row["annotator"],
            "reason": row["reason"] or "",
            "note": row["note"] or "",
            "at": row["decided_at"].isoformat() + "Z",
        }
    out = {
        "source": row["source"],
        "external_id": row["external_id"],
        "content_hash": row["content_hash"],
        "id": row["external_id"],
        "images": [paths[image_id] for image_id in row["image_ids"]],
        "instruction": row["instruction"],
        "split": row["split"],
        "candidates": [
            {"id": c["candidate_id"], "text": c["text"], "source": c["origin"]}
            | {name: c[name] for name in ("votes", "mas", "mas_minimum", "logp_sum", "n_tokens")}
            | {name: c[name] for name in ("logp_mean", "confidence", "good", "hard")}
            | ({"ratings": said["ratings"][c["candidate_id"]]} if c["candidate_id"] in said["ratings"] else {})
            | ({"claims": c["claims"]} if c["claims"] else {})
            | _provenance(told.get(c["candidate_id"], []))
            | ({name: c[name] for name in ("same_as", "group_votes")} if c["same_as"] else {})
            for c in candidates
        ],
        "pair": pair,
        "no_pair_reason": (row["no_pair_reason"] or _not_selected(row)) if pair is None else None,
        "decision": decision,
    }
    out |= {name: said[name][row["instruction_id"]] for name in ("decisions", "given", "tags")
            if row["instruction_id"] in said[name]}  # fmt: skip
    truth = said["truth"].get(row["instruction_id"], {})
    out |= {n: truth[n] for n in ("answer", "objects", "category") if truth.get(n) is not None}
    if row["system"]:
        out["system"] = row["system"]
    turns = read_turns(row["turns"])
    if turns:
        out["turns"] = [{"role": turn.role, "text": turn.text} for turn in turns]
    return out


def _provenance(told: list[dict]) -> dict:
    """Which samplers gave a candidate, and the first log-prob that a server told of it; nothing for other answers."""
    out: dict[str, object] = {}
    if told:
        out["samplers"] = [
            {name: sampler[name] for name in ("sampler", "settings", "votes")}
            | {"policy": _model_name(sampler["policy"])}
            for sampler in told
        ]
    logps = [sampler["logp_sum"] for sampler in told if sampler["logp_sum"] is not None]
    return out | ({"sampler_logp_sum": logps[0]} if logps else {})


def _model_name(policy: str | None) -> str | None:
    """A hub id or server as it is, a folder without where it lies on this machine."""
    return PurePath(policy).name if policy and PurePath(policy).is_absolute() else policy


def _not_selected(row: dict) -> str:
    return "not_selected" if row["split"] == "train" else "not_train"


def pairs_and_counts(con: Connection, selection: int | None, only: str) -> tuple[list[dict], dict[str, int]]:
    """The curated pairs without their texts, and how many they are."""
    pairs = curated_pairs(con, selection, only, texts=False)
    human = sum(pair["human"] for pair in pairs)
    overridden = sum(pair["verdict"] == "override" for pair in pairs)
    return pairs, {"pairs": len(pairs), "human": human, "overridden": overridden}


def iter_pairs(
    read: Callable[[Callable[[Connection], object]], object], pairs: list[dict], images: Images
) -> Iterator[dict]:
    """The pairs of pairs_and_counts with prompt parts and texts, for the preference formats."""
    ambiguous = read(_ambiguous_ids)
    for start in range(0, len(pairs), BATCH):
        batch = pairs[start : start + BATCH]
        by_id, paths, texts = read(lambda con, batch=batch: _prompt_parts(con, batch, images))
        for pair in batch:
            row = by_id[pair["instruction_id"]]
            yield {
                "source": row["source"],
                "external_id": row["external_id"],
                "id": _outside_id(row["source"], row["external_id"], ambiguous),
                "split": row["split"],
                "images": [paths[image_id] for image_id in row["image_ids"]],
                "system": row["system"] or "",
                "turns": read_turns(row["turns"]),
                "instruction": row["instruction"],
                "chosen": texts[pair["chosen"]],
                "rejected": texts[pair["rejected"]],
                "human": pair["human"],
            }


def _prompt_parts(
    con: Connection, pairs: list[dict], images: Images
) -> tuple[dict[int, dict], dict[int, str], dict[int, str]]:
    ids = [pair["instruction_id"] for pair in pairs]
    answers = [pair[side] for pair in pairs for side in ("chosen", "rejected")]
    found = rows(con, "SELECT * FROM instructions WHERE instruction_id IN (SELECT unnest(?::BIGINT[]))", [ids])
    sql = "SELECT candidate_id, text FROM candidates WHERE candidate_id IN (SELECT unnest(?::BIGINT[]))"
    texts = {row["candidate_id"]: row["text"] for row in rows(con, sql, [answers])}
    paths = image_paths(con, [image_id for row in found for image_id in row["image_ids"]], images)
    return {row["instruction_id"]: row for row in found}, paths, texts
