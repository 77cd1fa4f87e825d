"""The checks that every row of every format passes: types, sizes, characters, images, repeated ids."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from m3po.errors import BadImageError, BadInputError
from m3po.formats.lines import type_name
from m3po.images import ImageInfo, inspect_image
from m3po.text import asked_content
from m3po.types import SPLITS, ImportedRow, RefusedRow, Turn

MAX_TEXT = 100_000  # characters; far beyond any context window, short enough to show
MAX_ID = 1_000
REMEMBERED_IMAGES = 50_000
PLACEHOLDER = "<image>"
_PLACEHOLDER = re.compile(r"\s*<image>\s*")


def read_rows(
    records: Iterator[tuple[str, Any]], parse: Callable[[Any, str], ImportedRow]
) -> Iterator[ImportedRow | RefusedRow]:
    """Turn each (row name, record) into an ImportedRow by `parse(record, row name)`, or into a RefusedRow.

    A record that is an exception, and a BadInputError from `parse`, become the refused row's reason: one
    sentence that reads on after the row's name ("line 3: the instruction is empty; ...").
    """
    for row, record in records:
        try:
            if isinstance(record, BadInputError):
                raise record
            yield parse(record, row)
        except BadInputError as error:
            reason = str(error).rstrip(".")
            yield RefusedRow(row, f"{reason[:1].lower()}{reason[1:]}.")


class RowChecker:
    """Builds ImportedRows of one source whose images lie under `root`; remembers its ids.

    Per row it keeps two small integers (about 0.1 kB), so that a million rows cost some 100 MB at most.
    `allow_outside(path, info)` may admit an image outside of `root`.
    """

    def __init__(
        self, root: Path, *, allow_outside: Callable[[Path, ImageInfo], bool] = lambda path, info: False
    ) -> None:
        self.root = root
        self._real_root = root.resolve()
        self._allow_outside = allow_outside
        self._seen: dict[int, int] = {}
        self._looked_at: dict[str, tuple[Path, ImageInfo]] = {}

    def build(
        self,
        row: str,
        *,
        id: object,
        images: Sequence[object],
        instruction: object,
        system: object = None,
        turns: Sequence[Turn] = (),
        split: object = None,
        answer: object = None,
        objects: object = None,
        category: object = None,
        candidates: Sequence[object] = (),
        human: Sequence[object] = (),
        warnings: Sequence[str] = (),
    ) -> ImportedRow:
        """Check every field and look at every image. Raises BadInputError for the first thing that is wrong.

        Text placeholders for images are taken out of instruction and turns: the images go first (m3po.text).
        """
        notes = list(warnings)
        text = strip_placeholders(check_text(instruction, "the instruction"))
        if not text.strip():
            raise BadInputError("the instruction is empty; write the question or task")
        checked_turns = tuple(_check_turn(turn, number) for number, turn in enumerate(turns, 1))
        if checked_turns and checked_turns[-1].role == "user":
            raise BadInputError("an earlier turn of the user has no answer before the instruction; add it")
        name = check_id(id)
        found = [self.look_at(value) for value in images]
        for _, info in found:
            notes += info.warnings
        imported = ImportedRow(
            row=row,
            id=name,
            images=tuple(path for path, _ in found),
            instruction=text,
            system=check_text(system, "the system text") if system is not None else "",
            turns=checked_turns,
            split=check_split(split),
            answer=check_text(answer, "the answer") if answer is not None else None,
            objects=_check_objects(objects),
            category=check_text(category, "the category") if category is not None else None,
            candidates=tuple(check_answer(value, number) for number, value in enumerate(candidates, 1)),
            human=tuple(text for text in human if isinstance(text, str)),
            warnings=tuple(dict.fromkeys(notes)),
        )
        content = asked_content(
            [info.sha256 for _, info in found], imported.system, imported.turns, imported.instruction, imported.split
        )
        if not self.note_id(name, content):
            raise BadInputError(f"id {name[:100]!r} was already used with other content; give the row a new id")
        return imported

    def note_id(self, id: str, content: str) -> bool:
        """Whether the id is new, or came with the same `asked_content`: then it may come again."""
        key = hash(content)
        return self._seen.setdefault(hash(id), key) == key

    def note_ids(self, ids: Sequence[str], contents: Sequence[str]) -> tuple[list[bool], bool]:
        """`note_id` for many rows, and whether an id among them was there before."""
        before = len(self._seen)
        keys = list(map(hash, contents))
        kept = list(map(operator.eq, map(self._seen.setdefault, map(hash, ids), keys), keys))
        return kept, len(self._seen) - before < len(keys)

    def look_at(self, value: object) -> tuple[Path, ImageInfo]:
        """The absolute path of an image and what is known of it. Raises BadInputError, and BadImageError.

        A good one is looked at once, for rows that share an image are many.
        """
        known = self._looked_at.get(value) if isinstance(value, str) else None
        if known is None:
            known = self._look_at(value)
            if len(self._looked_at) >= REMEMBERED_IMAGES:
                self._looked_at.clear()
            self._looked_at[value] = known
        return known

    def _look_at(self, value: object) -> tuple[Path, ImageInfo]:
        if not isinstance(value, str):
            raise BadInputError(f"an image must be a path in quotes, not {type_name(value)}; name the file")
        shown = value if value.isprintable() else ascii(value)  # no line break or terminal code in a message
        shown = shown if len(shown) <= 200 else shown[:200] + "..."
        check_characters(value, "the image path")
        if not value.strip():
            raise BadInputError("an image path is empty; name the file")
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://|data:", value):
            raise BadInputError(f"image {shown} is an address, not a file; download it and name the file")
        path = self._resolve(value, shown)
        if path.is_relative_to(self._real_root):
            return path, inspect_image(path, name=shown)
        refusal = BadImageError(f"image {shown} lies outside {self.root.name or self.root}; copy it into that folder")
        try:
            info = inspect_image(path, name=shown)
        except BadImageError:
            raise refusal from None
        if not self._allow_outside(path, info):
            raise refusal
        return path, info

    def _resolve(self, value: str, shown: str) -> Path:
        """The absolute path without symbolic links."""
        try:
            return (self.root / value).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # a loop of symbolic links
            raise BadInputError(f"image {shown} cannot be found ({error}); correct the path") from error


def check_text(value: object, what: str) -> str:
    """Text of at most 100,000 characters that can be stored. Raises BadInputError."""
    if not isinstance(value, str):
        raise BadInputError(f"{what} must be text, not {type_name(value)}; put it in quotes")
    if len(value) > MAX_TEXT:
        raise BadInputError(f"{what} has {len(value):,} characters, more than {MAX_TEXT:,}; shorten it")
    check_characters(value, what)
    return value


def check_answer(value: object, number: int) -> str:
    """A candidate's text; it may hold anything that can be shown, but something."""
    text = check_text(value, f"candidate {number}")
    if not text.strip():
        raise BadInputError(f"candidate {number} is empty; write its text or leave it out")
    return text


def check_characters(value: str, what: str) -> None:
    """Refuse what UTF-8 cannot hold, and NUL, which ends a text in half of all tools."""
    if "\0" in value:
        raise BadInputError(f"{what} holds a NUL character; remove it")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise BadInputError(f"{what} holds half of a surrogate pair; write the whole character") from None


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


def image_list(record: Mapping[str, object], keys: Sequence[str]) -> list[object]:
    """The images under the first of `keys` that is there; one path counts as a list of one, null as none."""
    for key in keys:
        value = record.get(key)
        if value is None:
            continue
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list):
            raise BadInputError(f"{key} must be a path or a list of paths, not {type_name(value)}; correct it")
        return value
    return []


def strip_placeholders(text: str) -> str:
    """The text without `<image>`; text that has none comes back unchanged."""
    if PLACEHOLDER not in text:
        return text

    def gap(match: re.Match) -> str:
        if match.start() == 0 or match.end() == len(text):
            return ""
        return "\n" if "\n" in match.group() else " "

    # Two placeholders in a row leave one gap between them, and none at the ends.
    while PLACEHOLDER in text:
        text = _PLACEHOLDER.sub(gap, text, count=1)
    return text


def _check_turn(turn: Turn, number: int) -> Turn:
    if turn.role not in ("user", "assistant"):
        raise BadInputError(f"turn {number} is from {turn.role!r:.60}; write user or assistant")
    expected = "user" if number % 2 else "assistant"
    if turn.role != expected:
        raise BadInputError(
            f"turn {number} is from the {turn.role} where the {expected} is due; alternate, the user first"
        )
    return Turn(turn.role, strip_placeholders(check_text(turn.text, f"turn {number}")))


def _check_objects(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise BadInputError(f"objects must be a list of names, not {type_name(value)}; correct it")
    return tuple(check_text(item, f"object {number}") for number, item in enumerate(value, 1))
