"""Settings and job configs: frozen, validated when made, so that a wrong value is refused before any work starts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from m3po.errors import UsageError
from m3po.remote_spec import REMOTE, check_address, parse_remote
from m3po.scorer_spec import parse_grouper, parse_scorer

RULES = ("m3po", "rm_dpo", "vanilla_dpo", "confident", "mean_2sd", "given")
NORMALISATIONS = ("percentile", "raw", "minmax")
TRAIN_METHODS = ("dpo", "sft", "grpo")
EXPORT_ONLY = ("all", "reviewed", "accepted", "auto")
DTYPES = ("auto", "float32", "bfloat16", "float16")
ATTENTIONS = ("", "eager", "sdpa", "flash_attention_2")
QUANTISATIONS = ("", "4bit", "8bit")
# Of a training run, by the field of TrainConfig.
CHOICES: dict[str, tuple[str, ...]] = {
    "method": TRAIN_METHODS,
    "only": EXPORT_ONLY,
    "f_divergence_type": ("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"),
    "lr_scheduler_type": (
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt",
        "cosine_with_min_lr", "warmup_stable_decay",
    ),
    "optim": (
        "adamw_torch_fused", "adamw_torch", "adafactor", "sgd", "rmsprop", "adagrad",
        "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit",
    ),
    "init_lora_weights": ("true", "gaussian", "orthogonal", "false"),
    "lora_bias": ("none", "lora_only"),
    "gradient_checkpointing": ("", "true", "false"),
}  # fmt: skip


def check(ok: bool, name: str, value: object, remedy: str) -> None:
    """Raise UsageError with the remedy unless a setting's value is `ok`."""
    if not ok:
        raise UsageError(f"{name} = {value!r:.80} cannot be used: {remedy}.")


def _check_text(name: str, value: object) -> None:
    """Refuse what no text of a workspace may hold: a NUL, or half of a surrogate pair."""
    check(value is None or isinstance(value, str), name, value, "give text")
    whole = "\0" not in (value or "") and not any("\ud800" <= c <= "\udfff" for c in value or "")
    check(whole, name, value, "take out the NUL character or the half of a surrogate pair")


def _check_numbers(config: object) -> None:
    """Refuse text where a number belongs, and nan or inf anywhere; then 1 and 1.0 are made one.

    A sampler and a selection are known by their settings: a page sends 1 where the command line has 1.0.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.type in ("int", "float"):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            check(number and _is_finite(value), field.name, value, "give a finite number")
            if field.type == "int":
                check(value == int(value), field.name, value, "give a whole number")
            object.__setattr__(config, field.name, int(value) if field.type == "int" else float(value))


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


class Stored:
    """A config that a run keeps as plain values."""

    @classmethod
    def of_run(cls, values: Mapping[str, object]) -> Self:
        """The config in a run's values; what else is there (what was frozen, a later version's) is left out."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Stored):
    """How a policy is loaded; an empty text or 0 leaves it to the model and the machine."""

    dtype: str = "auto"  # bfloat16 on a GPU that has it, else float32
    device_map: str = ""  # "auto" spreads the model over all devices, else a device's name; empty = one device
    attention: str = ""
    quantise: str = ""  # by bitsandbytes, on a GPU
    max_pixels: int = 0  # of one image as the model sees it
    min_pixels: int = 0
    trust_remote_code: bool = False  # run the Python code that a checkpoint brings

    def __post_init__(self) -> None:
        _check_numbers(self)
        for name, known in (("dtype", DTYPES), ("attention", ATTENTIONS), ("quantise", QUANTISATIONS)):
            choices = ", ".join(value or "nothing" for value in known)
            check(getattr(self, name) in known, name, getattr(self, name), f"choose one of {choices}")
        plain = isinstance(self.device_map, str) and self.device_map.replace(":", "").isalnum()
        check(not self.device_map or plain, "device_map", self.device_map, "give auto or a device as in cuda:0")
        for name in ("max_pixels", "min_pixels"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "give 0 (the processor's own) or more")
        above = self.max_pixels and self.min_pixels > self.max_pixels
        check(not above, "min_pixels", self.min_pixels, f"give at most max_pixels, {self.max_pixels}")
        check(isinstance(self.trust_remote_code, bool), "trust_remote_code", self.trust_remote_code, "true or false")

    def model_options(self) -> dict[str, object]:
        """These options alone, of a config that has more, to be handed on to another config."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(ModelOptions)}

    def changed_answers(self) -> dict[str, object]:
        """Those that change what the model says and are not the default: part of what a sampler or a scorer is.

        Where it computes and by which kernel moves the last bits of a number, no more.
        """
        named = ("dtype", "quantise", "max_pixels", "min_pixels")
        return {name: getattr(self, name) for name in named if getattr(self, name) != getattr(ModelOptions, name)}


@dataclass(frozen=True)
class SampleConfig(ModelOptions):
    """K answers an instruction from `policy` (hub id or folder), at `temperature` and nucleus `top_p`."""

    policy: str
    adapter: str | None = None
    k: int = 8
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 128
    limit: int = 0  # 0 = every instruction
    seed: int = 0
    batch_size: int = 0  # 0 = as many instructions as fit into memory, at most 16 on a CPU
    concurrency: int = 8  # requests in flight, for a remote policy
    pilot: int = 0  # this many instructions from all over the train split; 0 = no pilot
    system: str | None = None  # a system text in place of the instruction's own
    prompt: str | None = None  # a template around the last user turn, with {instruction} once in it

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("system", "prompt"):
            object.__setattr__(self, name, getattr(self, name) or None)
            _check_text(name, getattr(self, name))
        ask = "write {instruction} once, where the instruction goes"
        check(self.prompt is None or self.prompt.count("{instruction}") == 1, "prompt", self.prompt, ask)
        if parse_remote(self.policy) and self.adapter:
            raise UsageError(
                "A remote policy takes no --adapter: serve the adapter under a name of its own "
                "(vllm serve --enable-lora --lora-modules NAME=FOLDER) and give that as MODEL."
            )
        check(0 <= self.pilot <= 100_000, "pilot", self.pilot, "give 1 to 100000, or 0 for none")
        check(not (self.pilot and self.limit), "pilot", self.pilot, "give --pilot or --limit, not both")
        check(1 <= self.concurrency <= 1024, "concurrency", self.concurrency, "give 1 to 1024")
        check(1 <= self.k <= 1024, "k", self.k, "give 1 to 1024")
        check(0 < self.temperature <= 10, "temperature", self.temperature, "give a value above 0, at most 10")
        check(0 < self.top_p <= 1, "top_p", self.top_p, "give a value above 0, at most 1")
        check(1 <= self.max_new_tokens <= 8192, "max_new_tokens", self.max_new_tokens, "give 1 to 8192")
        check(self.limit >= 0, "limit", self.limit, "give 0 (all) or more")
        check(self.batch_size >= 0, "batch_size", self.batch_size, "give 0 (what fits) or more")


IMAGE_CHANGES = ("", "blank", "swap")  # of the image that a scorer sees; empty: as it is


@dataclass(frozen=True)
class ScoreConfig(ModelOptions):
    """Log-probs by `policy` (with `adapter`), MAS by `mas` (see m3po.scorer_spec); either may be None: then that signal
    is not computed. `activate`: what was computed is then what is shown and selected by. `group`: answers that mean
    the same are grouped by this model afterwards ("off": shown without groups again).

    `image`: the same signals with the image blanked or swapped for another instruction's by `image_seed`, stored beside
    (m3po.jobs.planning.dependence); `limit` takes that many instructions with a pair, drawn by the same seed (0 = all).
    `edits`: what humans wrote and nothing else, by the scorers in use and no others (m3po.jobs.planning.edits).
    """

    policy: str | None
    mas: str | None
    adapter: str | None = None
    batch_size: int = 0  # 0 = as many instructions as fit into memory, at most 16 on a CPU
    activate: bool = True
    group: str | None = None
    image: str = ""
    image_seed: int = 0
    limit: int = 0
    edits: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.image in IMAGE_CHANGES, "image", self.image, f"choose one of {', '.join(IMAGE_CHANGES[1:])}")
        check(not (self.image and self.activate), "activate", self.activate, "what has another image is never shown")
        check(self.limit >= 0, "limit", self.limit, "give 0 (all) or more")
        if self.group:
            parse_grouper(self.group)
        if not (self.policy or self.mas or self.group):
            raise UsageError("There is no model to score with: give --policy or --mas, or name them in config.toml.")
        check_weights(self.policy, "Log-probs are computed")
        check_address(self.mas)
        if self.mas:
            parse_scorer(self.mas)
        check(self.batch_size >= 0, "batch_size", self.batch_size, "give 0 (what fits) or more")


def weights_of(config: SampleConfig | ScoreConfig) -> dict[str, object]:
    """`policy`, `adapter` and model options alone: with them another config means the same weights, loaded alike."""
    return {"policy": config.policy, "adapter": config.adapter} | config.model_options()


@dataclass(frozen=True)
class SelectConfig(Stored):
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
        check(self.rule in RULES, "rule", self.rule, f"choose one of {', '.join(RULES)}")
        choices = ", ".join(NORMALISATIONS)
        check(self.normalise in NORMALISATIONS, "normalise", self.normalise, f"choose one of {choices}")
        for name in ("weight_chosen", "weight_rejected", "delta"):
            check(0 <= getattr(self, name) <= 1, name, getattr(self, name), "give a value from 0 to 1")
        check(
            self.length_ratio == 0 or self.length_ratio >= 1,
            "length_ratio",
            self.length_ratio,
            "give 0 (off) or 1 and more",
        )


@dataclass(frozen=True)
class TrainConfig(ModelOptions):
    """LoRA fine-tuning of `policy` on the curated pairs; see m3po.training for what each preset sets. With `adapter`
    the run goes on from it, and what it was before the run is the reference."""

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
    adapter: str | None = None  # a folder; its own LoRA r, alpha and dropout count then
    reward: str = ""  # of the method grpo: the scorer whose MAS is the reward; empty = the one that is active
    label_smoothing: float = 0.0
    f_divergence_type: str = "reverse_kl"
    lr_scheduler_type: str = "linear"
    optim: str = "adamw_torch_fused"
    weight_decay: float = 0.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0  # 0 = not clipped
    lora_target_modules: str = ""  # names joined by commas; empty = every linear layer of the language model
    use_rslora: bool = False
    use_dora: bool = False
    init_lora_weights: str = "true"
    lora_bias: str = "none"
    max_length: int = 0  # tokens of a pair's prompt and longer answer; 0 = what the model reads
    gradient_checkpointing: str = ""  # empty = as the preset has it
    save_steps: int = 0  # 0 = about ten checkpoints a run
    logging_steps: int = 1
    processes: int = 0  # that train together; 0 = one, with a preset for several GPUs one a GPU
    further: str = ""  # other options of TRL and peft, a line each: see m3po.training.options

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(self.policy, "Training goes on")
        _check_text("reward", self.reward)
        for name, known in CHOICES.items():
            choices = ", ".join(value or "nothing (the preset's)" for value in known)
            check(getattr(self, name) in known, name, getattr(self, name), f"choose one of {choices}")
        check(self.dtype != "float16", "dtype", self.dtype, "train in bfloat16 or float32: float16 overflows")
        for name in ("learning_rate", "epochs", "beta", "adam_epsilon"):
            check(getattr(self, name) > 0, name, getattr(self, name), "give a value above 0")
        for name in ("batch_size", "gradient_accumulation", "lora_r", "lora_alpha", "logging_steps"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "give 1 or more")
        for name in ("lora_dropout", "warmup_ratio", "adam_beta1", "adam_beta2", "label_smoothing"):
            check(0 <= getattr(self, name) < 1, name, getattr(self, name), "give a value from 0 to below 1")
        for name in ("weight_decay", "max_grad_norm", "max_length", "save_steps", "processes"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "give 0 or more")
        for name in ("use_rslora", "use_dora"):
            check(isinstance(getattr(self, name), bool), name, getattr(self, name), "true or false")
        for name in ("lora_target_modules", "further"):
            _check_text(name, getattr(self, name))
        uneven = self.save_steps % self.logging_steps
        check(not uneven, "save_steps", self.save_steps, f"give a multiple of logging_steps, {self.logging_steps}")
        check(self.max_steps >= 0, "max_steps", self.max_steps, "give 0 (by epochs) or more")
        check(0 <= self.seed < 2**32, "seed", self.seed, "give 0 to 4294967295")
        for name, most in _MOST.items():
            check(getattr(self, name) <= most, name, getattr(self, name), f"give at most {most:,}")

    def identity(self) -> dict[str, object]:
        """What makes two runs' settings the same. Fields that earlier versions lacked count where they are set: what
        such a version trained stays known."""
        values = dataclasses.asdict(self)
        return {
            name: value
            for name, value in values.items()
            if name not in _LATER_FIELDS or value != getattr(TrainConfig, name)
        }


# Beyond these is a slip of the keyboard, and a time or a memory that no number holds.
_MOST = {
    "epochs": 10**6, "max_steps": 10**9, "batch_size": 10**6, "gradient_accumulation": 10**6, "lora_r": 65_536,
    "lora_alpha": 10**9, "max_length": 10**9, "save_steps": 10**9, "logging_steps": 10**9, "processes": 4096,
}  # fmt: skip
_LATER_FIELDS = frozenset(
    [
        "label_smoothing", "f_divergence_type", "lr_scheduler_type", "optim", "weight_decay", "adam_beta1",
        "adam_beta2", "adam_epsilon", "max_grad_norm", "lora_target_modules", "use_rslora", "use_dora",
        "init_lora_weights", "lora_bias", "max_length", "gradient_checkpointing", "save_steps", "logging_steps",
        "further", "processes",
    ]
)  # fmt: skip


@dataclass(frozen=True)
class EvaluateConfig(ModelOptions):
    """Greedy answers of `policy` (with `adapter`, a folder, or none) on the held-out split."""

    policy: str
    adapter: str | None = None
    split: str = "heldout"
    max_new_tokens: int = 128
    batch_size: int = 0  # 0 = as many instructions as fit into memory, at most 32 on a CPU
    limit: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(self.policy, "Evaluation answers")
        check(self.split in ("tune", "heldout"), "split", self.split, "choose tune or heldout")
        check(1 <= self.max_new_tokens <= 8192, "max_new_tokens", self.max_new_tokens, "give 1 to 8192")
        check(self.batch_size >= 0, "batch_size", self.batch_size, "give 0 (what fits) or more")
        check(self.limit >= 0, "limit", self.limit, "give 0 (all) or more")


@dataclass(frozen=True)
class MergeConfig(ModelOptions):
    """`policy` with `adapter` merged into it, written to the folder `out`."""

    policy: str
    adapter: str
    out: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(self.policy, "Merging works")


def check_weights(policy: str | None, what: str) -> None:
    """Raise UsageError where a model's weights are needed and `policy` is on a server."""
    if policy and policy.startswith(REMOTE):
        raise UsageError(
            f"{what} with the weights at hand, which a remote policy does not give: "
            "give --policy FOLDER (or a hub id) of the same model."
        )
