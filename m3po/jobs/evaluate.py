"""Worker of an evaluation: `python -m m3po.jobs.evaluate runs/<id>`; input EVALUATE_INPUT, shards EVALUATE_OUTPUT.

Result: `metrics`, `counts`, `intervals` (see m3po.evaluation.metrics), `policy`, `adapter`, `fingerprint`.
"""

from __future__ import annotations

import pyarrow.parquet as pq

from m3po.errors import JobError
from m3po.evaluation.metrics import summarise
from m3po.jobs.schemas import EVALUATE_OUTPUT
from m3po.jobs.worker import Worker, main
from m3po.models.fingerprint import model_fingerprint
from m3po.settings import EvaluateConfig


def run(job: Worker) -> dict:
    config = EvaluateConfig(**job.config)
    rows = job.read_input()
    # CHAIR looks for the objects of the whole split: which words count must not depend on the limit.
    vocabulary = sorted({name for row in rows for name in row["objects"] or ()})
    rows = rows[: int(config.limit)] if config.limit else rows
    if not rows:
        raise JobError(f"The {config.split} split is empty: import instructions with split = {config.split} first.")
    finished = job.finished_keys("instruction_id")
    open_rows = [row for row in rows if row["instruction_id"] not in finished]
    done = len(rows) - len(open_rows)
    job.progress(done, len(rows), "instructions", message="loading the model")
    size = int(config.batch_size)
    if open_rows:
        # Torch takes seconds to import: not before the input is known to be good.
        from m3po.evaluation.answers import answer_greedily
        from m3po.models.policy import Policy

        policy = Policy.load(config.policy, config.adapter)
        batches = answer_greedily(
            policy,
            open_rows,
            max_new_tokens=int(config.max_new_tokens),
            batch_size=size,
            warn=lambda text: job.emit("warning", message=text),
        )
        job.check_stop()
        for answers in batches:
            if answers:
                job.write_shard(answers, EVALUATE_OUTPUT)
            done = min(done + size, len(rows))
            job.progress(done, len(rows), "instructions")
            if done < len(rows):
                job.check_stop()
    texts = _read_answers(job)
    answered = [{**row, "text": texts[row["instruction_id"]]} for row in rows if row["instruction_id"] in texts]
    if not answered:
        raise JobError("No instruction could be answered: the warnings of this run name what is wrong with each.")
    summary = summarise(answered, vocabulary)
    return {
        "metrics": summary.metrics,
        "counts": {**summary.counts, "left_out": len(rows) - len(answered)},
        "intervals": {key: list(interval) for key, interval in summary.intervals.items()},
        "policy": config.policy,
        "adapter": config.adapter,
        "fingerprint": model_fingerprint(config.policy, config.adapter),
    }


def _read_answers(job: Worker) -> dict[int, str]:
    texts: dict[int, str] = {}
    for path in job.folder.shards():
        table = pq.read_table(path)
        texts.update(zip(table["instruction_id"].to_pylist(), table["text"].to_pylist(), strict=True))
    return texts


if __name__ == "__main__":
    main(run)
