"""POPE: yes/no questions about objects, `question_id, image, text, label`; on the hub `question` and `answer`.

They are truth to evaluate against and never trained on: rows that name no split are held out. A file is one of POPE's
sets, told by its name or by the rows' `category`: `coco_pope_random.json`, `gqa_pope_adversarial.json`; its questions
are measured by themselves (m3po.evaluation.pope). A `category` of our own (`exist_random`, `pope_gqa_random`) stays.
"""

from __future__ import annotations

import re

from m3po.categories import OWN_PRESENT, OWN_WAYS, POPE_CATEGORIES, POPE_WAYS, pope_category
from m3po.errors import BadInputError
from m3po.formats.pictures import image_list
from m3po.formats.rows import Fields

COLUMNS = {
    "id": ("id", "question_id"), "image": ("image",), "instruction": ("text", "question"),
    "answer": ("label", "answer"), "category": ("category",), "split": ("split",),
}  # fmt: skip
_OWN = {way: category for category, way in OWN_WAYS.items()}
_DATASET = re.compile("coco|gqa|a-?ok-?vqa")


def parse(record: dict, source: str) -> Fields:
    text, label = _first(record, "text", "question"), _first(record, "label", "answer")
    if text is None:
        raise BadInputError("it has no text; add the question under that key")
    if not isinstance(label, str) or label.strip().lower() not in ("yes", "no"):
        raise BadInputError(f"its label is {label!r:.60}; write yes or no")
    images = image_list(record, ("image",))
    if not images:
        raise BadInputError("it names no image; add it under image")
    label = label.strip().lower()
    return {
        "id": _first(record, "id", "question_id"),
        "images": images,
        "instruction": text,
        "answer": label,
        "category": _category(record, label, source),
        "split": record.get("split") or "heldout",
    }


def recognises(record: dict) -> bool:
    if "question_id" not in record:
        return False
    answer = _first(record, "label", "answer")
    return ("text" in record or "question" in record) and str(answer).strip().lower() in ("yes", "no")


def _category(record: dict, label: str, source: str) -> str | None:
    named = str(record.get("category") or "").lower()
    if named in (OWN_PRESENT, *OWN_WAYS, *POPE_CATEGORIES):
        return named
    way = _way(named) or _way(source.lower())
    found = _DATASET.search(named) or _DATASET.search(source.lower())
    if record.get("split") and not found:  # a workspace's own questions, as earlier versions wrote them
        return OWN_PRESENT if label == "yes" else _OWN.get(way)
    dataset = found.group().replace("-", "") if found else ""
    return pope_category(way, "" if dataset == "coco" else dataset)


def _way(text: str) -> str:
    return next((way for way in POPE_WAYS if way in text), "")


def _first(record: dict, *names: str) -> object:
    return next((record[name] for name in names if record.get(name) is not None), None)
