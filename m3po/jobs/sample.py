"""Worker of a sampling run: `python -m m3po.jobs.sample runs/<id>`; input SAMPLE_INPUT, config SampleConfig.

Result: `policy_fingerprint`, `sampled` (instructions), `answers` (distinct ones), `skipped` (instructions),
`seconds_each` (an instruction, the model's loading left out), `prompt_tokens` and `completion_tokens` (a server's
count, else null), of a server also `one_by_one` (it has no n: every answer costs the prompt again).
Each instruction's draws depend on the run's seed and its id alone: a resumed run gives what an uninterrupted one
gives, as far as a remote server keeps to the seed it is given.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pyarrow.compute as pc
import pyarrow.parquet as pq

from m3po.errors import ModelError
from m3po.images import encode_rgb
from m3po.jobs.batch_plans import plan_batch
from m3po.jobs.batches import Item, run_batches, walk_concurrently
from m3po.jobs.job_models import load_policy
from m3po.jobs.schemas import SAMPLE_OUTPUT
from m3po.jobs.worker import Worker, main
from m3po.models.fingerprint import model_fingerprint
from m3po.models.remote import MIN_PATIENCE, FailedRequest, RemoteClient, wait_for
from m3po.models.remote_policy import RemoteAnswer, RemoteAnswers, RemotePolicy, image_url, with_images
from m3po.remote_spec import parse_remote
from m3po.settings import SampleConfig
from m3po.text import same_answer_key

if TYPE_CHECKING:
    from m3po.models.policy import Answer


def run(job: Worker) -> dict:
    config = SampleConfig.of_run(job.config)
    rows = job.read_input()
    if config.limit:
        rows = rows[: config.limit]
    finished = job.finished_keys("instruction_id")
    todo = [row for row in rows if row["instruction_id"] not in finished]
    remote = parse_remote(config.policy)
    job.progress(0, len(rows), "instructions", message="Asking the server" if remote else "Loading the model")
    fingerprint = model_fingerprint(config.policy, config.adapter, code=config.trust_remote_code)
    done = skipped = 0
    began = time.monotonic()
    notes: dict[str, object] = {}
    if todo:
        way = _sample_remotely if remote else _sample_here
        began, done, skipped = way(job, config, todo, len(rows), notes)
    seconds = time.monotonic() - began
    job.progress(len(rows), len(rows), "instructions")
    return {
        "policy_fingerprint": fingerprint,
        "sampled": len(rows) - len(todo) + done,
        "skipped": skipped,
        "seconds_each": seconds / done if done else None,
        **_count_answers(job),
        **notes,
    }


def _sample_here(
    job: Worker, config: SampleConfig, todo: list[dict], total: int, notes: dict[str, object]
) -> tuple[float, int, int]:
    """With the weights on this machine. Returns when the model was ready (seconds), finished and skipped ones."""
    policy = load_policy(job, config)

    def work(items: list[Item]) -> list[list[dict]]:
        sampled = policy.sample(
            [item.messages for item in items],
            [item.images for item in items],
            k=config.k,
            temperature=config.temperature,
            top_p=config.top_p,
            max_new_tokens=config.max_new_tokens,
            seeds=[instruction_seed(config.seed, item.id) for item in items],
        )
        return [merge_answers(item.id, row) for item, row in zip(items, sampled, strict=True)]

    plan = plan_batch(policy, todo, "sample", config.batch_size, answer=config.max_new_tokens, k=config.k)
    notes["memory"] = plan.sentence
    began = time.monotonic()
    return began, *run_batches(
        job,
        todo,
        work,
        SAMPLE_OUTPUT,
        batch_size=plan.size,
        done=total - len(todo),
        total=total,
        message=plan.sentence,
    )


def _sample_remotely(
    job: Worker, config: SampleConfig, todo: list[dict], total: int, notes: dict[str, object]
) -> tuple[float, int, int]:
    """From an OpenAI-compatible server. One that answers nothing any more ends the run; resumed, it goes on."""
    client = RemoteClient(parse_remote(config.policy), concurrency=config.concurrency)
    policy = RemotePolicy(client)
    patience = max(MIN_PATIENCE, 2 * config.concurrency)
    failures = 0
    last: FailedRequest | None = None

    async def ask(row: dict) -> list[dict]:
        nonlocal failures, last
        files = [await asyncio.to_thread(encode_rgb, path) for path in row["images"] or []]
        messages = with_images(json.loads(row["messages"]), [image_url(*file) for file in files])
        settings = {name: getattr(config, name) for name in ("k", "temperature", "top_p", "max_new_tokens")}
        try:
            found = await policy.sample(messages, **settings, seed=instruction_seed(config.seed, row["instruction_id"]))
        except FailedRequest as error:
            failures, last = failures + 1, error
            if failures < patience:
                raise
            raise _give_up(failures, error) from error
        failures = 0
        return remote_rows(row["instruction_id"], found)

    async def work() -> tuple[int, int]:
        async with client:
            return await walk_concurrently(
                job, todo, ask, SAMPLE_OUTPUT, concurrency=config.concurrency, done=total - len(todo), total=total
            )

    began = time.monotonic()
    counts = wait_for(work())
    if last is not None and not counts[0]:  # few instructions, and not one was answered
        raise _give_up(failures, last)
    notes["one_by_one"] = "n" in client.lacks
    return began, *counts


def _give_up(failures: int, error: FailedRequest) -> ModelError:
    return ModelError(
        f"{failures} instructions in a row got no answer, the last because {str(error).rstrip('.')}: see to the server "
        "or the settings, then resume this run; what was finished is kept."
    )


def _count_answers(job: Worker) -> dict:
    """From every shard of the run, also those of earlier attempts: distinct answers, and the tokens they cost."""
    counts = {"answers": 0, "prompt_tokens": None, "completion_tokens": None}
    for path in job.folder.shards():
        table = pq.read_table(path)
        counts["answers"] += table.num_rows
        for name in ("prompt_tokens", "completion_tokens"):
            told = pc.sum(table.column(name)).as_py() if name in table.column_names else None
            if told is not None:
                counts[name] = (counts[name] or 0) + told
    return counts


def instruction_seed(seed: int, instruction_id: int) -> int:
    """64 bits that depend on the run's seed and the instruction alone, not on its place or batch."""
    digest = hashlib.blake2b(f"{seed}:{instruction_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def remote_rows(instruction_id: int, found: RemoteAnswers) -> list[dict]:
    """Output rows as merge_answers has them, with what the server says: log-probs, and the tokens that all cost."""
    rows = merge_answers(instruction_id, found.answers)
    rows[0] |= {"prompt_tokens": found.prompt_tokens, "completion_tokens": found.completion_tokens}
    return rows


def merge_answers(instruction_id: int, answers: Iterable[Answer | RemoteAnswer]) -> list[dict]:
    """Output rows: equal answers (m3po.text.same_answer_key) are one, with their votes and the first one's text and
    log-prob (where a server told it).

    Where one of them ended by itself the text is a whole answer: its finish_reason is "stop".
    """
    merged: dict[str, dict] = {}
    for answer in answers:
        row = merged.setdefault(
            same_answer_key(answer.text),
            {
                "instruction_id": instruction_id,
                "text": answer.text,
                "votes": 0,
                "finish_reason": "length",
                "sampler_logp_sum": getattr(answer, "logp_sum", None),
                "sampler_n_tokens": getattr(answer, "n_tokens", None),
            },
        )
        row["votes"] += 1
        if answer.finish_reason == "stop":
            row["finish_reason"] = "stop"
    return list(merged.values())


if __name__ == "__main__":
    main(run)
