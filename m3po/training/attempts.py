"""What every method's training has around its steps: how TRL's trainers are watched and gone on with, and one attempt
of a run from its last checkpoint to its adapter."""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from pathlib import Path

import torch
from transformers import TrainerState

from m3po.errors import JobError, RunStopped
from m3po.models import checks
from m3po.models.policy import Policy
from m3po.settings import TrainConfig
from m3po.training import ranks
from m3po.training.adapters import check_language_model, save_adapter
from m3po.training.checkpoints import STATE, count_done, find_checkpoint
from m3po.training.faults import not_finite
from m3po.training.presets import uses_checkpointing
from m3po.training.reporting import Pace, Reporter, StepReport, reported_metrics
from m3po.training.signs import Signs
from m3po.training.trackers import Trackers
from m3po.versions import code_version, package_versions
from m3po.workspace_config import WorkspaceConfig


class Watched:
    """To be named before one of TRL's trainers: it refuses a loss or gradient that is not a number, logs its pace, and
    neither phones home nor writes a model card of its own."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._pace = Pace()

    @property
    def tokens_seen(self) -> float:
        """By the model, of all steps of the run so far; DPO's and GRPO's trainers count them in places of their own."""
        raise NotImplementedError

    def go_on(self, checkpoint: Path | None, total: int) -> None:
        """Train to the end from the checkpoint, or from the beginning. One of the last step is loaded alone: the loop
        of transformers 5.23 would take a step more where the epochs are not whole."""
        if count_done(checkpoint) < total:
            self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        else:
            self._load_from_checkpoint(str(checkpoint))
            self.state = TrainerState.load_from_json(str(checkpoint / STATE))

    def begin_counting(self, last: dict) -> None:
        """Count on from the last step's entry in the log; an empty one: from nothing."""
        self._pace.begin(last)

    def log(self, logs, start_time=None):
        if "loss" in logs:
            logs = {**logs, **self._pace.measure(self.tokens_seen)}
        super().log(logs, start_time)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
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

    def create_model_card(self, *args, **kwargs) -> None:
        """Ours is written by m3po.training.adapters; TRL's would name neither data nor figures."""

    def _send_telemetry(self) -> None:
        pass


def load_policy(config: TrainConfig, reporter: Reporter) -> Policy:
    """The model that is trained, checked before its weights are read. Raises ModelError, and JobError as
    m3po.training.adapters.check_language_model does."""
    checks.check_policy(config.policy, config.adapter, config)
    if config.trust_remote_code:
        reporter.emit("warning", message=checks.code_warning(config.policy))
    check_language_model(config)
    return Policy.load(config.policy, options=config)


def trainer_arguments(config: TrainConfig, model: torch.nn.Module, folder: Path, total: int) -> dict[str, object]:
    """What the trainer of every method is told alike; `total`: optimiser steps of the run in `folder`."""
    on_cpu = model.device.type == "cpu"
    names = (
        "lr_scheduler_type", "optim", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm",
        "beta", "learning_rate", "logging_steps",
    )  # fmt: skip
    return {name: getattr(config, name) for name in names} | {
        "output_dir": str(folder / "checkpoints"),
        "gradient_accumulation_steps": int(config.gradient_accumulation),
        "warmup_steps": config.warmup_ratio,  # below 1 it is a share of all steps
        "gradient_checkpointing": uses_checkpointing(config),
        "bf16": model.dtype == torch.bfloat16,
        "use_cpu": on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "dataloader_num_workers": 0,
        "remove_unused_columns": False,  # collator and reward want the row number, which no model knows
        "seed": int(config.seed),
        "data_seed": int(config.seed),
        "logging_nan_inf_filter": False,  # a nan is to be seen, not smoothed away
        "save_strategy": "steps",
        "save_steps": checkpoint_interval(total, config),
        "save_total_limit": 2,  # the one before the last too: a kill may tear the last
        "report_to": "none",
        "disable_tqdm": True,
        "eval_strategy": "no",
    }


def checkpoint_interval(total_steps: int, config: TrainConfig) -> int:
    """Steps between two checkpoints: about ten a run, at most 200 steps of work lost by a kill, or as set; a multiple
    of `logging_steps`, so that no mean of the curves is of steps before and after a resume."""
    steps = config.save_steps or max(2, min(200, math.ceil(total_steps / 10)))
    return math.ceil(steps / config.logging_steps) * config.logging_steps


def train_to_end(
    trainer: Watched,
    config: TrainConfig,
    folder: Path,
    reporter: Reporter,
    workspace: WorkspaceConfig,
    signs: Signs,
    *,
    n_rows: int,
    total: int,
) -> None:
    """Take the steps from the last checkpoint in `folder` to the last of `total`, tell each, and save the adapter,
    whose card says `n_rows`. Raises RunStopped, behind a checkpoint and an adapter, when asked to stop before, and
    JobError where not one step was taken."""
    checkpoint = find_checkpoint(folder / "checkpoints")
    done = count_done(checkpoint)
    reporter.progress(done, total, "steps", message="training")
    with contextlib.ExitStack() as stack:
        track = None
        if not ranks.rank():
            trackers = Trackers(folder, config, workspace, reporter, after=done)
            track = stack.enter_context(contextlib.closing(trackers)).log
        report = StepReport(trainer, reporter, total, signs, track)
        trainer.add_callback(report)
        trainer.go_on(checkpoint, total)
    weights = trainer.gather_weights()
    steps = trainer.state.global_step
    if not steps and not report.stopped:
        raise JobError(
            f"The training took none of its {total} steps: set a smaller batch_size or gradient_accumulation, or make "
            "more pairs."
        )
    if not ranks.rank():
        save_adapter(trainer.model, folder / "adapter", config, n_rows, steps, weights)
    if report.stopped:
        raise RunStopped(
            f"Stopped by the user after step {steps} of {total}; "
            "the adapter as it was then is kept and the run can be resumed."
        )


def remove_checkpoints(folder: Path) -> None:
    """Of a run that has all that it was to make: optimiser states that nothing is left to resume with."""
    if not ranks.rank():
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def describe_result(
    trainer: Watched, started: float, trainable: int, *, n_rows: int, n_human: int, n_left_out: int
) -> dict[str, object]:
    """What m3po.jobs.train promises of a run that trained on `n_rows`; `started`: seconds since the epoch."""
    logged = [reported_metrics(entry) for entry in trainer.state.log_history if "loss" in entry]
    return {
        "adapter": "adapter",
        "pairs": n_rows,
        "human_pairs": n_human,
        "left_out": n_left_out,
        "seconds": round(time.time() - started, 2),
        "steps": trainer.state.global_step,
        "processes": ranks.world(),
        "final": logged[-1] if logged else {},
        "packages": package_versions(),
        "code": code_version(),
        "trainable_parameters": trainable,
    }
