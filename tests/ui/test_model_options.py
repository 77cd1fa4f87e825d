"""The "Model options" fields say what ModelOptions has, in its order: a swapped field would load another model."""

from __future__ import annotations

import gradio as gr
import pytest

from m3po.errors import BadInputError, UsageError
from m3po.settings import ModelOptions
from ui.model_options import build_model_options, read_model_options


def build() -> list:
    with gr.Blocks():
        return build_model_options("here")


def test_untouched_fields_are_the_defaults() -> None:
    assert ModelOptions(**read_model_options(tuple(field.value for field in build()))) == ModelOptions()


def test_each_field_is_the_one_it_is_called() -> None:
    labels = [str(field.label) for field in build()]
    for label, word in zip(
        labels, ("Number type", "Device", "Attention", "Quantise", "Max", "Min", "code"), strict=True
    ):
        assert word in label
    given = read_model_options(("bfloat16", " cuda:1 ", "sdpa", "4bit", 900, 100, True))
    assert ModelOptions(**given) == ModelOptions(
        dtype="bfloat16", device_map="cuda:1", attention="sdpa", quantise="4bit", max_pixels=900, min_pixels=100,
        trust_remote_code=True,
    )  # fmt: skip


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(BadInputError, match="max_pixels is empty"):
        read_model_options(("auto", "", "", "", None, 0, False))
    with pytest.raises(UsageError, match="at most max_pixels"):
        ModelOptions(**read_model_options(("auto", "", "", "", 10, 20, False)))
