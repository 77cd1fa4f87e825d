"""The Import card: which source, in which format, a look at its first rows, and the columns corrected by hand."""

from __future__ import annotations

import logging
from typing import Any

import gradio as gr

from m3po.errors import BadInputError, M3poError
from m3po.formats.mapping import FIELDS
from m3po.studio import Studio
from ui.cards import Card, build_message, build_run_strip, draw_heading
from ui.data_view import IMPORT_FORMATS, draw_notice
from ui.form import QUIET
from ui.import_view import draw_preview

log = logging.getLogger(__name__)
AS_READ = "(as the format reads it)"
CLOSE_JS = """
element.addEventListener('click', (event) => { if (event.target.closest('[data-close]')) trigger('put_away'); });
"""
LABELS = {"id": "Id", "image": "Image", "answer": "Answer (truth)", "objects": "Objects (truth)"}
LABELS |= {"category": "Category (truth)", "system": "System text"}


def build_import_card(studio: Studio) -> Card:
    """`read` gives the arguments of Studio.start_import."""
    with gr.Column(elem_classes="card-group"):
        draw_heading("Import")
        path = gr.Textbox(
            label="Folder, file or data set of the hub",
            placeholder="/path/to/images, data.jsonl, or hub:owner/name:train",
            elem_id="import-path",
        )
        with gr.Row():
            format_ = gr.Dropdown(
                [(label, value) for value, label in IMPORT_FORMATS.items()],
                value="auto",
                label="Format",
                elem_id="import-format",
                filterable=False,
            )
            strict = gr.Checkbox(
                label="All or nothing",
                value=False,
                info="Refuse the whole file if one row is bad",
                elem_id="import-strict",
            )
        images = gr.Textbox(
            label="Folder of the images, where it is another", placeholder="as the file", elem_id="import-images"
        )
        with gr.Row(elem_classes="import-buttons"):
            preview_btn = gr.Button("Preview", elem_id="data-preview")
            button = gr.Button("Import", elem_id="data-import")
        message = build_message("import")
        with gr.Accordion("Columns by hand", open=False, visible=False, elem_id="import-columns") as columns_box:
            choices = [
                gr.Dropdown(
                    [], label=LABELS.get(field, field.capitalize()), value=None, allow_custom_value=True,
                    elem_id=f"import-{field}", container=True,
                )
                for field in FIELDS
            ]  # fmt: skip
        strip = build_run_strip(studio)
    preview = gr.HTML("", apply_default_css=False, js_on_load=CLOSE_JS, elem_id="import-preview", render=False)
    # What was mapped by hand is true of one source alone: this one. The fields are emptied when another is named, but
    # who is quick sends them before that.
    mapped = gr.State("")
    form = [path, format_, images, mapped, *choices]

    def read(path: str | None, format_: str, images: str | None, mapped: str, *values: Any) -> dict:
        *columns, strict = values
        return {**_source(path, format_, images, _of_this(mapped, path, format_, columns)), "strict": bool(strict)}

    def on_preview(path: str | None, format_: str, images: str | None, mapped: str, *columns: str | None) -> list:
        try:
            columns = _of_this(mapped, path, format_, columns)
            shown = studio.preview_import(**_source(path, format_, images, columns))
        except M3poError as error:  # chosen without rejected, perhaps: what was chosen so far stays
            return [draw_notice(str(error)), *[gr.skip()] * (len(FIELDS) + 3)]
        except Exception as error:
            log.exception("preview")
            notice = draw_notice(f"Unexpected {type(error).__name__}: {error}; the log has the details.")
            return [notice, *[gr.skip()] * (len(FIELDS) + 3)]
        by_hand = shown["format"] == "mapping"
        box = gr.update(visible=True, open=True) if by_hand else gr.update(visible=True)
        return ["", draw_preview(shown), box, _key(path, format_), *_columns_of(shown, columns)]

    def on_other_source() -> list:
        return ["", "", gr.update(visible=False), "", *_no_columns()]

    outputs = [message, preview, columns_box, mapped, *choices]
    for trigger in (preview_btn.click, path.submit, images.submit, *(choice.input for choice in choices)):
        trigger(on_preview, form, outputs, **QUIET)
    for trigger in (path.change, format_.change):
        trigger(on_other_source, None, outputs, trigger_mode="always_last", **QUIET)
    preview.put_away(lambda: "", None, preview, **QUIET)
    return Card(button=button, message=message, strip=strip, form=[*form, strict], read=read, preview=preview)


def _key(path: str | None, format_: str) -> str:
    return f"{format_}:{(path or '').strip()}"


def _of_this(mapped: str, path: str | None, format_: str, columns: Any) -> Any:
    """The columns that were chosen, where they were chosen for this source."""
    return columns if mapped == _key(path, format_) else [None] * len(columns)


def _source(path: str | None, format_: str, images: str | None, columns: Any) -> dict:
    """What a preview and an import are given alike. A column is None where nobody was asked; "" means none."""
    if not isinstance(path, str) or not path.strip():
        raise BadInputError("Give the path of a folder or file, or hub:owner/name, to import.")
    mapping = {field: column for field, column in zip(FIELDS, columns, strict=True) if column not in (None, AS_READ)}
    return {
        "source": path.strip(),
        "format": format_,
        "images": (images or "").strip() or None,
        "mapping": mapping or None,
    }


def _columns_of(shown: dict, chosen: Any) -> list[dict]:
    """Each of our fields with the file's columns to choose from, what is read now chosen."""
    by_hand = shown["format"] == "mapping"
    updates = []
    for field, column in zip(FIELDS, chosen, strict=True):
        read_from = shown["mapping"].get(field)
        if by_hand:
            first, value = ("none", ""), read_from or ""
        else:
            first, value = (f"as read: {read_from}" if read_from else "none", AS_READ), column or AS_READ
        updates.append(gr.update(choices=[first, *((name, name) for name in shown["columns"])], value=value))
    return updates


def _no_columns() -> list[dict]:
    return [gr.update(choices=[], value=None) for _ in FIELDS]
