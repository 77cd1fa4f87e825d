"""What each training run did to the item's pair, in a line: before, after, and the outcome in a word."""

from __future__ import annotations

from m3po.types import PairChange, ReviewItem
from ui.formatting import OUTCOME_LABELS, OUTCOME_TOOLTIPS, number, plural
from ui.markup import Markup, tag
from ui.review.candidates import number_candidates

SHOWN = 3  # the first; the others open at a click


def draw_changes(item: ReviewItem) -> Markup:
    """Empty where no run had a pair of this item."""
    lines = [_draw_change(change, item) for change in item.changes]
    if not lines:
        return Markup("")
    others = None
    if rest := lines[SHOWN:]:
        others = tag("details", tag("summary", plural(len(rest), "other run")), *rest, class_="other-runs")
    return tag("div", *lines[:SHOWN], others, class_="run-changes")


def _draw_change(change: PairChange, item: ReviewItem) -> Markup:
    is_other = item.pair is None or (change.chosen, change.rejected) != (item.pair.chosen, item.pair.rejected)
    places = {c.id: str(n) for n, c in enumerate(number_candidates(item), 1)}
    pair = f"{places.get(change.chosen, '?')} over {places.get(change.rejected, '?')}"
    title = (
        f"Log-prob margin of the pair that run {change.run_id} had (answer {pair}), in nats over all its tokens, "
        f"before and after: {OUTCOME_TOOLTIPS[change.outcome]} Reward margin {number(change.reward, 3, sign=True)}: "
        "what it gained, times beta. Opens the run."
    )
    return tag(
        "button",
        tag("i", f"run {change.run_id}{change.arm and ' · '}{change.arm}"),
        tag("span", f"{number(change.before, sign=True)} → {number(change.after, sign=True)}", class_="num"),
        tag("b", OUTCOME_LABELS[change.outcome], class_=f"outcome outcome-{change.outcome or 'none'}"),
        tag("span", f"another pair: {pair}", class_="quiet") if is_other else None,
        type="button", class_="run-change", data_open_tab="results", data_open_run=change.run_id, title=title,
    )  # fmt: skip
