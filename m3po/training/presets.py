"""Named starting points for a run, as data that the page shows and the command line takes; no torch in here."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from m3po.errors import JobError, UsageError
from m3po.settings import TrainConfig
from m3po.text import counted
from m3po.training.options import (
    LOSS_TYPES,
    SETTINGS,
    check_options,
    read_catalogue,
    split_further,
    write_further,
)

MIN_PAIRS = 2


@dataclass(frozen=True)
class Preset:
    """`values` are TrainConfig fields that differ from its defaults."""

    name: str
    label: str
    description: str
    values: Mapping[str, object]
    gradient_checkpointing: bool = False
    parallel: str = ""  # how several GPUs share the work: fsdp or deepspeed


_SEVERAL = {
    "learning_rate": 2e-5, "epochs": 1.0, "batch_size": 2, "gradient_accumulation": 4,
    "lora_r": 64, "lora_alpha": 128, "lora_dropout": 0.05,
}  # fmt: skip
PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in [
        Preset(
            "demo",
            "Demo (CPU)",
            "A model of a few million parameters and a few hundred pairs on two CPU cores: at most three minutes.",
            {
                # Longer runs hallucinate less still, but name less of what is there: recall fell by 0.1 at 2 epochs.
                "learning_rate": 2e-4, "epochs": 1.1, "batch_size": 8, "lora_r": 16, "lora_alpha": 32,
                "loss_type": "sigmoid+sft",
            },
        ),
        Preset(
            "gpu24",
            "One GPU, 24 GB",
            "A model of up to 7 billion parameters in bfloat16: one pair at a time, sixteen a step, "
            "gradient checkpointing.",
            {
                "learning_rate": 2e-5, "epochs": 1.0, "batch_size": 1, "gradient_accumulation": 16,
                "lora_r": 32, "lora_alpha": 64, "lora_dropout": 0.05,
            },
            gradient_checkpointing=True,
        ),
        Preset(
            "gpu80",
            "One GPU, 80 GB",
            "A model of up to 13 billion parameters in bfloat16: four pairs at a time, thirty-two a step, "
            "gradient checkpointing.",
            {
                "learning_rate": 2e-5, "epochs": 1.0, "batch_size": 4, "gradient_accumulation": 8,
                "lora_r": 64, "lora_alpha": 128, "lora_dropout": 0.05,
            },
            gradient_checkpointing=True,
        ),
        Preset(
            "gpus_fsdp",
            "Several GPUs, FSDP2",
            "Weights, gradients and optimiser shared out by FSDP2 while it trains (accelerate launch); before, each "
            "GPU holds the model once, for the reference. Two pairs a GPU at a time, gradient checkpointing.",
            _SEVERAL,
            gradient_checkpointing=True,
            parallel="fsdp",
        ),
        Preset(
            "gpus_deepspeed",
            "Several GPUs, DeepSpeed",
            "A model that fits into each GPU, gradients and optimiser shared out by DeepSpeed ZeRO-2 (accelerate "
            "launch): two pairs a GPU at a time, gradient checkpointing.",
            _SEVERAL,
            gradient_checkpointing=True,
            parallel="deepspeed",
        ),
    ]
}  # fmt: skip


def check_pairs(usable: int, given: int) -> None:
    """Raises JobError with the remedy when there is too little to train on; `given` counts what was handed in."""
    if not given:
        raise JobError(
            "There is no pair to train on: make pairs with select, or accept some in the review, then train."
        )
    if usable < MIN_PAIRS:
        raise JobError(
            f"Only {usable} of {counted(given, 'pair')} can be trained on, and a run needs at least {MIN_PAIRS}: "
            "see the warnings of this run for what is wrong with others, and make or accept more pairs."
        )


def describe_settings(model_options: Mapping[str, str]) -> list[str]:
    """A line a key of `--set`: its meaning, and its value in each preset where they differ, else in all; last the
    options of TRL and peft."""
    lines = []
    for key, meaning in (SETTINGS | dict(model_options)).items():
        values = {name: getattr(build_train_config("model", name), key) for name in PRESETS}
        one = set(values.values())
        told = {"": one.copy().pop()} if len(one) == 1 else values
        shown = ", ".join(f"{name} {_shown(value)}".strip() for name, value in told.items())
        lines.append(f"{key}: {meaning} ({shown})" if shown else f"{key}: {meaning}")
    return lines + [describe_option(key, entry) for key, entry in read_catalogue().items()]


def describe_option(key: str, entry: Mapping[str, object]) -> str:
    """The library's own explanation, and its default."""
    only = " Only with method=grpo." if entry["methods"] == ["grpo"] else ""
    choices = f" ({', '.join(entry['choices'])})" if "choices" in entry else ""
    default = "none" if entry["default"] is None else _shown(entry["default"])
    return f"{key}: {entry['help']}{choices}.{only}" + (f" ({default})" if default else "")


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def find_preset(name: str) -> Preset:
    """Raises UsageError with the names that exist."""
    if name not in PRESETS:
        raise UsageError(f"There is no preset {name!r}: choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]


def build_train_config(
    policy: str, preset: str = "demo", overrides: Mapping[str, str] | None = None, adapter: str | None = None
) -> TrainConfig:
    """The preset's values for `policy`, going on from `adapter`, with `overrides` as text (`--set key=value`) laid
    over them.

    Raises UsageError naming the key: unknown, not a number, out of range, or a loss that does not exist.
    """
    values = {"policy": policy, "adapter": adapter, "preset": preset, **find_preset(preset).values}
    further = {}
    fields = {field.name: field for field in dataclasses.fields(TrainConfig)}
    settable = [name for name in fields if name not in ("policy", "adapter", "preset", "further")]
    for key, text in (overrides or {}).items():
        if "." in key:
            further[key] = str(text).strip()
            continue
        if key not in settable:
            raise UsageError(
                f"{key!r} is no setting of a training run: choose among {', '.join(settable)}, or an option of TRL or "
                "peft as trl.NAME or lora.NAME."
            )
        values[key] = _parse(key, str(text).strip(), fields[key].type)
    config = TrainConfig(**values, further=write_further(further))
    check_settings(config)
    return config


def check_settings(config: TrainConfig) -> None:
    """Raises UsageError where the losses are none, or settings do not go together: see parse_losses, check_options."""
    parse_losses(config)
    check_options(config)


def uses_checkpointing(config: TrainConfig) -> bool:
    """Whether activations are computed again in the place of being kept."""
    return checkpoints(config.preset, config.gradient_checkpointing)


def checkpoints(preset: str, setting: str) -> bool:
    """`uses_checkpointing` of a run that is known by its preset's name and its setting `gradient_checkpointing`."""
    return setting == "true" if setting else find_preset(preset).gradient_checkpointing


def parse_overrides(assignments: list[str]) -> dict[str, str]:
    """`["beta=0.2", "epochs=1"]` as a dict; raises UsageError for one without `=` or without a name."""
    overrides = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {assignment!r} cannot be read: write it as key=value, e.g. --set beta=0.2.")
        overrides[key.strip()] = value.strip()
    return overrides


def parse_losses(config: TrainConfig) -> tuple[list[str], list[float]]:
    """Loss types and their weights; for `method` sft the supervised loss on the chosen answers alone.

    Raises UsageError for an unknown loss, or weights that are not one number each.
    """
    types = ["sft"] if config.method == "sft" else [name.strip() for name in config.loss_type.split("+")]
    for name in types:
        if name not in LOSS_TYPES:
            raise UsageError(f"loss_type {name!r} does not exist: choose among {', '.join(LOSS_TYPES)}.")
    if config.method == "sft" or not config.loss_weights.strip():
        return types, [1.0] * len(types)
    weights = [_parse("loss_weights", text.strip(), "float") for text in config.loss_weights.split("+")]
    if len(weights) != len(types):
        raise UsageError(
            f"loss_weights {config.loss_weights!r} has {len(weights)} numbers for {len(types)} losses: give one each."
        )
    if any(not 0 <= weight < float("inf") for weight in weights) or not any(weights):
        raise UsageError(f"loss_weights {config.loss_weights!r} cannot be used: give numbers from 0, one above 0.")
    return types, weights


def train_command(workspace: str, config: TrainConfig, command: str = "train") -> str:
    """The command line that starts the same run, or its `preflight`: what the preset says already is left out."""
    base = dataclasses.asdict(build_train_config(config.policy, config.preset))
    changed = {key: value for key, value in dataclasses.asdict(config).items() if value != base[key]}
    words = ["python", "-m", "m3po", command, shlex.quote(workspace), "--policy", shlex.quote(config.policy)]
    words += ["--adapter", shlex.quote(changed.pop("adapter"))] if "adapter" in changed else []
    words += ["--method", changed.pop("method")] if "method" in changed else []
    words += ["--preset", config.preset]
    changed |= split_further(str(changed.pop("further", "")))
    for key, value in changed.items():
        words += ["--set", shlex.quote(f"{key}={value}")]
    return " ".join(words)


def _parse(key: str, text: str, kind: str) -> object:
    if kind == "str":
        return text
    if kind == "bool":
        if text.lower() not in ("true", "false"):
            raise UsageError(f"{key} = {text!r} cannot be used: give true or false.")
        return text.lower() == "true"
    try:
        number = float(text)
    except ValueError:
        raise UsageError(f"{key} = {text!r} cannot be used: give a number.") from None
    if kind == "int":
        if not number.is_integer():  # also false for inf and nan
            raise UsageError(f"{key} = {text!r} cannot be used: give a whole number.")
        return int(number)
    return number
