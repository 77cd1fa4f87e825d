"""The Score card: which models give the two signals."""

from __future__ import annotations

from typing import Any

import gradio as gr

from m3po.settings import ScoreConfig
from m3po.studio import Studio
from ui.cards import Card, build_run_strip, draw_heading
from ui.model_options import build_model_options, read_model_options


def build_score_card(studio: Studio, defaults: dict[str, Any]) -> Card:
    """The form begins with the policy's name and model options, which sampling takes too; `read` gives a config."""
    with gr.Column(elem_classes="card-group"):
        draw_heading("2 · Score", "Log-probs by the policy, MAS by the scorer, for what has none yet.")
        with gr.Row(elem_classes="settings"):
            policy = gr.Textbox(
                defaults.get("policy", ""), label="Policy (folder or hub id)", scale=4, elem_id="data-policy"
            )
            mas = gr.Textbox(
                defaults.get("mas", ""), label="MAS scorer (folder or hub id)", scale=4, elem_id="data-mas"
            )
            button = gr.Button("Score", elem_id="data-score", min_width=90)
        options = build_model_options("data")
        strip = build_run_strip(studio)
    model = [policy, *options]

    def read(policy: str, *values: Any) -> ScoreConfig:
        *options, mas = values
        return ScoreConfig(policy=policy.strip() or None, mas=mas.strip() or None, **read_model_options(tuple(options)))

    return Card(button, strip, [*model, mas], read, policy=model)
