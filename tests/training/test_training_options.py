"""Options of TRL and peft: the catalogue is what is installed, wrong ones are named, and what is set arrives."""

from __future__ import annotations

import dataclasses
import json

import pytest
from training_here import Recorder, build_rows, on_one_thread, train

from m3po.errors import UsageError
from m3po.settings import CHOICES, TrainConfig
from m3po.training.option_catalogue import build_catalogue
from m3po.training.options import (
    GROUPS,
    GRPO_OPTIONS,
    OWN_FIELD,
    REFUSED,
    library_options,
    read_catalogue,
    write_further,
)
from m3po.training.presets import build_train_config, check_settings, parse_overrides, train_command

one_thread = on_one_thread


def test_the_catalogue_is_that_of_the_installed_libraries():
    assert json.loads(json.dumps(build_catalogue())) == read_catalogue()


def test_every_option_is_offered_or_a_setting_or_refused_with_a_reason():
    from peft import LoraConfig
    from trl import DPOConfig

    for library, kind in (("trl", DPOConfig), ("lora", LoraConfig)):
        names = {field.name for field in dataclasses.fields(kind)}
        offered = {key.partition(".")[2] for key in read_catalogue() if key.startswith(library)}
        own, refused = set(OWN_FIELD[library]), set(REFUSED[library])
        assert names == (offered - set(GRPO_OPTIONS)) | own | refused
        assert not offered & own and not offered & refused and not own & refused
        assert set(OWN_FIELD[library].values()) <= {field.name for field in dataclasses.fields(TrainConfig)}


def test_every_option_has_an_explanation_and_a_default_that_can_be_set():
    for key, entry in read_catalogue().items():
        assert 8 < len(entry["help"]) < 250 and not entry["help"].endswith("."), key
        default = entry["default"]
        if default not in (None, ""):
            text = json.dumps(default) if isinstance(default, bool | dict) else str(default)
            assert library_options(TrainConfig("m", further=f"{key}={text}"), key.partition(".")[0]) == {
                key.partition(".")[2]: default
            }
        if entry["optional"]:
            write_further({key: "none"})


def test_choices_are_those_of_the_libraries():
    from transformers.trainer_utils import SchedulerType
    from transformers.training_args import OptimizerNames

    assert set(CHOICES["lr_scheduler_type"]) <= {kind.value for kind in SchedulerType}
    assert set(CHOICES["optim"]) <= {kind.value for kind in OptimizerNames}
    assert set(CHOICES) <= {key for group in GROUPS.values() for key in group}


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("trl.learning_rate", "1", "trl.learning_rate has a setting of its own: set learning_rate"),
        ("lora.r", "4", "set lora_r"),
        ("trl.output_dir", "x", "trl.output_dir cannot be set: where a run's files lie"),
        ("trl.ld_alpha", "0.5", "sums over whole answers"),
        ("lora.modules_to_save", "lm_head", "nothing but an adapter in the language model"),
        ("trl.neftune_noise", "5", "did you mean trl.neftune_noise_alpha"),
        ("peft.r", "4", "begin it with trl. or lora."),
        ("trl.", "1", "begin it with trl. or lora."),
        ("trl.tf32", "yes", "give true or false"),
        ("trl.ddp_timeout", "1.5", "give a whole number"),
        ("trl.neftune_noise_alpha", "nan", "give a finite number"),
        ("lora.rank_pattern", "[1]", "give a JSON object"),
        ("lora.exclude_modules", "", "give names joined by commas"),
        ("trl.train_sampling_strategy", "group_by_length", "choose one of random, sequential"),
    ],
)
def test_a_wrong_option_is_refused_in_one_sentence(key, value, sentence):
    with pytest.raises(UsageError, match=sentence) as raised:
        build_train_config("m", "demo", {key: value})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"loss_type": "exo_pair"}, "exo_pair wants label_smoothing above 0"),
        ({"loss_type": "robust", "label_smoothing": "0.5"}, "less than 0.5"),
        ({"loss_type": "aot", "f_divergence_type": "forward_kl"}, "does not go with the loss aot"),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "trl.lr_scheduler_kwargs"),
        ({"method": "grpo", "trl.use_weighting": "true"}, "does nothing for the method grpo"),
        ({"trl.temperature": "2"}, "does nothing for the method dpo"),
        ({"optim": "magic"}, "choose one of adamw_torch_fused"),
        ({"save_steps": "5", "logging_steps": "2"}, "multiple of logging_steps, 2"),
        ({"use_dora": "maybe"}, "true or false"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(overrides, sentence):
    with pytest.raises(UsageError, match=sentence):
        build_train_config("m", "demo", overrides)


def test_an_adapter_that_is_gone_on_from_takes_no_settings_of_a_new_one():
    for overrides in ({"use_dora": "true"}, {"lora.rank_pattern": '{"q_proj": 2}'}):
        with pytest.raises(UsageError, match="is of a new adapter"):
            build_train_config("m", "demo", overrides, adapter="folder")


def test_the_command_names_every_option_and_the_same_options_are_the_same_config():
    texts = {"trl.tf32": "true", "lora.rank_pattern": '{"q_proj": 2}', "weight_decay": "0.1", "use_dora": "true"}
    config = build_train_config("m", "gpu24", texts)
    assert config == build_train_config("m", "gpu24", dict(reversed(texts.items())))
    command = train_command("ws", config)
    assert "--set trl.tf32=true" in command and """--set 'lora.rank_pattern={"q_proj": 2}'""" in command
    assert "further" not in command
    assert parse_overrides(["trl.tf32=true"]) == {"trl.tf32": "true"}
    check_settings(config)


def test_a_run_of_a_version_without_these_settings_is_the_same_run():
    plain = build_train_config("m", "demo").identity()
    assert "weight_decay" not in plain and "further" not in plain and plain["beta"] == 0.1
    assert build_train_config("m", "demo", {"weight_decay": "0.1"}).identity()["weight_decay"] == 0.1


@pytest.mark.slow
def test_what_is_set_arrives_in_trainer_and_adapter(tiny_policy, tmp_path, monkeypatch):
    from m3po.training import dpo

    seen = {}
    build = dpo.build_trainer

    def build_and_look(*args):
        trainer = seen["trainer"] = build(*args)
        return trainer

    monkeypatch.setattr(dpo, "build_trainer", build_and_look)
    recorder = Recorder()
    settings = {
        "weight_decay": 0.1, "max_grad_norm": 0.5, "lr_scheduler_type": "cosine", "optim": "adamw_torch",
        "adam_beta1": 0.8, "adam_beta2": 0.99, "adam_epsilon": 1e-6, "warmup_ratio": 0.2, "lora_dropout": 0.1,
        "loss_type": "robust", "label_smoothing": 0.2, "f_divergence_type": "js_divergence", "logging_steps": 2,
        "lora_target_modules": "q_proj,v_proj", "use_rslora": "true", "use_dora": "true",
        "init_lora_weights": "gaussian", "gradient_checkpointing": "true", "save_steps": 2, "max_steps": 4,
        "trl.use_weighting": "true", "trl.data_seed": 7, "trl.neftune_noise_alpha": 5,
        "lora.rank_pattern": json.dumps({"v_proj": 2}),
    }  # fmt: skip
    train(tiny_policy, build_rows(tmp_path), tmp_path / "run", recorder, **settings)
    args = seen["trainer"].args
    assert (args.weight_decay, args.max_grad_norm, args.optim, args.lr_scheduler_type) == (
        0.1,
        0.5,
        "adamw_torch",
        "cosine",
    )
    assert (args.adam_beta1, args.adam_beta2, args.adam_epsilon, args.warmup_steps) == (0.8, 0.99, 1e-6, 0.2)
    assert (args.label_smoothing, args.f_divergence_type, args.use_weighting) == (0.2, "js_divergence", True)
    assert (args.data_seed, args.neftune_noise_alpha, args.save_steps) == (7, 5, 2) and args.gradient_checkpointing
    assert [step for step, _ in recorder.points] == [2, 4]
    optimizer = seen["trainer"].optimizer.optimizer
    assert type(optimizer).__name__ == "AdamW" and optimizer.param_groups[0]["betas"] == (0.8, 0.99)
    lora = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text())
    assert lora["use_rslora"] and lora["use_dora"] and lora["init_lora_weights"] == "gaussian"
    assert lora["lora_dropout"] == 0.1 and lora["rank_pattern"] == {"v_proj": 2}
    assert lora["target_modules"].endswith("(q_proj|v_proj)")


@pytest.mark.slow
def test_max_length_leaves_out_what_is_longer_and_names_it(tiny_policy, tmp_path):
    recorder = Recorder()
    rows = build_rows(tmp_path)
    rows[4]["chosen"] = "There is a red boat. " * 30
    train(tiny_policy, rows, tmp_path / "run", recorder, max_length=120, max_steps=1)
    assert len(recorder.warnings) == 1 and "'row-4' of tiny" in recorder.warnings[0]
    assert "more than the 120 that max_length allows" in recorder.warnings[0]
