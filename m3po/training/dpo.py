"""A fine-tuning run: curated pairs in, a LoRA adapter out (DPO and its kin, or SFT on the chosen answers).

The reference is the policy without the adapter or, where the run goes on from one, with that adapter as it was before.
Everything that must survive a kill lies in the run's folder:
`checkpoints/` (the last one is gone on from), `reference.parquet` (log-probs of the reference; while they are computed,
`reference.jsonl`), and at the end `adapter/` and `margins.parquet` (each pair before and after). `tensorboard/` holds
the curves once more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when huggingface_hub is imported

import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl import DPOConfig
from trl.trainer.utils import disable_dropout_in_model

from m3po.models.policy import Policy
from m3po.settings import TrainConfig
from m3po.training import ranks
from m3po.training.adapters import (
    build_lora_config,
    check_trainable,
    continue_adapter,
    find_language_model,
)
from m3po.training.attempts import (
    checkpoint_interval,
    describe_result,
    load_policy,
    remove_checkpoints,
    train_to_end,
    trainer_arguments,
)
from m3po.training.batches import PairCollator
from m3po.training.encoding import EncodedPair, encode_pair
from m3po.training.faults import told_in_words
from m3po.training.logps import add_reference_logps, write_margins
from m3po.training.options import library_options
from m3po.training.pair_checks import PairProblem
from m3po.training.presets import check_pairs, find_preset, parse_losses
from m3po.training.reporting import Phases, Reporter, tell_left_out
from m3po.training.signs import Signs
from m3po.training.trainer import PairTrainer, can_reuse_features, image_encoder
from m3po.workspace_config import WorkspaceConfig


def train_pairs(
    config: TrainConfig,
    rows: list[dict],
    folder: Path,
    reporter: Reporter,
    workspace: WorkspaceConfig = WorkspaceConfig(),
) -> dict:
    """Train an adapter on `rows` (columns of TRAIN_INPUT) in the run's `folder`, going on from its last checkpoint.
    `workspace` says where the curves go beside the run's folder.

    Returns what m3po.jobs.train promises. Rows that cannot be used are told as warnings and left out. Raises
    JobError (too few pairs, and what m3po.training.faults tells), ModelError, and RunStopped after a checkpoint.
    """
    check_pairs(len(rows), len(rows))
    phases = Phases(reporter)
    with told_in_words(config, phases, folder):
        return _train(config, rows, folder, phases, workspace)


def _train(config: TrainConfig, rows: list[dict], folder: Path, reporter: Reporter, workspace: WorkspaceConfig) -> dict:
    started = time.time()
    if ranks.is_rank() and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    policy = load_policy(config, reporter)
    model = policy.model
    prefix = find_language_model(model)
    pairs = encode_pairs(rows, policy, reporter)
    check_pairs(len(pairs), len(rows))
    # The base's own dropout is off in policy and reference alike; the adapter's is as configured.
    disable_dropout_in_model(model)
    # Weights that FSDP shares out cannot be asked for an image alone.
    shared = find_preset(config.preset).parallel == "fsdp" and ranks.is_rank()
    encode_images = image_encoder(model) if can_reuse_features(model) and not shared else None
    collator = PairCollator(policy.core, pairs, encode_images=encode_images)
    trainer = build_trainer(config, policy, pairs, collator, folder)
    n_trainable = check_trainable(trainer.model, prefix, config.adapter)

    kept = add_reference_logps(
        trainer, collator, pairs, folder / "reference.parquet", policy, reporter, config.max_length
    )
    check_pairs(len(kept), len(rows))
    trainer.train_dataset = _as_dataset(pairs, kept)
    trainer.precompute_ref_logps = True
    total = ranks.count_steps(config, len(kept), ranks.world())
    trainer.args.save_steps = checkpoint_interval(total, config)
    losses, _ = parse_losses(config)
    signs = Signs(config.beta, plain=losses == ["sigmoid"], prefers=losses != ["sft"])
    train_to_end(trainer, config, folder, reporter, workspace, signs, n_rows=len(kept), total=total)
    write_margins(trainer, collator, pairs, kept, folder / "margins.parquet", reporter)
    trainer.accelerator.wait_for_everyone()
    remove_checkpoints(folder)
    n_human = sum(pairs[row].human for row in kept)
    return describe_result(
        trainer, started, n_trainable, n_rows=len(kept), n_human=n_human, n_left_out=len(rows) - len(kept)
    )


def encode_pairs(rows: list[dict], policy: Policy, reporter: Reporter) -> list[EncodedPair]:
    """Render and tokenise every row; one without anything to learn from is told and left out."""
    pairs = []
    for row in rows:
        try:
            pairs.append(encode_pair(row, policy.reader))
        except PairProblem as problem:
            tell_left_out(reporter, row["name"], str(problem))
    return pairs


def build_trainer(
    config: TrainConfig, policy: Policy, pairs: list[EncodedPair], collator: PairCollator, folder: Path
) -> PairTrainer:
    """The trainer, seeded, with a fresh adapter on the policy's model or the one that is gone on from; nothing is
    computed yet."""
    model = policy.model
    # TRL keeps a frozen copy of an adapter that is there already, named "ref", as the reference.
    adapted = continue_adapter(model, config.adapter) if config.adapter else None
    losses, weights = parse_losses(config)
    total = ranks.count_steps(config, len(pairs), ranks.world())
    values = trainer_arguments(config, model, folder, total) | {
        "loss_type": losses,
        "loss_weights": weights,
        "num_train_epochs": config.epochs,
        "max_steps": int(config.max_steps) or -1,
        "per_device_train_batch_size": int(config.batch_size),
        "label_smoothing": config.label_smoothing,
        "f_divergence_type": config.f_divergence_type,
        "max_length": None,  # cutting would silently drop image or answer tokens
        "disable_dropout": False,
        "ddp_backend": "gloo" if model.device.type == "cpu" and ranks.is_rank() else None,
        "ddp_find_unused_parameters": False,
    }
    args = DPOConfig(**values | library_options(config, "trl", "dpo"))
    trainer = PairTrainer(
        model=adapted or model,
        args=args,
        data_collator=collator,
        train_dataset=_as_dataset(pairs, range(len(pairs))),
        processing_class=policy.chat.processor,
        peft_config=None if adapted else build_lora_config(model, config),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _as_dataset(pairs: list[EncodedPair], rows: Iterable[int]) -> Dataset:
    """Row numbers, and the image paths: TRL goes by their column to know that this is vision data."""
    rows = list(rows)
    return Dataset.from_dict({"row": rows, "images": [list(pairs[row].images) for row in rows]})
