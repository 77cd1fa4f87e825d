"""Conversations as data sets write them: turns of from/value or of role/content, the content a text or its parts."""

from __future__ import annotations

from m3po.errors import BadInputError
from m3po.formats.checks import check_text
from m3po.formats.lines import type_name
from m3po.formats.rows import PLACEHOLDER
from m3po.types import Turn

SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "model": "assistant"}
SPEAKERS |= {"chatgpt": "assistant", "system": "system"}


def read_turns(value: object, name: str = "conversations") -> list[Turn]:
    """The turns, system turns with their role. Raises BadInputError."""
    if value is None:
        raise BadInputError(f"it has no {name}; add at least one turn from human")
    value = as_records(value)
    if not isinstance(value, list):
        raise BadInputError(f"{name} must be a list of turns, not {type_name(value)}; correct it")
    return [_read_turn(turn, number) for number, turn in enumerate(value, 1)]


def split_conversation(value: object, name: str = "conversations") -> tuple[str | None, list[Turn], str, str | None]:
    """(system text, earlier turns, instruction, answer or None): the last turn of the user is the instruction."""
    turns = read_turns(value, name)
    system = turns.pop(0).text if turns and turns[0].role == "system" else None
    answer = turns.pop().text if turns and turns[-1].role == "assistant" else None
    if not turns or turns[-1].role != "user":
        raise BadInputError("its conversation has no human turn to answer; add one")
    return system, turns[:-1], turns[-1].text, answer if answer and answer.strip() else None


def read_content(value: object, what: str) -> str:
    """A text, or the texts of content parts one after another, an image part as its placeholder."""
    if not isinstance(value, list):
        return check_text(value, what)
    texts = []
    for part in as_records(value):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "image":
            texts.append(PLACEHOLDER)
        elif kind == "text":
            texts.append(check_text(part.get("text"), what))
        else:
            raise BadInputError(f"{what} has a part that is neither text nor image; leave it out")
    return "".join(texts)


def as_records(value: object) -> object:
    """A list of objects where a data set holds an object of equally long lists, as `datasets` stores sequences."""
    if not isinstance(value, dict) or not value or not all(isinstance(item, list) for item in value.values()):
        return value
    if len({len(item) for item in value.values()}) > 1:
        return value
    return [dict(zip(value, items, strict=True)) for items in zip(*value.values(), strict=True)]


def _read_turn(turn: object, number: int) -> Turn:
    if not isinstance(turn, dict):
        raise BadInputError(f"turn {number} must be an object with from and value, not {type_name(turn)}; correct it")
    speaker = turn.get("from") if turn.get("from") is not None else turn.get("role")
    if not isinstance(speaker, str) or speaker not in SPEAKERS:
        raise BadInputError(f"turn {number} is from {speaker!r:.60}; write human or gpt")
    text = turn.get("value") if turn.get("value") is not None else turn.get("content")
    return Turn(SPEAKERS[speaker], read_content(text, f"turn {number}"))


def read_role_turns(value: object) -> list[Turn]:
    """Earlier turns as our own files have them: objects with `role` and `text`."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadInputError(f"turns must be a list, not {type_name(value)}; correct it")
    turns = []
    for number, turn in enumerate(value, 1):
        if not isinstance(turn, dict) or not isinstance(turn.get("role"), str):
            raise BadInputError(f"turn {number} must be an object with role and text; correct it")
        turns.append(Turn(turn["role"], turn.get("text")))  # the text is checked with the row
    return turns
