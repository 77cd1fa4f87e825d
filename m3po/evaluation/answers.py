"""Greedy answers of a policy to held-out instructions, batch by batch, so that a killed run goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from m3po.errors import BadImageError, BadInputError
from m3po.images import load_rgb
from m3po.models.policy import Policy


def answer_greedily(
    policy: Policy, rows: list[dict], *, max_new_tokens: int, batch_size: int, warn: Callable[[str], None]
) -> Iterator[list[dict]]:
    """Batches of `{"instruction_id", "text"}` for `rows` (columns of EVALUATE_INPUT), in order.

    A row whose image cannot be read, or that the model refuses, is told to `warn` in one sentence and left out.
    """
    for start in range(0, len(rows), batch_size):
        batch = []
        for row in rows[start : start + batch_size]:
            try:
                images = [load_rgb(Path(path)) for path in row["images"] or ()]
            except BadImageError as error:
                warn(f"Instruction {row['name']} is left out: {error}")
                continue
            batch.append((row, json.loads(row["messages"]), images))
        yield _answer(policy, batch, max_new_tokens, warn)


def _answer(policy: Policy, batch: list[tuple], max_new_tokens: int, warn: Callable[[str], None]) -> list[dict]:
    """One by one where the batch is refused as a whole: only the row that is at fault is lost."""
    if not batch:
        return []
    asked, prompts, images = zip(*batch, strict=True)
    try:
        answers = policy.greedy(prompts, images, max_new_tokens)
    except BadInputError as error:
        if len(batch) == 1:
            warn(f"Instruction {asked[0]['name']} is left out: {error}")
            return []
        return [row for item in batch for row in _answer(policy, [item], max_new_tokens, warn)]
    return [
        {"instruction_id": row["instruction_id"], "text": answer.text}
        for row, answer in zip(asked, answers, strict=True)
    ]
