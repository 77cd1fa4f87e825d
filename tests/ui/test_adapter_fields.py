"""The page names an adapter wherever the command line takes one: when it scores, and when it trains on."""

import dataclasses

import gradio as gr
import pytest

from m3po.errors import UsageError
from m3po.settings import ModelOptions, TrainConfig
from m3po.training.options import SETTINGS
from m3po.workspace_config import WorkspaceConfig
from ui.score_card import build_score_card
from ui.train_form import FIELDS, TrainForm
from ui.train_tab import build_train_tab


def fill(components, **values):
    """What a form holds, with `values` by the last part of the fields' ids in the place of its own."""
    named = {f"{name.replace('_', '-')}": value for name, value in values.items()}
    return [named.get((part.elem_id or "").partition("-")[2], part.value) for part in components]


def test_the_score_card_scores_with_an_adapter(studio):
    with gr.Blocks():
        card, _ = build_score_card(studio, {"policy": "p"})
    config = card.read(*fill(card.form, adapter=" my/adapter ", mas="clip:m", group="off"))
    assert (config.policy, config.adapter, config.mas, config.group) == ("p", "my/adapter", "clip:m", "off")
    assert card.read(*fill(card.form)).adapter is None


def test_the_fine_tune_tab_goes_on_from_an_adapter(studio, monkeypatch):
    seen, preview = [], studio.train_preview
    studio.config = WorkspaceConfig(policy="p")
    monkeypatch.setattr(studio, "train_preview", lambda config: seen.append(config) or preview(config))
    with gr.Blocks() as page, gr.Tab() as tab:
        build_train_tab(studio, page, tab)
    on_form = next(fn for fn in page.fns.values() if fn.fn and fn.fn.__name__ == "on_form")
    shown = [str(on_form.fn(*fill(on_form.inputs, **given))) for given in ({"adapter": " a b "}, {})]
    assert ["--adapter" in text for text in shown] == [True, False]
    assert [(config.policy, config.adapter) for config in seen] == [("p", "a b"), ("p", None)]


def test_the_fine_tune_tab_reads_every_field_as_the_setting_it_is_called(studio):
    studio.config = WorkspaceConfig(policy="p")
    with gr.Blocks():
        form = TrainForm(studio.default_train)
    assert form.read(*fill(form.fields)) == studio.default_train("demo")
    given = {"weight_decay": 0.1, "use_dora": True, "lora_target_modules": "q_proj", "gradient_checkpointing": "true",
             "further": " trl.tf32 = true\n\nlora.lora_bias=true", "max_pixels": 900}  # fmt: skip
    read = form.read(*fill(form.fields, **given))
    assert read.further == "lora.lora_bias=true\ntrl.tf32=true" and read.max_pixels == 900
    assert (read.weight_decay, read.use_dora, read.lora_target_modules) == (0.1, True, "q_proj")
    with pytest.raises(UsageError, match="set learning_rate"):
        form.read(*fill(form.fields, further="trl.learning_rate=1"))
    names = {field.name for field in dataclasses.fields(TrainConfig)} - {
        "policy",
        "preset",
        "only",
        "adapter",
        "further",
    }
    assert set(FIELDS) | {field.name for field in dataclasses.fields(ModelOptions)} == names
    assert [part.info for part in form.fields if part.elem_id == "train-weight-decay"] == [SETTINGS["weight_decay"]]
    told = dict(zip(FIELDS, form.fill("gpu24")[1:], strict=True))
    assert told["lora_dropout"] == 0.05 and told["batch_size"] == 1
