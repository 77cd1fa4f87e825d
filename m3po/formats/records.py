"""One row of a workspace as one record of each format that people train with; m3po.formats.pairs and its siblings read
them back.

Each function takes a row of m3po.store.exports and its images as the file shall name them, and gives the record. A
row that a format has no place for raises CannotHoldError: it is left out, counted and said, never cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from m3po.categories import OWN_PRESENT, OWN_WAYS, POPE_CATEGORIES
from m3po.errors import CannotHoldError
from m3po.formats.rows import PLACEHOLDER
from m3po.formats.trl import pair_texts, training_pair

_YES_OR_NO = re.compile(r"\s*(yes|no)\b", re.IGNORECASE)
Images = list  # of paths as text, or of {"bytes", "path"} structs
_POPE_OR_OWN = (OWN_PRESENT, *OWN_WAYS, *POPE_CATEGORIES)


def to_rlhf_v(row: Mapping, images: Images) -> dict:
    chosen, rejected = training_pair(row)
    asked = _bare_question(row, images)
    text = {"question": asked, "chosen": chosen, "rejected": rejected}
    return _provenance(row) | _one_image(images) | {"text": json.dumps(text, ensure_ascii=False)}


def to_rlaif_v(row: Mapping, images: Images) -> dict:
    chosen, rejected = training_pair(row)
    asked = _bare_question(row, images)
    return _provenance(row) | _one_image(images) | {"question": asked, "chosen": chosen, "rejected": rejected}


def to_mmpr(row: Mapping, images: Images) -> dict:
    chosen, rejected = training_pair(row)
    _refuse(row, "system", "turns")
    record = {"id": row["id"], "split": row["split"], "question": row["instruction"]}
    return record | _image_key(images) | {"chosen": chosen, "rejected": rejected}


def to_csv(row: Mapping, images: Images) -> dict:
    """Columns that are read back as MMPR's; several images are a JSON list in their cell."""
    record = to_mmpr(row, images)
    image = record.pop("image", "")
    record["image"] = json.dumps(image) if isinstance(image, list) else image
    return record


def to_llamafactory(row: Mapping, images: Images) -> dict:
    chosen, rejected = training_pair(row)
    return {
        "id": row["id"],
        "conversations": _conversation(row, images),
        "chosen": {"from": "gpt", "value": chosen},
        "rejected": {"from": "gpt", "value": rejected},
        "images": images,
        "system": row.get("system") or "",
    }


_LLAMAFACTORY_INFO = {
    "formatting": "sharegpt",
    "ranking": True,
    "columns": {name: name for name in ("chosen", "rejected", "images", "system")} | {"messages": "conversations"},
}


def write_dataset_info(data_file: str) -> str:
    """LLaMA-Factory's dataset_info.json, for the folder that `data_file` lies in."""
    return json.dumps({"m3po": {"file_name": data_file, **_LLAMAFACTORY_INFO}}, indent=2) + "\n"


def to_ms_swift(row: Mapping, images: Images) -> dict:
    chosen, rejected = training_pair(row)
    names = {"human": "user", "gpt": "assistant"}
    messages = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    messages += [{"role": names[turn["from"]], "content": turn["value"]} for turn in _conversation(row, images)]
    messages.append({"role": "assistant", "content": chosen})
    return {"id": row["id"], "messages": messages, "images": images, "rejected_response": rejected}


def to_llava(row: Mapping, images: Images) -> dict:
    """With the answer that stands as chosen, or the only one where nobody decided; a system turn comes first."""
    answer = _answer(row)
    turns = [{"from": "system", "value": row["system"]}] if row.get("system") else []
    turns += _conversation(row, images) + ([{"from": "gpt", "value": answer}] if answer and answer.strip() else [])
    return {"id": row["id"]} | _image_key(images) | {"conversations": turns, "split": row["split"]}


def to_sharegpt(row: Mapping, images: Images) -> dict:
    record = to_llava(row, [])
    return record | {"conversations": _with_images(record["conversations"], images), "images": images}


def to_vlfeedback(row: Mapping, images: Images) -> dict:
    """Every candidate as a completion, its ratings as texts."""
    _refuse(row, "system", "turns")
    if len(images) > 1:
        raise CannotHoldError("several images")
    if not row["candidates"]:
        raise CannotHoldError("an instruction without answers")
    completions = [
        {
            "model": candidate["source"],
            "response": candidate["text"],
            "annotations": {
                name: {"Rating": f"{value:g}" if float(f"{value:g}") == value else repr(value), "Rationale": ""}
                for name, value in (candidate.get("ratings") or {}).items()
            },
        }
        for candidate in row["candidates"]
    ]
    models = list(dict.fromkeys(completion["model"] for completion in completions))
    record = {"id": row["id"], "prompt": row["instruction"], "models": models, "completions": completions}
    return record | ({"img_path": images[0]} if images else {})


def to_pope(row: Mapping, images: Images) -> dict:
    """Truth of yes/no questions, from the splits that are measured on."""
    label = _YES_OR_NO.match(row.get("answer") or "")
    _refuse(row, "system", "turns")
    if not label:
        raise CannotHoldError("a question that yes or no does not answer")
    if len(images) != 1:
        raise CannotHoldError("no or several images")
    record = {"question_id": row["id"], "image": images[0], "text": row["instruction"], "label": label[1].lower()}
    record["split"] = row["split"]
    category = row.get("category")
    return record | ({"category": category} if category in _POPE_OR_OWN else {})


def _answer(row: Mapping) -> str | None:
    texts = pair_texts(row) if row.get("pair") or row.get("decision") else None
    if texts or row.get("decision"):  # what a person decided not to train on is not taught either
        return texts[0] if texts else None
    return row["candidates"][0]["text"] if len(row.get("candidates") or ()) == 1 else None


def _bare_question(row: Mapping, images: Images) -> str:
    _refuse(row, "system", "turns")
    if len(images) != 1:
        raise CannotHoldError("no or several images")
    return row["instruction"]


def _refuse(row: Mapping, *names: str) -> None:
    words = {"system": "a system text", "turns": "earlier turns"}
    for name in names:
        if row.get(name):
            raise CannotHoldError(words[name])


def _provenance(row: Mapping) -> dict:
    origin = {"ds_name": row["source"], "origin_dataset": row["source"], "origin_split": row["split"]}
    return origin | {"idx": row["id"], "split": row["split"]}


def _one_image(images: Images) -> dict:
    image = images[0]
    return {"image": image, "image_path": image["path"] if isinstance(image, dict) else image}


def _image_key(images: Images) -> dict:
    return {} if not images else {"image": images[0] if len(images) == 1 else images}


def _conversation(row: Mapping, images: Images) -> list[dict]:
    """Earlier turns and the instruction, the images in the first human turn."""
    turns = [{"from": _speaker(turn), "value": _text(turn)} for turn in row.get("turns") or ()]
    return _with_images([*turns, {"from": "human", "value": row["instruction"]}], images)


def _with_images(turns: list[dict], images: Images) -> list[dict]:
    first = next(n for n, turn in enumerate(turns) if turn["from"] == "human")
    tags = PLACEHOLDER * len(images) + ("\n" if images else "")
    return [turn | {"value": tags + turn["value"]} if n == first else turn for n, turn in enumerate(turns)]


def _speaker(turn: object) -> str:
    role = turn["role"] if isinstance(turn, Mapping) else turn.role
    return "human" if role == "user" else "gpt"


def _text(turn: object) -> str:
    return turn["text"] if isinstance(turn, Mapping) else turn.text
