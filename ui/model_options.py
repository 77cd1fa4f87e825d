"""The "Model options" accordion: how a policy is loaded, the same fields wherever one is named."""

from __future__ import annotations

import dataclasses
from typing import Any

import gradio as gr
from gradio.components import Component

from m3po.settings import ATTENTIONS, DTYPES, QUANTISATIONS, ModelOptions
from ui.form import numbers

_NAMES = [field.name for field in dataclasses.fields(ModelOptions)]


def build_model_options(prefix: str) -> list[Component]:
    """The fields, in the order of ModelOptions; `prefix` begins their ids."""
    with gr.Accordion("Model options", open=False, elem_id=f"{prefix}-model-options"):
        with gr.Row(elem_classes="settings"):
            dtype = gr.Dropdown(list(DTYPES), value="auto", label="Number type", filterable=False)
            attention = gr.Dropdown(_choices(ATTENTIONS, "default"), value="", label="Attention", filterable=False)
            quantise = gr.Dropdown(_choices(QUANTISATIONS, "no"), value="", label="Quantise", filterable=False)
        with gr.Row(elem_classes="settings"):
            device_map = gr.Textbox("", label="Device", placeholder="auto, cuda:1", lines=1, max_lines=1)
            max_pixels, min_pixels = (
                gr.Number(0, label=f"{word.title()} pixels (0 own)", precision=0, elem_id=f"{prefix}-{word}-pixels")
                for word in ("max", "min")
            )
        trust = gr.Checkbox(
            False,
            label="Run Python code that comes with the model",
            info="It runs with your rights and may do whatever you can: read it first.",
            elem_id=f"{prefix}-trust-remote-code",
        )
    return [dtype, device_map, attention, quantise, max_pixels, min_pixels, trust]


def _choices(values: tuple[str, ...], empty: str) -> list[tuple[str, str]]:
    return [(value or empty, value) for value in values]


def read_model_options(values: tuple[Any, ...]) -> dict[str, Any]:
    """What the fields hold, by the names of ModelOptions. Raises BadInputError for an empty number."""
    given = numbers(dict(zip(_NAMES, values, strict=True)))
    return given | {"device_map": given["device_map"].strip()}
