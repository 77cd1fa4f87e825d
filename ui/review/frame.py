"""The parts of the Review tab that never change; ui/static/*.js fills the elements with ids."""

from __future__ import annotations

from ui.markup import Markup, join, tag
from ui.review.belief import build_belief_switch
from ui.review.history import build_history_button, build_history_panel
from ui.review.toolbar import build_toolbar

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
    ("review-redo", "Redo", "Shift+U", "redo", "Make stand again what was undone last"),
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
    ("U", "undo the latest decision, one after another"),
    ("Shift + U", "redo what was undone last, until you decide something new"),
    ("H", "the item's history: every decision and undo, to undo and redo any of them"),
    ("← →", "previous, next item"),
    ("Z", "fit the image, or zoom in; the wheel zooms, dragging moves it"),
    ("B", "colour the answers' tokens: by log-prob, by what they owe to the image, not at all"),
    ("?", "show or hide these keys"),
)


def build_frame(workspace: str = "") -> Markup:
    """All of it; `workspace` tells this one from others that were served at the same address."""
    left = tag(
        "section",
        tag("div", tag("div", id="review-image"), _build_image_tools(), class_="image-frame"),
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
        tag("div", build_belief_switch(), build_history_button(), class_="item-tools"),
        tag("div", id="review-candidates"),
        build_history_panel(),
        tag("div", *buttons, class_="review-actions", role="toolbar", aria_label="Decisions"),
        class_="review-right",
        aria_label="Candidates",
    )
    keys = [join([tag("dt", tag("kbd", key)), tag("dd", meaning)]) for key, meaning in HELP]
    return tag(
        "div",
        build_toolbar(),
        tag("div", id="review-chips", hidden=True, aria_label="What this view is narrowed to"),
        tag("div", id="review-message", role="status", aria_live="polite", hidden=True),
        tag("div", left, right, class_="review-body", id="review-body", hidden=True),
        tag("div", id="review-empty", class_="empty-state"),
        tag("dialog", tag("h2", "Keys"), tag("dl", *keys), tag("button", "Close", type="button", data_close=True),
            id="review-help", aria_label="Keys"),
        id="review-root", class_="review", data_workspace=workspace,
    )  # fmt: skip


def _build_image_tools() -> Markup:
    """Over the image: driven by ui/static/image.js."""
    buttons = [
        tag("button", label, type="button", class_="plain", data_zoom=zoom, title=title, aria_label=title)
        for label, zoom, title in (
            ("−", "out", "Smaller (wheel)"), ("+", "in", "Larger (wheel)"),
            ("Fit", "fit", "Fit the image (Z, or a double click)"),
        )
    ]  # fmt: skip
    keep = tag("label", tag("input", type="checkbox", id="review-keep-zoom"), " keep",
               title="Keep zoom and place from one item to the next")  # fmt: skip
    return tag("div", *buttons, keep, class_="image-tools")
