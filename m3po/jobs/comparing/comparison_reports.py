"""What a comparison found so far: figures of every arm with intervals, what its pairs are worth, what it cost."""

from __future__ import annotations

import dataclasses
import math
import shlex
import statistics
import threading
from pathlib import Path

import pyarrow.parquet as pq

from m3po.errors import JobError
from m3po.evaluation.comparison import RESAMPLES, compare_arms, count_by_image
from m3po.evaluation.comparison_table import write_csv, write_json, write_markdown, write_plot
from m3po.evaluation.metrics import METRICS
from m3po.evaluation.pair_truth import COUNTS, gains_by_margin, margin_edges, pair_rates
from m3po.files import replace_file, storage_error
from m3po.jobs.comparing.arms import ARMS, BASE, REFERENCES
from m3po.jobs.runner import JobRunner
from m3po.store import comparisons
from m3po.store.workspace import Workspace
from m3po.training.options import split_further
from m3po.training.presets import build_train_config
from m3po.types import Run

TRUTH = ("instruction_id", "images", "answer", "objects", "category")
MARGINS = ("logp_margin_before", "logp_margin_after")
FILES = {"comparison.csv": write_csv, "comparison.md": write_markdown, "comparison.json": write_json,
         "comparison.html": write_plot}  # fmt: skip
HOW = (
    "Mean over seeds, in brackets its 95 % interval by Student's t with Satterthwaite's degrees of freedom (1946). Its "
    "variance is that between seeds over their number, and that of the held-out images by a bootstrap with "
    "{resamples:,} resamples (all questions after an image together), less what both count; of one seed that of the "
    "images alone, which says nothing of other seeds. A difference is paired by image and seed, and called better or "
    "worse where its interval leaves out 0; of 20 figures one does so by chance."
)


class Reports:
    """What Comparisons inherits: it looks, and changes nothing."""

    def __init__(self, workspace: Workspace, runner: JobRunner) -> None:
        self._workspace, self._runner = workspace, runner
        self._lock = threading.Lock()
        self._known: dict[int, tuple[object, dict]] = {}  # by comparison: the page asks every few seconds

    def report(self, comparison: int | None = None) -> dict | None:
        """Of the newest comparison, or of that one; None before the first.

        `id`, `state` ("running"; "finished"; "stopped": something lacks and nothing is at work), `done` of `total`
        runs, `now` (the run at work), `seconds_left` (by the runs so far), `failed` (runs that ended otherwise, with
        their message), `pairs` and `steps` of each run, `seeds`, `options`, `command`, `left_out` (arms, with why),
        `problems`, `how` (the intervals), `metrics` (the figures there are), and `arms`: of each `figures` (as
        evaluation.comparison.compare_arms gives them), `pair_rates`, `gains`, `seconds`.
        Raises JobError where there is no such comparison.
        """
        found = self._workspace.db.read(lambda con: comparisons.read_comparison(con, comparison))
        if found is None:
            if comparison is None:
                return None
            raise JobError(f"There is no comparison {comparison}.")
        rows = self._rows(found["id"])
        key = tuple(_is_done(row) for row in rows)
        with self._lock:
            known = self._known.get(found["id"])
        if known is None or known[0] != key:
            known = (key, self._measure(rows, found["options"]["seeds"]))
            with self._lock:
                self._known[found["id"]] = known
        return {
            "id": found["id"],
            "created_at": found["created_at"].isoformat() + "Z",
            **_progress(rows),
            **found["told"],
            "seeds": found["options"]["seeds"],
            "options": found["options"],
            "command": compare_command(self._workspace.path, found["options"]),
            "how": HOW.format(resamples=RESAMPLES),
            **known[1],
        }

    def numbers(self) -> list[int]:
        """Of every comparison, the newest first."""
        return self._workspace.db.read(comparisons.comparison_ids)

    def write(self, folder: Path | str, comparison: int | None = None) -> list[str]:
        """Write the table as CSV, Markdown and JSON and the plot as HTML into `folder`; their paths. Raises JobError
        where there is nothing yet, StorageError where the folder takes no file."""
        report = self.report(comparison)
        if report is None or not report["metrics"]:
            raise JobError("There is no figure to write yet: compare first.")
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, write in FILES.items():
                with replace_file(folder / name) as part:
                    part.write_text(write(report), encoding="utf-8")
        except OSError as error:
            raise storage_error(folder, error) from error
        return [str(folder / name) for name in FILES]

    def _get(self, comparison: int) -> dict:
        found = self._workspace.db.read(lambda con: comparisons.read_comparison(con, comparison))
        if found is None:
            raise JobError(f"There is no comparison {comparison}.")
        return found

    def _rows(self, comparison: int) -> list[dict]:
        return self._workspace.db.read(lambda con: comparisons.read_comparison_runs(con, comparison))

    def _is_finished(self, comparison: int) -> bool:
        return all(_is_done(row) for row in self._rows(comparison))

    def _marks(self, comparison: int) -> dict[tuple[str, int], str]:
        return {(row["arm"], row["seed"]): row["mark"] for row in self._rows(comparison) if row["arm"] != BASE}

    def _measure(self, rows: list[dict], seeds: int) -> dict:
        """`metrics`, `images`, `edges`, and `arms` in the order of ARMS."""
        done = [row for row in rows if _is_done(row)]
        arms = [name for name in ARMS if any(row["arm"] == name for row in rows)]
        figures = self._figures(done, seeds)
        margins = {
            name: [m for row in done if row["arm"] == name for m in self._margins(row["train"])] for name in arms
        }
        edges = margin_edges([row["logp_margin_before"] for found in margins.values() for row in found])
        told = []
        for name in arms:
            own = [row for row in rows if row["arm"] == name]
            counts = {key: sum(row["facts"].get(key, 0) for row in own) for key in COUNTS}
            rates = {} if ARMS[name].method == "grpo" else pair_rates(counts)  # it learns from answers of its own
            seconds = [row["train"].result["seconds"] for row in own if row["train"] and _is_done(row)]
            told.append(
                {
                    "arm": name,
                    "label": ARMS[name].label,
                    "says": ARMS[name].says,
                    "seeds_done": sum(_is_done(row) for row in own),
                    "figures": {key: found[name] for key, found in figures.items() if name in found},
                    "available": [row["facts"]["available"] for row in own if "available" in row["facts"]],
                    "pair_counts": counts,
                    "pair_rates": rates,
                    "gains": gains_by_margin(margins[name], edges),
                    "seconds": statistics.mean(seconds) if seconds else None,
                }
            )
        known = [dataclasses.asdict(METRICS[key]) for key in METRICS if key in figures]
        return {"metrics": known, "edges": edges, "arms": told}

    def _figures(self, done: list[dict], seeds: int) -> dict[str, dict[str, dict]]:
        """By figure and arm, over the instructions that every finished run answered."""
        base = next((row for row in done if row["arm"] == BASE), None)
        if base is None:
            return {}
        truth = self._truth(base["evaluate"])
        answers = {
            (row["arm"], row["seed"]): self._workspace.db.read(
                lambda con, run=row["evaluate"].id: comparisons.answers_of(con, run)
            )
            for row in done
        }
        shared = [row for row in truth if all(row["instruction_id"] in texts for texts in answers.values())]
        vocabulary = sorted({name for row in truth for name in row["objects"] or ()})
        counted: dict[str, dict[str, dict]] = {}
        for (arm, seed), texts in answers.items():
            said = [{**row, "text": texts[row["instruction_id"]]} for row in shared]
            for key, counts in count_by_image(said, vocabulary).items():
                # no seed changes the base: it stands beside each
                at = range(seeds) if arm == BASE else (seed,)
                counted.setdefault(key, {}).setdefault(arm, {}).update(dict.fromkeys(at, counts))
        return {
            key: compare_arms(arms, REFERENCES, within=(0, 1 if METRICS[key].unit == "fraction" else math.inf))
            for key, arms in counted.items()
        }

    def _truth(self, run: Run) -> list[dict]:
        """As it was when the base was measured; empty where the run's input is gone."""
        try:
            return pq.read_table(self._runner.folder(run.id).input_path, columns=list(TRUTH)).to_pylist()
        except (OSError, ValueError):
            return []

    def _margins(self, run: Run | None) -> list[dict]:
        """Of each pair of a training; a run of very many pairs, or one without pairs, has none."""
        if run is None:
            return []
        try:
            return pq.read_table(
                self._runner.folder(run.id).path / "margins.parquet", columns=list(MARGINS)
            ).to_pylist()
        except (OSError, ValueError):
            return []


def _is_done(row: dict) -> bool:
    return all(run.state == "finished" for run in (row["train"], row["evaluate"]) if run)


def _progress(rows: list[dict]) -> dict:
    steps = [(row, run) for row in rows for run in (row["train"], row["evaluate"]) if run]
    finished = [run for _, run in steps if run.state == "finished"]
    active = [(row, run) for row, run in steps if run.active]
    at_work = next(((row, run) for row, run in active if run.state == "running"), None)
    state = "running" if active else "finished" if len(finished) == len(steps) else "stopped"
    failed = [
        {"arm": row["arm"], "seed": row["seed"], "run": run.id, "state": run.state, "message": run.message}
        for row, run in steps
        if run.state in ("failed", "interrupted", "stopped")
    ]
    now = None
    if at_work:
        row, run = at_work
        now = {name: getattr(run, name) for name in ("id", "kind", "done", "total", "unit", "message")}
        now |= {"arm": row["arm"], "seed": row["seed"]}
    return {
        "state": state,
        "done": len(finished),
        "total": len(steps),
        "now": now,
        "seconds_left": _seconds_left(finished, [run for _, run in active]) if active else None,
        "failed": failed,
    }


def _seconds_left(finished: list[Run], waiting: list[Run]) -> float | None:
    """By how long the finished runs of each kind took; None before the first of each."""
    left = 0.0
    for kind in {run.kind for run in waiting}:
        took = [
            (run.ended_at - run.started_at).total_seconds() for run in finished if run.kind == kind and run.started_at
        ]
        if not took:
            return None
        left += statistics.mean(took) * sum(run.kind == kind for run in waiting)
    return left


def compare_command(workspace: Path, options: dict) -> str:
    """The command that asks for the same comparison."""
    train = options["train"]
    words = ["python", "-m", "m3po", "compare", shlex.quote(str(workspace)), "--seeds", str(options["seeds"])]
    words += ["--arms", ",".join(options["arms"]), "--error-rate", f"{options['error_rate']:g}"]
    words += ["--policy", shlex.quote(train["policy"]), "--preset", train["preset"]]
    for setting in list_settings(options):
        words += ["--set", shlex.quote(setting)]
    return " ".join(words)


def list_settings(options: dict) -> list[str]:
    """`name=value` of each setting of the arms that is another than the preset's, `arm:name=value` of one arm's own."""
    train = options["train"]
    plain = dataclasses.asdict(build_train_config(train["policy"], train["preset"]))
    changed = {name: value for name, value in train.items() if value != plain[name]}
    changed |= split_further(str(changed.pop("further", "")))
    common = [f"{name}={value}" for name, value in changed.items()]
    own = options.get("own", {})
    return common + [f"{arm}:{name}={value}" for arm, values in own.items() for name, value in values.items()]
