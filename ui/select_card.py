"""The Select card: the pick rule, its weights and its filters."""

from __future__ import annotations

from typing import Any

import gradio as gr

from m3po.settings import NORMALISATIONS, RULES, SelectConfig
from m3po.studio import Studio
from ui.cards import Card, build_message, build_run_strip, draw_heading
from ui.form import numbers
from ui.formatting import RULE_LABELS


def build_select_card(studio: Studio) -> Card:
    """`read` gives a SelectConfig."""
    with gr.Column(elem_classes="card-group"):
        draw_heading("3 · Select", "The best-aligned answer against the confident wrong one.")
        d = studio.current_select()
        with gr.Row(elem_classes="settings"):
            rules = [(RULE_LABELS[rule], rule) for rule in RULES]
            rule = gr.Dropdown(rules, value=d.rule, label="Rule", filterable=False, elem_id="select-rule")
            weight_chosen = gr.Number(d.weight_chosen, label="w chosen", step=0.05, elem_id="select-weight-chosen")
            weight_rejected = gr.Number(
                d.weight_rejected, label="w rejected", step=0.05, elem_id="select-weight-rejected"
            )
            delta = gr.Number(d.delta, label="δ margin", step=0.05, elem_id="select-delta")
            length_ratio = gr.Number(d.length_ratio, label="Length ratio", step=0.5, elem_id="select-length-ratio")
            normalise = gr.Dropdown(
                list(NORMALISATIONS), value=d.normalise, label="Normalise", filterable=False, elem_id="select-normalise"
            )
            button = gr.Button("Select", elem_id="data-select", min_width=90)
        message = build_message("select")
        strip = build_run_strip(studio)

    def read(rule: str, normalise: str, *values: Any) -> SelectConfig:
        names = ("weight_chosen", "weight_rejected", "delta", "length_ratio")
        return SelectConfig(rule=rule, normalise=normalise, **numbers(dict(zip(names, values, strict=True))))

    form = [rule, normalise, weight_chosen, weight_rejected, delta, length_ratio]
    return Card(button=button, message=message, strip=strip, form=form, read=read)
