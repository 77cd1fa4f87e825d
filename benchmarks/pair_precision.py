"""Is the chosen answer truly better than the rejected one? Every pick rule, and m3po at several margins, against truth.

    PYTHONPATH=. python benchmarks/pair_precision.py [--seed 7]

The demo's own models on a demo source of another seed than the one that `make demo` shows and `demo_gain.py` measures:
the default margin was set here (highest pair precision at a useful number of pairs). Truth only judges; it picks
nothing. Takes about two minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks._runs import wait
from m3po.demo.models import demo_models
from m3po.demo.workspace import write_demo_source
from m3po.evaluation.chair import Vocabulary
from m3po.evaluation.pair_truth import judge_pairs
from m3po.settings import RULES, SelectConfig
from m3po.studio import Studio
from m3po.workspace_config import WorkspaceConfig

MARGINS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


def judge(studio: Studio, config: SelectConfig, truth: dict[str, dict], out: Path) -> dict[str, int]:
    """What the truth says of the pairs: m3po.evaluation.pair_truth.COUNTS."""
    studio.select(config)
    studio.export(out)
    pairs = []
    for row in map(json.loads, out.read_text(encoding="utf-8").splitlines()):
        if row["pair"] is None:
            continue
        texts = {candidate["id"]: candidate["text"] for candidate in row["candidates"]}
        pairs.append((truth[row["id"]], *(texts[row["pair"][side]] for side in ("chosen", "rejected"))))
    return judge_pairs(pairs, Vocabulary({name for row in truth.values() for name in row["objects"]}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=7, help="of the demo source; 0 is the demo itself")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="m3po-pairs-"))
    source = write_demo_source(folder / "source", n_tune=0, n_heldout=0, seed=arguments.seed)
    truth = {row["id"]: row for row in map(json.loads, (source / "metadata.jsonl").read_text().splitlines())}
    policy, mas = demo_models()
    studio = Studio.open(Studio.create(folder / "workspace", WorkspaceConfig(str(policy), str(mas))))
    try:
        studio.import_source(source)
        wait(studio, studio.start_sample())
        wait(studio, studio.start_score())
        # The same filters laid on every rule, so that only the choice differs; then the margin of m3po alone.
        configs = [replace(SelectConfig(), rule=rule) for rule in RULES]
        configs += [replace(SelectConfig(), delta=margin) for margin in MARGINS]
        print(
            "| Rule | delta | pairs | chosen better | as good | worse | rejected wrong |\n|---|---|---|---|---|---|---|"
        )
        for config in configs:
            counts = judge(studio, config, truth, folder / "pairs.jsonl")
            n = counts["judged"]
            parts = (counts[name] for name in ("better", "equal", "worse", "rejected_wrong"))
            shares = " | ".join(f"{part / max(n, 1):.3f}" for part in parts)
            print(f"| {config.rule} | {config.delta:g} | {n} | {shares} |", flush=True)
    finally:
        studio.close()


if __name__ == "__main__":
    main()
