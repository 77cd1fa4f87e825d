"""The checks that every row of every format passes: types, sizes, characters, images, repeated ids."""

from __future__ import annotations

import dataclasses
import logging
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from m3po.errors import BadInputError
from m3po.formats.checks import check_answer, check_id, check_objects, check_ratings, check_split, check_text
from m3po.formats.pictures import Pictures
from m3po.imported import ImportedDecision, ImportedRow, RefusedRow
from m3po.text import asked_content, counted
from m3po.types import Turn

log = logging.getLogger("m3po.formats")

Fields = dict[str, Any]  # what a format makes of a record: keyword arguments of RowChecker.build
UNFORESEEN = (TypeError, AttributeError, ValueError, OverflowError, LookupError, RecursionError)
PLACEHOLDER = "<image>"
_PLACEHOLDER = re.compile(r"\s*<image>\s*")


def read_rows(
    records: Iterator[tuple[str, Any]], parse: Callable[[Any, str], ImportedRow]
) -> Iterator[ImportedRow | RefusedRow]:
    """Turn each (row name, record) into an ImportedRow by `parse(record, row name)`, or into a RefusedRow.

    A record that is an exception, and a BadInputError from `parse`, become the refused row's reason: one
    sentence that reads on after the row's name ("line 3: the instruction is empty; ..."). So does what a shape that
    no check foresaw throws: one row never ends an import. It is a fault of ours, and logged, once.
    """
    logged = False
    for row, record in records:
        try:
            if isinstance(record, BadInputError):
                raise record
            yield parse(record, row)
        except BadInputError as error:
            reason = str(error).rstrip(".")
            yield RefusedRow(row, f"{reason[:1].lower()}{reason[1:]}.")
        except UNFORESEEN as error:
            if not logged:
                log.exception("%s has a shape that no check foresaw", row)
            logged = True
            reason = f"it has a shape that cannot be read ({type(error).__name__}); compare it with a row that goes in."
            yield RefusedRow(row, reason)


class RowChecker:
    """Builds ImportedRows of one source; `pictures` finds their images. Remembers the source's ids.

    Per row it keeps two small integers (about 0.1 kB), so that a million rows cost some 100 MB at most.
    """

    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures
        self._seen: dict[int, int] = {}

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
        ratings: Sequence[Mapping[str, float]] = (),
        decisions: Sequence[ImportedDecision] = (),
        known_as: tuple[str, str, str] | None = None,
        warnings: Sequence[str] = (),
    ) -> ImportedRow:
        """Check every field and look at every image. Raises BadInputError for the first thing that is wrong.

        Text placeholders for images are taken out of instruction and turns: the images go first (m3po.text).
        """
        notes = list(warnings)
        raw = check_text(instruction, "the instruction")
        text = strip_placeholders(raw)
        if not text.strip():
            raise BadInputError("the instruction is empty; write the question or task")
        if text is not raw or turns:
            asked = [turn.text for turn in turns if turn.role == "user" and isinstance(turn.text, str)]
            notes += _check_placeholders([*asked, raw], len(images))
        checked_turns = tuple(_check_turn(turn, number) for number, turn in enumerate(turns, 1))
        if checked_turns and checked_turns[-1].role == "user":
            raise BadInputError("an earlier turn of the user has no answer before the instruction; add it")
        name = check_id(id)
        found = [self.pictures.look_at(value, number) for number, value in enumerate(images, 1)]
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
            objects=check_objects(objects),
            category=check_text(category, "the category") if category is not None else None,
            candidates=tuple(check_answer(value, number) for number, value in enumerate(candidates, 1)),
            human=tuple(text for text in human if isinstance(text, str)),
            ratings=tuple(check_ratings(values) for values in ratings),
            decisions=tuple(_check_decision(decision) for decision in decisions),
            known_as=known_as and tuple(check_text(part, "what the row is known as") for part in known_as),
            warnings=tuple(dict.fromkeys(notes)),
        )
        content = asked_content(
            [info.sha256 for _, info in found], imported.system, imported.turns, imported.instruction, imported.split
        )
        fits = self.note_id(name, content)
        if not fits and known_as:  # a workspace's own tasks of two sources, whose ids are unique in each alone
            imported = dataclasses.replace(imported, id=check_id(f"{known_as[0]}/{name}"))
            fits = self.note_id(imported.id, content)
        if not fits:
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


def _check_placeholders(texts: Sequence[str], n_images: int) -> list[str]:
    """`texts` of the user in order. Raises BadInputError for more placeholders than images; else warnings."""
    counts = [text.count(PLACEHOLDER) for text in texts]
    total = sum(counts)
    if total > n_images:
        raise BadInputError(
            f"its text has {total} {PLACEHOLDER} but it names {counted(n_images, 'image')}; make them as many"
        )
    notes = []
    if 0 < total < n_images:
        notes.append(f"Fewer {PLACEHOLDER} in the text than images: all are shown before it; write one for each.")
    if sum(counts[1:]):
        notes.append(f"{PLACEHOLDER} in a later turn: all images are shown in the first one; move it there.")
    return notes


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


def _check_decision(decision: ImportedDecision) -> ImportedDecision:
    check_text(decision.annotator, "the annotator")
    check_text(decision.note, "the note")
    return decision


def _check_turn(turn: Turn, number: int) -> Turn:
    if turn.role not in ("user", "assistant"):
        raise BadInputError(f"turn {number} is from {turn.role!r:.60}; write user or assistant")
    expected = "user" if number % 2 else "assistant"
    if turn.role != expected:
        raise BadInputError(
            f"turn {number} is from the {turn.role} where the {expected} is due; alternate, the user first"
        )
    return Turn(turn.role, strip_placeholders(check_text(turn.text, f"turn {number}")))
