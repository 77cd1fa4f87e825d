"""The Review tab: a fixed frame, filled and driven by keys.js, which calls the review handler on the server.

One component and one call a key: the answer carries the next item drawn, so that a decision costs one round trip.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from m3po.door import current_user
from m3po.studio import Studio
from m3po.types import REVIEW_FILTERS, REVIEW_ORDERS
from ui.formatting import FILTER_LABELS, ORDER_LABELS
from ui.markup import Markup, join, tag
from ui.review_handlers import ReviewHandler

# Gradio takes one function body: what edit.js declares, keys.js calls, and both share its variables.
SCRIPTS = tuple(Path(__file__).with_name(name) for name in ("keys.js", "edit.js"))

# (id, label, key as shown, op, what it does)
ACTIONS = (
    ("review-accept", "Accept", "Enter", "accept", "Keep this pair and go on"),
    ("review-swap", "Swap", "X", "swap", "Chosen and rejected change places"),
    ("review-tie", "Tie", "T", "tie", "Neither is better: kept out of training"),
    ("review-wrong", "All wrong", "N", "all_wrong", "No answer is right: kept out of training"),
    ("review-skip", "Skip", "S", "skip", "Go on without a verdict: kept out of training until decided"),
    ("review-flag", "Flag", "F", "flag", "Mark for a second look: kept out of training until decided"),
    ("review-edit", "Edit", "E", "edit", "Write the right answer: it becomes the chosen one"),
    ("review-undo", "Undo", "U", "undo", "Take back the latest decision"),
)
HELP = (
    ("Enter", "accept the pair, next item"),
    ("1–9", "make that candidate chosen"),
    ("Shift + 1–9", "make that candidate rejected"),
    ("↑ ↓", "select a candidate (any, also beyond nine)"),
    ("C / R", "make the selected one chosen / rejected"),
    ("X", "swap chosen and rejected"),
    ("E", "edit the chosen answer, or write one against the only answer; Ctrl+Enter saves, Esc leaves"),
    ("T", "tie: kept out of training"),
    ("N", "all wrong: kept out of training"),
    ("S", "skip: kept out of training until decided"),
    ("F", "flag for a second look: kept out of training until decided"),
    ("U", "undo the latest decision"),
    ("← →", "previous, next item"),
    ("?", "show or hide these keys"),
)


def build_review_tab(studio: Studio) -> gr.HTML:
    """Lay out the tab's one component and connect it with `studio`."""
    handler = ReviewHandler(studio)

    def review(command: dict) -> dict:
        user = current_user()
        return handler.on_command(command, user.name if user else "")

    return gr.HTML(
        html_template=build_frame(),
        js_on_load="\n".join(script.read_text(encoding="utf-8") for script in SCRIPTS),
        server_functions=[review],
        elem_id="review",
        apply_default_css=False,
    )


def build_frame() -> Markup:
    """The parts that never change; keys.js fills the elements with ids."""
    filters = [tag("option", FILTER_LABELS[name], value=name) for name in REVIEW_FILTERS]
    orders = [tag("option", ORDER_LABELS[name], value=name) for name in REVIEW_ORDERS]
    toolbar = tag(
        "div",
        tag("label", tag("span", "Show"), tag("select", *filters, id="review-filter")),
        tag("label", tag("span", "Order"), tag("select", *orders, id="review-order")),
        tag("label", tag("span", "Jump to"),
            tag("input", id="review-jump", type="text", placeholder="id", autocomplete="off", spellcheck="false")),
        tag("span", id="review-progress", class_="progress"),
        tag("span", _step("review-previous", "previous", "‹", "Previous (←)"),
            tag("span", id="review-position", aria_live="polite"),
            _step("review-next", "next", "›", "Next (→)"), class_="stepper"),
        tag("button", tag("kbd", "?"), " keys", id="review-help-open", type="button", class_="plain",
            aria_haspopup="dialog"),
        class_="review-toolbar", role="toolbar", aria_label="Which items to review",
    )  # fmt: skip
    left = tag(
        "section",
        tag("div", id="review-image"),
        tag("div", id="review-scatter"),
        class_="review-left",
        aria_label="Image",
    )
    buttons = [
        tag("button", label, " ", tag("kbd", key, aria_hidden="true"), id=element_id, type="button", data_op=op,
            title=f"{title} ({key})", class_="action action-main" if op == "accept" else "action",
            aria_keyshortcuts=key)
        for element_id, label, key, op, title in ACTIONS
    ]  # fmt: skip
    right = tag(
        "section",
        tag("div", id="review-instruction"),
        tag("div", id="review-state", aria_live="polite"),
        tag("div", id="review-candidates"),
        tag("div", *buttons, class_="review-actions", role="toolbar", aria_label="Decisions"),
        class_="review-right",
        aria_label="Candidates",
    )
    keys = [join([tag("dt", tag("kbd", key)), tag("dd", meaning)]) for key, meaning in HELP]
    return tag(
        "div",
        toolbar,
        tag("div", id="review-message", role="status", aria_live="polite", hidden=True),
        tag("div", left, right, class_="review-body", id="review-body", hidden=True),
        tag("div", id="review-empty", class_="empty-state"),
        tag("dialog", tag("h2", "Keys"), tag("dl", *keys), tag("button", "Close", type="button", data_close=True),
            id="review-help", aria_label="Keys"),
        tag("dialog", tag("img", alt="The image at full size"), id="review-zoom", aria_label="Image at full size"),
        id="review-root", class_="review",
    )  # fmt: skip


def _step(element_id: str, op: str, label: str, title: str) -> Markup:
    return tag("button", label, id=element_id, type="button", class_="plain", data_op=op, title=title, aria_label=title)
