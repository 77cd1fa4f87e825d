"""POPE: yes/no questions about objects, `question_id, image, text, label`; on the hub `question` and `answer`.

They are truth to evaluate against and never trained on: rows that name no split are held out. The category tells which
of POPE's three ways drew the absent object, by the `category` column or by the file's name: random, popular, or
adversarial, which is an object that usually comes along with those in the image.
"""

from __future__ import annotations

import re

from m3po.errors import BadInputError
from m3po.formats.pictures import image_list
from m3po.formats.rows import Fields

COLUMNS = {
    "id": ("id", "question_id"), "image": ("image",), "instruction": ("text", "question"),
    "answer": ("label", "answer"), "category": ("category",), "split": ("split",),
}  # fmt: skip
_WAYS = {"random": "exist_random", "popular": "exist_popular", "adversarial": "exist_partner_absent"}


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
        "category": "exist_present" if label == "yes" else _way(record.get("category") or source),
        "split": record.get("split") or "heldout",
    }


def recognises(record: dict) -> bool:
    if "question_id" not in record:
        return False
    answer = _first(record, "label", "answer")
    return ("text" in record or "question" in record) and str(answer).strip().lower() in ("yes", "no")


def _way(text: object) -> str | None:
    found = re.search("|".join(_WAYS), str(text).lower())
    return _WAYS[found.group()] if found else None


def _first(record: dict, *names: str) -> object:
    return next((record[name] for name in names if record.get(name) is not None), None)
