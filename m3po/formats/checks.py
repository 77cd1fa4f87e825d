"""What a field of a row may hold: types, sizes, characters. Each check raises BadInputError with one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping

from m3po.errors import BadInputError
from m3po.formats.lines import type_name
from m3po.text import check_characters
from m3po.types import SPLITS

MAX_TEXT = 100_000  # characters; far beyond any context window, short enough to show
MAX_ID = 1_000


def check_text(value: object, what: str) -> str:
    """Text of at most 100,000 characters that can be stored. Raises BadInputError."""
    if not isinstance(value, str):
        raise BadInputError(f"{what} must be text, not {type_name(value)}; put it in quotes")
    if len(value) > MAX_TEXT:
        raise BadInputError(f"{what} has {len(value):,} characters, more than {MAX_TEXT:,}; shorten it")
    check_characters(value, what)
    return value


def check_answer(value: object, number: int) -> str:
    """A candidate's text; it may be empty, for a model may say nothing."""
    return check_text(value, f"candidate {number}")


def check_id(value: object) -> str:
    """Text or a whole number, as text."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadInputError(f"the id must be text or a whole number, not {type_name(value)}; correct it")
    text = str(value)
    check_characters(text, "the id")
    if not text.strip():
        raise BadInputError("the id is empty; write one or leave it out")
    if len(text) > MAX_ID:
        raise BadInputError(f"the id has {len(text):,} characters, more than {MAX_ID:,}; shorten it")
    return text


def check_split(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or value not in SPLITS:
        shown = repr(value)[:60] if isinstance(value, str) else type_name(value)
        raise BadInputError(f"the split is {shown}; write one of {', '.join(SPLITS)} or leave it out")
    return value


def check_objects(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise BadInputError(f"objects must be a list of names, not {type_name(value)}; correct it")
    return tuple(check_text(item, f"object {number}") for number, item in enumerate(value, 1))


def check_ratings(values: object) -> dict[str, float]:
    if not isinstance(values, Mapping):
        raise BadInputError(f"ratings must be an object of numbers, not {type_name(values)}; correct it")
    ratings = {}
    for name, value in values.items():
        number = finite_number(value)
        if number is None:
            raise BadInputError(f"the rating {name!r:.60} must be a finite number, not {value!r:.40}; correct it")
        ratings[check_text(name, "a rating's name")] = number
    return ratings


def finite_number(value: object) -> float | None:
    """None for what is no number, or larger than any that can be computed with."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def list_texts(value: object, what: str) -> list[str]:
    """One text or a list of them; nothing is an empty list."""
    if value is None:
        return []
    return [check_text(item, what) for item in (value if isinstance(value, list) else [value])]
