"""The Sample card: how many answers an instruction gets, and how they are drawn."""

from __future__ import annotations

from typing import Any

import gradio as gr

from m3po.jobs.planning.pilot import DEFAULT_PILOT
from m3po.settings import SampleConfig
from m3po.studio import Studio
from ui.cards import Card, build_message, build_run_strip, draw_heading
from ui.form import numbers
from ui.model_options import read_model_options


def build_sample_card(studio: Studio, defaults: dict[str, Any]) -> Card:
    """`read` takes the Score card's policy and model options first, which answer unless this card names another."""
    with gr.Column(elem_classes="card-group"):
        draw_heading(
            "1 · Sample",
            "K answers an instruction from the policy; equal answers become votes. The pilot samples "
            f"{DEFAULT_PILOT} instructions 16 times and tells what each K would give and cost.",
        )
        with gr.Row(elem_classes="settings"):
            k = gr.Number(defaults.get("k", 8), label="K", precision=0, elem_id="sample-k")
            temperature = gr.Number(
                defaults.get("temperature", 1.0), label="Temperature", step=0.1, elem_id="sample-temperature"
            )
            top_p = gr.Number(defaults.get("top_p", 1.0), label="Top-p", step=0.05, elem_id="sample-top-p")
            max_new = gr.Number(
                defaults.get("max_new_tokens", 128), label="Max tokens", precision=0, elem_id="sample-max-tokens"
            )
            limit = gr.Number(defaults.get("limit", 0), label="Limit (0 all)", precision=0, elem_id="sample-limit")
            seed = gr.Number(defaults.get("seed", 0), label="Seed", precision=0, elem_id="sample-seed")
            button = gr.Button("Sample", elem_id="data-sample", min_width=90)
            pilot = gr.Button("Pilot", elem_id="data-pilot", min_width=90)
        message = build_message("sample")
        with gr.Accordion("Another sampler", open=bool(defaults.get("sampler")), elem_id="sample-another"):
            with gr.Row(elem_classes="settings"):
                own = gr.Textbox(
                    defaults.get("sampler", ""),
                    label="Policy that answers, if another",
                    placeholder="folder, hub id or remote:MODEL@URL",
                    scale=4,
                    elem_id="sample-policy",
                )
                adapter = gr.Textbox("", label="Adapter", placeholder="folder", scale=2, elem_id="sample-adapter")
            with gr.Row(elem_classes="settings"):
                system = gr.Textbox("", label="System text in place of its own", scale=3, elem_id="sample-system")
                prompt = gr.Textbox(
                    "", label="Template", placeholder="Think first. {instruction}", scale=3, elem_id="sample-prompt"
                )
        strip = build_run_strip(studio)

    def read(policy: str, *values: Any) -> SampleConfig:
        names = ("k", "temperature", "top_p", "max_new_tokens", "limit", "seed")
        *options, own_policy, adapter, system, prompt = values[: -len(names)]
        settings = numbers(dict(zip(names, values[-len(names) :], strict=True))) | read_model_options(tuple(options))
        named = own_policy.strip() or policy.strip() or studio.default_sample().policy
        texts = {"adapter": adapter.strip() or None, "system": system.strip(), "prompt": prompt.strip()}
        return SampleConfig(policy=named, **texts, **settings)

    form = [own, adapter, system, prompt, k, temperature, top_p, max_new, limit, seed]
    return Card(button=button, message=message, strip=strip, form=form, read=read, pilot=pilot)
