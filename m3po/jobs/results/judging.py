"""Instruction following: a MAS scorer judges the held-out answers of two evaluations, once; the win rate is computed
from what is stored. Questions of a benchmark (POPE, MME) have their own figures and are no part of it."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping

from m3po.errors import JobError, UsageError
from m3po.evaluation.win_rate import win_rate
from m3po.jobs.planning.scorings import check_score
from m3po.jobs.results.outcomes import read_results
from m3po.jobs.runner import JobRunner
from m3po.models.checks import checked
from m3po.models.fingerprint import scorer_fingerprint
from m3po.scorer_spec import parse_scorer
from m3po.settings import ScoreConfig
from m3po.store import candidates, judged, runs
from m3po.store.connection import Connection
from m3po.store.workspace import Workspace
from m3po.types import Run

KIND = "judge"


class Judging:
    """`start` queues a judging, `report` tells those that are finished."""

    def __init__(self, workspace: Workspace, runner: JobRunner) -> None:
        self._workspace = workspace
        self._runner = runner
        self._told: dict[int, dict] = {}  # by run: what is finished never changes

    def default_scorer(self) -> str:
        """The workspace's own, else the one that is shown; empty where there is none."""
        info = self._workspace.db.read(lambda con: candidates.scorer_info(con, candidates.active_scorer(con, "mas")))
        return self._workspace.read_config().mas or (info["name"] if info else "")

    def start(self, run_id: int, mas: str | None = None, against: int | None = None) -> Run:
        """Judge the answers after a training run against those before it, or against those after another run.

        What was judged by the same scorer before is not judged again: that run is returned. Raises JobError for a run
        that was not measured, UsageError for a scorer that cannot judge new answers.
        """
        mas = mas or self.default_scorer()
        if not mas:
            raise UsageError("There is no scorer to judge by: give --mas, or name one in config.toml.")
        spec = parse_scorer(mas)
        if any(part.kind == "column" for part in spec.parts):
            raise UsageError(f"{mas} holds ratings of imported answers, and these are new: give a model as scorer.")
        first, second = self._workspace.db.read(lambda con: _find_answers(con, run_id, against))
        config = ScoreConfig(policy=None, mas=spec.text, activate=False)
        check_score(self._workspace, config)
        config = checked(config)
        mark = json.dumps([first, second, [scorer_fingerprint(part, config) for part in spec.parts], spec.text])
        values = dataclasses.asdict(config) | {"first": first, "second": second, "mark": mark}
        words = ["python", "-m", "m3po", "winrate", str(self._workspace.path), str(run_id), "--mas", spec.text]
        command = shlex.join(words + (["--against", str(against)] if against is not None else []))

        def change(con: Connection) -> int:
            for run in runs.read_runs(con, (KIND,), limit=1000):
                if run.config.get("mark") == mark and run.state in ("finished", "running", "queued"):
                    return run.id
            return self._runner.queue(con, KIND, values, command)

        queued = self._workspace.db.write(change)
        self._runner.wake()
        return self._workspace.db.read(lambda con: runs.read_run(con, queued))

    def report(self, first: int, second: int) -> list[dict]:
        """Every win rate of the second evaluation's answers, newest first: `run`, `scorer`, `against` (in words;
        `first` is the base), `items`, `unjudged`, and what m3po.evaluation.win_rate tells."""
        found = self._workspace.db.read(lambda con: runs.read_runs(con, (KIND,), limit=1000))
        own = [run for run in found if run.config["second"] == second and run.state == "finished"]
        return [self._tell(run, first) for run in own]

    def newest(self, run_id: int) -> Run | None:
        """The newest judging of the answers after a training run, in whatever state."""

        def read(con: Connection) -> Run | None:
            measured = {run.id for run in runs.read_runs(con, ("evaluate",), limit=1000) if run.parent_id == run_id}
            found = runs.read_runs(con, (KIND,), limit=1000)
            return next((run for run in found if run.config["second"] in measured), None)

        return self._workspace.db.read(read)

    def _tell(self, run: Run, before: int) -> dict:
        if run.id not in self._told:
            self._told[run.id] = self._count(run)
        against = run.config["first"]
        named = (
            "the base" if against == before else _name(self._workspace.db.read(lambda con: runs.read_run(con, against)))
        )
        return {"run": run.id, "scorer": run.config["mas"], "against": named} | self._told[run.id]

    def _count(self, run: Run) -> dict:
        rows = self._workspace.db.read(lambda con: judged.read_judged(con, run.id))
        items, same = run.config.get("items", 0), run.config.get("same", 0)
        pairs = [(tuple(row["images"]) or row["instruction_id"], row["first"], row["second"]) for row in rows]
        return {"items": items, "unjudged": items - same - len(rows)} | win_rate(pairs, same)


def _find_answers(con: Connection, run_id: int, against: int | None) -> tuple[int, int]:
    """The evaluations whose answers are judged, first and second."""
    results = {result["run"].id: result for result in read_results(con)}
    second = _measured(results, run_id)["after_run"].id
    if against is not None:
        first = _measured(results, against)["after_run"].id
    else:
        first = results[run_id]["before_run"].id if results[run_id]["before"] else None
    if first is None:
        raise JobError(f"Run {run_id} has no answers of before it: give --against with another run.")
    if first == second:
        raise UsageError(f"Run {run_id} cannot be judged against itself: give another run.")
    return first, second


def _measured(results: Mapping[int, dict], run_id: int) -> dict:
    found = results.get(run_id)
    if not found or not found["after"]:
        raise JobError(f"Run {run_id} is no training run that was measured: `status` lists the runs.")
    return found


def _name(run: Run | None) -> str:
    return f"run {run.parent_id}" if run and run.parent_id else f"evaluation {run.id}" if run else "another run"
