"""What the review page may ask for, checked: its commands come over the network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from m3po.errors import M3poError, UsageError
from m3po.types import ReviewView
from ui.addresses import view_of
from ui.framed import BROKEN


class PageError(M3poError):
    """A key that cannot be obeyed as things are; the message says why."""


class StaleError(PageError):
    """The page shows what is no more: it gets what stands now together with the message."""


class LoginError(PageError):
    """What one did comes under another's login: `login` is its name, "" where nobody is logged in."""

    def __init__(self, message: str, login: str) -> None:
        super().__init__(message)
        self.login = login


@dataclass(frozen=True)
class Command:
    """One command of the page, checked. Ids are None where the page shows none.

    `client_id`: the page's own name of a decision, the same when it is sent again. `lean`: the page shows the next item
    already, only the storing counts. `by`: who was logged in when the key was pressed. `client`: the browser tab,
    so that it can give up its search. `reason` and `note` are what the page shows beside the item. `of`: the decision
    that an undo or redo from the history is about. `gold`: whether the item is to be a gold item, as the button said.
    """

    op: str
    instruction_id: int | None = None
    candidate_id: int | None = None
    role: str = ""
    chosen: int | None = None
    rejected: int | None = None
    selection_id: int | None = None
    view: ReviewView = field(default_factory=ReviewView)
    text: str = ""
    seconds: float | None = None
    pending: Mapping[str, int] = field(default_factory=dict)
    annotator: str = ""
    decision_id: int | None = None
    knows_decision: bool = False
    client_id: str = ""
    lean: bool = False
    by: str = ""
    client: str = ""
    reason: str = ""
    note: str = ""
    of: int | None = None
    gold: bool = True


def read_command(data: object, annotator: str = "") -> Command:
    """Check what came over the network. Raises PageError: handlers are public endpoints."""
    if not isinstance(data, dict):
        raise PageError(BROKEN)
    try:
        view = view_of(data.get("view") or {})
    except UsageError as error:
        raise PageError(str(error)) from error
    if data.get("of") is not None and _id(data["of"]) is None:  # without it the newest decision would be meant
        raise PageError("The page named a decision that cannot be; reload it.")
    pending = data.get("pending") if isinstance(data.get("pending"), dict) else {}
    seconds = data.get("seconds")
    text = data.get("text")
    return Command(
        op=str(data.get("op", "")),
        **{key: _id(data.get(key)) for key in _IDS},
        role=data.get("role") if data.get("role") in ("chosen", "rejected") else "",
        view=view,
        text=text if isinstance(text, str) else "",
        seconds=min(float(seconds), 86_400.0) if isinstance(seconds, int | float) and seconds >= 0 else None,
        pending={r: i for r in ("chosen", "rejected") if (i := _id(pending.get(r))) is not None},
        annotator=annotator,
        decision_id=_id(data.get("decision_id")),
        knows_decision="decision_id" in data,
        client_id=_client_id(data.get("client_id")),
        client=_client_id(data.get("client")),
        lean=data.get("lean") is True,
        **{key: data[key] if isinstance(data.get(key), str) else "" for key in ("reason", "note")},
        by=data.get("by") if isinstance(data.get("by"), str) else "",
        gold=data.get("gold") is not False,
    )


_IDS = ("instruction_id", "candidate_id", "chosen", "rejected", "selection_id", "of")


def _id(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def _client_id(value: object) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"[\w-]{8,64}", value) else ""
