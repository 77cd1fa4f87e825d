"""The Export card: which rows, in which format, where to; the run tells how far it is."""

from __future__ import annotations

import gradio as gr

from m3po.errors import BadInputError
from m3po.formats.writers import WRITERS
from m3po.settings import EXPORT_ONLY
from m3po.studio import Studio
from ui.cards import Card, build_message, build_run_strip, draw_heading

ONLY_LABELS = {
    "all": "All, decisions applied",
    "reviewed": "Reviewed",
    "accepted": "Accepted or corrected",
    "auto": "Accepted, and auto-accepted",
}
IMAGE_LABELS = {"": "As suits the format", "files": "Files in images/", "bytes": "In the data", "paths": "Paths"}


def build_export_card(studio: Studio) -> Card:
    """`read` gives the arguments of Studio.start_export."""
    with gr.Column(elem_classes="card-group"):
        draw_heading("Export")
        out = gr.Textbox(
            label="New folder, or file to write", placeholder="/path/to/data-set or pairs.jsonl", elem_id="export-path"
        )
        with gr.Row():
            format_ = gr.Dropdown(
                [(writer.label, name) for name, writer in WRITERS.items()],
                value="m3po", label="Format", elem_id="export-format", filterable=False,
            )  # fmt: skip
            only = gr.Dropdown(
                [(ONLY_LABELS[name], name) for name in EXPORT_ONLY],
                value="all", label="Rows", elem_id="export-only", filterable=False,
            )  # fmt: skip
            images = gr.Dropdown(
                [(label, name) for name, label in IMAGE_LABELS.items()],
                value="", label="Images", elem_id="export-images", filterable=False,
            )  # fmt: skip
        button = gr.Button("Export", elem_id="data-export")
        message = build_message("export")
        strip = build_run_strip(studio)

    def read(out: str, format_: str, only: str, images: str) -> dict:
        if not out.strip():
            raise BadInputError("Give the folder or file to write.")
        return {"out": out.strip(), "format": format_, "only": only, "images": images}

    form = [out, format_, only, images]
    return Card(button=button, message=message, strip=strip, form=form, read=read, submits=[out.submit])
