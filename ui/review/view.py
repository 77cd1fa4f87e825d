"""A review item as the HTML parts of the page: pure functions from what the Studio says to what is drawn.

The page swaps only the parts that changed, so the image stays while candidates change their roles.
"""

from __future__ import annotations

from m3po.scorer_spec import short_name
from m3po.types import IMPORTED, TRAINING_VERDICTS, Decision, Pair, ReviewItem
from ui.formatting import PAIR_TOOLTIPS, VERDICT_LABELS, clip, clock, image_url, number
from ui.markup import Markup, join, tag
from ui.review.candidates import Pending, draw_candidates, number_candidates, roles_of
from ui.review.changes import draw_changes
from ui.scatter import ScatterPoint, draw_scatter
from ui.votes_view import draw_votes

_NO_M3P = " None here: one of the two was not there, or not scored, when the pairs were picked; Select again gives it."
_WRITTEN = " None here: a person wrote one of the two, and only answers that a rule may pick are ranked."
_CHANGED = (
    "Since this decision an answer came, a score changed, or the machine picks another pair. The decision still counts;"
    " accepting confirms it as the item is now."
)
_SELECT_AGAIN = "Goes to Select on Data, which picks all pairs anew by the scores shown. Decisions stay as they are."


def draw_item(item: ReviewItem, pending: Pending | None = None) -> dict[str, Markup]:
    """Element id -> its new inner HTML."""
    pending = pending or {}
    return {
        "review-image": _draw_images(item),
        "review-instruction": _draw_instruction(item),
        "review-candidates": draw_candidates(item, pending),
        "review-scatter": Markup("") if item.blind else draw_scatter(_points(item, pending)),
        "review-state": join(
            [_draw_state(item, pending), draw_votes(item, number_candidates(item)), draw_changes(item)]
        ),
    }


def _draw_images(item: ReviewItem) -> Markup:
    images = item.instruction.images
    shown = [
        tag(
            "div",
            tag("img", src=image_url(image), alt=f"Image {i} of instruction {item.instruction.external_id}",
                width=image.width, height=image.height, decoding="sync", draggable="false"),
            class_="image-zoom", data_full=f"{image_url(image)}?size=full",
        )
        for i, image in enumerate(images, 1)
    ]  # fmt: skip
    return tag("div", *shown, class_=f"images images-{min(len(shown), 4)}")


def _draw_instruction(item: ReviewItem) -> Markup:
    instruction = item.instruction
    earlier = [("system", instruction.system)] if instruction.system else []
    earlier += [(turn.role, turn.text) for turn in instruction.turns]
    context = [
        tag("p", tag("b", role), " ", clip(text), class_="turn", tabindex="0") for role, text in earlier
    ]  # fmt: skip
    where = tag(
        "span", f"{instruction.source} · {instruction.external_id} · {instruction.split}",
        class_="quiet instruction-id", title=f"Source, id and split; jump to {instruction.id} or the id",
    )  # fmt: skip
    return join([where, *context, tag("p", clip(instruction.instruction), class_="instruction-text", tabindex="0")])


def _points(item: ReviewItem, pending: Pending) -> list[ScatterPoint]:
    roles = roles_of(item, pending)
    return [
        ScatterPoint(c.id, str(n), c.mas, c.confidence, roles[c.id])
        for n, c in enumerate(number_candidates(item), 1)
        if c.mas is not None and c.confidence is not None
    ]


def _draw_state(item: ReviewItem, pending: Pending) -> Markup:
    decision = item.decision
    parts: list[Markup] = []
    if decision is not None:
        parts.append(_draw_disagreement(decision) if decision.disagreeing else _draw_verdict(decision))
        if decision.reason == IMPORTED and not decision.disagreeing:
            parts.append(tag("span", "imported", class_="chip", title="Voted in another tool; it came with a file."))
        elif decision.stale:
            parts.append(tag("span", "made on an earlier state", class_="chip chip-warn", title=_CHANGED))
        if decision.disagreeing or decision.verdict not in TRAINING_VERDICTS:
            parts.append(tag("span", "not trained on", class_="quiet"))
    elif pending:
        parts.append(tag("span", "half a pair", class_="chip chip-warn"))
    else:
        parts.append(tag("span", "not reviewed" if item.candidates else "nothing to review", class_="chip"))
    if item.excluded:
        title = f"Left out of training and pair exports: {item.excluded}. Another pair of this item trains again."
        parts.append(tag("span", "pair excluded", class_="chip chip-warn", title=title))
    if item.pair is not None:
        for key, label in (("m3p_score", "M3P"), ("logp_margin", "margin"), ("mas_gap", "gap")):
            value = getattr(item.pair, key)
            why = _why_no_m3p(item, item.pair) if key == "m3p_score" and value is None else ""
            warn = key == "logp_margin" and value is not None and value < 0
            parts.append(
                tag("span", tag("i", label), number(value, sign=key != "m3p_score"), title=PAIR_TOOLTIPS[key] + why,
                    class_="value" + (" value-warn" if warn else ""))
            )  # fmt: skip
    if item.selected_by:
        title = (
            f"The MAS shown is by the scorer in use now; good, hard, M3P and the machine's pair are by "
            f"{short_name(item.selected_by)} as it was when the pairs were picked, until they are selected again."
        )
        parts.append(tag("span", "picked by another scorer's MAS", class_="quiet", title=title))
        parts.append(
            tag("button", "select again", type="button", class_="link curator-only", data_open_tab="data",
                data_show="data-select", title=_SELECT_AGAIN)
        )  # fmt: skip
    return join(parts)


def _why_no_m3p(item: ReviewItem, pair: Pair) -> str:
    written = {c.id for c in item.candidates if c.origin == "human"}
    return _WRITTEN if written & {pair.chosen, pair.rejected} else _NO_M3P


def _draw_verdict(decision: Decision) -> Markup:
    who = f" by {decision.annotator}" if decision.annotator else ""
    words = VERDICT_LABELS.get(decision.verdict, decision.verdict)
    words += ", the last word" if decision.role else ""
    return tag("span", f"{words}{who}", class_=f"chip verdict verdict-{decision.verdict}",
               data_verdict=decision.verdict, title=f"Decided {clock(decision.at)}")  # fmt: skip


def _draw_disagreement(decision: Decision) -> Markup:
    """Votes without a majority: who voted, and whose pair it is that is drawn."""
    title = "No majority says the same, so the item is neither trained on nor exported until one does."
    chip = tag("span", f"reviewers disagree: {', '.join(decision.disagreeing)}", class_="chip chip-warn",
               data_verdict="disagree", title=title)  # fmt: skip
    shown = tag("span", f"shown as {decision.annotator} has it", class_="quiet") if decision.chosen else None
    return join([chip, shown])
