"""Worker that looks at a training set before a run: `python -m m3po.jobs.preflight runs/<id>`; input PREFLIGHT_INPUT,
config TrainConfig.

Every pair is read, rendered and tokenised by the code of the run itself, without the model's weights; also one that is
excluded, so that taking it back needs no other check. Result: `pairs`, `excluded` of them, `left_out` (of the others so
many would be), `kinds` (findings by kind, of all), `lengths` (m3po.evaluation.lengths, over the pairs that would
train), `longest` (tokens of the longest such pair, its name, and what the model reads), `limit` (what it reads),
`measured_images`, `seconds`.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from m3po.errors import BadImageError, BadInputError
from m3po.evaluation.lengths import describe_tokens
from m3po.files import replace_file
from m3po.images import load_rgb, pixel_hash
from m3po.jobs.schemas import PREFLIGHT_OUTPUT
from m3po.jobs.worker import Worker, main
from m3po.settings import TrainConfig
from m3po.training.options import answer_tokens
from m3po.training.pair_checks import KINDS, Finding, PairProblem, check_length, find_near_equal, length_limit

BATCH = 200  # pairs a shard: a stop waits for one pair, a kill loses so many at most
LEFT_OUT = frozenset(kind.name for kind in KINDS.values() if kind.left_out)


def run(job: Worker) -> dict:
    started = time.time()
    config = TrainConfig(**job.config)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # nothing here computes
    from m3po.models.reader import Reader

    reader = Reader.load(config.policy, config)
    measured = _hash_measured(job)
    checked = job.finished_keys("instruction_id")
    total = _count_pairs(job)
    job.progress(len(checked), total, "pairs", message="checking")
    done = len(checked)
    for rows in _read_pairs(job):
        found = []
        for row in rows:
            if row["instruction_id"] in checked:
                continue
            if job.stop_requested:
                break
            found.append(check_pair(row, reader, measured, config))
            job.progress(done + len(found), total, "pairs", message="checking")
        done += len(found)
        if found:
            job.write_shard(found, PREFLIGHT_OUTPUT)
        job.check_stop()
    limit = {"limit": length_limit(config.max_length, reader.max_positions), "measured_images": len(measured)}
    return summarise(job.folder.shards(), **limit) | {"seconds": round(time.time() - started, 2)}


def check_pair(row: dict, reader, measured: dict[str, str], config: TrainConfig) -> dict:
    """A row of PREFLIGHT_OUTPUT. `measured`: who has an image in the held-out or tune split, by the hash of its pixels.

    At most one finding leaves the pair out, the one that the run would name; the others are told beside it.
    """
    out = {name: row[name] for name in ("instruction_id", "chosen_id", "rejected_id", "name", "excluded")}
    findings: list[Finding] = []
    images = []
    try:
        images = [load_rgb(path) for path in row["images"] or ()]
    except BadImageError as error:
        unreadable = PairProblem("unreadable", str(error).rstrip("."))
    else:
        unreadable = None
    try:
        measure = _measure_prompt if config.method == "grpo" else _measure
        out |= measure(row, reader, images, unreadable, findings, config)
    except PairProblem as problem:
        findings.insert(0, Finding(problem.kind, str(problem)))
    for image in images if measured else ():
        if other := measured.get(pixel_hash(image)):
            findings.append(Finding("shared_image", f"its image is also that of {other}"))
            break
    return out | {"findings": [vars(finding) for finding in findings]}


def _measure(
    row: dict, reader, images: list, unreadable: PairProblem | None, findings: list[Finding], config: TrainConfig
) -> dict:
    """Token counts; raises what leaves the pair out, in the order in which the run looks."""
    from m3po.training.encoding import encode_pair

    pair = encode_pair(row, reader)
    if unreadable:
        raise unreadable
    near = find_near_equal(row["chosen"], row["rejected"], pair.chosen_ids, pair.rejected_ids)
    if near and config.method != "sft":  # which learns the chosen one, whatever stands beside it
        findings.append(Finding("near_equal", near))
    prompt = _count_prompt(reader, pair.prompt, images, pair.longer_answer, config)
    return {
        "prompt_tokens": prompt,
        "chosen_tokens": len(pair.chosen_ids),
        "rejected_tokens": len(pair.rejected_ids),
    }


def _measure_prompt(
    row: dict, reader, images: list, unreadable: PairProblem | None, findings: list[Finding], config: TrainConfig
) -> dict:
    """The same of a run that samples answers of its own: the pair's are not looked at."""
    try:
        rendered = reader.chat.render_prompt(json.loads(row["messages"]))
    except BadInputError as error:
        raise PairProblem("refused", str(error).rstrip(".")) from error
    if unreadable:
        raise unreadable
    prompt = _count_prompt(reader, rendered, images, answer_tokens(config), config)
    return {"prompt_tokens": prompt, "chosen_tokens": 0, "rejected_tokens": 0}


def _count_prompt(reader, rendered, images: list, answer: int, config: TrainConfig) -> int:
    """Its tokens with its images. Raises PairProblem where the model refuses it, or reads no `answer` so long."""
    try:
        prompt = reader.chat.encode_prompts([rendered], [images])["input_ids"].shape[1]
    except BadInputError as error:
        raise PairProblem("refused", str(error).rstrip(".")) from error
    limit = length_limit(config.max_length, reader.max_positions)
    check_length(prompt, answer, limit, asked=limit != reader.max_positions)
    return prompt


def summarise(shards: list[Path], *, limit: int | None, measured_images: int) -> dict:
    """The result, from the shards alone: whoever checked them."""
    parts = [pq.read_table(path) for path in shards]
    table = pa.concat_tables(parts) if parts else PREFLIGHT_OUTPUT.empty_table()
    lists = table.column("findings").to_pylist()
    kinds = Counter(finding["kind"] for findings in lists for finding in findings)
    fine = np.array([not any(f["kind"] in LEFT_OUT for f in findings) for findings in lists], bool)
    excluded = table.column("excluded").to_numpy().astype(bool)
    return {
        "pairs": table.num_rows,
        "excluded": int(np.count_nonzero(excluded)),
        "left_out": int(np.count_nonzero(~fine & ~excluded)),
        "kinds": {kind: kinds[kind] for kind in KINDS if kinds[kind]},
        **describe_tokens(table.filter(pa.array(fine & ~excluded)), limit),
        "limit": limit,
        "measured_images": measured_images,
    }


def _hash_measured(job: Worker) -> dict[str, str]:
    """By the hash of its pixels, the first instruction with each image of the tune and held-out split. Kept in the
    run's folder once it is whole: a resumed run reads it there."""
    path = job.folder.path / "measured.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    rows = [row for batch in _read(job, ["name", "images", "split"], pc.field("split") != "train") for row in batch]
    found: dict[str, str] = {}
    seen: set[str] = set()
    for n, row in enumerate(rows):
        job.check_stop()
        job.progress(n, len(rows), "instructions", message="reading the images that are measured by")
        for image in set(row["images"]) - seen:
            seen.add(image)
            try:
                found.setdefault(pixel_hash(load_rgb(image)), f"{row['name']} ({row['split']})")
            except BadImageError as error:
                job.emit("warning", message=f"Instruction {row['name']} cannot be measured: {error}")
    with replace_file(path) as part:
        part.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
    return found


def _read_pairs(job: Worker) -> Iterator[list[dict]]:
    return _read(job, None, pc.field("split") == "train")


def _count_pairs(job: Worker) -> int:
    splits = pq.read_table(job.folder.input_path, columns=["split"]).column("split")
    return pc.sum(pc.equal(splits, "train")).as_py() or 0


def _read(job: Worker, columns: list[str] | None, condition: pc.Expression) -> Iterator[list[dict]]:
    """The input's rows that meet a condition, a batch at a time: a training set never lies in memory as dicts."""
    for batch in pq.ParquetFile(job.folder.input_path).iter_batches(BATCH, columns=columns):
        if rows := pa.Table.from_batches([batch]).filter(condition).to_pylist():
            yield rows


if __name__ == "__main__":
    main(run)
