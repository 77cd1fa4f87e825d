"""A policy and its adapter as one model: what other programs load without peft."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText

from m3po.models import checks
from m3po.models.loading import load_adapter, load_config, load_processor, load_weights
from m3po.settings import ModelOptions

MAX_SHARD = "4GB"


def merge_adapter(name: str, adapter: str, out: Path, options: ModelOptions) -> str:
    """Write `name` with `adapter` merged into it to the folder `out` (safetensors, processor, chat template); returns
    the number type of its weights, that of the checkpoint.

    LoRA's product is added in float32 and rounded once: merged in bfloat16, small changes would be lost one by one.
    Raises ModelError as m3po.models.loading does.
    """
    checks.check_policy(name, adapter, options)
    trust = options.trust_remote_code
    config = load_config(name, trust=trust)
    kept = getattr(config, "dtype", None) or torch.float32
    base = load_weights(AutoModelForImageTextToText, name, torch.float32, trust=trust, config=config)
    merged = load_adapter(base, adapter).merge_and_unload(safe_merge=True)
    merged.to(kept).save_pretrained(str(out), max_shard_size=MAX_SHARD)
    load_processor(name, trust=trust).save_pretrained(str(out))
    return str(kept).removeprefix("torch.")
