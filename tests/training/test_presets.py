"""Presets and `--set key=value`."""

import dataclasses
import shlex

import pytest
from typer.testing import CliRunner

from m3po.cli import MODEL_OPTIONS, app
from m3po.errors import BadInputError
from m3po.settings import ModelOptions, TrainConfig
from m3po.training.options import SETTINGS, read_catalogue
from m3po.training.presets import (
    PRESETS,
    build_train_config,
    describe_settings,
    parse_losses,
    parse_overrides,
    train_command,
)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_config_and_a_sentence(name):
    config = build_train_config("model", name)
    assert (config.policy, config.preset) == ("model", name)
    assert all(getattr(config, key) == value for key, value in PRESETS[name].values.items())
    assert PRESETS[name].description.endswith(".")


def test_overrides_are_parsed_by_the_type_of_the_field():
    overrides = parse_overrides(["beta=0.3", "lora_r = 8", "loss_type=sigmoid+sft", "epochs=1", "batch_size=1e1"])
    config = build_train_config("model", "demo", overrides)
    assert (config.beta, config.lora_r, config.epochs, config.batch_size) == (0.3, 8, 1.0, 10)
    assert isinstance(config.batch_size, int)
    assert parse_losses(config) == (["sigmoid", "sft"], [1.0, 1.0])


@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        ({"bta": "0.3"}, "bta"),
        ({"policy": "other"}, "policy"),
        ({"preset": "gpu80"}, "preset"),
        ({"beta": "much"}, "beta"),
        ({"beta": "nan"}, "beta"),
        ({"beta": "-1"}, "beta"),
        ({"lora_r": "1.5"}, "lora_r"),
        ({"lora_r": "inf"}, "lora_r"),
        ({"method": "rlhf"}, "rlhf"),
        ({"loss_type": "sigmoid+magic"}, "magic"),
        ({"loss_type": "sigmoid+sft", "loss_weights": "1"}, "loss_weights"),
        ({"loss_weights": "one"}, "loss_weights"),
        ({"loss_weights": "0"}, "loss_weights"),
        ({"lora_dropout": "1"}, "lora_dropout"),
    ],
)
def test_a_wrong_override_is_refused_by_name(overrides, word):
    with pytest.raises(BadInputError, match=word):
        build_train_config("model", "demo", overrides)


def test_unknown_presets_and_unreadable_assignments_are_named():
    with pytest.raises(BadInputError, match=r"huge.*demo"):
        build_train_config("model", "huge")
    with pytest.raises(BadInputError, match=r"beta0\.3"):
        parse_overrides(["beta0.3"])


def test_sft_has_one_loss_whatever_loss_type_says():
    config = build_train_config("model", "demo", {"method": "sft", "loss_type": "hinge", "loss_weights": "0.5"})
    assert parse_losses(config) == (["sft"], [1.0])


def test_the_command_rebuilds_the_config():
    config = build_train_config("my model", "gpu24", {"beta": "0.3", "method": "sft", "seed": "7", "only": "accepted"})
    words = shlex.split(train_command("work space", config))
    assert words[:7] == ["python", "-m", "m3po", "train", "work space", "--policy", "my model"]
    overrides = parse_overrides([words[n + 1] for n, word in enumerate(words) if word == "--set"])
    overrides["method"] = words[words.index("--method") + 1]
    assert build_train_config("my model", words[words.index("--preset") + 1], overrides) == config


def test_the_help_tells_every_key_with_its_values():
    fields = {field.name for field in dataclasses.fields(TrainConfig)} - {"policy", "adapter", "preset", "further"}
    assert set(SETTINGS) | {field.name for field in dataclasses.fields(ModelOptions)} == fields
    lines = {line.partition(":")[0]: line for line in describe_settings(MODEL_OPTIONS)}
    assert set(lines) == fields | set(read_catalogue())
    assert lines["epochs"].endswith("(demo 1.1, gpu24 1.0, gpu80 1.0, gpus_fsdp 1.0, gpus_deepspeed 1.0)") and lines[
        "beta"
    ].endswith("(0.1)")
    told = " ".join(CliRunner().invoke(app, ["train", "--help"]).output.split())
    assert all(f" {key}: " in told for key in lines)
