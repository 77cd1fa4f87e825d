"""Everybody's votes on an item side by side, for whoever may see them, and the button that makes it a gold item."""

from __future__ import annotations

from collections.abc import Sequence

from m3po.types import Candidate, Decision, ReviewItem
from ui.formatting import MISSING, VERDICT_LABELS, clock, number
from ui.markup import Markup, join, tag

HEADS = ("who", "verdict", "pair", "reason", "note", "when", "seconds")


def draw_votes(item: ReviewItem, numbered: Sequence[Candidate]) -> Markup | None:
    """A row a vote; a pair by the numbers of its answers, chosen first."""
    if item.decision is None or item.blind:
        return None
    places = {candidate.id: place for place, candidate in enumerate(numbered, 1)}
    rows = [_draw_vote(vote, places) for vote in item.votes]
    table = tag(
        "table",
        tag("thead", tag("tr", *[tag("th", head, scope="col") for head in HEADS])),
        tag("tbody", *rows),
        class_="votes",
    )
    label = "Gold item: take back" if item.gold else "Make it a gold item"
    title = "Others' decisions on a gold item are measured by this one, which is final."
    button = tag("button", label, type="button", class_="plain curator-only", data_op="gold",
                 data_gold=str(not item.gold).lower(), title=title)  # fmt: skip
    return join([table if rows else None, tag("span", "gold", class_="chip chip-gold") if item.gold else None, button])


def _draw_vote(vote: Decision, places: dict[int, int]) -> Markup:
    pair = MISSING
    if vote.chosen is not None and vote.rejected is not None:
        pair = f"{places.get(vote.chosen, '?')} over {places.get(vote.rejected, '?')}"
    words = VERDICT_LABELS.get(vote.verdict, vote.verdict)
    cells = [
        tag("b", vote.annotator), join([words, tag("span", ", the last word") if vote.role else None]), pair,
        vote.reason or MISSING, vote.note or MISSING, clock(vote.at), number(vote.seconds, 0),
    ]  # fmt: skip
    return tag("tr", *[tag("td", cell) for cell in cells], data_voter=vote.annotator)
