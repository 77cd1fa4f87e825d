"""What a judging of two evaluations is given: their two answers to each held-out instruction."""

from __future__ import annotations

import pyarrow as pa

from m3po.categories import BENCHMARKS
from m3po.errors import JobError
from m3po.jobs.schemas import SCORE_INPUT
from m3po.store import instructions, runs
from m3po.store.connection import Connection
from m3po.store.workspace import Workspace
from m3po.text import counted
from m3po.types import Run


def prepare(workspace: Workspace, run: Run) -> tuple[dict, pa.Table] | dict:
    """The two answers to each held-out instruction that is no benchmark's; equal ones are counted and not judged."""
    config = run.config

    def read(con: Connection) -> tuple[pa.Table, list[dict]]:
        prompts = instructions.heldout_rows(con, "heldout", workspace.images)
        return prompts, runs.read_answers(con, config["first"], config["second"])

    prompts, answers = workspace.db.read(read)
    said = {row["instruction_id"]: (row["before"], row["after"]) for row in answers}
    asked = [row for row in prompts.to_pylist() if row["instruction_id"] in said and row["category"] not in BENCHMARKS]
    differ = [row for row in asked if not _are_same(said[row["instruction_id"]])]
    counts = {"items": len(asked), "same": len(asked) - len(differ)}
    if not asked:
        raise JobError(
            "Both evaluations have no answer in common that is not a benchmark's: there is nothing to judge."
        )
    frozen = {**config, **counts}
    workspace.db.write(lambda con: runs.update_run(con, run.id, config=frozen))
    if not differ:
        return {"message": f"Nothing to judge: all {counted(len(asked), 'answer')} are the same.", "scored": 0}
    rows = [
        {name: row[name] for name in ("instruction_id", "name", "images", "messages")}
        | {"candidate_ids": [0, 1], "texts": list(said[row["instruction_id"]]), "truncated": [False, False]}
        | {"want_logp": [False, False], "want_mas": [True, True]}
        for row in differ
    ]
    return frozen, pa.Table.from_pylist(rows, schema=SCORE_INPUT)


def _are_same(texts: tuple[str, str]) -> bool:
    return texts[0].strip() == texts[1].strip()
