"""What trainings changed: each run's held-out figures before and after, compared row by row, and the answers behind."""

from __future__ import annotations

import pyarrow.parquet as pq

from m3po.errors import UsageError
from m3po.evaluation.chair import Vocabulary
from m3po.evaluation.comparison import change_intervals
from m3po.evaluation.metrics import DESCRIBE, group_of
from m3po.evaluation.paired import compare_rows, judge_answer
from m3po.jobs.runner import JobRunner
from m3po.store import instructions, runs
from m3po.store.connection import Connection
from m3po.store.workspace import Workspace
from m3po.types import Run

SIDES = ("before", "after")
TRUTH = ("answer", "objects", "category")
# What answers can be looked at: those that changed, those whose verdict by the truth did, or every one.
SHOWN = ("changed", "right_now", "wrong_now", "all")


class Outcomes:
    """Two finished evaluations are compared once: their answers never change, and the page asks every few seconds."""

    def __init__(self, workspace: Workspace, runner: JobRunner) -> None:
        self.workspace = workspace
        self.runner = runner
        self._compared: dict[tuple[int, int], dict[str, float] | None] = {}
        self._changes: dict[tuple[int, int], dict[str, tuple[float, float]]] = {}

    def results(self) -> list[dict]:
        """Every training run, newest first, with its two evaluations and their figures (None: not there yet).

        `p_values`: of each figure's change, see m3po.evaluation.paired; None where the rows are not at hand.
        """
        found = self.workspace.db.read(read_results)
        for result in found:
            both = result["before"] is not None and result["after"] is not None
            result["p_values"] = self.compare(result["before_run"], result["after_run"]) if both else None
        return found

    def compare(self, before: Run, after: Run) -> dict[str, float] | None:
        """The p-value of each figure's difference between two finished evaluations, by the paired test over what both
        answered; None where the truth that `after` was measured by is not at hand."""
        key = (before.id, after.id)
        if key not in self._compared:
            compared, objects = self._rows(before, after)
            self._compared[key] = compare_rows(compared, objects) if compared else None
        return self._compared[key]

    def changes(self, before: Run, after: Run) -> dict[str, tuple[float, float]]:
        """The 95 % interval of each figure's change: see m3po.evaluation.comparison.change_intervals."""
        key = (before.id, after.id)
        if key not in self._changes:
            compared, objects = self._rows(before, after)
            self._changes[key] = change_intervals(compared, objects) if compared else {}
        return self._changes[key]

    def _rows(self, before: Run, after: Run) -> tuple[list[dict], list[str]]:
        """What both answered, with its truth, and the objects that CHAIR looks for."""
        truth, rows = self._truth(after), self._answers(before, after)
        return [{**truth[r["instruction_id"]], **r} for r in rows if r["instruction_id"] in truth], _objects(truth)

    def _truth(self, after: Run) -> dict[int, dict]:
        """By instruction, as it was when they were measured; empty where the run's input is gone."""
        try:
            frozen = pq.read_table(
                self.runner.folder(after.id).input_path, columns=["instruction_id", "images", *TRUTH]
            )
        except (OSError, ValueError):
            return {}
        return {row["instruction_id"]: row for row in frozen.to_pylist()}

    def _answers(self, before: Run, after: Run) -> list[dict]:
        return self.workspace.db.read(lambda con: runs.read_answers(con, before.id, after.id))

    def samples(self, run_id: int, limit: int, show: str, offset: int) -> dict:
        """Held-out answers before and after: `rows` from `offset` of those that `show` names, and `counts` of each of
        SHOWN; no row until both evaluations are there.

        First those that became right or wrong, then others that changed, each in instruction order. A row has its
        images, `truth` in words ("": there is none), and `before_judged` and `after_judged` by
        m3po.evaluation.paired.judge_answer. Raises UsageError where `show` is none of SHOWN.
        """
        if show not in SHOWN:
            raise UsageError(f"{show!r:.60} is no kind of answers: give one of {', '.join(SHOWN)}.")
        found = self.workspace.db.read(read_results)
        result = next((r for r in found if r["run"].id == run_id), None)
        if not result or result["before"] is None or result["after"] is None:
            return {"counts": dict.fromkeys(SHOWN, 0), "rows": []}
        truth = self._truth(result["after_run"])
        vocabulary = Vocabulary(_objects(truth))
        judged = []
        for row in self._answers(result["before_run"], result["after_run"]):
            known = truth.get(row["instruction_id"]) or dict.fromkeys(TRUTH)
            for side in SIDES:
                row[f"{side}_judged"] = judge_answer(known, row[side], vocabulary)
            judged.append(row | {"category": known["category"], "truth": _write_truth(known)})
        judged.sort(key=lambda row: (not _flipped(row), row["before"] == row["after"], row["instruction_id"]))
        kinds = {kind: [row for row in judged if _is_of(row, kind)] for kind in SHOWN}
        rows = [row | self._prompt(row["instruction_id"]) for row in kinds[show][offset : offset + limit]]
        return {"counts": {kind: len(found) for kind, found in kinds.items()}, "rows": rows}

    def _prompt(self, instruction_id: int) -> dict:
        images = self.workspace.images
        prompt = self.workspace.db.read(lambda con: instructions.read_instruction(con, instruction_id, images))
        return {"instruction": prompt.instruction, "images": list(prompt.images)} if prompt else {}


def _objects(truth: dict[int, dict]) -> list[str]:
    """The names that CHAIR looks for: those of the whole split, as in the evaluation's own figures."""
    return sorted({name for row in truth.values() for name in row["objects"] or ()})


def _flipped(row: dict) -> bool:
    """A wrong answer became right, or a right one wrong."""
    return row["before_judged"]["right"] != row["after_judged"]["right"]


def _is_of(row: dict, kind: str) -> bool:
    """Whether a row is one of those that `kind` of SHOWN names."""
    verdicts = row["before_judged"]["right"], row["after_judged"]["right"]
    if kind in ("right_now", "wrong_now"):
        return verdicts == ((False, True) if kind == "right_now" else (True, False))
    return kind == "all" or row["before"] != row["after"]


def _write_truth(row: dict) -> str:
    group = group_of(row)
    if group == DESCRIBE:
        return ", ".join(row["objects"]) or "nothing"
    return row["answer"] if group else ""


def read_results(con: Connection) -> list[dict]:
    """Every training run with its evaluations, as Outcomes.results gives them but for the comparison."""
    evaluations = runs.read_runs(con, ("evaluate",), limit=1000)
    found = []
    for run in runs.read_runs(con, ("train",), limit=1000):
        before = next((e for e in evaluations if e.id == run.config.get("before_run")), None)
        after = next((e for e in evaluations if e.parent_id == run.id), None)
        found.append(
            {
                "run": run,
                "before_run": before,
                "after_run": after,
                "before": _figures(before, "metrics"),
                "after": _figures(after, "metrics"),
                "intervals_before": _figures(before, "intervals"),
                "intervals_after": _figures(after, "intervals"),
                "counts": _figures(after, "counts") or _figures(before, "counts"),
                "config": run.config,
                "pairs": run.config.get("pairs", 0),
                "human": run.config.get("human", 0),
                "content_hash": run.config.get("content_hash", ""),
            }
        )
    return found


def _figures(run: Run | None, key: str) -> dict | None:
    return (run.result or {}).get(key) if run and run.state == "finished" else None
