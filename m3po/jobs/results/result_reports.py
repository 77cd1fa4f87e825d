"""Everything that is known of what a run changed, as plain values: for the page, the command line and their files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from m3po.errors import JobError, UsageError
from m3po.evaluation.metrics import METRICS, Metric
from m3po.evaluation.paired import judge_figure
from m3po.evaluation.results_table import WRITERS
from m3po.files import replace_file
from m3po.jobs.results.judging import Judging
from m3po.jobs.results.outcomes import Outcomes
from m3po.store import runs
from m3po.types import Run

HOW = (
    "In brackets 95 % intervals: of a share Wilson's, else by bootstrap over rows; of a change by bootstrap over "
    "images, all questions after an image together. p: of the change, by random swaps of the two models' answers, "
    "image by image as well; a change of p < 0.05 is called better or worse."
)
HOW_WON = (
    "Win rate: of the instructions that are no benchmark's, where the scorer's MAS of the two answers differs, the "
    "share where the answer after is the higher one. Equal answers and equal MAS are ties and count for neither side; "
    "95 % interval by bootstrap over images, p by swapping the two answers, image by image."
)


class ResultReports:
    """`read` makes a report, `write` a file of it."""

    def __init__(self, outcomes: Outcomes, judging: Judging) -> None:
        self._outcomes = outcomes
        self._judging = judging

    def read(self, run_id: int | None = None) -> dict:
        """Of a training run, or of an evaluation by itself; without one, of the newest training run that was measured.

        `title`; `run`, `before_run`, `after_run` (ids, None: not there); `figures` in the order of METRICS, each with
        what a Metric has, `before`, `after`, `change` with `_low` and `_high`, `p` and `judged`; `counts`; `win_rates`
        as m3po.jobs.results.judging has them; `how` (sentences). Raises JobError where there is nothing.
        """
        results = self._outcomes.results()
        measured = [result for result in results if result["after"]]
        if run_id is None and not measured:
            raise JobError("No run was measured yet: fine-tune, or evaluate and name that run.")
        found = measured[0] if run_id is None else next((r for r in results if r["run"].id == run_id), None)
        if found is None:
            return self._read_evaluation(run_id)
        before, after = found["before_run"], found["after_run"]
        spans = {}
        if found["before"] and found["after"]:
            spans = self._outcomes.changes(before, after)
        figures = [
            _describe(METRICS[key], found, spans)
            for key in METRICS
            if key in (found["before"] or {}) or key in (found["after"] or {})
        ]
        rates = self._judging.report(before and before.id, after.id) if after else []
        return {
            "title": f"Run {found['run'].id}: before and after",
            "run": found["run"].id,
            "before_run": before and before.id,
            "after_run": after and after.id,
            "figures": figures,
            "counts": found["counts"] or {},
            "win_rates": rates,
            "how": [HOW, *([HOW_WON] if rates else [])],
        }

    def _read_evaluation(self, run_id: int) -> dict:
        run: Run | None = self._outcomes.workspace.db.read(lambda con: runs.read_run(con, run_id))
        if run is None or run.kind != "evaluate" or run.state != "finished":
            raise JobError(f"Run {run_id} is no training run and no finished evaluation: `status` lists the runs.")
        result = run.result or {}
        alone = {"before": None, "after": result.get("metrics"), "intervals_after": result.get("intervals")}
        return {
            "title": f"Evaluation {run_id} of {Path(run.config['policy']).name}",
            "run": run_id,
            "before_run": None,
            "after_run": run_id,
            "figures": [_describe(METRICS[key], alone, {}) for key in METRICS if key in (alone["after"] or {})],
            "counts": result.get("counts") or {},
            "win_rates": [],
            "how": [HOW.split(";")[0] + "."],
        }

    def write(self, out: Path, run_id: int | None = None) -> str:
        """Write the report to `out`, as its suffix says; returns its path. Raises UsageError for another suffix."""
        if out.suffix not in WRITERS:
            raise UsageError(f"{out.name} has no suffix that results are written in: give one of {', '.join(WRITERS)}.")
        text = WRITERS[out.suffix](self.read(run_id))
        with replace_file(out) as part:
            part.write_text(text, encoding="utf-8")
        return str(out)


def _describe(metric: Metric, found: Mapping, spans: Mapping[str, tuple[float, float]]) -> dict:
    values = {side: (found[side] or {}).get(metric.key) for side in ("before", "after")}
    both = None not in values.values()
    values["change"] = values["after"] - values["before"] if both else None
    intervals = {side: (found.get(f"intervals_{side}") or {}).get(metric.key) for side in ("before", "after")}
    intervals["change"] = spans.get(metric.key)
    told: dict = {name: getattr(metric, name) for name in (
        "key", "label", "benchmark", "unit", "higher_is_better", "detail", "description",
    )}  # fmt: skip
    for name, value in values.items():
        low, high = intervals[name] or (None, None)
        told |= {name: value, f"{name}_low": low, f"{name}_high": high}
    p = (found.get("p_values") or {}).get(metric.key)
    judged = judge_figure(metric, values["before"], values["after"], p, intervals["before"], intervals["after"])
    return told | {"p": p, "judged": judged}
