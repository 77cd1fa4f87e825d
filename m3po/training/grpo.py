"""Simulated RLHF: TRL's GRPO on the instructions of the pairs, with the MAS of each sampled answer as its reward.

GRPO (Shao et al. 2024, arXiv 2402.03300) samples several answers an instruction and takes each one's reward less their
mean, over their standard deviation, as its advantage: the range of a scorer does not matter. A step sees as many
instructions as a step of DPO sees pairs, with GENERATIONS answers each; `beta` weighs the KL divergence from the policy
as it was. Pairs' answers are not looked at.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

from datasets import Dataset
from transformers import PrinterCallback
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import disable_dropout_in_model

from m3po.errors import BadImageError, BadInputError, JobError
from m3po.images import load_rgb
from m3po.models.alignment import load_scorer
from m3po.models.policy import Policy
from m3po.settings import TrainConfig
from m3po.training import ranks
from m3po.training.adapters import build_lora_config, check_trainable, find_language_model
from m3po.training.attempts import (
    Watched,
    describe_result,
    load_policy,
    remove_checkpoints,
    train_to_end,
    trainer_arguments,
)
from m3po.training.faults import told_in_words
from m3po.training.options import answer_tokens, library_options
from m3po.training.pair_checks import PairProblem, check_length, length_limit
from m3po.training.presets import check_pairs
from m3po.training.reporting import Phases, Reporter, tell_left_out
from m3po.training.signs import Signs
from m3po.workspace_config import WorkspaceConfig

GENERATIONS = 4  # answers an instruction


def train_by_reward(
    config: TrainConfig,
    rows: list[dict],
    folder: Path,
    reporter: Reporter,
    workspace: WorkspaceConfig = WorkspaceConfig(),
) -> dict:
    """Train an adapter on the instructions of `rows` (TRAIN_INPUT) in the run's `folder`, going on from its last
    checkpoint. `config.reward` names the scorer; `workspace` says where the curves go beside the run's folder.

    Returns what m3po.jobs.train promises; there is no margins.parquet. Raises JobError (too few instructions, an
    adapter to go on from, and what m3po.training.faults tells), ModelError, and RunStopped after a checkpoint.
    """
    if config.adapter:
        raise JobError("GRPO begins with the bare policy: leave out the adapter, or train it on with DPO.")
    check_pairs(len(rows), len(rows))
    phases = Phases(reporter)
    with told_in_words(config, phases, folder):
        return _train(config, rows, folder, phases, workspace)


def _train(config: TrainConfig, rows: list[dict], folder: Path, reporter: Reporter, workspace: WorkspaceConfig) -> dict:
    started = time.time()
    scorer = load_scorer(config.reward)
    policy = load_policy(config, reporter)
    prefix = find_language_model(policy.model)
    needs_image = getattr(scorer, "needs_image", True)
    longest = answer_tokens(config)
    kept = [row for row in rows if _is_readable(row, policy, needs_image, reporter, longest, config.max_length)]
    check_pairs(len(kept), len(rows))
    disable_dropout_in_model(policy.model)
    # TRL draws whole steps of instructions and none of what is left: a step has no more than there are.
    batch = min(config.batch_size, len(kept))
    accumulation = min(config.gradient_accumulation, len(kept) // batch)
    config = dataclasses.replace(config, batch_size=batch, gradient_accumulation=accumulation)
    total = ranks.count_steps(config, len(kept))
    trainer = build_trainer(config, policy, kept, scorer, folder, total)
    n_trainable = check_trainable(trainer.model, prefix)
    signs = Signs(config.beta, plain=False, prefers=False, samples=True)
    train_to_end(trainer, config, folder, reporter, workspace, signs, n_rows=len(kept), total=total)
    remove_checkpoints(folder)
    return describe_result(trainer, started, n_trainable, n_rows=len(kept), n_human=0, n_left_out=len(rows) - len(kept))


def build_trainer(
    config: TrainConfig, policy: Policy, rows: list[dict], scorer, folder: Path, total: int
) -> GRPOTrainer:
    """The trainer with a fresh adapter, seeded; nothing is computed yet."""
    model = policy.model
    # An answer ends where sampling ends it: at the template's end of turn, too.
    model.generation_config.eos_token_id = sorted(policy.chat.stop_ids)
    own = library_options(config, "trl", "grpo")
    generations = own.get("num_generations") or GENERATIONS
    values = trainer_arguments(config, model, folder, total) | {
        "max_steps": total,
        "per_device_train_batch_size": int(config.batch_size) * generations,  # TRL counts answers
        "num_generations": generations,
        "max_completion_length": answer_tokens(config),
        "temperature": 1.0,
        # Weights that are no numbers are to be told by the loss: sampling from them ends a GPU's process.
        "generation_kwargs": {"remove_invalid_values": True},
    }
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


class _Trainer(Watched, GRPOTrainer):
    @property
    def tokens_seen(self) -> float:
        """Of prompts and sampled answers; a checkpoint keeps the number."""
        return self.state.num_input_tokens_seen


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
        tell_left_out(reporter, row["name"], str(error))
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
