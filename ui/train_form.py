"""The form of the Fine-tune tab: the preset, the pairs, and under *Advanced* every setting with its explanation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.components import Component

from m3po.settings import CHOICES, TrainConfig
from m3po.training.options import GROUPS, SETTINGS, read_catalogue, split_further, write_further
from m3po.training.presets import PRESETS, describe_option
from ui.form import numbers
from ui.markup import Markup, tag
from ui.model_options import build_model_options, read_model_options

ONLY = {
    "All, decisions applied": "all",
    "Reviewed only": "reviewed",
    "Accepted, and auto-accepted": "auto",
}
LABELS = {
    "method": "Method", "epochs": "Epochs", "max_steps": "Max steps, 0 = all", "batch_size": "Batch size",
    "gradient_accumulation": "Accumulate", "max_length": "Max tokens, 0 = model's", "seed": "Seed",
    "loss_type": "Loss (joined by +)", "loss_weights": "Loss weights", "beta": "β",
    "label_smoothing": "Label smoothing", "f_divergence_type": "Divergence", "reward": "Reward (GRPO)",
    "learning_rate": "Learning rate", "warmup_ratio": "Warm-up", "lr_scheduler_type": "Schedule",
    "optim": "Optimiser", "weight_decay": "Weight decay", "adam_beta1": "Adam β1", "adam_beta2": "Adam β2",
    "adam_epsilon": "Adam ε", "max_grad_norm": "Max gradient norm", "lora_r": "LoRA r", "lora_alpha": "LoRA α",
    "lora_dropout": "Dropout", "lora_target_modules": "Layers", "use_rslora": "rsLoRA", "use_dora": "DoRA",
    "init_lora_weights": "First weights", "lora_bias": "Biases", "gradient_checkpointing": "Gradient checkpointing",
    "processes": "Processes, 0 = auto", "save_steps": "Checkpoint every, 0 = auto", "logging_steps": "Log every",
}  # fmt: skip
FIELDS = [name for group in GROUPS.values() for name in group if name in LABELS]
_TYPES = {field.name: field.type for field in dataclasses.fields(TrainConfig)}
_FURTHER = "One key=value a line: options of TRL begin with trl., of peft's LoraConfig with lora."


class TrainForm:
    """Lays itself out where it is made. `fields` in the order in which `read` takes their values."""

    def __init__(self, default: Callable[[str], TrainConfig]) -> None:
        """`default`: the settings of a preset for the workspace's own policy."""
        self._default = default
        start = TrainConfig(policy="?", **PRESETS["demo"].values)
        labels = [(preset.label, preset.name) for preset in PRESETS.values()]
        with gr.Row():
            self.preset = gr.Dropdown(labels, value="demo", label="Preset", filterable=False, elem_id="train-preset")
            only = gr.Dropdown(list(ONLY.items()), value="all", label="Pairs", filterable=False, elem_id="train-only")
        self.about = gr.HTML(
            describe_preset("demo"), apply_default_css=False, js_on_load=None, elem_classes="preset-about"
        )
        with gr.Accordion("Advanced", open=False, elem_id="train-advanced"):
            self.adapter = gr.Textbox(
                "", label="Adapter to go on from", placeholder="folder", elem_id="train-adapter",
                info="its own LoRA settings count then; what it is now is the reference",
            )  # fmt: skip
            self._settings = [field for title, group in GROUPS.items() for field in _build_group(title, group, start)]
            further = gr.Textbox(
                "", label="Further options", lines=3, info=_FURTHER, elem_id="train-further",
                placeholder="trl.neftune_noise_alpha=5\nlora.rank_pattern={\"q_proj\": 32}",
            )  # fmt: skip
            gr.HTML(draw_options(), apply_default_css=False, js_on_load=None, elem_id="train-options")
        options = build_model_options("train")
        self.fields: list[Component] = [self.preset, only, self.adapter, further, *self._settings, *options]
        self.of_preset = [self.about, *self._settings]

    def read(self, *values: Any) -> TrainConfig:
        """Raises BadInputError for an empty number, UsageError for what cannot be."""
        preset, only, adapter, further, *rest = values
        settings, model = rest[: len(FIELDS)], rest[len(FIELDS) :]
        given = {
            name: (value or "").strip() if _TYPES[name] == "str" else value
            for name, value in zip(FIELDS, settings, strict=True)
        }
        return dataclasses.replace(
            self._default(preset),
            only=only,
            adapter=(adapter or "").strip() or None,
            further=write_further(split_further(further or "")),
            **numbers(given),
            **read_model_options(tuple(model)),
        )

    def fill(self, preset: str) -> list:
        """The values of `of_preset` for a preset."""
        config = TrainConfig(policy="?", **PRESETS[preset].values)
        return [describe_preset(preset), *[getattr(config, name) for name in FIELDS]]


def describe_preset(name: str) -> Markup:
    return tag("p", PRESETS[name].description, class_="quiet")


def draw_options() -> Markup:
    """What *Further options* takes, folded."""
    items = []
    for key, entry in read_catalogue().items():
        _, _, meaning = describe_option(key, entry).partition(": ")
        items += [tag("dt", tag("code", key)), tag("dd", meaning)]
    return tag("details", tag("summary", f"All {len(read_catalogue())} further options"), tag("dl", *items))


def _build_group(title: str, names: dict[str, str], start: TrainConfig) -> list[Component]:
    with gr.Accordion(title, open=True, elem_classes="train-group"), gr.Row(elem_classes="explained"):
        return [_build_field(name, getattr(start, name)) for name in names if name in LABELS]


def _build_field(name: str, value: Any) -> Component:
    told = {"label": LABELS[name], "info": SETTINGS[name], "elem_id": f"train-{name.replace('_', '-')}"}
    kind = _TYPES[name]
    if name in CHOICES:
        choices = [(choice or "as the preset", choice) for choice in CHOICES[name]]
        return gr.Dropdown(choices, value=value, filterable=False, min_width=200, **told)
    if kind == "bool":
        return gr.Checkbox(value, min_width=200, **told)
    if kind == "str":
        return gr.Textbox(value, lines=1, max_lines=1, min_width=200, **told)
    if kind == "int":
        return gr.Number(value, precision=0, min_width=200, **told)
    step = 10 ** math.floor(math.log10(value)) if value else 0.1  # of the value's own size: 2e-4 goes to 3e-4
    return gr.Number(value, step=step, min_width=200, **told)
