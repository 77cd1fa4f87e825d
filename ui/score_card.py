"""The Score card: which models give the two signals, and which scorer's values are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from m3po.errors import M3poError
from m3po.scorer_spec import short_name
from m3po.settings import ScoreConfig
from m3po.studio import Studio
from ui.cards import Card, build_message, build_run_strip, draw_heading
from ui.data_view import draw_notice
from ui.form import QUIET
from ui.formatting import plural
from ui.markup import Markup
from ui.model_options import build_model_options, read_model_options

IF_VISIBLE = "(visible, drawn) => [Boolean(document.querySelector('#data-page')?.offsetParent), drawn]"
GROUP_HELP = "embed:MODEL, judge:MODEL or off"

Connect = Callable[[gr.Timer, gr.Checkbox, gr.Blocks], None]


def build_score_card(studio: Studio, defaults: dict[str, Any]) -> tuple[Card, Connect]:
    """The form begins with the policy's name and model options, which sampling takes too; `read` gives a ScoreConfig.
    What is returned beside the card keeps the switch of the scorer true, on each tick of a timer while it is visible.
    """
    with gr.Column(elem_classes="card-group"):
        draw_heading("2 · Score", "Log-probs by the policy, MAS by the scorer, for what has none yet.")
        with gr.Row(elem_classes="settings"):
            policy = gr.Textbox(
                defaults.get("policy", ""), label="Policy (folder or hub id)", scale=4, elem_id="data-policy"
            )
            adapter = gr.Textbox("", label="Adapter", placeholder="folder", scale=2, elem_id="data-adapter")
            mas = gr.Textbox(
                defaults.get("mas", ""),
                label="MAS scorer (folder, hub id or KIND:MODEL)",
                placeholder="clip:, vqa:, claims:, column:, remote:",
                max_lines=1,
                scale=4,
                elem_id="data-mas",
            )
            button = gr.Button("Score", elem_id="data-score", min_width=90)
        message = build_message("score")
        options = build_model_options("data")
        with gr.Row(elem_classes="settings"):
            group = gr.Textbox(
                "", label="Group answers by meaning (optional)", placeholder=GROUP_HELP, scale=4, elem_id="data-group"
            )
            switch = gr.Dropdown(
                [], label="MAS shown, and selected by", interactive=True, visible=False, filterable=False, scale=5,
                elem_id="data-scorer",
            )  # fmt: skip
        strip = build_run_strip(studio)
    model = [policy, *options]

    def read(policy: str, *values: Any) -> ScoreConfig:
        *options, adapter, mas, group = values
        texts = {"policy": policy, "adapter": adapter, "mas": mas, "group": group}
        named = {name: text.strip() or None for name, text in texts.items()}
        return ScoreConfig(**named, **read_model_options(tuple(options)))

    def on_switch(scorer: int) -> Markup:
        try:
            name = short_name(studio.use_scorer(scorer)["name"])
        except M3poError as error:
            return draw_notice(str(error))
        return draw_notice(f"MAS by {name} is shown now; the pairs change when you press Select.", good=True)

    def on_tick(visible: bool, drawn: str) -> list:
        return _draw_switch(studio, drawn) if visible else [gr.skip(), gr.skip()]

    drawn = gr.State("")  # an open menu is not drawn anew for nothing
    switch.input(on_switch, switch, message, **QUIET)

    def connect(timer: gr.Timer, visible: gr.Checkbox, page: gr.Blocks) -> None:
        timer.tick(on_tick, [visible, drawn], [switch, drawn], js=IF_VISIBLE, **QUIET)
        page.load(lambda: _draw_switch(studio, ""), None, [switch, drawn], **QUIET)

    return Card(
        button=button, message=message, strip=strip, form=[*model, adapter, mas, group], read=read, policy=model
    ), connect


def _draw_switch(studio: Studio, drawn: str) -> list:
    there = [row for row in studio.scorers() if row["candidates"] or row["active"]]
    names = [short_name(row["name"]) for row in there]
    choices = []
    for name, row in zip(names, there, strict=True):
        twin = f" (no. {row['number']})" if names.count(name) > 1 else ""
        choices.append((f"{name}{twin}: {plural(row['candidates'], 'candidate')}", row["number"]))
    active = next((row["number"] for row in there if row["active"]), None)
    now = repr((choices, active))
    if now == drawn:
        return [gr.skip(), gr.skip()]
    return [gr.Dropdown(choices=choices, value=active, visible=len(choices) > 1), now]
