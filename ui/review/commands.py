"""What the review page may ask for, checked: its commands come over the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from m3po.errors import M3poError
from m3po.types import REVIEW_FILTERS, REVIEW_ORDERS, ReviewView


class PageError(M3poError):
    """A key that cannot be obeyed as things are; the message says why."""


class StaleError(PageError):
    """The page shows what is no more: it gets what stands now together with the message."""


@dataclass(frozen=True)
class Command:
    """One command of the page, checked. Ids are None where the page shows none."""

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


def read_command(data: object, annotator: str = "") -> Command:
    """Check what came over the network. Raises PageError: handlers are public endpoints."""
    if not isinstance(data, dict):
        raise PageError("The page sent something that is no command; reload it.")
    view = data.get("view") if isinstance(data.get("view"), dict) else {}
    name, order = view.get("filter", "all"), view.get("order", "m3p_score")
    if name not in REVIEW_FILTERS or order not in REVIEW_ORDERS:
        raise PageError("That filter or order does not exist; reload the page.")
    pending = data.get("pending") if isinstance(data.get("pending"), dict) else {}
    seconds = data.get("seconds")
    text = data.get("text")
    return Command(
        op=str(data.get("op", "")),
        **{key: _id(data.get(key)) for key in ("instruction_id", "candidate_id", "chosen", "rejected", "selection_id")},
        role=data.get("role") if data.get("role") in ("chosen", "rejected") else "",
        view=ReviewView(name, order),
        text=text if isinstance(text, str) else "",
        seconds=min(float(seconds), 86_400.0) if isinstance(seconds, int | float) and seconds >= 0 else None,
        pending={r: i for r in ("chosen", "rejected") if (i := _id(pending.get(r))) is not None},
        annotator=annotator,
        decision_id=_id(data.get("decision_id")),
        knows_decision="decision_id" in data,
    )


def _id(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None
