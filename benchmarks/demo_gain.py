"""Does the demo's fine-tuning help, and more than the baselines? `compare` on a fresh demo, and every held-out figure.

    PYTHONPATH=. python benchmarks/demo_gain.py [--seeds 3] [--arms m3po] [--workspace DIR]

Machine picks only: the demo's own MAS and log-probs, no truth but in the arm that says so. What each arm is trained
with was set by `benchmarks/tune_demo.py` on a demo source of another seed, never on these rows. On two idle cores about
a minute an arm and seed, three for simulated RLHF; called again with the same workspace it goes on with what lacks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks._runs import DEMO_EPOCHS, make_demo
from m3po.evaluation.metrics import METRICS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", default="", help="as compare takes them; default: all")
    parser.add_argument("--workspace", type=Path, default=None, help="default: a temporary one")
    arguments = parser.parse_args()
    folder = arguments.workspace or Path(tempfile.mkdtemp(prefix="m3po-gain-")) / "demo"
    make_demo(folder)
    out = folder.parent / "comparison"
    command = [sys.executable, "-m", "m3po", "compare", folder, "--seeds", str(arguments.seeds), "--out", out]
    command += ["--set", f"epochs={DEMO_EPOCHS}"]
    subprocess.run([*command, "--arms", arguments.arms], check=True)
    report = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    base, *arms = report["arms"]
    for arm in arms:
        print(f"\n{arm['label']}, {report['pairs']} pairs, a training {arm['seconds']:.0f} s\n")
        print(f"| Held-out figure | base | mean of {report['seeds']} | each seed |\n|---|---|---|---|")
        for key, found in arm["figures"].items():
            arrow = {True: " ↑", False: " ↓", None: ""}[METRICS[key].higher_is_better]
            each = ", ".join(f"{value:.3f}" for value in found["each"].values())
            before = base["figures"][key]["mean"]
            print(f"| {METRICS[key].label}{arrow} | {before:.3f} | {found['mean']:.3f} | {each} |")


if __name__ == "__main__":
    main()
