"""What the figures on the demo share: waiting for a run, and a demo workspace from drawing to selection."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from m3po.studio import Studio
from m3po.types import Run


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


def make_demo(folder: Path) -> None:
    """`init --demo`, sampled, scored and selected; what is there already stays."""
    subprocess.run([sys.executable, "-m", "m3po", "init", folder, "--demo"], check=True)
    studio = Studio.open(folder)
    try:
        if studio.status()["pairs"]:
            return
        for start in (studio.start_sample, studio.start_score, studio.start_select):
            run = wait(studio, start())
            print(f"{run.kind}: {seconds(run):.0f} s {run.message}", flush=True)
    finally:
        studio.close()
