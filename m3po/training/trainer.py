"""TRL's DPOTrainer with the work left out that a frozen vision tower and a fixed reference make needless.

Stock TRL runs the vision tower four times an image and step (chosen and rejected, policy and reference) and the
reference at every step. Here the reference's log-probs are computed once and stored, and a LLaVA's image is encoded
once a run. tests/training/test_dpo.py holds the losses equal to stock TRL's.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when huggingface_hub is imported

import torch
from transformers import TrainerState
from transformers.modeling_outputs import BaseModelOutputWithPooling
from trl import DPOTrainer

from m3po.training.faults import STATE, count_done, not_finite
from m3po.training.reporting import Pace


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


class PairTrainer(DPOTrainer):
    """DPOTrainer that takes `image_features` and stored reference log-probs in its batches, refuses a loss or gradient
    that is not a number, logs its pace, and neither phones home nor writes a model card of its own."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._pace = Pace()
        if self.is_fsdp_enabled:
            _name_layers(self.accelerator.state.fsdp_plugin, self.model)

    def go_on(self, checkpoint: Path | None, total: int) -> None:
        """Train to the end from the checkpoint, or from the beginning. One of the last step is loaded alone: the loop
        of transformers 5.23 would take a step more where the epochs are not whole."""
        if count_done(checkpoint) < total:
            self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        else:
            self._load_from_checkpoint(str(checkpoint))
            self.state = TrainerState.load_from_json(str(checkpoint / STATE))

    def begin_counting(self, last: dict) -> None:
        """Count on from the last step's entry in the log; TRL 1.16 would count a resumed run's tokens from 0."""
        self._total_train_tokens = last.get("num_tokens", 0)
        self._pace.begin(last)

    def log(self, logs, start_time=None):
        if "loss" in logs:
            logs = {**logs, **self._pace.measure(self._total_train_tokens)}
        super().log(logs, start_time)

    def _compute_loss(self, model, inputs, return_outputs):
        loss = super()._compute_loss(model, _with_features(inputs), return_outputs)
        value = (loss[0] if return_outputs else loss).detach()
        self._check_finite("loss", value.item())
        return loss

    def _get_grad_norm(self, model, grad_norm=None):
        """Looked at before the weights are moved by it: a checkpoint must not hold what a broken gradient made."""
        norm = super()._get_grad_norm(model, grad_norm)
        self._check_finite("gradient's norm", float(norm))
        return norm

    def _check_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise not_finite(what, value, self.state.global_step + 1, Path(self.args.output_dir).parent)

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

    def gather_weights(self) -> dict[str, torch.Tensor] | None:
        """The model's whole weights where FSDP shares them out, gathered by all processes; None where each has them."""
        return self.accelerator.get_state_dict(self.model_wrapped) if self.is_fsdp_enabled else None

    def agree(self, asked: bool) -> bool:
        """What the first process says, for all: none of them may stop a step before the others."""
        if self.accelerator.num_processes == 1:
            return asked
        said = torch.tensor([float(asked)], device=self.accelerator.device)
        torch.distributed.broadcast(said, src=0)
        return bool(said.item())

    @torch.no_grad()
    def reference_logps(self, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The same under the reference: the policy with its adapter switched off."""
        return self.compute_ref_log_probs(self.model, self._prepare_inputs(inputs))

    def create_model_card(self, *args, **kwargs) -> None:
        """Ours is written by m3po.training.dpo; TRL's would name neither data nor figures."""

    def _send_telemetry(self) -> None:
        pass


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
