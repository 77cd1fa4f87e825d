"""Worker of a sampling run: `python -m m3po.jobs.sample runs/<id>`; input SAMPLE_INPUT, config SampleConfig.

Result: `policy_fingerprint`, `sampled` (instructions), `answers` (distinct ones), `skipped` (instructions).
Each instruction's draws depend on the run's seed and its id alone: a resumed run gives what an uninterrupted
one gives.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from m3po.jobs.batches import Item, run_batches
from m3po.jobs.policies import BatchPlan, load_policy, plan_batch
from m3po.jobs.schemas import SAMPLE_OUTPUT
from m3po.jobs.worker import Worker, main
from m3po.models.fingerprint import model_fingerprint
from m3po.settings import SampleConfig
from m3po.text import same_answer_key

if TYPE_CHECKING:
    from m3po.models.policy import Answer


def run(job: Worker) -> dict:
    known = {field.name for field in dataclasses.fields(SampleConfig)}
    config = SampleConfig(**{key: value for key, value in job.config.items() if key in known})
    rows = job.read_input()
    if config.limit:
        rows = rows[: config.limit]
    finished = job.finished_keys("instruction_id")
    todo = [row for row in rows if row["instruction_id"] not in finished]
    job.progress(0, len(rows), "instructions", message="Loading the model")
    fingerprint = model_fingerprint(config.policy, config.adapter, code=config.trust_remote_code)
    answers, plan = 0, BatchPlan(0)
    if todo:
        policy = load_policy(job, config)

        def work(items: list[Item]) -> list[list[dict]]:
            nonlocal answers
            sampled = policy.sample(
                [item.messages for item in items],
                [item.images for item in items],
                k=config.k,
                temperature=config.temperature,
                top_p=config.top_p,
                max_new_tokens=config.max_new_tokens,
                seeds=[instruction_seed(config.seed, item.id) for item in items],
            )
            merged = [merge_answers(item.id, row) for item, row in zip(items, sampled, strict=True)]
            answers += sum(map(len, merged))
            return merged

        plan = plan_batch(policy, todo, "sample", config.batch_size, answer=config.max_new_tokens, k=config.k)
        done, skipped = run_batches(
            job,
            todo,
            work,
            SAMPLE_OUTPUT,
            batch_size=plan.size,
            done=len(rows) - len(todo),
            total=len(rows),
            message=plan.sentence,
        )
    else:
        done = skipped = 0
    job.progress(len(rows), len(rows), "instructions")
    return {
        "policy_fingerprint": fingerprint,
        "sampled": len(rows) - len(todo) + done,
        "answers": answers,
        "skipped": skipped,
        "memory": plan.sentence,
    }


def instruction_seed(seed: int, instruction_id: int) -> int:
    """64 bits that depend on the run's seed and the instruction alone, not on its place or batch."""
    digest = hashlib.blake2b(f"{seed}:{instruction_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def merge_answers(instruction_id: int, answers: Iterable[Answer]) -> list[dict]:
    """Output rows: equal answers (m3po.text.same_answer_key) are one, with their votes and the first one's
    text.

    Where one of them ended by itself the text is a whole answer: its finish_reason is "stop".
    """
    merged: dict[str, dict] = {}
    for answer in answers:
        row = merged.setdefault(
            same_answer_key(answer.text),
            {"instruction_id": instruction_id, "text": answer.text, "votes": 0, "finish_reason": "length"},
        )
        row["votes"] += 1
        if answer.finish_reason == "stop":
            row["finish_reason"] = "stop"
    return list(merged.values())


if __name__ == "__main__":
    main(run)
