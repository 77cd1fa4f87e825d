"""The guideline beside the item: its text drawn, its versions, and the form with which a curator writes another one.

The text is Markdown (ui/markdown.py), and never HTML.
"""

from __future__ import annotations

from m3po.errors import M3poError
from m3po.guidelines import MAX_TEXT
from m3po.studio import Studio
from m3po.types import Guideline
from ui.formatting import clock
from ui.markdown import draw_markdown
from ui.markup import Markup, join, tag
from ui.review.key_words import keyed_title


def build_guideline_frame() -> Markup:
    """Its place in the page; filled and driven by ui/static/guideline.js."""
    versions = tag("select", id="guideline-version", aria_label="Version")
    head = tag(
        "div", tag("b", "Guideline"), versions, tag("span", id="guideline-by", class_="quiet"),
        tag("button", "Edit", id="guideline-edit", type="button", class_="plain curator-only"),
        tag("button", "✕", id="guideline-close", type="button", class_="plain", aria_label="Close",
            **keyed_title("Close ({guideline})")),
        class_="guideline-head",
    )  # fmt: skip
    form = tag(
        "div",
        tag("textarea", id="guideline-draft", aria_label="Text of the guideline", maxlength=MAX_TEXT,
            placeholder="What is a good answer here, and what makes one wrong? Markdown: blank lines part paragraphs, "
            "- begins an item of a list, # a heading; *so* and **so** stress a word."),
        tag("label", "Reasons, by commas: the first nine have the keys 1–9",
            tag("input", id="guideline-reasons", type="text", autocomplete="off")),
        tag("div", tag("button", "Keep as a new version (Ctrl+Enter)", id="guideline-save", type="button",
                       class_="action action-main"),
            tag("button", "Leave (Esc)", id="guideline-leave", type="button", class_="action"),
            tag("button", "Drop", id="guideline-drop", type="button", class_="action", title="Drop what I wrote")),
        id="guideline-form", hidden=True,
    )  # fmt: skip
    text = tag("div", id="guideline-text", tabindex="0")
    return tag("aside", head, text, form, id="review-guideline", hidden=True, aria_label="Guideline")


def answer_guideline(studio: Studio, asked: object) -> dict:
    """What the page asks: `{op: "read", version}` (none: the newest) or `{op: "write", text, reasons, after}`. Answers
    the version, drawn, or `error`. It comes over the network."""
    asked = asked if isinstance(asked, dict) else {}
    try:
        if asked.get("op") == "write":
            return _shown(studio, _write(studio, asked))
        version = asked.get("version")
        if isinstance(version, int) and not isinstance(version, bool) and 0 <= version < 2**63:
            return _shown(studio, studio.guideline.version(version))
        return _shown(studio, studio.guideline.current())
    except M3poError as error:
        return {"error": str(error)}


def _write(studio: Studio, asked: dict) -> Guideline:
    text, reasons, after = (asked.get(name) for name in ("text", "reasons", "after"))
    named = [reason for reason in reasons if isinstance(reason, str)] if isinstance(reasons, list) else None
    return studio.guideline.write(
        text if isinstance(text, str) else None, named, after=after if isinstance(after, int) else None
    )


def _shown(studio: Studio, guideline: Guideline) -> dict:
    written = [row["version"] for row in studio.guideline.versions()]
    by = f"{guideline.author}, {clock(guideline.at)}" if guideline.version else "nobody wrote one yet"
    text = draw_markdown(guideline.text) or tag("p", "No text yet. A curator writes what a good answer is here.",
                                            class_="quiet")  # fmt: skip
    listed = join([tag("h4", "Reasons"), tag("ol", *[tag("li", reason) for reason in guideline.reasons])])
    return {
        "version": guideline.version,
        "versions": written or [0],
        "by": by,
        "html": join([text, listed]),
        "text": guideline.text,
        "reasons": list(guideline.reasons),
    }
