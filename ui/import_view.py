"""The preview of an import as HTML: the format, what is read from which column, and the first rows as a table."""

from __future__ import annotations

from m3po.jobs.transfer.previewing import describe_fields
from ui.data_view import draw_notice
from ui.markup import Markup, tag

MAX_SHOWN = 600  # characters of a text; the count says how many there are
# Column of the table -> which of a row's fields stand in it; what is in none of them is a part of the instruction.
_COLUMNS = {
    "Row": ("id", "split"),
    "Image": ("image",),
    "Instruction": (),
    "Answers": ("chosen", "rejected", "candidate", "ratings"),
    "Truth": ("answer", "category", "objects"),
}


def draw_preview(shown: dict) -> Markup:
    """`shown` as m3po.jobs.transfer.previewing gives it. All texts are data of the file."""
    close = tag("button", "Close", type="button", class_="plain", data_close=True)
    container = tag("span", f" in {shown['container']}; nothing is imported yet", class_="quiet")
    by_hand = shown["format"] == "mapping"  # then the choices say what is read from which column
    mapped = [
        tag("div", tag("dt", field), tag("dd", column)) for field, column in shown["mapping"].items() if not by_hand
    ]
    return tag(
        "section",
        tag("div", tag("h2", shown["label"], container), close, class_="preview-head"),
        draw_notice(_problem(shown)) if shown["problem"] else None,
        tag("p", shown["doubt"], class_="preview-doubt") if shown["doubt"] else None,
        tag("dl", *mapped, class_="preview-columns") if mapped else None,
        tag("p", "Not read: ", ", ".join(shown["ignored"]), class_="quiet") if shown["ignored"] else None,
        _draw_rows(shown["rows"]) if shown["rows"] else None,
        _draw_values(shown["values"]) if shown.get("values") else None,
        class_="panel preview",
        id="import-rows",
    )


def _problem(shown: dict) -> str:
    columns = ", ".join(shown["columns"][:8]) or "none"
    what = "check" if shown["rows"] else "choose"
    which = "what is read from which column" if shown["rows"] else "which of them is the instruction"
    return f"This is in no known format (its columns: {columns}): {what} under Columns by hand {which}."


def _draw_values(values: dict[str, str]) -> Markup:
    """Of a file in no known format: what stands in each of its columns."""
    lines = [tag("tr", tag("th", name, scope="row"), tag("td", text)) for name, text in values.items()]
    head = tag("tr", tag("th", "Column", scope="col"), tag("th", "For example", scope="col"))
    table = tag("table", tag("thead", head), tag("tbody", *lines), class_="figures-table preview-rows")
    return tag("div", table, class_="scroll")


def _draw_rows(rows: list[dict]) -> Markup:
    """A line a row; a column in which no row has anything is left out."""
    lines = [_group_fields(row) for row in rows]
    names = [name for name in _COLUMNS if name == "Row" or any(line[name] for line in lines)]
    body = []
    for row, line in zip(rows, lines, strict=True):
        first = tag("th", row["row"], _draw_cell(line["Row"]), scope="row")
        if "refused" in row:
            why = tag("td", tag("b", "Refused: "), row["refused"], colspan=max(1, len(names) - 1), class_="problem")
            body.append(tag("tr", first, why, class_="preview-refused"))
        else:
            body.append(tag("tr", first, *[tag("td", _draw_cell(line[name])) for name in names[1:]]))
    head = tag("tr", *[tag("th", name, scope="col") for name in names])
    return tag(
        "div",
        tag("table", tag("thead", head), tag("tbody", *body), class_="figures-table preview-rows"),
        class_="scroll",
    )


def _group_fields(row: dict) -> dict[str, list[Markup]]:
    grouped: dict[str, list[Markup]] = {name: [] for name in _COLUMNS}
    pictures = iter(row.get("images", ()))
    for name, text in describe_fields(row):
        kind = name.split()[0]
        column = next((column for column, kinds in _COLUMNS.items() if kind in kinds), "Instruction")
        if kind == "image":
            drawn = _draw_image(next(pictures), text)
        else:
            label = None if kind == "instruction" else tag("span", name, class_="quiet")
            drawn = tag("p", label, " " if label else None, tag("span", _shorten(text)), class_=f"preview-{kind}")
        grouped[column].append(drawn)
    return grouped


def _draw_cell(fields: list[Markup]) -> Markup | None:
    return tag("div", *fields, class_="preview-cell") if fields else None


def _draw_image(image: dict, text: str) -> Markup:
    if "thumbnail" not in image:
        return tag("p", text, class_="preview-image")
    return tag("img", src=image["thumbnail"], alt=text, title=text, class_="preview-image")


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(text):,} characters)"
