"""Argilla 2: records of `fields` and `responses`, as `dataset.records.to_json` writes them and the server's API does.

    {"id", "fields": {"image", "instruction", "answer_1", ...}, "metadata": {...}, "status",
     "responses": {"preference": [{"value": "answer_1", "user_id": "..."}]}}                 (to_json)
     "responses": [{"user_id", "status", "inserted_at", "values": {"preference": {"value": ...}}}]    (the API)

Label, ranking, rating and text questions are read; each user's vote is a decision. A discarded response is a skip, a
draft is none. Records that a workspace wrote find their own instruction again by `m3po_source` and `m3po_id` in their
metadata. Written: the answers as fields, and the votes that stand as `m3po_votes` in the metadata, a curator's last
word as `m3po_final`. They are no responses, for Argilla's server takes those of its own users alone and refuses the
whole record otherwise (argilla_server/validators/records.py).
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping

from m3po.errors import BadInputError
from m3po.formats.checks import finite_number
from m3po.formats.conversations import read_role_turns
from m3po.formats.lines import type_name
from m3po.formats.pictures import image_list
from m3po.formats.rows import Fields
from m3po.formats.votes import (
    IMAGE,
    INSTRUCTION,
    Ballot,
    find_answers,
    known_as,
    may_vote,
    name_origin,
    read_standing,
    read_time,
)
from m3po.imported import ImportedDecision
from m3po.types import ADJUDICATED

_OF_VOTE = ("verdict", "at", "seconds", "note", "reason", "role", "blind")
_MORE_IMAGES = re.compile(r"image_\d+")
COLUMNS = {
    "image": ("fields.image", "fields.images"), "instruction": ("fields.instruction", "fields.prompt"),
    "candidates": ("fields.answer_1",), "decisions": ("responses",),
}  # fmt: skip


def recognises(record: dict) -> bool:
    return isinstance(record.get("fields"), dict) and "responses" in record


def parse(record: dict, source: str) -> Fields:
    fields = record.get("fields")
    if not isinstance(fields, dict):
        raise BadInputError(f"fields must be an object, not {type_name(fields)}; export the records as JSON")
    metadata = record.get("metadata") if isinstance(record.get("metadata"), dict) else {}
    answers = find_answers(fields, ours="m3po_id" in metadata)
    instruction = next((fields[name] for name in INSTRUCTION if fields.get(name) is not None), None)
    if instruction is None:
        raise BadInputError("its fields have no instruction; add the question or task under that name")
    ratings: list[dict[str, float]] = [{} for _ in answers]
    decisions, warnings = [], []
    responses = _by_user(record.get("responses"))
    told, final = (_told(metadata.get(name)) for name in ("m3po_votes", "m3po_final"))
    for user, response in responses.items():
        vote = _read_vote(user, response, answers, told.get(user, {}), warnings)
        decisions += [vote] if vote else []
        _read_ratings(user if len(responses) > 1 else "", response["values"], answers, ratings)
    voted = {vote.annotator for vote in decisions}
    for user, stood in [*((name, told[name]) for name in told if name not in voted), *final.items()]:
        values = {name: stood.get(name) for name in ("verdict", "chosen", "rejected", "note")}
        vote = _read_vote(user, {"values": values, "status": "submitted"}, answers, stood, warnings)
        decisions += [dataclasses.replace(vote, **read_standing(stood))] if vote else []
    return {
        "id": metadata.get("m3po_id", record.get("id") or record.get("external_id")),
        "images": [*image_list(fields, IMAGE), *(fields[name] for name in fields if _MORE_IMAGES.fullmatch(name))],
        "instruction": instruction,
        "system": fields.get("system") or None,
        "turns": _turns(fields.get("turns")),
        "candidates": list(answers.values()),
        "ratings": ratings if any(ratings) else (),
        "decisions": decisions,
        "known_as": known_as(metadata),
        "split": metadata.get("m3po_split"),
        "warnings": warnings,
    }


def to_record(row: Mapping, images: list[str]) -> dict:
    """A record for `rg.Dataset.records.from_json`, with the votes that stand."""
    names = {candidate["id"]: f"answer_{n}" for n, candidate in enumerate(row["candidates"], 1)}
    fields = {"instruction": row["instruction"]}
    fields |= {f"image_{n}" if n > 1 else "image": image for n, image in enumerate(images, 1)}
    fields |= {"system": row["system"]} if row.get("system") else {}
    fields |= {"turns": json.dumps(row["turns"], ensure_ascii=False)} if row.get("turns") else {}
    fields |= {names[candidate["id"]]: candidate["text"] for candidate in row["candidates"]}
    told: dict[str, dict] = {"m3po_votes": {}, "m3po_final": {}}
    for vote in row.get("decisions") or ():
        kind = "m3po_final" if vote.get("role") == ADJUDICATED else "m3po_votes"
        told[kind][vote["annotator"]] = {name: vote.get(name) for name in _OF_VOTE} | {
            side: names.get(vote[side]) for side in ("chosen", "rejected")
        }
    metadata = name_origin(row)
    metadata |= {name: json.dumps(votes, ensure_ascii=False) for name, votes in told.items() if votes}
    id = f"{row['source']}/{row['external_id']}"
    return {"id": id, "fields": fields, "metadata": metadata, "suggestions": {}, "responses": {},
            "vectors": {}, "status": "pending"}  # fmt: skip


def _by_user(value: object) -> dict[str, dict]:
    """{user: {"values": {question: value}, "status", "at"}} of both shapes that responses come in."""
    users: dict[str, dict] = {}

    def of(user: object) -> dict:
        return users.setdefault(str(user) if user is not None else "argilla", {"values": {}, "status": "submitted"})

    if isinstance(value, dict):
        for question, given in value.items():
            for item in given if isinstance(given, list) else [given]:
                if not isinstance(item, dict) or "value" not in item:
                    raise BadInputError(f"the responses to {question!r:.60} must be objects with value; export anew")
                of(item.get("user_id"))["values"][question] = item["value"]
    elif isinstance(value, list):
        for item in value:
            if not isinstance(item, dict):
                raise BadInputError("responses must be a list of objects; export the records as JSON")
            found = of(item.get("user_id"))
            values = item.get("values") or {}
            if not isinstance(values, dict):
                raise BadInputError("the values of a response must be an object; export the records as JSON")
            found["values"] |= {q: v.get("value") if isinstance(v, dict) else v for q, v in values.items()}
            found["status"] = item.get("status") or "submitted"
            found["at"] = item.get("updated_at") or item.get("inserted_at")
    elif value is not None:
        raise BadInputError(f"responses must be a list or an object, not {type_name(value)}; export anew")
    return users


def _read_vote(
    user: str, response: dict, answers: Mapping[str, str], told: Mapping, warnings: list[str]
) -> ImportedDecision | None:
    if response["status"] == "draft":
        return None
    ballot, notes = Ballot(answers, warnings), []
    discarded = response["status"] == "discarded"
    rankings = [question for question, value in response["values"].items() if _is_ranking(value)]
    for question, value in response["values"].items():
        if question == "note":
            notes += [value] if isinstance(value, str) else []
        elif value is None or discarded:
            continue
        elif question in rankings:
            if len(rankings) == 1 or may_vote(question):
                _read_ranking(value, ballot)
            else:
                warnings.append(f"{question!r:.60} is not taken as a vote, for there are several rankings.")
        elif isinstance(value, str) and not ballot.ask(question, value):
            notes.append(value)
    if discarded:
        ballot.set("verdict", "skip")
    who = {
        "annotator": user,
        "at": read_time(told.get("at") or response.get("at")),
        "seconds": finite_number(told.get("seconds")),
        "note": "\n".join(notes),
    }
    return ballot.decide(who)


def _is_ranking(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) and "rank" in v for v in value)


def _read_ranking(value: list[dict], ballot: Ballot) -> None:
    ranked = sorted((v["rank"], str(v.get("value"))) for v in value if isinstance(v["rank"], int))
    if len(ranked) < 2:
        return
    if ranked[0][0] == ranked[-1][0]:
        ballot.set("verdict", "tie")
    else:
        ballot.add("chosen", ranked[0][1])
        ballot.add("rejected", ranked[-1][1])


def _read_ratings(by: str, values: Mapping, answers: Mapping[str, str], ratings: list[dict[str, float]]) -> None:
    """A number whose question names an answer: `rating_answer_2`, `answer_2_helpfulness`."""
    for question, value in values.items():
        name = next((n for n in sorted(answers, key=len, reverse=True) if n in question), None)
        number = finite_number(value)
        if name and number is not None:
            rating = question.replace(name, "").strip("_- .") or "rating"
            ratings[list(answers).index(name)][f"{rating} by {by}" if by else rating] = number


def _told(value: object) -> dict[str, dict]:
    try:
        found = json.loads(value or "{}")
    except (TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and all(isinstance(v, dict) for v in found.values()) else {}


def _turns(value: object) -> list:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise BadInputError("its turns are no JSON; write a list of role and text") from None
    return read_role_turns(value)
