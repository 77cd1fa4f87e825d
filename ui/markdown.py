"""What people write with Markdown's marks, drawn: emphasis, lists, headings, tables, links to the web.

It is never HTML: markdown-it escapes whatever looks like it, and a link that is none of the web's stays text.
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt

from ui.markup import Markup, clean

_BULLET = re.compile(r"^(\s*)•(?=\s)", re.MULTILINE)  # as it is pasted from word processors
_SAFE = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)
# A single line break stays one; an indented line is no code; no picture is fetched from elsewhere.
_PARSER = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table").disable(["code", "image"])
_PARSER.validateLink = lambda url: bool(_SAFE.match(url))  # type: ignore[method-assign]


def draw_markdown(text: str) -> Markup:
    """CommonMark and tables. Every heading is a h4, beneath those of the page; links open a tab of their own."""
    tokens = _PARSER.parse(_BULLET.sub(r"\1-", clean(text)))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = "h4"
        for part in token.children or []:
            if part.type == "link_open":
                part.attrs |= {"target": "_blank", "rel": "noopener noreferrer"}
    return Markup(_PARSER.renderer.render(tokens, _PARSER.options, {}).strip())
