"""The POPE card: its yes/no questions about the workspace's own held-out images, by what is known to be in them."""

from __future__ import annotations

import gradio as gr

from m3po.evaluation.pope_questions import PER_IMAGE
from ui.cards import Card, build_message, draw_heading
from ui.form import numbers

WHAT = (
    "Is there a ...? Asked about the held-out images whose objects are known, half of them there, the others drawn at "
    "random, popular and adversarial. Evaluations after that measure them."
)


def build_pope_card() -> Card:
    """`read` gives the arguments of Studio.build_pope."""
    with gr.Column(elem_classes="card-group curator-only"):
        draw_heading("POPE of your own images", WHAT)
        with gr.Row(elem_classes="settings"):
            per_image = gr.Number(
                PER_IMAGE, label="Questions of each label, an image and way", precision=0,
                elem_id="pope-per-image",
            )  # fmt: skip
            button = gr.Button("Ask", elem_id="data-pope", min_width=90)
        message = build_message("pope")

    def read(per_image: int | None) -> dict:
        return numbers({"per_image": per_image})

    return Card(button=button, message=message, form=[per_image], read=read)
