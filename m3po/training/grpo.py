"""Simulated RLHF: TRL's GRPO on the instructions of the pairs, with the MAS of each sampled answer as its reward.

GRPO (Shao et al. 2024, arXiv 2402.03300) samples several answers an instruction and takes each one's reward less their
mean, over their standard deviation, as its advantage: the range of a scorer does not matter. A step sees as many
instructions as a step of DPO sees pairs, with GENERATIONS answers each; `beta` weighs the KL divergence from the policy
as it was. Pairs' answers are not looked at.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import disable_dropout_in_model

from m3po.errors import BadImageError, BadInputError, JobError, RunStopped
from m3po.images import load_rgb
from m3po.models import checks
from m3po.models.alignment import load_scorer
from m3po.models.policy import Policy
from m3po.settings import TrainConfig
from m3po.training import ranks
from m3po.training.adapters import (
    build_lora_config,
    check_language_model,
    check_trainable,
    find_language_model,
    save_adapter,
)
from m3po.training.dpo import checkpoint_interval, optimiser_arguments
from m3po.training.faults import find_checkpoint
from m3po.training.options import library_options
from m3po.training.pair_checks import PairProblem, check_length, length_limit
from m3po.training.presets import check_pairs, uses_checkpointing
from m3po.training.reporting import Reporter
from m3po.versions import package_versions

GENERATIONS = 4  # answers an instruction
ANSWER_TOKENS = 128
REPORTED = (
    "loss", "reward", "reward_std", "kl", "learning_rate", "grad_norm", "entropy", "completions/mean_length", "epoch",
)  # fmt: skip


def train_by_reward(config: TrainConfig, rows: list[dict], folder: Path, reporter: Reporter) -> dict:
    """Train an adapter on the instructions of `rows` (TRAIN_INPUT) in the run's `folder`, going on from its last
    checkpoint. `config.reward` names the scorer.

    Returns what m3po.jobs.train promises; there is no margins.parquet. Raises JobError (too few instructions, an
    adapter to go on from), ModelError, and RunStopped after a checkpoint.
    """
    if config.adapter:
        raise JobError("GRPO begins with the bare policy: leave out the adapter, or train it on with DPO.")
    check_pairs(len(rows), len(rows))
    started = time.time()
    checks.check_policy(config.policy, None, config)
    check_language_model(config)
    scorer = load_scorer(config.reward)
    policy = Policy.load(config.policy, options=config)
    prefix = find_language_model(policy.model)
    needs_image = getattr(scorer, "needs_image", True)
    answer_tokens = library_options(config, "trl").get("max_completion_length") or ANSWER_TOKENS
    kept = [row for row in rows if _is_readable(row, policy, needs_image, reporter, answer_tokens, config.max_length)]
    check_pairs(len(kept), len(rows))
    disable_dropout_in_model(policy.model)
    total = ranks.count_steps(config, len(kept))
    trainer = build_trainer(config, policy, kept, scorer, folder, total)
    n_trainable = check_trainable(trainer.model, prefix)
    report = _Report(reporter, total)
    trainer.add_callback(report)
    reporter.progress(0, total, "steps", message="training")
    trainer.train(resume_from_checkpoint=find_checkpoint(folder / "checkpoints"))
    save_adapter(trainer.model, folder / "adapter", config, len(kept), trainer.state.global_step)
    if report.stopped:
        raise RunStopped(
            f"Stopped by the user after step {trainer.state.global_step} of {total}; "
            "the adapter as it was then is kept and the run can be resumed."
        )
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return {
        "adapter": "adapter",
        "pairs": len(kept),
        "human_pairs": 0,
        "left_out": len(rows) - len(kept),
        "seconds": round(time.time() - started, 2),
        "steps": trainer.state.global_step,
        "final": report.last,
        "packages": package_versions(),
        "trainable_parameters": n_trainable,
    }


def build_trainer(
    config: TrainConfig, policy: Policy, rows: list[dict], scorer, folder: Path, total: int
) -> GRPOTrainer:
    """The trainer with a fresh adapter, seeded; nothing is computed yet."""
    model = policy.model
    # An answer ends where sampling ends it: at the template's end of turn, too.
    model.generation_config.eos_token_id = sorted(policy.chat.stop_ids)
    on_cpu = model.device.type == "cpu"
    own = library_options(config, "trl", "grpo")
    generations = own.get("num_generations") or GENERATIONS
    values = dict(
        output_dir=str(folder / "checkpoints"),
        learning_rate=config.learning_rate,
        max_steps=total,
        per_device_train_batch_size=min(int(config.batch_size), len(rows)) * generations,  # answers, not instructions
        gradient_accumulation_steps=int(config.gradient_accumulation),
        num_generations=generations,
        max_completion_length=ANSWER_TOKENS,
        temperature=1.0,
        beta=config.beta,
        warmup_steps=config.warmup_ratio,  # below 1 it is a share of all steps
        **optimiser_arguments(config),
        gradient_checkpointing=uses_checkpointing(config),
        bf16=model.dtype == torch.bfloat16,
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        dataloader_num_workers=0,
        remove_unused_columns=False,  # the reward wants the row number
        seed=int(config.seed),
        data_seed=int(config.seed),
        logging_steps=config.logging_steps,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=checkpoint_interval(total, config),
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        eval_strategy="no",
    )
    args = GRPOConfig(**values | own)
    trainer = _Trainer(
        model=model,
        reward_funcs=[reward_of(scorer, rows)],
        args=args,
        train_dataset=_as_dataset(policy, rows),
        processing_class=policy.chat.processor,
        peft_config=build_lora_config(model, config),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def reward_of(scorer, rows: list[dict]):
    """A reward function as TRL calls it: the MAS of each answer beside its own instruction and images."""

    def mas(completions: list, row: list[int], **_: object) -> list[float]:
        texts = [_text_of(completion) for completion in completions]
        by_row: dict[int, list[int]] = {}
        for place, number in enumerate(row):
            by_row.setdefault(number, []).append(place)
        prompts = [json.loads(rows[number]["messages"]) for number in by_row]
        images = [_read_images(rows[number]) for number in by_row]
        judged = scorer.score(prompts, images, [[texts[place] for place in places] for places in by_row.values()])
        rewards = [0.0] * len(texts)
        for places, judgements in zip(by_row.values(), judged, strict=True):
            for place, judgement in zip(places, judgements, strict=True):
                rewards[place] = judgement.score
        return rewards

    return mas


class _Trainer(GRPOTrainer):
    """Neither phones home nor writes a model card of its own."""

    def create_model_card(self, *args, **kwargs) -> None:
        pass

    def _send_telemetry(self) -> None:
        pass


class _Report(TrainerCallback):
    """Tells every step, and ends the run behind a checkpoint when it is asked to stop."""

    def __init__(self, reporter: Reporter, total: int) -> None:
        self._reporter, self._total = reporter, total
        self.stopped = False
        self.last: dict[str, float] = {}

    def on_step_end(self, args, state, control, **kwargs):
        self._reporter.progress(state.global_step, self._total, "steps", message="training")
        if self._reporter.stop_requested and state.global_step < state.max_steps:
            self.stopped = control.should_save = control.should_training_stop = True

    def on_log(self, args, state, control, logs=None, **kwargs):
        values = {name: float(logs[name]) for name in REPORTED if name in (logs or {})}
        if "loss" in values:
            self.last = values
            self._reporter.metrics(state.global_step, **values)
            text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
            print(f"step {state.global_step}/{self._total}  {text}", flush=True)


def _as_dataset(policy: Policy, rows: list[dict]) -> Dataset:
    """Row numbers; conversation and images come with them when a step needs them."""

    def load(batch: dict) -> dict:
        numbers = batch["row"]
        prompts = [policy.chat.break_special(json.loads(rows[number]["messages"])) for number in numbers]
        return {"row": numbers, "prompt": prompts, "images": [_read_images(rows[number]) for number in numbers]}

    return Dataset.from_dict({"row": list(range(len(rows)))}).with_transform(load)


def _is_readable(
    row: dict, policy: Policy, needs_image: bool, reporter: Reporter, answer_tokens: int, max_length: int
) -> bool:
    """Whether the model can answer it, and the scorer judge what it answers; else it is told and left out."""
    try:
        if needs_image and not row["images"]:
            raise BadInputError("it has no image, and the scorer compares an answer with one")
        prompt = policy.chat.render_prompt(json.loads(row["messages"]))
        inputs = policy.chat.encode_prompts([prompt], [_read_images(row)])
        limit = length_limit(max_length, policy.max_positions)
        check_length(inputs["input_ids"].shape[1], answer_tokens, limit, asked=limit != policy.max_positions)
        return True
    except (BadImageError, BadInputError, PairProblem) as error:
        reporter.emit("warning", message=f"Instruction {row['name']} is left out: {str(error).rstrip('.')}.")
        return False


def _read_images(row: dict) -> list:
    return [load_rgb(Path(path)) for path in row["images"] or ()]


def _text_of(completion: object) -> str:
    """TRL gives a conversation's answer as messages, whose content may be in parts."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"]
    if isinstance(content, str):
        return content
    return " ".join(part.get("text") or "" for part in content)
