"""The parts of the Review tab that never change; ui/static/*.js fills the elements with ids."""

from __future__ import annotations

from m3po.deciding import MAX_NOTE_CHARACTERS, MAX_TAG
from ui.markup import Markup, tag
from ui.review.belief import build_belief_switch
from ui.review.guideline import build_guideline_frame
from ui.review.history import build_history_button, build_history_panel
from ui.review.key_words import key_cap, keyed_title
from ui.review.toolbar import build_toolbar

# (id, label, op, what it does); the key of each is in ui/static/keys.js
ACTIONS = (
    ("review-accept", "Accept", "accept", "Keep this pair and go on"),
    ("review-tie", "Tie", "tie", "Neither is better: kept out of training"),
    ("review-wrong", "All wrong", "all_wrong", "No answer is right: kept out of training"),
    ("review-right", "All right", "all_right", "Every answer is right: kept out of training"),
    ("review-bad", "Bad question", "bad_question", "The image does not answer it: kept out of training"),
    (
        "review-skip",
        "Skip",
        "skip",
        "Go on without a verdict: it waits still, and is kept out of training until decided",
    ),
    ("review-flag", "Flag", "flag", "Mark for a second look: kept out of training until decided"),
    ("review-swap", "Swap", "swap", "Chosen and rejected change places"),
    ("review-edit", "Edit", "edit", "Write the right answer: it becomes the chosen one"),
    ("review-undo", "↶", "undo", "Undo: take back the latest decision"),
    ("review-redo", "↷", "redo", "Redo: make stand again what was undone last"),
)
N_TOOLS = 4  # the last of them give no verdict
# (id, label, what opens, what it is for)
PANELS = (
    ("review-reason", "Reason", "reason", "Say what is wrong: then a digit"),
    ("review-note", "Note", "note", "Write a note on your decision"),
    ("review-tags", "Tags", "tags", "Put words on this item, to find it again"),
    ("review-guideline-open", "Guideline", "guideline", "What annotators go by"),
)


def build_frame(workspace: str = "", made: str = "") -> Markup:
    """All of it; `workspace` tells this one from others that were served at the same address, `made` from an earlier
    one in the same folder, whose ids meant other items."""
    left = tag(
        "section",
        tag("div", tag("div", id="review-image"), _build_image_tools(), class_="image-frame"),
        tag("div", id="review-scatter"),
        build_guideline_frame(),
        class_="review-left",
        aria_label="Image",
    )
    buttons = [
        tag("button", label, " ", key_cap(op), id=element_id, type="button", data_op=op, data_shortcut=op,
            **keyed_title(f"{title} ({{{op}}})"), aria_label=label if label.isascii() else title.partition(":")[0],
            class_="action action-main" if op == "accept" else "action")
        for element_id, label, op, title in ACTIONS
    ]  # fmt: skip
    verdicts, tools = buttons[:-N_TOOLS], buttons[-N_TOOLS:]
    tools += [
        tag("button", label, " ", key_cap(panel), id=element_id, type="button", data_panel=panel, data_shortcut=panel,
            **keyed_title(f"{title} ({{{panel}}})"), class_="action")
        for element_id, label, panel, title in PANELS
    ]  # fmt: skip
    right = tag(
        "section",
        tag("div", id="review-instruction"),
        tag("div", tag("div", id="review-state", aria_live="polite"),
            tag("div", id="review-remarks", aria_live="polite"), class_="review-said"),
        tag("div", build_belief_switch(), build_history_button(), class_="item-tools"),
        tag("div", id="review-candidates"),
        build_history_panel(),
        tag("div", id="review-box", hidden=True),
        tag("div", tag("div", *verdicts), tag("div", *tools), class_="review-actions", role="toolbar",
            aria_label="Decisions"),
        class_="review-right",
        aria_label="Candidates",
    )  # fmt: skip
    message = tag("div", id="review-message", role="status", hidden=True)  # frame.js makes it an alert where it is one
    return tag(
        "div",
        build_toolbar(),
        tag("div", id="review-login", role="status", aria_live="polite", hidden=True),
        tag("div", id="review-chips", hidden=True, aria_label="What this view is narrowed to"),
        tag("div", left, right, class_="review-body", id="review-body", hidden=True),
        tag("div", id="review-empty", class_="empty-state"),
        tag("div", message, class_="review-foot"),
        *_build_key_dialogs(),
        id="review-root", class_="review", data_workspace=workspace, data_made=made,
        data_max_note=MAX_NOTE_CHARACTERS, data_max_tag=MAX_TAG,
    )  # fmt: skip


def _build_key_dialogs() -> list[Markup]:
    """Filled and driven by ui/static/key_settings.js."""
    close = tag("button", "Close", type="button", class_="action", data_close=True, autofocus=True)
    change = tag("button", "Change keys …", type="button", class_="action", id="review-keys-open")
    reset = tag("button", "Reset all", type="button", class_="action", id="review-keys-reset")
    words = "Press a button, then the key that it shall be. Keys are kept in this browser, for you alone."
    message = tag("p", id="review-keys-message", role="status")
    return [
        tag("dialog", tag("h2", "Keys"), tag("dl"), tag("div", change, close, class_="dialog-buttons"),
            id="review-help", aria_label="Keys"),
        tag("dialog", tag("h2", "Change keys"), tag("p", words, class_="quiet"), tag("div", id="review-keys-list"),
            message, tag("div", reset, close, class_="dialog-buttons"), id="review-keys", aria_label="Change keys"),
    ]  # fmt: skip


def _build_image_tools() -> Markup:
    """Over the image: driven by ui/static/image.js."""
    buttons = [
        tag("button", label, type="button", class_="plain", data_zoom=zoom, **keyed_title(title),
            aria_label=title.partition(" (")[0])
        for label, zoom, title in (
            ("−", "out", "Smaller (wheel)"), ("+", "in", "Larger (wheel)"),
            ("Fit", "fit", "Fit the image ({zoom}, or a double click)"),
        )
    ]  # fmt: skip
    keep = tag("label", tag("input", type="checkbox", id="review-keep-zoom"), " keep",
               title="Keep zoom and place from one item to the next")  # fmt: skip
    return tag("div", *buttons, keep, class_="image-tools")
