"""What the figures on the demo share: waiting for a run, and a demo workspace from drawing to selection."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

from m3po.demo.models import demo_models
from m3po.studio import Studio
from m3po.types import Run
from m3po.workspace_config import WorkspaceConfig


def wait(studio: Studio, run: Run) -> Run:
    """Until it finished; one that ends otherwise ends the figure."""
    while studio.run(run.id).active:
        time.sleep(0.5)
    run = studio.run(run.id)
    if run.state != "finished":
        sys.exit(f"{run.kind}: {run.message}\n{studio.run_log(run.id)}")
    return run


def seconds(run: Run) -> float:
    return (run.ended_at - run.started_at).total_seconds()


# More answers, more various than the app's first look at the demo (8 at temperature 1) has: there an instruction has
# two different answers on the average, and then every rule picks the same pair.
DEMO_K = 16
DEMO_TEMPERATURE = 1.25
DEMO_EPOCHS = "1.4"  # of every arm of a comparison


def make_demo(folder: Path, source: Path | None = None) -> None:
    """The demo's models on its own pictures, or on those of `source`, sampled, scored and selected; what is there
    already stays."""
    if source is None:
        subprocess.run([sys.executable, "-m", "m3po", "init", folder, "--demo"], check=True)
    else:
        policy, mas = demo_models()
        Studio.create(folder, WorkspaceConfig(str(policy), str(mas)))
    studio = Studio.open(folder)
    try:
        if source is not None:
            studio.import_source(source)
        if studio.status()["pairs"]:
            return
        sample = dataclasses.replace(studio.default_sample(), k=DEMO_K, temperature=DEMO_TEMPERATURE)
        for start in (lambda: studio.start_sample(sample), studio.start_score, studio.start_select):
            run = wait(studio, start())
            print(f"{run.kind}: {seconds(run):.0f} s {run.message}", flush=True)
    finally:
        studio.close()
