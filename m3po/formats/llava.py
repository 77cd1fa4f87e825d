"""LLaVA-instruct JSON: a list (or JSON Lines) of `{id, image, conversations: [{from: human | gpt, value}]}`.

The last human turn is the instruction and what precedes it goes into `turns`; a system turn may come first.
An answer after the last human turn is taken as an imported candidate and as nothing else: in LLaVA's data it
was written by a model and is no truth to evaluate against. `image` is a path, a list of paths, or missing,
taken from the file's folder or from `images/` in it. `<image>` in the text is taken out; images go first. The
id defaults to the entry's number from 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from m3po.errors import BadInputError
from m3po.formats.lines import check_file, parse_json, read_records, type_name
from m3po.formats.rows import PLACEHOLDER, RowChecker, check_text, image_list, read_rows
from m3po.types import ImportedRow, RefusedRow, Turn

MAX_BYTES = 1_000_000_000
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


def read(path: Path) -> Iterator[ImportedRow | RefusedRow]:
    """Rows of the file. A JSON list is read whole (at most 1 GB), JSON Lines line by line.

    Raises BadInputError for a file that is neither.
    """
    check_file(path)
    root = path.parent
    checker = RowChecker(root)

    def parse(record: object, row: str) -> ImportedRow:
        if not isinstance(record, dict):
            raise BadInputError(f"it is {type_name(record)} where an object is expected; write {{...}}")
        images = [_locate(root, value) for value in image_list(record, ("image", "images"))]
        system, turns, instruction, answer = _split_conversation(record.get("conversations"))
        warnings = _check_placeholders([*(turn.text for turn in turns if turn.role == "user"), instruction], images)
        id = record.get("id")
        return checker.build(
            row,
            id=row.split()[-1] if id is None or id == "" else id,
            images=images,
            instruction=instruction,
            system=system,
            turns=turns,
            split=record.get("split"),
            candidates=[] if answer is None else [answer],
            warnings=warnings,
        )

    return read_rows(_records(path), parse)


def recognises(record: dict) -> bool:
    """Whether an entry looks like this format's."""
    return "conversations" in record


def _records(path: Path) -> Iterator[tuple[str, object]]:
    with path.open("rb") as file:
        head = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"{"):
        return read_records(path)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise BadInputError(
            f"{path} has {size / 1e9:.1f} GB, more than the 1 GB of a JSON list: write it as JSON Lines, "
            "one entry a line."
        )
    try:
        entries = parse_json(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except BadInputError as error:
        raise BadInputError(f"{path} cannot be read: {error}.") from error
    if not isinstance(entries, list):
        raise BadInputError(f"{path} holds {type_name(entries)} where a JSON list is expected: write [...].")
    return ((f"entry {number}", entry) for number, entry in enumerate(entries, 1))


def _locate(root: Path, value: object) -> object:
    """`images/a.png` for `a.png` when only that exists; anything odd is left to the checks that follow."""
    if not isinstance(value, str) or "\0" in value or Path(value).is_absolute():
        return value
    try:
        if not (root / value).exists() and (root / "images" / value).exists():
            return f"images/{value}"
    except OSError:  # a name longer than the file system allows
        pass
    return value


def _split_conversation(value: object) -> tuple[str | None, list[Turn], str, object]:
    """(system text, earlier turns, instruction, answer or None) of a conversation."""
    if value is None:
        raise BadInputError("it has no conversations; add at least one turn from human")
    if not isinstance(value, list):
        raise BadInputError(f"conversations must be a list of turns, not {type_name(value)}; correct it")
    turns: list[Turn] = []
    for number, turn in enumerate(value, 1):
        if not isinstance(turn, dict):
            raise BadInputError(
                f"turn {number} must be an object with from and value, not {type_name(turn)}; correct it"
            )
        speaker = turn.get("from")
        if not isinstance(speaker, str) or speaker not in ROLES:
            raise BadInputError(f"turn {number} is from {speaker!r:.60}; write human or gpt")
        turns.append(Turn(ROLES[speaker], check_text(turn.get("value"), f"turn {number}")))
    system = turns.pop(0).text if turns and turns[0].role == "system" else None
    answer = turns.pop().text if turns and turns[-1].role == "assistant" else None
    if not turns or turns[-1].role != "user":
        raise BadInputError("its conversation has no human turn to answer; add one")
    return system, turns[:-1], turns[-1].text, answer if answer and answer.strip() else None


def _check_placeholders(texts: list[str], images: list[object]) -> list[str]:
    counts = [text.count(PLACEHOLDER) for text in texts]
    total = sum(counts)
    if total > len(images):
        raise BadInputError(f"its text has {total} {PLACEHOLDER} but it names {len(images)} images; make them as many")
    if sum(counts[1:]):
        return [f"{PLACEHOLDER} in a later turn: all images are shown in the first one."]
    return []
