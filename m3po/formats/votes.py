"""What the exports of annotation tools have in common: answers under names, and votes that speak of those names."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence

from m3po.errors import BadInputError
from m3po.formats.checks import check_text
from m3po.imported import ImportedDecision
from m3po.text import counted, same_answer_key
from m3po.types import ADJUDICATED, TRAINING_VERDICTS, VERDICTS

INSTRUCTION = ("instruction", "prompt", "question", "query", "text")
IMAGE = ("images", "image", "image_url", "img", "img_path")
_ANSWER = re.compile(
    r"(answer|response|candidate|completion|output|option|text|left|right|chosen|rejected)[ _-]?\w{0,2}"
)
_PREFERS = re.compile(
    r"(the[ _-])?(chosen|chose|prefer|preferred|preference|best|better|winner)"
    r"([ _-](answer|response|candidate|completion|output|option))?"
)
_TIES = ("tie", "equal", "same")
_NOT_BOTH = ("text",)  # an instruction rather than an answer, when it stands alone


def find_answers(fields: Mapping, named: Sequence[str] = (), *, ours: bool = False) -> dict[str, str]:
    """Name to text: the list under `answers`, or the fields `named`, or those that are called like answers.

    A name holds the answer's own number, whatever was left out before it. `ours`: a workspace wrote it, where an empty
    text is an answer; elsewhere it is a field that nobody filled.
    """
    listed = fields.get("answers", fields.get("candidates"))
    if isinstance(listed, list):
        texts = [item.get("text") if isinstance(item, Mapping) else item for item in listed]
        return {f"answer_{n}": t for n, t in enumerate(texts, 1) if isinstance(t, str) and (ours or t.strip())}
    names = [name for name in named if isinstance(fields.get(name), str) and name not in INSTRUCTION]
    if ours:
        names = [name for name in fields if isinstance(fields[name], str) and re.fullmatch(r"answer_\d+", name)]
    elif len(names) < 2:
        names = [n for n in fields if isinstance(fields[n], str) and _ANSWER.fullmatch(n) and n not in _NOT_BOTH]
    return {name: fields[name] for name in names if ours or fields[name].strip()}


def place_of(value: object, answers: Mapping[str, str]) -> int | None:
    """The place of the answer that `value` speaks of: by its name, its text, or its number from 1."""
    names = list(answers)
    if isinstance(value, str) and value in names:
        return names.index(value)
    if isinstance(value, str) and value in answers.values():
        return list(answers.values()).index(value)
    keys = [same_answer_key(text) for text in answers.values()]
    if isinstance(value, str) and (key := same_answer_key(value)) in keys:
        return keys.index(key)
    if isinstance(value, str) and value in ("left", "right") and len(names) >= 2:
        return ("left", "right").index(value)
    digits = re.fullmatch(r"(?:\D{0,20}?)(\d{1,4})", str(value).strip())
    if not digits:
        return None
    number = int(digits.group(1))
    if any(
        re.fullmatch(r"(answer_)?\d+", name) for name in names
    ):  # the number of a name, not its place: some are left out
        return next((names.index(name) for name in (f"{number}", f"answer_{number}") if name in names), None)
    return number - 1 if 1 <= number <= len(names) else None


def may_vote(name: str) -> bool:
    """Whether a control or question of this name asks for the preferred answer; others speak of other things."""
    return _PREFERS.fullmatch(name.strip().lower()) is not None


class Ballot:
    """One annotator's vote as it is put together from what several controls say; `warnings`: what is no vote, and why.

    `add` and `decide` raise BadInputError for what speaks of no answer, or against what was said before: a vote is
    never guessed.
    """

    def __init__(self, answers: Mapping[str, str], warnings: list[str]) -> None:
        self._answers, self._warnings = answers, warnings
        self._said: dict[str, object] = {}

    def add(self, side: str, value: object) -> None:
        """`side`: chosen or rejected; `value`: the answer's name, text or number."""
        place = place_of(value, self._answers)
        if place is None:
            there = counted(len(self._answers), "answer")
            raise BadInputError(f"a vote names {value!r:.60} as {side}, which is none of its {there}; correct it")
        self.set(side, place)

    def set(self, side: str, value: object) -> None:
        """The place of an answer, or the verdict, where it is known already."""
        if side == "verdict" and value not in VERDICTS:
            raise BadInputError(f"a vote has the verdict {value!r:.60}; write one of {', '.join(VERDICTS)}")
        if self._said.setdefault(side, value) != value:
            raise BadInputError(f"two controls say of one vote another {side}; leave one of them out")

    def ask(self, name: str, value: object) -> bool:
        """What a choice says, if it is a vote at all; elsewhere it is none even where it names an answer."""
        if name == "verdict":
            self.set("verdict", value)
        elif name in ("rejected", "worst"):
            self.add("rejected", value)
        elif not may_vote(name):
            if place_of(value, self._answers) is not None:
                self._warnings.append(f"{name!r:.60} is not taken as a vote: call it chosen or preferred if it is one.")
            return False
        elif isinstance(value, str) and value.lower() in _TIES and place_of(value, self._answers) is None:
            self.set("verdict", "tie")
        else:
            self.add("chosen", value)
        return True

    def decide(self, who: Mapping) -> ImportedDecision | None:
        """A decision of `annotator`, `at`, `seconds`, `note`; None when nothing was decided. Of two answers one choice
        says both."""
        verdict, chosen, rejected = (self._said.get(name) for name in ("verdict", "chosen", "rejected"))
        if len(self._answers) == 2 and (chosen is None) != (rejected is None):
            chosen, rejected = (1 - rejected, rejected) if chosen is None else (chosen, 1 - chosen)
        if chosen is not None and chosen == rejected:
            raise BadInputError("a vote has the same answer as chosen and as rejected; correct one of them")
        paired = chosen is not None and rejected is not None
        if verdict in TRAINING_VERDICTS and not paired:
            raise BadInputError(f"a vote is {verdict} without both chosen and rejected; add them")
        if verdict is None and not paired:
            if self._said:
                self._warnings.append("A vote names chosen or rejected alone: of several answers that is no pair.")
            return None
        return ImportedDecision(verdict or "override", chosen, rejected, **who)


def read_time(value: object) -> dt.datetime | None:
    """UTC without a zone, of ISO 8601 or of a table's timestamp."""
    if not isinstance(value, str | dt.datetime):
        return None
    try:
        found = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
        return found.astimezone(dt.UTC).replace(tzinfo=None) if found.tzinfo else found
    except (ValueError, OverflowError):  # the latter before the year 1 or after 9999 in UTC
        return None


def read_standing(vote: Mapping) -> dict[str, object]:
    """`role`, `reason` and `blind` of a vote that a workspace wrote. Raises BadInputError for another role."""
    role = vote.get("role") or ""
    if role not in ("", ADJUDICATED):
        raise BadInputError(f"a vote has the role {role!r:.60}; write {ADJUDICATED} for a curator's last word, or none")
    reason = check_text(vote.get("reason") or "", "the reason")
    return {"role": role, "reason": reason, "blind": vote.get("blind") is True}


def name_origin(row: Mapping) -> dict[str, str]:
    """What a task says of the instruction that it is, for `known_as` to find it again."""
    origin = {"m3po_source": row["source"], "m3po_id": row["external_id"]}
    kept = {"m3po_content": row.get("content_hash"), "m3po_split": row.get("split")}
    return origin | {name: value for name, value in kept.items() if value}


def known_as(told: Mapping) -> tuple[str, str, str] | None:
    """Which row of the workspace that wrote the task it is, and the hash of what that row asks ("": not told)."""
    source, id, content = (told.get(f"m3po_{name}") for name in ("source", "id", "content"))
    if not (isinstance(source, str) and isinstance(id, str) and source and id):
        return None
    return source, id, content if isinstance(content, str) else ""
