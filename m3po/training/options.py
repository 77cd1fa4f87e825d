"""What can be set of a training run: the named settings with their explanations, and every other option of TRL and peft
that this program can do something with (`--set trl.<name>=...`, `--set lora.<name>=...`).

The libraries' options lie in options.json beside this module, with type, default and the library's own explanation:
the page must not import torch to show them. m3po.training.option_catalogue writes it, and a test holds it true.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

from m3po.errors import UsageError
from m3po.settings import EXPORT_ONLY, TrainConfig

LOSS_TYPES = (
    "sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot",
    "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft",
)  # fmt: skip
# What `--set` takes besides the model options: the key and what it means, by the groups of the page.
GROUPS: dict[str, dict[str, str]] = {
    "What is trained": {
        "method": "dpo, sft on the chosen answers alone, or grpo: answers sampled anew, with their MAS as the reward",
        "only": f"which pairs: {', '.join(EXPORT_ONLY)}",
        "epochs": "passes over the pairs; may be a fraction",
        "max_steps": "ends the run after so many steps; 0 = by epochs",
        "batch_size": "pairs at a time on the device",
        "gradient_accumulation": "batches a step: batch_size times this many pairs move the weights at once",
        "max_length": "tokens of a prompt and its longer answer: a pair that has more is left out, never cut; 0 = as "
        "many as the model reads",
        "seed": "of the pairs' order and the adapter's first weights",
    },
    "Loss": {
        "loss_type": f"one of {', '.join(LOSS_TYPES)}; several joined by +, as in sigmoid+sft",
        "loss_weights": "a number a loss, joined by +; empty = all 1",
        "beta": "how dearly moving away from the reference is paid for, in DPO's losses",
        "label_smoothing": "share of the pairs taken to be the wrong way round: of the losses robust (below 0.5), "
        "exo_pair (above 0), aot and aot_unpaired; other losses leave it unused",
        "f_divergence_type": "by what the distance from the reference is measured: reverse_kl, forward_kl, "
        "js_divergence or alpha_divergence",
        "reward": "of grpo: the scorer whose MAS it is, by its name; empty = the one that is active",
    },
    "Optimiser": {
        "learning_rate": "the highest; it rises by warmup_ratio, then falls by lr_scheduler_type",
        "warmup_ratio": "share of the steps in which the learning rate rises",
        "lr_scheduler_type": "how the learning rate falls; the last two want trl.lr_scheduler_kwargs",
        "optim": "which optimiser; those with 8bit or paged in their name want bitsandbytes and a GPU",
        "weight_decay": "share of the adapter's weights taken away at each step, times the learning rate",
        "adam_beta1": "how long Adam remembers the gradient; nearer to 1 is longer",
        "adam_beta2": "how long Adam remembers the gradient's square",
        "adam_epsilon": "what Adam adds to its divisor, against division by 0",
        "max_grad_norm": "a longer gradient is shortened to this; 0 = never",
    },
    "LoRA": {
        "lora_r": "the adapter's rank",
        "lora_alpha": "its scale: alpha / r multiplies what it adds",
        "lora_dropout": "share of the adapter's inputs left out while training",
        "lora_target_modules": "linear layers of the language model that get an adapter, by the last part of their "
        "names, as in q_proj,v_proj; empty = all",
        "use_rslora": "scale by alpha / sqrt(r): a high rank then learns as fast as a low one",
        "use_dora": "DoRA: the length of each weight column is trained apart from its direction; slower",
        "init_lora_weights": "the first weights: true (adds nothing at first), gaussian (likewise, from a normal "
        "distribution), orthogonal, or false (random, for tests)",
        "lora_bias": "lora_only also trains the biases of the layers that have an adapter; none does not",
    },
    "Memory and checkpoints": {
        "gradient_checkpointing": "true computes activations again instead of keeping them: less memory, a third "
        "slower; empty = the preset's",
        "processes": "that train together, each with batch_size pairs at a time, by accelerate launch; 0 = one, "
        "and one a GPU with the presets for several",
        "save_steps": "steps between two checkpoints; 0 = about ten a run, at most 200 steps apart",
        "logging_steps": "steps that each point of the curves is the mean of",
    },
}
SETTINGS: dict[str, str] = {key: meaning for group in GROUPS.values() for key, meaning in group.items()}
LIBRARIES = {"trl": "TRL", "lora": "peft's LoRA"}
OWN_FIELD = {  # option of a library -> the setting that means it
    "trl": {
        "learning_rate": "learning_rate", "num_train_epochs": "epochs", "max_steps": "max_steps",
        "per_device_train_batch_size": "batch_size", "gradient_accumulation_steps": "gradient_accumulation",
        "warmup_steps": "warmup_ratio", "lr_scheduler_type": "lr_scheduler_type", "optim": "optim",
        "weight_decay": "weight_decay", "adam_beta1": "adam_beta1", "adam_beta2": "adam_beta2",
        "adam_epsilon": "adam_epsilon", "max_grad_norm": "max_grad_norm", "seed": "seed", "beta": "beta",
        "loss_type": "loss_type", "loss_weights": "loss_weights", "label_smoothing": "label_smoothing",
        "f_divergence_type": "f_divergence_type", "max_length": "max_length", "save_steps": "save_steps",
        "logging_steps": "logging_steps", "gradient_checkpointing": "gradient_checkpointing",
        "activation_checkpointing": "gradient_checkpointing", "bf16": "dtype", "fp16": "dtype",
        "trust_remote_code": "trust_remote_code",
    },
    "lora": {
        "r": "lora_r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout", "bias": "lora_bias",
        "target_modules": "lora_target_modules", "layers_to_transform": "lora_target_modules",
        "layers_pattern": "lora_target_modules", "use_rslora": "use_rslora", "use_dora": "use_dora",
        "init_lora_weights": "init_lora_weights",
    },
}  # fmt: skip
# Why an option is not to be set, and which.
_REFUSED: dict[str, list[tuple[str, str]]] = {
    "trl": [
        (
            "where a run's files lie and its figures go is this program's own",
            "output_dir report_to run_name project trackio_space_id trackio_bucket_id trackio_static_space_id "
            "logging_strategy logging_first_step log_on_each_node logging_nan_inf_filter log_level "
            "log_level_replica disable_tqdm skip_memory_metrics include_num_input_tokens_seen push_to_hub "
            "hub_token hub_private_repo hub_model_id hub_strategy hub_always_push hub_revision",
        ),
        (
            "a run is stopped, resumed and saved by this program, and must go on exactly where it was",
            "save_strategy save_only_model save_on_each_node save_total_limit enable_jit_checkpoint "
            "load_best_model_at_end metric_for_best_model greater_is_better ignore_data_skip "
            "restore_callback_states_from_checkpoint resume_from_checkpoint auto_find_batch_size "
            "dataloader_drop_last do_train do_eval do_predict local_rank",
        ),
        (
            "the held-out split is measured before and after the run, not within it",
            "eval_strategy eval_steps eval_delay per_device_eval_batch_size prediction_loss_only eval_on_start "
            "eval_do_concat_batches eval_use_gather_object eval_accumulation_steps include_for_metrics "
            "batch_eval_metrics bf16_full_eval fp16_full_eval",
        ),
        (
            "pairs are read, tokenised and put together by this program, with the tokens that scoring counted",
            "dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers "
            "dataloader_prefetch_factor dataloader_multiprocessing_context dataloader_in_order "
            "remove_unused_columns label_names length_column_name dataset_num_proc truncation_mode padding_free "
            "pad_to_multiple_of pad_token model_init_kwargs use_cache",
        ),
        (
            "the reference's log-probs are computed once before the first step, as sums over whole answers",
            "precompute_ref_log_probs precompute_ref_batch_size sync_ref_model ref_model_mixup_alpha "
            "ref_model_sync_steps ld_alpha disable_dropout",
        ),
        (
            "the preset says how several devices work together",
            "use_cpu accelerator_config parallelism_config fsdp fsdp_config deepspeed",
        ),
        (
            "it does nothing for an adapter trained by these losses",
            "label_smoothing_factor optim_target_modules",
        ),
        (
            "another setting replaces it",
            "gradient_checkpointing_kwargs",
        ),
        (
            "it wants a package that this program does not",
            "use_liger_kernel liger_kernel_config",
        ),
    ],
    "lora": [
        (
            "what kind of adapter it is, and of which model, is this program's own",
            "task_type peft_type auto_mapping peft_version base_model_name_or_path revision inference_mode "
            "runtime_config",
        ),
        (
            "nothing but an adapter in the language model is trained",
            "modules_to_save trainable_token_indices target_parameters layer_replication ensure_weight_tying "
            "fan_in_fan_out",
        ),
        (
            "it wants data or a configuration of its own, or changes the base model",
            "megatron_config megatron_core loftq_config eva_config corda_config lora_ga_config velora_config "
            "alora_invocation_tokens use_qalora qalora_group_size monteclora_config use_bdlora arrow_config "
            "kasa_config",
        ),
    ],
}
REFUSED: dict[str, dict[str, str]] = {
    library: {name: why for why, names in reasons for name in names.split()} for library, reasons in _REFUSED.items()
}
# Of GRPO's own options, those that sampling here can follow.
GRPO_OPTIONS = (
    "num_generations", "max_completion_length", "temperature", "top_p", "top_k", "min_p", "repetition_penalty",
    "num_iterations", "epsilon", "epsilon_high", "scale_rewards", "mask_truncated_completions", "top_entropy_quantile",
)  # fmt: skip
WANT_MORE = ("cosine_with_min_lr", "warmup_stable_decay")  # schedules that have no meaning without further numbers
_OF_A_NEW_ADAPTER = ("lora_target_modules", "use_rslora", "use_dora", "init_lora_weights", "lora_bias")
_F_LOSSES = {"sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop", "sft"}


@functools.cache
def read_catalogue() -> dict[str, dict]:
    """The options of the libraries by key (`trl.tf32`): `kind` (bool, int, float, str, list or dict), `optional`
    (none is a value), `default`, `help`, and `methods` that know it."""
    return json.loads(Path(__file__).with_name("options.json").read_text(encoding="utf-8"))


GRPO_ANSWER_TOKENS = 128  # where trl.max_completion_length is not set


def parse_further(text: str) -> dict[str, object]:
    """Key (as in `trl.tf32`) -> value, of lines `key=value`.

    Raises UsageError naming the line: unknown, set by this program or by a setting of its own, or of another type.
    """
    found: dict[str, object] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            raise UsageError(f"The option {line!r} cannot be read: write it as key=value, as in trl.tf32=true.")
        found[key] = _parse(key, value, _find(key))
    return found


def write_further(options: Mapping[str, str]) -> str:
    """Keys and values as the one text that TrainConfig keeps: the same options are the same text."""
    parse_further("\n".join(f"{key}={value}" for key, value in options.items()))
    return "\n".join(f"{key}={options[key]}" for key in sorted(options))


def split_further(text: str) -> dict[str, str]:
    """Key -> value as text, of a text that `write_further` or somebody by hand wrote."""
    parts = [line.partition("=") for line in text.splitlines() if line.strip()]
    return {key.strip(): value.strip() for key, _, value in parts}


def library_options(config: TrainConfig, library: str, method: str = "") -> dict[str, object]:
    """What `further` sets of one library, by the library's own names; of a method those that it knows."""
    known = read_catalogue()
    return {
        key.partition(".")[2]: value
        for key, value in parse_further(config.further).items()
        if key.startswith(f"{library}.") and (not method or method in known[key]["methods"])
    }


def answer_tokens(config: TrainConfig) -> int:
    """Of the longest answer that GRPO samples."""
    return library_options(config, "trl").get("max_completion_length") or GRPO_ANSWER_TOKENS


def check_options(config: TrainConfig) -> None:
    """Raises UsageError for settings that do not go together, naming one and the remedy; the losses of the config must
    be known ones."""
    further = parse_further(config.further)
    method = "grpo" if config.method == "grpo" else "dpo"
    for key in further:
        if method not in read_catalogue()[key]["methods"]:
            raise UsageError(f"{key} does nothing for the method {config.method}: leave it out.")
    if config.method == "grpo" and config.processes > 1:
        raise UsageError("processes does nothing for the method grpo, which trains in one: leave it out.")
    if config.adapter:
        named = [key for key in further if key.startswith("lora.")]
        named += [key for key in _OF_A_NEW_ADAPTER if getattr(config, key) != getattr(TrainConfig, key)]
        if named:
            raise UsageError(
                f"{named[0]} is of a new adapter, and the run goes on from one that is there: leave it out."
            )
    if config.lr_scheduler_type in WANT_MORE and "trl.lr_scheduler_kwargs" not in further:
        raise UsageError(
            f"lr_scheduler_type {config.lr_scheduler_type} wants numbers of its own: give them as "
            '--set trl.lr_scheduler_kwargs={"min_lr": 1e-6}, say.'
        )
    if config.method != "dpo":
        return
    losses = {name.strip() for name in config.loss_type.split("+")}
    if "exo_pair" in losses and not config.label_smoothing:
        raise UsageError("The loss exo_pair wants label_smoothing above 0: set 0.001, say.")
    if "robust" in losses and config.label_smoothing >= 0.5:
        raise UsageError(f"label_smoothing = {config.label_smoothing} cannot be used by robust: give less than 0.5.")
    if config.f_divergence_type != "reverse_kl" and (others := sorted(losses - _F_LOSSES)):
        raise UsageError(f"f_divergence_type = {config.f_divergence_type} does not go with the loss {others[0]}.")
    if further.get("trl.use_weighting") and losses & {"aot", "aot_unpaired"}:
        raise UsageError("trl.use_weighting does not go with the losses aot and aot_unpaired.")


def _find(key: str) -> dict:
    """The catalogue's entry. Raises UsageError with what to do in its place."""
    known = read_catalogue()
    if key in known:
        return known[key]
    library, _, name = key.partition(".")
    if library not in LIBRARIES or not re.search("[a-z]", name):
        raise UsageError(f"The option {key!r} is unknown: begin it with trl. or lora., as in trl.tf32=true.")
    if own := OWN_FIELD[library].get(name):
        raise UsageError(f"{key} has a setting of its own: set {own}.")
    if why := REFUSED[library].get(name):
        raise UsageError(f"{key} cannot be set: {why}.")
    near = difflib.get_close_matches(key, known, 3)
    hint = f"did you mean {' or '.join(near)}" if near else "train --help lists those there are"
    raise UsageError(f"{LIBRARIES[library]} has no option {name!r} that can be set here: {hint}.")


def _parse(key: str, text: str, entry: dict) -> object:
    if entry["optional"] and text.lower() in ("none", "null"):
        return None
    kind = entry["kind"]
    choices = entry.get("choices")
    if choices and text not in choices:
        raise UsageError(f"{key} = {text!r} cannot be used: choose one of {', '.join(choices)}.")
    if kind == "str":
        return text
    wanted = {"bool": "true or false", "int": "a whole number", "float": "a finite number",
              "list": "names joined by commas", "dict": 'a JSON object, as in {"name": 1}'}[kind]  # fmt: skip
    try:
        if kind == "bool":
            return {"true": True, "false": False}[text.lower()]
        if kind == "int":
            return int(text)
        if kind == "float":
            number = float(text)
            if math.isfinite(number):
                return number
        if kind == "list" and text:
            return [part.strip() for part in text.split(",")]
        if kind == "dict" and isinstance(found := json.loads(text), dict):
            return found
    except (KeyError, ValueError, RecursionError):
        pass
    raise UsageError(f"{key} = {text!r} cannot be used: give {wanted}.")
