"""Where the LoRA goes: into the language model alone.

Plain names such as `q_proj` also match the vision tower (half of the trainable tensors of a LLaVA), and an adapter
on the output head is never trained. So the target is a pattern anchored at the language model, and what came out
trainable is checked afterwards.
"""

from __future__ import annotations

import re

import torch
from peft import LoraConfig
from transformers import AutoModelForImageTextToText

from m3po.errors import JobError
from m3po.models.loading import load_config
from m3po.settings import TrainConfig

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
    """`find_language_model` on a model without weights: an architecture that cannot be trained is refused before
    gigabytes are read. One that cannot be laid out without its weights is looked at when they are there."""
    architecture = load_config(config.policy, trust=config.trust_remote_code)
    try:
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(architecture, trust_remote_code=config.trust_remote_code)
    except Exception:
        return
    find_language_model(model)


def build_lora_config(model: torch.nn.Module, config: TrainConfig) -> LoraConfig:
    """LoRA on every linear layer of the language model (attention and MLP), and on nothing else."""
    prefix = find_language_model(model)
    language_model = model.get_submodule(prefix)
    leaves = sorted(
        {name.rpartition(".")[2] for name, m in language_model.named_modules() if isinstance(m, torch.nn.Linear)}
        - {"lm_head"}
    )
    if not leaves:
        raise JobError(f"{type(model).__name__} has no linear layer in its language model to lay an adapter on.")
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=int(config.lora_r),
        lora_alpha=int(config.lora_alpha),
        lora_dropout=float(config.lora_dropout),
        bias="none",
        # A string is matched whole (re.fullmatch) against the qualified module name.
        target_modules=rf"{re.escape(prefix)}\..*\.?({'|'.join(map(re.escape, leaves))})",
    )


def check_trainable(model: torch.nn.Module, prefix: str) -> int:
    """Number of trainable parameters, all of them LoRA tensors in the language model at `prefix`.

    Raises JobError naming the first parameter that lies elsewhere: vision tower, projector, embeddings, head.
    """
    total = 0
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if f".{prefix}." not in f".{name}" or ".lora_" not in name or "lm_head" in name:
            raise JobError(
                f"The parameter {name} would be trained although it is no adapter in the language model: "
                "this architecture is not supported for training."
            )
        total += parameter.numel()
    if not total:
        raise JobError("Nothing would be trained: the adapter matched no layer of the language model.")
    return total
