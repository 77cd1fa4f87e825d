"""Everything that was ever decided and undone on an item, newest first, each with the button that takes it back."""

from __future__ import annotations

from collections.abc import Sequence

from m3po.types import IMPORTED, PastDecision, ReviewItem
from ui.formatting import MISSING, VERDICT_LABELS, clock, number
from ui.markup import Markup, join, tag
from ui.review.candidates import number_candidates
from ui.review.key_words import key_cap, keyed_title

HEADS = ("", "who", "verdict", "pair", "reason", "note", "when", "seconds", "now", "")


def draw_history(item: ReviewItem, past: Sequence[PastDecision], me: str) -> Markup:
    """`past`: newest first, as the annotator `me` may see it. Rows are numbered from the oldest; a pair is told by the
    numbers that its answers have on the page."""
    if not past:
        return tag("p", "Nobody has decided this item yet.", class_="quiet")
    places = {candidate.id: place for place, candidate in enumerate(number_candidates(item), 1)}
    numbers = {row.id: len(past) - i for i, row in enumerate(past)}
    rows = [
        tag("tr", *[tag("td", cell) for cell in _cells(row, places, numbers, me)], data_decision=row.id,
            class_="gone" if row.undone_by else None)
        for row in past
    ]  # fmt: skip
    head = tag("thead", tag("tr", *[tag("th", head, scope="col") for head in HEADS]))
    return tag("table", head, tag("tbody", *rows), class_="votes")


def _cells(row: PastDecision, places: dict[int, int], numbers: dict[int, int], me: str) -> list:
    when = tag("time", clock(row.at), title=f"{row.at:%Y-%m-%d %H:%M:%S} UTC", datetime=f"{row.at:%Y-%m-%dT%H:%M:%S}Z")
    place = numbers[row.id]
    if row.revokes is not None:
        undone = tag("span", f"undo of {numbers.get(row.revokes, '?')}", class_="quiet")
        return [place, tag("b", row.annotator), undone, *[""] * 3, when, *[""] * 3]
    pair = MISSING
    if row.chosen is not None and row.rejected is not None:
        pair = f"{places.get(row.chosen, '?')} over {places.get(row.rejected, '?')}"
    return [
        place, tag("b", row.annotator), _draw_verdict(row, numbers), pair, row.reason or MISSING, row.note or MISSING,
        when, number(row.seconds, 0), _draw_state(row), _draw_button(row, me, numbers),
    ]  # fmt: skip


def _draw_verdict(row: PastDecision, numbers: dict[int, int]) -> Markup:
    words = VERDICT_LABELS.get(row.verdict, row.verdict) + (", the last word" if row.role else "")
    notes = ["blind"] if row.blind else []
    if row.redoes is not None:
        who = f" by {row.redone_by}" if row.redone_by != row.annotator else ""
        notes.append(f"redo of {numbers.get(row.redoes, '?')}{who}")
    return join([words, tag("span", f" ({', '.join(notes)})", class_="quiet") if notes else None])


def _draw_state(row: PastDecision) -> Markup:
    if row.undone_by:
        again = ", redone" if row.redone else ""
        return tag("span", f"undone by {row.undone_by}{again}", class_="quiet")
    if row.stands:
        return tag("span", "✓ stands", class_="chip verdict-accept")
    return tag("span", "replaced by a later one", class_="quiet")


def _draw_button(row: PastDecision, me: str, numbers: dict[int, int]) -> Markup | None:
    """None where nothing can be done. Those that only a curator may press are hidden from others, and refused them."""
    if row.reason == IMPORTED or row.redone:
        return None
    op = "redo" if row.undone_by else "undo"
    own = row.annotator == me and row.undone_by in ("", me) and not row.role
    label = f"{op.capitalize()} {row.verdict.replace('_', ' ')}, row {numbers[row.id]}"
    return tag("button", op.capitalize(), type="button", class_="plain" if own else "plain curator-only", data_op=op,
               data_of=row.id, aria_label=label)  # fmt: skip


def build_history_panel() -> Markup:
    """Empty and hidden; driven by ui/static/history.js."""
    close = tag("button", "✕", type="button", class_="plain", id="review-history-close", title="Close (Esc)",
                aria_label="Close the history")  # fmt: skip
    head = tag("header", tag("b", "History of this item"), close)
    return tag("section", head, tag("div", id="review-history-rows", tabindex="0"), id="review-history", hidden=True,
               aria_label="History of this item")  # fmt: skip


def build_history_button() -> Markup:
    return tag("button", "History ", key_cap("history"), type="button", class_="plain", id="review-history-open",
               **keyed_title("Every decision and undo on this item, to undo and redo any of them ({history})"),
               data_shortcut="history", aria_expanded="false", aria_controls="review-history")  # fmt: skip
