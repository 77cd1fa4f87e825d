"""A fine-tuning run: curated pairs in, a LoRA adapter out (DPO and its kin, or SFT on the chosen answers).

The reference is the policy without the adapter or, where the run goes on from one, with that adapter as it was before.
Everything that must survive a kill lies in the run's folder:
`checkpoints/` (the last one is gone on from), `reference.parquet` (log-probs of the reference), and at the end
`adapter/` and `margins.parquet` (each pair before and after). `tensorboard/` holds the curves once more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when huggingface_hub is imported

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl import DPOConfig
from trl.trainer.utils import disable_dropout_in_model

from m3po.errors import BadImageError, BadInputError, RunStopped
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
from m3po.training.options import library_options
from m3po.training.pair_checks import PairProblem, check_length, length_limit
from m3po.training.presets import check_pairs, find_preset, parse_losses
from m3po.training.reporting import Phases, Reporter
from m3po.training.signs import Signs
from m3po.training.trainer import PairTrainer, can_reuse_features, image_encoder
from m3po.workspace_config import WorkspaceConfig

MARGINS = pa.schema(
    [
        ("instruction_id", pa.int64()),
        ("chosen_id", pa.int64()),
        ("rejected_id", pa.int64()),
        ("ref_chosen_logp", pa.float64()),
        ("ref_rejected_logp", pa.float64()),
        ("chosen_logp", pa.float64()),
        ("rejected_logp", pa.float64()),
        ("logp_margin_before", pa.float64()),  # nats; below 0: the model preferred the rejected answer
        ("logp_margin_after", pa.float64()),
        ("reward_margin", pa.float64()),  # beta * (after - before); 0 before the training by definition
    ]
)
_REFERENCE = pa.schema(list(MARGINS)[:5])


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
            _warn_left_out(reporter, row["name"], str(problem))
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


def add_reference_logps(
    trainer: PairTrainer,
    collator: PairCollator,
    pairs: list[EncodedPair],
    path: Path,
    policy: Policy,
    reporter: Reporter,
    max_length: int = 0,
) -> list[int]:
    """Fill in the reference's log-probs, from `path` where an earlier attempt left them, and return the rows
    that can be used: a pair whose image cannot be read, or that is too long for the model, is told and left out.
    """
    if path.exists():
        return _read_reference(path, pairs)
    readable = []
    for row, pair in enumerate(pairs):
        try:
            collator.read_images(row)
            readable.append(row)
        except BadImageError as error:
            _warn_left_out(reporter, pair.name, str(error))
    reporter.progress(0, len(readable), "pairs", message="reference log-probs")
    kept: list[int] = []
    size = 2 * trainer.args.per_device_train_batch_size
    limit = length_limit(max_length, policy.max_positions)

    def refuse(row: int, problem: str) -> None:
        _warn_left_out(reporter, pairs[row].name, problem)

    for done, rows, batch in _batches(collator, readable, size, reporter, refuse):
        lengths = batch["attention_mask"].sum(1).view(2, -1).amax(0).tolist()
        fits = []
        for row, length in zip(rows, lengths, strict=True):
            answer = pairs[row].longer_answer
            try:
                check_length(length - answer, answer, limit, asked=limit != policy.max_positions)
                fits.append(row)
            except PairProblem as problem:
                refuse(row, str(problem))
        if not fits:
            continue
        if len(fits) < len(rows):
            rows, batch = fits, collator([{"row": row} for row in fits])
        chosen, rejected = trainer.reference_logps(batch)
        for row, *logps in zip(rows, chosen.tolist(), rejected.tolist(), strict=True):
            pairs[row].ref_chosen_logp, pairs[row].ref_rejected_logp = logps
        kept += rows
        reporter.progress(done, len(readable), "pairs", message="reference log-probs")
    _write_table(path, [_reference_row(pairs[row]) for row in kept], _REFERENCE)
    return kept


def write_margins(
    trainer: PairTrainer,
    collator: PairCollator,
    pairs: list[EncodedPair],
    rows: list[int],
    path: Path,
    reporter: Reporter,
) -> None:
    """Every trained pair's log-probs before and after, and the reward margin that the training gave it."""
    table = []
    for done, batch_rows, batch in _batches(collator, rows, 2 * trainer.args.per_device_train_batch_size, reporter):
        chosen, rejected = trainer.sum_logps(batch)
        for row, chosen_logp, rejected_logp in zip(batch_rows, chosen.tolist(), rejected.tolist(), strict=True):
            pair = pairs[row]
            before = pair.ref_chosen_logp - pair.ref_rejected_logp
            after = chosen_logp - rejected_logp
            table.append(
                {
                    **_reference_row(pair),
                    "chosen_logp": chosen_logp,
                    "rejected_logp": rejected_logp,
                    "logp_margin_before": before,
                    "logp_margin_after": after,
                    "reward_margin": trainer.beta * (after - before),
                }
            )
        reporter.progress(done, len(rows), "pairs", message="margins after the training")
    _write_table(path, table, MARGINS)


def _batches(
    collator: PairCollator,
    rows: list[int],
    size: int,
    reporter: Reporter,
    refuse: Callable[[int, str], None] | None = None,
):
    """(rows done after it, its rows, batch), in order; RunStopped between two when asked to stop. With `refuse`, a row
    that the model's processor does not take is left out, and handed to it with the reason."""
    for start in range(0, len(rows), size):
        if reporter.stop_requested:
            raise RunStopped("Stopped by the user; what was finished is kept and the run can be resumed.")
        part = rows[start : start + size]
        done = start + len(part)
        try:
            batch = collator([{"row": row} for row in part])
        except BadInputError:
            if refuse is None:
                raise
            refused = {row: why for row in part if (why := collator.refusal(row))}
            for row, why in refused.items():
                refuse(row, why)
            part = [row for row in part if row not in refused]
            if not part:
                continue
            batch = collator([{"row": row} for row in part])
        yield done, part, batch


def _as_dataset(pairs: list[EncodedPair], rows: Iterable[int]) -> Dataset:
    """Row numbers, and the image paths: TRL goes by their column to know that this is vision data."""
    rows = list(rows)
    return Dataset.from_dict({"row": rows, "images": [list(pairs[row].images) for row in rows]})


def _read_reference(path: Path, pairs: list[EncodedPair]) -> list[int]:
    stored = {
        (row["instruction_id"], row["chosen_id"], row["rejected_id"]): row for row in pq.read_table(path).to_pylist()
    }
    kept = []
    for number, pair in enumerate(pairs):
        row = stored.get((pair.instruction_id, pair.chosen_id, pair.rejected_id))
        if row is not None:
            pair.ref_chosen_logp, pair.ref_rejected_logp = row["ref_chosen_logp"], row["ref_rejected_logp"]
            kept.append(number)
    return kept


def _reference_row(pair: EncodedPair) -> dict:
    return {name: getattr(pair, name) for name in _REFERENCE.names}


def _write_table(path: Path, rows: list[dict], schema: pa.Schema) -> None:
    """Whole or not at all: a kill must not leave half a file that a resumed run would trust. Of several processes,
    which all have the same rows, the first writes."""
    if ranks.rank():
        return
    part = path.with_suffix(".part")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), part)
    part.rename(path)


def _warn_left_out(reporter: Reporter, name: str, problem: str) -> None:
    reporter.emit("warning", message=f"Instruction {name} is left out: {problem.rstrip('.')}.")
