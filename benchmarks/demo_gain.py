"""Does the demo's fine-tuning help? The whole pipeline on the demo, three seeds, held-out figures before and after.

    PYTHONPATH=. python benchmarks/demo_gain.py [--seeds 3] [--workspace DIR]

Machine picks only: the demo's own MAS and log-probs, no truth. The peer is the base policy on the same held-out rows.
The demo preset was set on a demo source of another seed, never on these rows. Takes about eight minutes on two cores.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from m3po.evaluation.metrics import METRICS
from m3po.studio import Studio
from m3po.types import Run

SHOWN = (
    "chair_s", "chair_i", "object_recall", "partner_absent_accuracy",
    *(f"yes_no_{kind}_{name}" for kind in ("partner", "random")
      for name in ("accuracy", "precision", "recall", "f1", "yes_ratio")),
    "easy_vqa_accuracy",
)  # fmt: skip


def wait(studio: Studio, run: Run) -> Run:
    while studio.run(run.id).active:
        time.sleep(0.5)
    run = studio.run(run.id)
    if run.state != "finished":
        sys.exit(f"{run.kind}: {run.message}\n{studio.run_log(run.id)}")
    return run


def seconds(run: Run) -> float:
    return (run.ended_at - run.started_at).total_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workspace", type=Path, default=None, help="default: a temporary one")
    arguments = parser.parse_args()
    folder = arguments.workspace or Path(tempfile.mkdtemp(prefix="m3po-gain-")) / "demo"
    subprocess.run([sys.executable, "-m", "m3po", "init", folder, "--demo"], check=True)
    studio = Studio.open(folder)
    try:
        report(studio, arguments.seeds)
    finally:
        studio.close()


def report(studio: Studio, seeds: int) -> None:
    for start in (studio.start_sample, studio.start_score, studio.start_select):
        run = wait(studio, start())
        print(f"{run.kind}: {seconds(run):.0f} s {run.message}", flush=True)
    after: list[dict] = []
    for seed in range(seeds):
        config = studio.default_train("demo")
        run = studio.start_train(type(config)(**{**vars(config), "seed": seed}))
        result = next(r for r in studio.results() if r["run"].id == run.id)
        trained = wait(studio, run)
        wait(studio, result["after_run"])
        result = next(r for r in studio.results() if r["run"].id == run.id)
        after.append(result["after"])
        print(f"seed {seed}: {result['pairs']} pairs, trained in {seconds(trained):.0f} s", flush=True)
    before = result["before"]
    print(f"\n| Held-out figure | before | after, mean of {seeds} | each seed |\n|---|---|---|---|")
    for key in SHOWN:
        values = [figures[key] for figures in after]
        arrow = {True: " ↑", False: " ↓", None: ""}[METRICS[key].higher_is_better]
        each = ", ".join(f"{value:.3f}" for value in values)
        print(f"| {METRICS[key].label}{arrow} | {before[key]:.3f} | {statistics.mean(values):.3f} | {each} |")


if __name__ == "__main__":
    main()
