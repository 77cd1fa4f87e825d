"""What the page gets of one item: its ids to decide with, its drawn parts, and its place in the view."""

from __future__ import annotations

from collections.abc import Mapping

from m3po.neighbours import Neighbours, stamp_of
from m3po.studio import Studio
from m3po.types import DEFAULT_REASONS, IMPORTED, Decision, Guideline, ReviewItem, ReviewView
from ui.review.view import draw_item

AHEAD, BEHIND = 5, 2  # how many items the page keeps ready on either side
MAX_KNOWN = 50


def draw_answer(
    item: ReviewItem,
    pending: Mapping[str, int] | None = None,
    me: str = "",
    guideline: Guideline | None = None,
) -> dict:
    """One item, drawn for `me`. `stamp` says what from: see m3po.neighbours."""
    pending = pending or {}
    texts = {candidate.id: candidate.text for candidate in item.candidates}
    chosen = item.pair.chosen if item.pair else pending.get("chosen")
    decision_id = item.decision.id if item.decision else None
    own = own_decision(item, me)
    marks = {"blind": item.blind, "shuffled": item.shuffled, "excluded": bool(item.exclusions)}
    marks["measured"] = item.measured
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
            "own": _said(own),
            "stands": None if own == item.decision else _said(item.decision),
            "tags": _tags(item, me),
            "guideline": guideline.version if guideline else 0,
            "reasons": list(guideline.reasons if guideline else DEFAULT_REASONS),
        },
        "parts": draw_item(item, pending),
        "stamp": stamp_of(item.selection_id, decision_id, item.tags, **marks),
        "place": draw_place(item),
        "fixed_order": item.fixed_order,
    }


def own_decision(item: ReviewItem, me: str) -> Decision | None:
    """What `me` said of it that stands, as m3po.store.votes.own_decision finds it."""
    said = [item.decision] if item.decision else []
    said += [vote for vote in item.votes if not vote.role]
    return next((each for each in said if each.annotator == me and each.reason != IMPORTED), None)


def _said(decision: Decision | None) -> dict[str, str] | None:
    if decision is None:
        return None
    reason = "" if decision.reason == IMPORTED else decision.reason
    return {"by": decision.annotator, "verdict": decision.verdict, "reason": reason, "note": decision.note}


def _tags(item: ReviewItem, me: str) -> list[dict]:
    by: dict[str, list[str]] = {}
    for each in item.tags:
        by.setdefault(each.name, []).append(each.annotator)
    return [{"name": name, "by": people, "mine": me in people} for name, people in by.items()]


def draw_place(at: ReviewItem | Neighbours) -> dict[str, int]:
    """Where the item stands in its view (0: outside), and how far the whole workspace is."""
    return {name: getattr(at, name) for name in ("position", "total", "reviewed", "reviewable")}


def read_deck(studio: Studio, view: ReviewView, instruction_id: int, known: object, me: str = "") -> dict:
    """The items around one, drawn where the page does not have them as they are now.

    `known`: the stamps of those that it has, by id. `stamp` is that of the item itself.
    """
    known = known if isinstance(known, dict) and len(known) <= MAX_KNOWN else {}
    around = studio.review_neighbours(view, instruction_id, ahead=AHEAD, behind=BEHIND)
    missing = [near for near in (*around.ahead, *around.behind) if known.get(str(near)) != around.stamps[near]]
    guideline = studio.guideline.current() if missing else None
    found = studio.review_items(view, missing)
    drawn = {str(item.instruction.id): draw_answer(item, None, me, guideline) for item in found}
    return {
        "around": instruction_id,
        "ahead": list(around.ahead),
        "behind": list(around.behind),
        "end": len(around.ahead) < AHEAD,
        "items": drawn,
        "stamp": around.stamps[instruction_id],
        "place": draw_place(around),
    }
