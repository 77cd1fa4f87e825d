"""What the page gets of one item: its ids to decide with, its drawn parts, and its place in the view."""

from __future__ import annotations

from collections.abc import Mapping

from m3po.neighbours import Neighbours, stamp_of
from m3po.studio import Studio
from m3po.types import ReviewItem, ReviewView
from ui.review.view import draw_item

AHEAD, BEHIND = 5, 2  # how many items the page keeps ready on either side
MAX_KNOWN = 50


def draw_answer(item: ReviewItem, pending: Mapping[str, int] | None = None) -> dict:
    """One item, drawn. `stamp` says what from: see m3po.neighbours."""
    pending = pending or {}
    texts = {candidate.id: candidate.text for candidate in item.candidates}
    chosen = item.pair.chosen if item.pair else pending.get("chosen")
    decision_id = item.decision.id if item.decision else None
    return {
        "item": {
            "instruction_id": item.instruction.id,
            "selection_id": item.selection_id,
            "chosen": item.pair.chosen if item.pair else None,
            "rejected": item.pair.rejected if item.pair else None,
            "pending": dict(pending),
            "decision_id": decision_id,
            "chosen_text": texts.get(chosen, ""),
            "texts": {} if item.pair else {str(key): text for key, text in texts.items()},  # whole: drawn ones are cut
            "scoring": item.scoring,
            "waiting": item.decision is None and (item.selection_id is None or not item.candidates),
            "decidable": bool(item.pair or item.machine_pair),
        },
        "parts": draw_item(item, pending),
        "stamp": stamp_of(item.selection_id, decision_id, blind=item.blind, shuffled=item.shuffled),
        "place": draw_place(item),
        "fixed_order": item.fixed_order,
    }


def draw_place(at: ReviewItem | Neighbours) -> dict[str, int]:
    """Where the item stands in its view (0: outside), and how far the whole workspace is."""
    return {name: getattr(at, name) for name in ("position", "total", "reviewed", "reviewable")}


def read_deck(studio: Studio, view: ReviewView, instruction_id: int, known: object) -> dict:
    """The items around one, drawn where the page does not have them as they are now.

    `known`: the stamps of those that it has, by id. `stamp` is that of the item itself.
    """
    known = known if isinstance(known, dict) and len(known) <= MAX_KNOWN else {}
    around = studio.review_neighbours(view, instruction_id, ahead=AHEAD, behind=BEHIND)
    missing = [near for near in (*around.ahead, *around.behind) if known.get(str(near)) != around.stamps[near]]
    drawn = {str(item.instruction.id): draw_answer(item) for item in studio.review_items(view, missing)}
    return {
        "around": instruction_id,
        "ahead": list(around.ahead),
        "behind": list(around.behind),
        "end": len(around.ahead) < AHEAD,
        "items": drawn,
        "stamp": around.stamps[instruction_id],
        "place": draw_place(around),
    }
