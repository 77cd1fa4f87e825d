"""A look at a source before anything of it is imported: its format, its columns, its first rows as they would go in."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from m3po.errors import M3poError, UsageError
from m3po.formats.mapping import columns_of, guess_mapping, pick
from m3po.formats.registry import FORMATS, Source, UnknownFormatError, first_records, open_source
from m3po.formats.rows import read_rows
from m3po.images import ImageInfo, load_rgb
from m3po.imported import ImportedRow, RefusedRow
from m3po.jobs.transfer.importing import image_folder, locate
from m3po.store.workspace import Workspace

SIDE = 160  # pixels of a thumbnail
MAX_ROWS = 100
MAX_VALUE = 200  # characters


def preview_source(
    workspace: Workspace,
    source: Path | str,
    *,
    format: str = "auto",
    mapping: Mapping[str, str] | None = None,
    images: Path | str | None = None,
    rows: int = 5,
    thumbnails: bool = True,
) -> dict:
    """What an import with the same options would begin with; nothing is written to the workspace.

    Returns plain values: `source`, `container`, `format` ("mapping" where it is in no known one, with `mapping` guessed
    by the columns' names and `problem` saying what is missing), `label`, `doubt` (which other format it may be in),
    `columns` of the file, `mapping` of our fields to them, `ignored` columns, `values` (where no row can be read: a
    value of each column), and `rows`: each `{"row", "refused"}` or the fields of the row; an image has `width`,
    `height` and, with `thumbnails`, a small data URI. Raises as an import does.
    """
    if not 1 <= rows <= MAX_ROWS:
        raise UsageError(f"rows = {rows} cannot be used: give 1 to {MAX_ROWS}.")
    place, folder = locate(workspace, source), image_folder(images)
    try:
        opened, problem = open_source(place, format, mapping), ""
    except UnknownFormatError as error:
        columns, guess = columns_of(error.records), guess_mapping(columns_of(error.records))
        mapped = {field: column for field, column in {**guess, **(mapping or {})}.items() if column}
        if "instruction" not in mapped:
            shown = {"source": str(place), "container": error.container.kind, "format": "mapping"}
            shown |= {"label": FORMATS["mapping"].label, "columns": columns, "problem": str(error), "doubt": ""}
            values = _show_values(error.records, columns)
            return shown | {"mapping": mapped, "ignored": [], "rows": [], "values": values}
        opened, problem = open_source(place, "mapping", mapping), str(error)
    columns = columns_of(first_records(opened.container))
    shown = {"source": str(place), "container": opened.container.kind, "format": opened.format}
    shown |= {"label": FORMATS[opened.format].label, "columns": columns, "problem": problem, "doubt": opened.doubt}
    mapped = opened.mapped(columns)
    used = {column.split(".")[0] for column in mapped.values()}
    shown |= {"mapping": mapped, "ignored": [name for name in columns if name.split(".")[0] not in used]}
    return shown | {"rows": _first_rows(opened, folder, rows, thumbnails)}


def _show_values(records: list[dict], columns: list[str]) -> dict[str, str]:
    """By column its first value that is not empty, as text: they tell which column is the instruction."""
    shown = {}
    for column in columns:
        values = (pick(record, column) for record in records)
        value = next((value for value in values if value not in (None, "", [], {})), "")
        text = value if isinstance(value, str) else repr(value)
        shown[column] = text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}..."
    return shown


def _first_rows(source: Source, images: Path | None, count: int, thumbnails: bool) -> list[dict]:
    with tempfile.TemporaryDirectory(prefix="m3po-preview-") as spool:

        def keep(data: bytes, info: ImageInfo) -> Path:
            path = Path(spool) / f"{info.sha256}{info.suffix}"
            path.write_bytes(data)
            return path

        records = islice(source.container.records(), count)
        return [_describe(row, thumbnails) for row in read_rows(records, source.parser(keep, images))]


def _describe(row: ImportedRow | RefusedRow, thumbnails: bool) -> dict:
    if isinstance(row, RefusedRow):
        return {"row": row.row, "refused": row.reason}
    shown = {name: getattr(row, name) for name in ("row", "id", "instruction", "system", "split", "answer", "category")}
    shown |= {"turns": [{"role": turn.role, "text": turn.text} for turn in row.turns]}
    shown |= {"objects": None if row.objects is None else list(row.objects)}
    shown |= {"candidates": list(row.candidates), "ratings": [dict(values) for values in row.ratings]}
    decisions = [
        {"verdict": d.verdict, "chosen": d.chosen, "rejected": d.rejected, "annotator": d.annotator, "given": d.given}
        for d in row.decisions
    ]
    return shown | {
        "decisions": decisions,
        "images": [_describe_image(path, thumbnails) for path in row.images],
        "warnings": list(row.warnings),
    }


def _describe_image(path: Path, thumbnails: bool) -> dict:
    shown: dict = {"name": path.name}
    try:
        image = load_rgb(path)
        shown |= {"width": image.width, "height": image.height}
        if thumbnails:
            image.thumbnail((SIDE, SIDE))
            out = io.BytesIO()
            image.save(out, "WEBP", quality=80)
            shown["thumbnail"] = "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
    except M3poError as error:  # it changed since the row was checked
        shown["problem"] = str(error)
    return shown


def describe_fields(row: dict) -> list[tuple[str, str]]:
    """A row of the preview as (our field, text), without images, empty fields left out."""
    if "refused" in row:
        return []
    fields = [("id", row["id"]), ("split", row["split"])]
    fields += [(f"image {number}", _describe_size(image)) for number, image in enumerate(row["images"], 1)]
    fields += [("system", row["system"])]
    fields += [(turn["role"], turn["text"]) for turn in row["turns"]]
    fields += [("instruction", row["instruction"])]
    given = next((decision for decision in row["decisions"] if decision["chosen"] is not None), {})
    names = {given.get("chosen"): "chosen", given.get("rejected"): "rejected"}
    for place, text in enumerate(row["candidates"]):
        fields.append((names.get(place, f"candidate {place + 1}"), text))
        if place < len(row["ratings"]) and row["ratings"][place]:
            ratings = ", ".join(f"{name} {value:g}" for name, value in row["ratings"][place].items())
            fields.append(("ratings", ratings))
    fields += [("answer", row["answer"]), ("category", row["category"])]
    fields += [("objects", None if row["objects"] is None else ", ".join(row["objects"]) or "none")]
    fields += [("warning", text) for text in row["warnings"]]
    return [(name, text) for name, text in fields if text]


def _describe_size(image: dict) -> str:
    return f"{image['name']}, {image['width']} x {image['height']}" if "width" in image else image["problem"]
