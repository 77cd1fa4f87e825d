"""Settings and job configs: frozen, validated when made, so that a wrong value is refused before any work starts."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path

from m3po.errors import UsageError, WorkspaceError

RULES = ("m3po", "rm_dpo", "vanilla_dpo", "confident", "mean_2sd", "given")
NORMALISATIONS = ("percentile", "raw", "minmax")
TRAIN_METHODS = ("dpo", "sft")
EXPORT_ONLY = ("all", "reviewed", "accepted")


def _check(ok: bool, name: str, value: object, remedy: str) -> None:
    if not ok:
        raise UsageError(f"{name} = {value!r} cannot be used: {remedy}.")


def _check_numbers(config: object) -> None:
    """Refuse text where a number belongs, and nan or inf anywhere; then 1 and 1.0 are made one.

    A sampler and a selection are known by their settings: a page sends 1 where the command line has 1.0.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.type in ("int", "float"):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            _check(number and math.isfinite(value), field.name, value, "give a finite number")
            if field.type == "int":
                _check(value == int(value), field.name, value, "give a whole number")
            object.__setattr__(config, field.name, int(value) if field.type == "int" else float(value))


@dataclass(frozen=True)
class SampleConfig:
    """K answers an instruction from `policy` (hub id or folder), at `temperature` and nucleus `top_p`."""

    policy: str
    adapter: str | None = None
    k: int = 8
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 128
    limit: int = 0  # 0 = every instruction
    seed: int = 0
    batch_size: int = 16

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check(1 <= self.k <= 1024, "k", self.k, "give 1 to 1024")
        _check(0 < self.temperature <= 10, "temperature", self.temperature, "give a value above 0, at most 10")
        _check(0 < self.top_p <= 1, "top_p", self.top_p, "give a value above 0, at most 1")
        _check(1 <= self.max_new_tokens <= 8192, "max_new_tokens", self.max_new_tokens, "give 1 to 8192")
        _check(self.limit >= 0, "limit", self.limit, "give 0 (all) or more")
        _check(self.batch_size >= 1, "batch_size", self.batch_size, "give 1 or more")


@dataclass(frozen=True)
class ScoreConfig:
    """Log-probs by `policy` (with `adapter`), MAS by `mas`; either may be None: then that signal is not computed."""

    policy: str | None
    mas: str | None
    adapter: str | None = None
    batch_size: int = 16

    def __post_init__(self) -> None:
        _check_numbers(self)
        if not (self.policy or self.mas):
            raise UsageError("There is no model to score with: give --policy or --mas, or name them in config.toml.")
        _check(self.batch_size >= 1, "batch_size", self.batch_size, "give 1 or more")


@dataclass(frozen=True)
class SelectConfig:
    """The pick rule and its weights (see m3po.scoring); `length_ratio` 0 lays no length filter, `delta` 0 no margin."""

    rule: str = "m3po"
    weight_chosen: float = 0.8
    weight_rejected: float = 0.5
    delta: float = 0.4  # set on a demo source of another seed: at 0.3 more pairs had a wrong chosen answer
    length_ratio: float = 3.0
    normalise: str = "percentile"
    allow_truncated: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check(self.rule in RULES, "rule", self.rule, f"choose one of {', '.join(RULES)}")
        choices = ", ".join(NORMALISATIONS)
        _check(self.normalise in NORMALISATIONS, "normalise", self.normalise, f"choose one of {choices}")
        for name in ("weight_chosen", "weight_rejected", "delta"):
            _check(0 <= getattr(self, name) <= 1, name, getattr(self, name), "give a value from 0 to 1")
        _check(
            self.length_ratio == 0 or self.length_ratio >= 1,
            "length_ratio",
            self.length_ratio,
            "give 0 or >= 1",
        )


@dataclass(frozen=True)
class TrainConfig:
    """LoRA fine-tuning of `policy` on the curated pairs; see m3po.training for what each preset sets."""

    policy: str
    method: str = "dpo"
    preset: str = "demo"
    learning_rate: float = 2e-4
    epochs: float = 2.0
    batch_size: int = 8
    gradient_accumulation: int = 1
    beta: float = 0.1
    loss_type: str = "sigmoid"  # several joined by "+", e.g. "sigmoid+sft"
    loss_weights: str = ""  # one weight a loss, joined by "+"; empty = all 1
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    warmup_ratio: float = 0.1
    max_steps: int = 0  # 0 = by epochs
    seed: int = 0
    only: str = "all"  # which pairs: see EXPORT_ONLY

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check(self.method in TRAIN_METHODS, "method", self.method, f"choose one of {', '.join(TRAIN_METHODS)}")
        _check(self.only in EXPORT_ONLY, "only", self.only, f"choose one of {', '.join(EXPORT_ONLY)}")
        for name in ("learning_rate", "epochs", "beta"):
            _check(getattr(self, name) > 0, name, getattr(self, name), "give a value above 0")
        for name in ("batch_size", "gradient_accumulation", "lora_r", "lora_alpha"):
            _check(getattr(self, name) >= 1, name, getattr(self, name), "give 1 or more")
        for name in ("lora_dropout", "warmup_ratio"):
            _check(0 <= getattr(self, name) < 1, name, getattr(self, name), "give a value from 0 to below 1")
        _check(self.max_steps >= 0, "max_steps", self.max_steps, "give 0 (by epochs) or more")


@dataclass(frozen=True)
class EvaluateConfig:
    """Greedy answers of `policy` (with `adapter`, a folder, or none) on the held-out split."""

    policy: str
    adapter: str | None = None
    split: str = "heldout"
    max_new_tokens: int = 128
    batch_size: int = 32
    limit: int = 0

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check(self.split in ("tune", "heldout"), "split", self.split, "choose tune or heldout")
        _check(1 <= self.max_new_tokens <= 8192, "max_new_tokens", self.max_new_tokens, "give 1 to 8192")
        _check(self.batch_size >= 1, "batch_size", self.batch_size, "give 1 or more")
        _check(self.limit >= 0, "limit", self.limit, "give 0 (all) or more")


@dataclass(frozen=True)
class WorkspaceConfig:
    """config.toml of a workspace: the models it works with unless a command names others."""

    policy: str | None = None
    mas: str | None = None
    demo: bool = False
    remote: bool = True  # false: nothing of this workspace leaves the machine, and nothing is fetched for it

    def __post_init__(self) -> None:
        for name in ("policy", "mas"):
            value = getattr(self, name)
            if isinstance(value, str):
                _check(value.isprintable(), name, value, "give a hub id or a folder without control characters")


def read_workspace_config(path: Path) -> WorkspaceConfig:
    """Read config.toml; relative model folders are taken from the file's own folder.

    Raises WorkspaceError for a file that is not TOML or holds a wrong type.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return WorkspaceConfig()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WorkspaceError(f"{path} is not valid TOML ({error}); correct it or delete it.") from error
    known = {field.name for field in dataclasses.fields(WorkspaceConfig)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise WorkspaceError(f"{path} has the unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}.")
    for key in ("policy", "mas"):
        value = values.get(key)
        if value is not None and not isinstance(value, str):
            raise WorkspaceError(f"{path}: {key} must be text in quotes, a hub id or a folder.")
        if value and (path.parent / value).is_dir():
            values[key] = str((path.parent / value).resolve())
    for key in ("demo", "remote"):
        if not isinstance(values.get(key, False), bool):
            raise WorkspaceError(f"{path}: {key} must be true or false, without quotes.")
    return WorkspaceConfig(**values)


def write_workspace_config(path: Path, config: WorkspaceConfig) -> None:
    """Write config.toml with a line of explanation a key."""
    lines = ["# M3PO Studio workspace. Models: a Hugging Face hub id or a local folder."]
    for key, comment in (
        ("policy", "the model that answers and is fine-tuned"),
        ("mas", "the alignment scorer"),
    ):
        value = getattr(config, key)
        text = f"{key} = {_toml_string(value)}" if value else f'# {key} = ""'
        lines.append(f"{text}  # {comment}")
    if config.demo:
        lines.append("demo = true  # sampled and scored by itself when the app starts")
    lines.append(f"{'' if not config.remote else '# '}remote = false  # forbids every call to another machine")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def check_remote(config: WorkspaceConfig, what: str) -> None:
    """Raise UsageError when the workspace forbids remote calls; `what` names the call, as in "push_to_hub"."""
    if not config.remote:
        raise UsageError(
            f"{what} would leave this machine, which remote = false in the workspace's config.toml forbids."
        )


def _toml_string(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
