"""The Sample card: how many answers an instruction gets, and how they are drawn."""

from __future__ import annotations

from typing import Any

import gradio as gr

from m3po.settings import SampleConfig
from m3po.studio import Studio
from ui.cards import Card, build_run_strip, draw_heading
from ui.form import numbers
from ui.model_options import read_model_options


def build_sample_card(studio: Studio, defaults: dict[str, Any]) -> Card:
    """`read` takes the policy's name and model options first (the Score card's fields) and gives a SampleConfig."""
    with gr.Column(elem_classes="card-group"):
        draw_heading("1 · Sample", "K answers an instruction from the policy; equal answers become votes.")
        with gr.Row(elem_classes="settings"):
            k = gr.Number(defaults.get("k", 8), label="K", precision=0, minimum=1, elem_id="sample-k")
            temperature = gr.Number(defaults.get("temperature", 1.0), label="Temperature", step=0.1)
            top_p = gr.Number(defaults.get("top_p", 1.0), label="Top-p", step=0.05)
            max_new = gr.Number(defaults.get("max_new_tokens", 128), label="Max tokens", precision=0)
            limit = gr.Number(defaults.get("limit", 0), label="Limit (0 all)", precision=0)
            seed = gr.Number(defaults.get("seed", 0), label="Seed", precision=0)
            button = gr.Button("Sample", elem_id="data-sample", min_width=90)
        strip = build_run_strip(studio)

    def read(policy: str, *values: Any) -> SampleConfig:
        names = ("k", "temperature", "top_p", "max_new_tokens", "limit", "seed")
        named = policy.strip() or studio.default_sample().policy
        options, own = values[: -len(names)], values[-len(names) :]
        return SampleConfig(policy=named, **numbers(dict(zip(names, own, strict=True))), **read_model_options(options))

    return Card(button, strip, [k, temperature, top_p, max_new, limit, seed], read)
