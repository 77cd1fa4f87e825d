"""The Import card: which file or folder, in which format."""

from __future__ import annotations

import gradio as gr

from m3po.errors import BadInputError
from m3po.studio import Studio
from ui.cards import Card, build_run_strip, draw_heading
from ui.data_view import IMPORT_FORMATS


def build_import_card(studio: Studio) -> Card:
    """`read` gives the arguments of Studio.start_import."""
    with gr.Column(elem_classes="card-group"):
        draw_heading("Import")
        path = gr.Textbox(
            label="Folder of images or file", placeholder="/path/to/images or data.jsonl", elem_id="import-path"
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
        button = gr.Button("Import", elem_id="data-import")
        strip = build_run_strip(studio)

    def read(path: str, format_: str, strict: bool) -> dict:
        if not path.strip():
            raise BadInputError("Give the path of a folder or file to import.")
        return {"source": path.strip(), "format": format_, "strict": strict}

    return Card(button, strip, [path, format_, strict], read, [path.submit])
