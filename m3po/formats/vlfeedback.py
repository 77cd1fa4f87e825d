"""VLFeedback: four completions of a prompt, each rated by a model: `id, prompt, img_path | image, completions`.

A completion has `response`, `model`, and `annotations`: `{"Helpfulness": {"Rating": "4", "Rationale": ...}, ...}`.
The completions become candidates, their ratings numbers by name, to be taken by `column:` scorers. Ratings are texts
and some are none ("N/A"): those are left out.
"""

from __future__ import annotations

import math

from m3po.errors import BadInputError
from m3po.formats.conversations import as_records
from m3po.formats.lines import type_name
from m3po.formats.pictures import image_list
from m3po.formats.rows import Fields
from m3po.text import same_answer_key

COLUMNS = {
    "id": ("id",), "image": ("image", "images", "img_path"), "instruction": ("prompt",),
    "candidates": ("completions.response",), "ratings": ("completions.annotations",),
}  # fmt: skip
NO_NUMBER = "A rating that is no number is left out; write it as a number and import again to have it."
TWICE = "A completion that is there twice keeps its first ratings; leave the other out."


def parse(record: dict, source: str) -> Fields:
    if record.get("prompt") is None:
        raise BadInputError("it has no prompt; add the question or task under that key")
    completions = as_records(record.get("completions"))
    if not isinstance(completions, list) or not completions:
        found = "none" if not completions else type_name(completions)
        raise BadInputError(f"completions must be a list of answers, not {found}; correct it")
    answers: dict[str, tuple[object, dict[str, float]]] = {}
    warnings = []
    for number, completion in enumerate(completions, 1):
        if not isinstance(completion, dict) or completion.get("response") is None:
            raise BadInputError(f"completion {number} must be an object with response; correct it")
        text = completion["response"]
        key = same_answer_key(text) if isinstance(text, str) else str(number)
        if key in answers:
            warnings.append(TWICE)
        else:
            answers[key] = text, _read_ratings(completion.get("annotations"), warnings)
    return {
        "id": record.get("id"),
        "images": image_list(record, ("image", "images", "img_path")),
        "instruction": record["prompt"],
        "candidates": [text for text, _ in answers.values()],
        "ratings": [ratings for _, ratings in answers.values()],
        "warnings": warnings,
    }


def recognises(record: dict) -> bool:
    return "completions" in record and "prompt" in record


def _read_ratings(annotations: object, warnings: list[str]) -> dict[str, float]:
    if annotations is None:
        return {}
    if not isinstance(annotations, dict):
        raise BadInputError(f"annotations must be an object by rating, not {type_name(annotations)}; correct it")
    ratings = {}
    for name, value in annotations.items():
        if isinstance(value, dict):
            value = value.get("Rating", value.get("rating"))
        number = _read_number(value)
        if number is not None:
            ratings[name] = number
        elif value is not None:
            warnings.append(NO_NUMBER)
    return ratings


def _read_number(value: object) -> float | None:
    """A finite number, also written as text; "4/5" and "N/A" are none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
