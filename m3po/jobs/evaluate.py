"""Worker of an evaluation: `python -m m3po.jobs.evaluate runs/<id>`; input EVALUATE_INPUT, shards EVALUATE_OUTPUT.

The policy's greedy answers, and what they are worth against the truth.

Result: `metrics`, `counts`, `intervals` (see m3po.evaluation.metrics), `policy`, `adapter`, `fingerprint`.
"""

from __future__ import annotations

import pyarrow.parquet as pq

from m3po.errors import JobError
from m3po.evaluation.metrics import summarise
from m3po.jobs.batch_plans import BatchPlan, plan_batch
from m3po.jobs.batches import Item, run_batches
from m3po.jobs.job_models import load_policy
from m3po.jobs.schemas import EVALUATE_OUTPUT
from m3po.jobs.worker import Worker, main
from m3po.models.fingerprint import model_fingerprint
from m3po.settings import EvaluateConfig


def run(job: Worker) -> dict:
    config = EvaluateConfig.of_run(job.config)
    rows = job.read_input()
    # CHAIR looks for the objects of the whole split: which words count must not depend on the limit.
    vocabulary = sorted({name for row in rows for name in row["objects"] or ()})
    rows = rows[: config.limit] if config.limit else rows
    if not rows:
        raise JobError(f"The {config.split} split is empty: import instructions with split = {config.split} first.")
    finished = job.finished_keys("instruction_id")
    open_rows = [row for row in rows if row["instruction_id"] not in finished]
    done = len(rows) - len(open_rows)
    job.progress(done, len(rows), "instructions", message="Loading the model")
    plan = BatchPlan(0)
    if open_rows:
        policy = load_policy(job, config)

        def work(items: list[Item]) -> list[list[dict]]:
            messages, images = [item.messages for item in items], [item.images for item in items]
            answers = policy.greedy(messages, images, config.max_new_tokens)
            return [
                [{"instruction_id": item.id, "text": answer.text}] for item, answer in zip(items, answers, strict=True)
            ]

        job.check_stop()
        plan = plan_batch(policy, open_rows, "evaluate", config.batch_size, answer=config.max_new_tokens)
        run_batches(
            job,
            open_rows,
            work,
            EVALUATE_OUTPUT,
            batch_size=plan.size,
            done=done,
            total=len(rows),
            message=plan.sentence,
        )
        job.progress(len(rows), len(rows), "instructions")
    texts = _read_answers(job)
    answered = [{**row, "text": texts[row["instruction_id"]]} for row in rows if row["instruction_id"] in texts]
    if not answered:
        raise JobError("No instruction could be answered: the warnings of this run name what is wrong with each.")
    summary = summarise(answered, vocabulary)
    return {
        "metrics": summary.metrics,
        "counts": {**summary.counts, "left_out": len(rows) - len(answered)},
        "intervals": {key: list(interval) for key, interval in summary.intervals.items()},
        "memory": plan.sentence,
        "policy": config.policy,
        "adapter": config.adapter,
        "fingerprint": model_fingerprint(config.policy, config.adapter, code=config.trust_remote_code),
    }


def _read_answers(job: Worker) -> dict[int, str]:
    texts: dict[int, str] = {}
    for path in job.folder.shards():
        table = pq.read_table(path)
        texts.update(zip(table["instruction_id"].to_pylist(), table["text"].to_pylist(), strict=True))
    return texts


if __name__ == "__main__":
    main(run)
