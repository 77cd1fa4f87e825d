"""How many instructions a job takes at a time, and the estimate of memory behind it, told before the first batch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from m3po.errors import BadInputError
from m3po.images import load_rgb
from m3po.models import memory

if TYPE_CHECKING:
    from m3po.models.policy import Policy

_MEASURED = 4  # prompts that are encoded to see how long they are
_MOST_ANSWERS = 512  # decoded at once: more fill the memory and gain no speed
# At most so many instructions at a time where memory would allow more. On a CPU more gain no speed.
MOST_ON_CPU = {"sample": 16, "score": 16, "evaluate": 32}
REMOTE_ANSWERS = 32  # asked of a remote judge before it is looked whether the run was stopped
MOST_ON_GPU = {"sample": 64, "score": 64, "evaluate": 128}


@dataclass(frozen=True)
class BatchPlan:
    """Instructions at a time, and the estimate behind it in one sentence (empty: none could be made)."""

    size: int
    sentence: str = ""


def plan_batch(policy: Policy, rows: Sequence[dict], kind: str, asked: int, *, answer: int, k: int = 1) -> BatchPlan:
    """How many of `rows` to take at a time: `asked`, or where that is 0 as many as fit into the free memory.

    `answer` is the longest answer in tokens, `k` the most answers to an instruction; the formula is
    in m3po.models.memory.
    """
    on_gpu = policy.device.type == "cuda"
    most = (MOST_ON_GPU if on_gpu else MOST_ON_CPU)[kind]
    if kind != "score":
        most, asked = (min(size, max(1, _MOST_ANSWERS // k)) for size in (most, asked))
    shape, free = policy.core.shape(), memory.free_memory()
    prompt = _longest_prompt(policy, rows)
    if shape is None or free is None or prompt is None:
        return BatchPlan(asked or most)
    number = policy.model.dtype.itemsize
    if kind == "score":
        each = memory.scoring_bytes(shape, prompt, number)
        once = memory.scoring_once(shape, prompt, answer, k * (asked or most), number)
    else:
        each, once = memory.sampling_bytes(shape, prompt, answer, k, number), 0.0
    size = asked or memory.batch_that_fits(free, each, most, once)
    parts = [f"about {memory.say(each)} an instruction"] + ([f"{memory.say(once)} for its answers"] if once else [])
    weights = sum(parameter.nbytes for parameter in policy.model.parameters())
    return BatchPlan(
        size,
        f"Memory: {memory.say(weights)} of weights, {' and '.join(parts)}, {memory.say(free)} free: "
        f"{size} instructions at a time.",
    )


def plan_judge(policy: Policy, rows: Sequence[dict], asked: int, *, answer: int, questions: int) -> BatchPlan:
    """How many of `rows` a judge on this machine takes at a time: `asked`, else one.

    It goes through its instructions one by one, so that more would take no more memory and save no time, but a stop
    would wait for them all. `questions` are the most to an instruction, `answer` tokens each. See m3po.models.memory.
    """
    from m3po.models.judges import ask_about_answer

    size = asked or 1
    prompt = _longest_prompt(policy, rows, lambda row: ask_about_answer(json.loads(row["messages"]), _images(row), ""))
    shape, free = policy.core.shape(), memory.free_memory()
    if shape is None or free is None or prompt is None:
        return BatchPlan(size)
    number = policy.model.dtype.itemsize
    each = memory.scoring_bytes(shape, prompt, number)
    once = memory.judging_once(shape, prompt, answer, questions, number)
    weights = sum(parameter.nbytes for parameter in policy.model.parameters())
    tight = (
        "" if each + once <= memory.SHARE * free else ", which may not be enough: try --quantise, or a smaller judge"
    )
    return BatchPlan(
        size,
        f"Memory: {memory.say(weights)} of weights, about {memory.say(each)} an instruction and {memory.say(once)} for "
        f"its questions, {memory.say(free)} free{tight}: {size} instruction{'s' * (size > 1)} at a time.",
    )


def _images(row: dict) -> int:
    return len(row["images"] or [])


def _longest_prompt(
    policy: Policy, rows: Sequence[dict], ask: Callable[[dict], list[dict]] | None = None
) -> int | None:
    """Tokens of the longest of a few prompts with their images, spread over the rows; None if none can be read.

    `ask` makes another prompt of a row than its own messages.
    """
    lengths = []
    for row in rows[:: max(1, len(rows) // _MEASURED)][:_MEASURED]:
        try:
            images = [load_rgb(path) for path in row["images"] or []]
            text = policy.chat.render_prompt(ask(row) if ask else json.loads(row["messages"]))
            lengths.append(policy.chat.encode_prompts([text], [images])["input_ids"].shape[1])
        except BadInputError:  # told and skipped when its turn comes
            continue
    return max(lengths, default=None)
