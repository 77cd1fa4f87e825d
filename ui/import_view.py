"""The preview of an import as HTML: the format, what is read from which column, and the first rows."""

from __future__ import annotations

from m3po.jobs.previewing import describe_fields
from ui.data_view import draw_notice
from ui.markup import Markup, tag

MAX_SHOWN = 600  # characters of a text; the count says how many there are


def draw_preview(shown: dict) -> Markup:
    """`shown` as m3po.jobs.previewing gives it. All texts are data of the file."""
    head = tag(
        "p", tag("b", shown["label"]), tag("span", f" in {shown['container']}", class_="quiet"), class_="preview-head"
    )
    mapped = [tag("div", tag("dt", field), tag("dd", column)) for field, column in shown["mapping"].items()]
    return tag(
        "div",
        head,
        draw_notice(_problem(shown)) if shown["problem"] else None,
        tag("dl", *mapped, class_="preview-columns") if mapped else None,
        tag("p", "Not read: ", ", ".join(shown["ignored"]), class_="quiet") if shown["ignored"] else None,
        *[_draw_row(row) for row in shown["rows"]],
        tag("p", "The first rows of the file; nothing is imported yet.", class_="quiet") if shown["rows"] else None,
        class_="preview",
        id="import-rows",
    )


def _problem(shown: dict) -> str:
    columns = ", ".join(shown["columns"][:8]) or "none"
    if shown["rows"]:
        return f"This is in no known format (its columns: {columns}): check below what is read from which column."
    return f"This is in no known format (its columns: {columns}): choose below which of them is the instruction."


def _draw_row(row: dict) -> Markup:
    if "refused" in row:
        body = tag("p", tag("b", "Refused: "), row["refused"], class_="problem")
        return tag("section", tag("h3", row["row"]), body, class_="preview-row preview-refused")
    images = [
        tag("img", src=image["thumbnail"], alt=f"image {number}", title=f"{image['width']} x {image['height']}")
        for number, image in enumerate(row["images"], 1)
        if "thumbnail" in image
    ]
    fields = [
        tag("div", tag("dt", name), tag("dd", _shorten(text)), class_=f"preview-{name.split()[0]}")
        for name, text in describe_fields(row)
    ]
    words = tag("dl", *fields)
    return tag(
        "section", tag("h3", row["row"]), tag("div", *images, class_="preview-images"), words, class_="preview-row"
    )


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(text):,} characters)"
