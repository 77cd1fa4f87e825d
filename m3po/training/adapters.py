"""Where the LoRA goes, into the language model alone, and how it is gone on from and saved.

Plain names such as `q_proj` also match the vision tower (half of the trainable tensors of a LLaVA), and an adapter
on the output head is never trained. So the target is a pattern anchored at the language model, and what came out
trainable is checked afterwards.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel
from transformers import AutoModelForImageTextToText

from m3po.errors import JobError
from m3po.models.loading import load_adapter, load_config
from m3po.settings import TrainConfig
from m3po.training.options import library_options

# Attributes of a vision-language model that hold its language model, in transformers 5.
_LANGUAGE_ATTRIBUTES = ("language_model", "text_model", "model.language_model", "model.text_model")


def find_language_model(model: torch.nn.Module) -> str:
    """Qualified name of the language model's module inside `model`.

    Raises JobError for an architecture that keeps it elsewhere.
    """
    for name in _LANGUAGE_ATTRIBUTES:
        module = model
        for part in name.split("."):
            module = getattr(module, part, None)
        if isinstance(module, torch.nn.Module):
            # A property may give the same module by a shorter name: the name in the parameters counts.
            return next(known for known, candidate in model.named_modules() if candidate is module)
    raise JobError(
        f"{type(model).__name__} keeps its language model in an unknown place, so an adapter cannot be laid on it "
        "alone: use a model with a `language_model` or `text_model` part (LLaVA, Qwen-VL, SmolVLM, InternVL ...)."
    )


def check_language_model(config: TrainConfig) -> None:
    """`find_language_model` on a model without weights: an architecture that cannot be trained, or layers that it does
    not have, are refused before gigabytes are read. One that cannot be laid out without its weights is looked at when
    they are there."""
    architecture = load_config(config.policy, trust=config.trust_remote_code)
    try:
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(architecture, trust_remote_code=config.trust_remote_code)
    except Exception:
        return
    find_language_model(model)
    if config.lora_target_modules and not config.adapter:
        build_lora_config(model, config)


def build_lora_config(model: torch.nn.Module, config: TrainConfig) -> LoraConfig:
    """LoRA on the linear layers of the language model (attention and MLP; all, or those that are named), and on nothing
    else. Raises JobError naming a layer that there is not."""
    prefix = find_language_model(model)
    language_model = model.get_submodule(prefix)
    leaves = sorted(
        {name.rpartition(".")[2] for name, m in language_model.named_modules() if isinstance(m, torch.nn.Linear)}
        - {"lm_head"}
    )
    if not leaves:
        raise JobError(f"{type(model).__name__} has no linear layer in its language model to lay an adapter on.")
    if asked := chosen_layers(config):
        if missing := [name for name in asked if name not in leaves]:
            raise JobError(
                f"lora_target_modules names {missing[0]}, which the language model does not have: choose among "
                f"{', '.join(leaves)}."
            )
        leaves = asked
    first = {"true": True, "false": False}.get(config.init_lora_weights, config.init_lora_weights)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=int(config.lora_r),
        lora_alpha=int(config.lora_alpha),
        lora_dropout=float(config.lora_dropout),
        bias=config.lora_bias,
        use_rslora=config.use_rslora,
        use_dora=config.use_dora,
        init_lora_weights=first,
        # A string is matched whole (re.fullmatch) against the qualified module name.
        target_modules=rf"{re.escape(prefix)}\..*\.?({'|'.join(map(re.escape, leaves))})",
        **library_options(config, "lora"),
    )


def chosen_layers(config: TrainConfig) -> list[str]:
    """The linear layers that are to have an adapter; none: all."""
    return sorted({name.strip() for name in config.lora_target_modules.split(",") if name.strip()})


def continue_adapter(model: torch.nn.Module, adapter: str) -> torch.nn.Module:
    """peft's model with an adapter that is trained on. Raises JobError for one that is no LoRA."""
    adapted = load_adapter(model, adapter, trainable=True)
    kind = adapted.peft_config["default"].peft_type.value
    if kind != "LORA":
        raise JobError(f"{adapter} is an adapter of the kind {kind}, and only LoRA can be gone on from.")
    return adapted


def _own_settings(model: torch.nn.Module) -> dict[str, float]:
    """The r, alpha and dropout that the model's adapter has, whatever the config asks for."""
    lora = model.peft_config["default"]
    return {"lora_r": lora.r, "lora_alpha": lora.lora_alpha, "lora_dropout": lora.lora_dropout}


def check_trainable(model: torch.nn.Module, prefix: str, adapter: str | None = None) -> int:
    """Number of trainable parameters, all of them LoRA tensors in the language model at `prefix`,
    or biases of its layers with an adapter where these are trained, too.

    Raises JobError naming the first parameter that lies elsewhere: vision tower, projector, embeddings, head.
    `adapter`: the one that is gone on from.
    """
    total = 0
    biases = model.peft_config["default"].bias == "lora_only"
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        own = ".lora_" in name or (biases and name.endswith(".base_layer.bias"))
        if f".{prefix}." not in f".{name}" or not own or "lm_head" in name:
            why = f"{adapter} was trained otherwise" if adapter else "this architecture is not supported for training"
            raise JobError(
                f"The parameter {name} would be trained although it is no adapter in the language model: {why}."
            )
        total += parameter.numel()
    if not total:
        raise JobError("Nothing would be trained: the adapter matched no layer of the language model.")
    return total


def save_adapter(
    model: PeftModel, folder: Path, config: TrainConfig, n_pairs: int, steps: int, weights: dict | None = None
) -> None:
    """Save the adapter as peft does (safetensors), with a card that says what it is and nothing else.

    Whole or not at all: what a stop kept there stays where the disk takes no more. `weights`: all of the model's, where
    its own are but a share.
    """
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(str(part), selected_adapters=["default"], state_dict=weights)  # not the reference's copy
    base = f"`{config.policy}`" + (f", going on from `{config.adapter}`" if config.adapter else "")
    what = {
        "sft": "the chosen answers (SFT)",
        "grpo": f"instructions (GRPO, with the MAS of {config.reward} as the reward)",
    }.get(config.method, f"preference pairs ({config.loss_type} loss)")
    (part / "README.md").write_text(
        f"""---
library_name: peft
base_model: {config.policy}
---
LoRA adapter for {base}, trained by M3PO Studio on {n_pairs} {what}.

Steps: {steps}. Settings: `{json.dumps(dataclasses.asdict(config) | _own_settings(model))}`.
""",
        encoding="utf-8",
    )
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
