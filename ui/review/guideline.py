"""The guideline beside the item: its text drawn, its versions, and the form with which a curator writes another one.

The text is plain: blank lines part paragraphs, `-` or `1.` begins an item of a list, `#` a heading. It is never HTML.
"""

from __future__ import annotations

import re

from m3po.errors import M3poError
from m3po.studio import Studio
from m3po.types import Guideline
from ui.formatting import clock
from ui.markup import Markup, join, tag

_HEADING = re.compile(r"#{1,6}\s+(.*)")
_BULLET = re.compile(r"\s*[-*•]\s+(.*)")
_NUMBER = re.compile(r"\s*\d{1,3}[.)]\s+(.*)")
_LISTS = (("ul", _BULLET), ("ol", _NUMBER))


def draw_text(text: str) -> Markup:
    """Headings, paragraphs and lists; a line that begins no list goes on with what precedes it."""
    blocks: list[tuple[str, list[str]]] = []  # (element, its lines or items)
    going_on = False
    for line in text.splitlines():
        if not line.strip():
            going_on = False
            continue
        if heading := _HEADING.match(line):
            blocks.append(("h4", [heading[1]]))
            going_on = False
            continue
        name, words = next(((name, found[1]) for name, rule in _LISTS if (found := rule.match(line))), ("", line))
        if name and blocks and blocks[-1][0] == name:
            blocks[-1][1].append(words)
        elif name:
            blocks.append((name, [words]))
        elif going_on:
            blocks[-1][1][-1] += "\n" + words.strip()
        else:
            blocks.append(("p", [words.strip()]))
        going_on = True
    return join([
        tag(name, *([tag("li", item) for item in items] if name in ("ul", "ol") else items)) for name, items in blocks
    ])  # fmt: skip


def build_guideline_frame() -> Markup:
    """Its place in the page; filled and driven by ui/static/guideline.js."""
    versions = tag("select", id="guideline-version", aria_label="Version")
    head = tag(
        "div", tag("b", "Guideline"), versions, tag("span", id="guideline-by", class_="quiet"),
        tag("button", "Edit", id="guideline-edit", type="button", class_="plain curator-only"),
        tag("button", "✕", id="guideline-close", type="button", class_="plain", aria_label="Close", title="Close (I)"),
        class_="guideline-head",
    )  # fmt: skip
    form = tag(
        "div",
        tag("textarea", id="guideline-draft", aria_label="Text of the guideline", maxlength=50_000,
            placeholder="What is a good answer here, and what makes one wrong? Blank lines part paragraphs, - begins "
            "an item of a list, # a heading."),
        tag("label", "Reasons, by commas: the first nine have the keys 1–9",
            tag("input", id="guideline-reasons", type="text", autocomplete="off")),
        tag("div", tag("button", "Keep as a new version (Ctrl+Enter)", id="guideline-save", type="button",
                       class_="action action-main"),
            tag("button", "Leave (Esc)", id="guideline-leave", type="button", class_="action")),
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
    text = draw_text(guideline.text) or tag("p", "No text yet. A curator writes what a good answer is here.",
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
