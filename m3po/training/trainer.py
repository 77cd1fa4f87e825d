"""TRL's DPOTrainer with the work left out that a frozen vision tower and a fixed reference make needless.

Stock TRL runs the vision tower four times an image and step (chosen and rejected, policy and reference) and the
reference at every step. Here the reference's log-probs are computed once and stored, and a LLaVA's image is encoded
once a run. tests/training/test_dpo.py holds the losses equal to stock TRL's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when huggingface_hub is imported

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling
from trl import DPOTrainer

from m3po.training.attempts import Watched


def can_reuse_features(model: torch.nn.Module) -> bool:
    """Whether `PairTrainer` may encode an image once a run: LLaVA's layout, where one image gives one block of
    features. Others (Qwen-VL's tiles and 3-D positions, ...) take TRL's way."""
    return getattr(model.config, "model_type", "") == "llava"


def image_encoder(model: torch.nn.Module):
    """A function from pixel values (N, 3, H, W) to projected features, one tensor (tokens, width) an image."""

    @torch.no_grad()
    def encode(pixel_values: torch.Tensor) -> Sequence[torch.Tensor]:
        pixel_values = pixel_values.to(device=model.device, dtype=model.dtype)
        return model.get_image_features(pixel_values=pixel_values, return_dict=True).pooler_output

    return encode


class PairTrainer(Watched, DPOTrainer):
    """DPOTrainer that takes `image_features` and stored reference log-probs in its batches."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.is_fsdp_enabled:
            _name_layers(self.accelerator.state.fsdp_plugin, self.model)

    @property
    def tokens_seen(self) -> float:
        return self._total_train_tokens

    def begin_counting(self, last: dict) -> None:
        """TRL 1.16 would count a resumed run's tokens from 0."""
        self._total_train_tokens = last.get("num_tokens", 0)
        super().begin_counting(last)

    def _compute_loss(self, model, inputs, return_outputs):
        return super()._compute_loss(model, _with_features(inputs), return_outputs)

    def compute_ref_log_probs(self, model, inputs):
        return super().compute_ref_log_probs(model, _with_features(inputs))

    @torch.no_grad()
    def sum_logps(self, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Summed answer log-probs (chosen, rejected), each (B,), under the policy as it is now."""
        inputs = dict(_with_features(self._prepare_inputs(inputs)))
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
        for name in ("completion_mask", "ref_chosen_logps", "ref_rejected_logps"):
            inputs.pop(name, None)
        with self.accelerator.autocast():
            outputs = self.model(**inputs, labels=labels, fused_lm_head=True)
        return outputs.log_probs.sum(dim=1).chunk(2, dim=0)

    @torch.no_grad()
    def reference_logps(self, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The same under the reference: the policy with its adapter switched off."""
        return self.compute_ref_log_probs(self.model, self._prepare_inputs(inputs))


def _name_layers(plugin, model: torch.nn.Module) -> None:
    """Whom FSDP shares out one by one, where accelerate.yaml names none: accelerate 1.15 takes every class that the
    model's own list has, and fails on one that the model does not (LLaVA lists the text part of CLIP)."""
    if plugin.transformer_cls_names_to_wrap is None:
        listed = set(getattr(model, "_no_split_modules", None) or ())
        plugin.transformer_cls_names_to_wrap = sorted(listed & {type(module).__name__ for module in model.modules()})


def _with_features(inputs: dict) -> dict:
    if "image_features" not in inputs:
        return inputs
    inputs = dict(inputs)
    features = list(inputs.pop("image_features"))
    inputs["mm_encoder_outputs"] = {"image": BaseModelOutputWithPooling(pooler_output=features)}
    return inputs
