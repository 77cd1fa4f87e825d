"""Label Studio: tasks of `data` and `annotations`, as its JSON export has them and its import takes them.

    {"id", "data": {"image", "instruction", "answers": [...], "m3po_source", "m3po_id", "m3po_content",
              "m3po_split"},
     "annotations": [{"completed_by", "created_at", "lead_time", "was_cancelled",
                      "result": [{"type": "pairwise", "from_name", "to_name", "value": {"selected": "left"}}, ...]}]}

Read: `pairwise`, `ranker`, `choices` and `rating` results (label_studio_sdk, control_tags), each annotator's vote a
decision with its time and seconds; a cancelled annotation is a skip, and none where somebody else voted. A task that a
workspace wrote finds its own instruction again by `m3po_source` and `m3po_id`, and `m3po_content` tells it from another
workspace's. Written: every answer, and the votes that stand as choices named `verdict`, `chosen` and `rejected` (answer
numbers), for the labelling config in CONFIG; a curator's last word is no annotator's vote, and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from m3po.errors import BadInputError
from m3po.formats.checks import finite_number, list_texts
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
    name_origin,
    place_of,
    read_time,
)
from m3po.imported import ImportedDecision
from m3po.types import ADJUDICATED, VERDICTS

COLUMNS = {
    "image": ("data.images", "data.image"), "instruction": ("data.instruction", "data.prompt", "data.question"),
    "candidates": ("data.answers",), "decisions": ("annotations",),
}  # fmt: skip
_NUMBER = re.compile(r"(\d{1,4})$")
_OF_A_LIST = re.compile(r"(answer_)?\d+")  # names that we gave
_GOOD = ("good", "better", "best", "chosen", "preferred")
_BAD = ("bad", "worse", "worst", "rejected", "dispreferred")
_CONFIG = """<View>
  <Image name="image" value="$image"/>
  <Text name="instruction" value="$instruction"/>
  <List name="answers" value="$listed" title="Answers"/>
  <Choices name="chosen" toName="instruction" value="$numbers" choice="single" layout="inline"/>
  <Choices name="rejected" toName="instruction" value="$numbers" choice="single" layout="inline"/>
  <Choices name="verdict" toName="instruction" choice="single" layout="inline">
    VERDICTS
  </Choices>
  <TextArea name="note" toName="instruction"/>
</View>
"""
CONFIG = _CONFIG.replace("VERDICTS", "".join(f'<Choice value="{verdict}"/>' for verdict in VERDICTS))


def recognises(record: dict) -> bool:
    return isinstance(record.get("data"), dict) and ("annotations" in record or "predictions" in record)


def parse(record: dict, source: str) -> Fields:
    data = record.get("data")
    if not isinstance(data, dict):
        raise BadInputError(f"data must be an object, not {type_name(data)}; export the project as JSON")
    annotations = record.get("annotations") or []
    if not isinstance(annotations, list) or not all(isinstance(item, dict) for item in annotations):
        raise BadInputError("annotations must be a list of objects; export the project as JSON, not as JSON-MIN")
    voted = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
    # Elsewhere a skip is no word against a vote; our own tasks come back as they went.
    if voted and "m3po_id" not in data:
        annotations = voted
    results = [list(_results(annotation)) for annotation in annotations]
    named = [name for found in results for item in found for name in str(item.get("to_name", "")).split(",")]
    answers = find_answers(data, [name.strip() for name in named], ours="m3po_id" in data)
    instruction = next((data[name] for name in INSTRUCTION if data.get(name) is not None), None)
    if instruction is None:
        raise BadInputError("its data has no instruction; add the question or task under that key")
    # Our own tasks let answers be chosen by their number, whatever their text is.
    numbered = isinstance(data.get("numbers"), list)
    named_answers = {name.removeprefix("answer_"): text for name, text in answers.items()} if numbered else answers
    ratings: list[dict[str, float]] = [{} for _ in answers]
    decisions, warnings = [], []
    for annotation, found in zip(annotations, results, strict=True):
        vote = _read_vote(annotation, found, named_answers, warnings)
        decisions += [vote] if vote else []
        _read_ratings(_annotator(annotation) if len(annotations) > 1 else "", found, answers, ratings)
    id = data.get("m3po_id", data.get("id", record.get("id")))
    return {
        "id": id,
        "images": image_list(data, IMAGE),
        "instruction": instruction,
        "system": data.get("system") or None,
        "turns": read_role_turns(data.get("turns")),
        "candidates": list(answers.values()),
        "ratings": ratings if any(ratings) else (),
        "decisions": decisions,
        "known_as": known_as(data),
        "split": data.get("m3po_split"),
        "warnings": warnings,
    }


def to_task(row: Mapping, images: list[str]) -> dict:
    """A task to import into Label Studio, with the votes that stand."""
    numbers = {candidate["id"]: n for n, candidate in enumerate(row["candidates"], 1)}
    data = name_origin(row) | {"instruction": row["instruction"]}
    data |= {"image": images[0]} if images else {}
    data |= {"images": images} if len(images) > 1 else {}
    data |= {"system": row["system"]} if row.get("system") else {}
    data |= {"turns": row["turns"]} if row.get("turns") else {}
    data["answers"] = [candidate["text"] for candidate in row["candidates"]]
    data["listed"] = [{"id": str(n), "title": f"{n}", "body": text} for n, text in enumerate(data["answers"], 1)]
    data["numbers"] = [{"value": str(n)} for n in numbers.values()]
    votes = [vote for vote in row.get("decisions") or () if vote.get("role") != ADJUDICATED]
    annotations = [_annotation(vote, numbers) for vote in votes]
    return {"data": data, "annotations": annotations}


def _annotation(vote: Mapping, numbers: Mapping[int, int]) -> dict:
    result = [_choice("verdict", vote["verdict"])]
    result += [_choice(side, str(numbers[vote[side]])) for side in ("chosen", "rejected") if vote[side] in numbers]
    if vote.get("note"):
        result.append({"from_name": "note", "to_name": "instruction", "type": "textarea",
                       "value": {"text": [vote["note"]]}})  # fmt: skip
    return {
        "completed_by": {"email": vote["annotator"]},
        "created_at": vote["at"],
        "lead_time": vote.get("seconds"),
        "was_cancelled": False,
        "result": result,
    }


def _choice(name: str, value: str) -> dict:
    return {"from_name": name, "to_name": "instruction", "type": "choices", "value": {"choices": [value]}}


def _results(annotation: Mapping) -> list[dict]:
    found = annotation.get("result") or []
    if not isinstance(found, list):
        raise BadInputError("the result of an annotation must be a list; export the project as JSON")
    return [item for item in found if isinstance(item, dict) and isinstance(item.get("value"), dict)]


def _read_vote(
    annotation: Mapping, results: list[dict], answers: Mapping[str, str], warnings: list[str]
) -> ImportedDecision | None:
    ballot, notes = Ballot(answers, warnings), []
    cancelled = bool(annotation.get("was_cancelled"))
    for item in results:
        value, name, kind = item["value"], str(item.get("from_name", "")), item.get("type")
        if kind == "textarea":
            notes += list_texts(value.get("text"), "a note")
        elif cancelled:
            continue
        elif kind == "pairwise":
            _read_pairwise(value.get("selected"), str(item.get("to_name", "")), answers, ballot)
        elif kind == "ranker" and isinstance(value.get("ranker"), dict):
            _read_ranker(value["ranker"], ballot)
        elif kind == "choices" and isinstance(value.get("choices"), list) and value["choices"]:
            ballot.ask(name, value["choices"][0])
    if cancelled:
        ballot.set("verdict", "skip")
    who = {
        "annotator": _annotator(annotation),
        "at": read_time(annotation.get("created_at")),
        "seconds": finite_number(annotation.get("lead_time")),
        "note": "\n".join(notes),
    }
    return ballot.decide(who)


def _read_pairwise(selected: object, to_name: str, answers: Mapping[str, str], ballot: Ballot) -> None:
    """The tags that were compared are in the labelling config, which the export lacks: only their names tell."""
    if selected not in ("left", "right"):
        return
    tags = [tag.strip() for tag in to_name.split(",")]
    places = [_place_of_tag(tag, answers) for tag in tags]
    if len(places) != 2 or None in places or places[0] == places[1]:
        there = ", ".join(answers)[:160] or "none"
        raise BadInputError(
            f"its pairwise compares {to_name!r:.80}, and which two of its answers ({there}) these are cannot be told; "
            "give the tags the names of the answers' fields"
        )
    left, right = places
    ballot.set("chosen", left if selected == "left" else right)
    ballot.set("rejected", right if selected == "left" else left)


def _place_of_tag(tag: str, answers: Mapping[str, str]) -> int | None:
    """By the field's name, or by the number in both names; left and right only of a list, which has an order."""
    names = list(answers)
    if tag in names:
        return names.index(tag)
    if tag in ("left", "right") and all(_OF_A_LIST.fullmatch(name) for name in names):
        place = ("left", "right").index(tag)
        return place if place < len(names) else None
    number = _NUMBER.search(tag)
    same = [n for n, name in enumerate(names) if number and (m := _NUMBER.search(name)) and m[1] == number[1]]
    return same[0] if len(same) == 1 else None


def _read_ranker(ranker: Mapping, ballot: Ballot) -> None:
    """One list is a ranking, best first; buckets say something where their names do."""
    filled = {str(name): items for name, items in ranker.items() if isinstance(items, list) and items}
    buckets = {name.lower(): items for name, items in filled.items() if name != "_"}
    good, bad = (next((buckets[name] for name in names if name in buckets), None) for names in (_GOOD, _BAD))
    if good and bad:
        ballot.add("chosen", good[0])
        ballot.add("rejected", bad[-1])
    elif len(filled) > 1 or (good or bad):
        shown = ", ".join(filled)[:80]
        raise BadInputError(f"its ranker has the buckets {shown}: which is better is not said; call them good and bad")
    elif filled and len(order := next(iter(filled.values()))) > 1:
        ballot.add("chosen", order[0])
        ballot.add("rejected", order[-1])


def _read_ratings(by: str, results: list[dict], answers: Mapping[str, str], ratings: list[dict[str, float]]) -> None:
    """Stars on an answer, under the name of the control; of several annotators each under their own."""
    for item in results:
        stars = finite_number(item["value"].get("rating"))
        place = place_of(item.get("to_name"), answers)
        if item.get("type") == "rating" and stars is not None and place is not None:
            name = str(item.get("from_name", "rating"))
            ratings[place][f"{name} by {by}" if by else name] = stars


def _annotator(annotation: Mapping) -> str:
    who = annotation.get("completed_by")
    if isinstance(who, Mapping):
        who = next((who[name] for name in ("email", "username", "id") if who.get(name)), None)
    return str(who) if who is not None else "label_studio"
