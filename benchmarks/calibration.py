"""How far may the machine's pairs be trusted? Override rates, a threshold, its audit and agreement curves on the demo.

    PYTHONPATH=. python benchmarks/calibration.py [--workspace DIR] [--images 600] [--error 0.05]

A simulated annotator (m3po.evaluation.annotator) decides on pairs of a demo source of another seed: it knows the train
split's truth and errs at the stated rate. Nobody's real decisions are in these figures. Two thirds of the pairs, drawn
at random, are decided and set the threshold; of the rest that it accepts an audit is drawn, decided, and held against
the truth of the whole rest. Some minutes on two cores; `--workspace` keeps the scored workspace for another time.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

from benchmarks.demo_gain import wait
from benchmarks.pair_precision import quality
from m3po.calibration_commands import draw_report
from m3po.demo.models import demo_models
from m3po.demo.workspace import write_demo_source
from m3po.evaluation.annotator import NAME, SimulatedAnnotator
from m3po.settings import WorkspaceConfig
from m3po.studio import Studio
from m3po.types import ReviewView

TARGET = 0.15


def make(folder: Path, images: int) -> None:
    """A scored workspace and its truth beside it."""
    source = write_demo_source(folder / "source", n_train=images, n_tune=0, n_heldout=0, seed=7)
    policy, mas = demo_models()
    studio = Studio.open(Studio.create(folder / "workspace", WorkspaceConfig(str(policy), str(mas))))
    studio.import_source(source)
    wait(studio, studio.start_sample())
    wait(studio, studio.start_score())
    studio.close()


def is_better(item, truth: dict[str, dict]) -> bool:
    """Whether the machine's chosen answer is truly better than its rejected one."""
    rights = {c.id: quality(c.text, truth[item.instruction.external_id]) for c in item.candidates}
    return rights[item.machine_pair.chosen] > rights[item.machine_pair.rejected]


def decide(studio: Studio, annotator: SimulatedAnnotator, item, truth: dict[str, dict]) -> bool:
    """Store what the annotator says of the machine's pair; whether it took it as it is."""
    known = truth[item.instruction.external_id]
    rights = {c.id: quality(c.text, known) for c in item.candidates}
    beliefs = {c.id: c.logp_mean for c in item.candidates}
    pair = (item.machine_pair.chosen, item.machine_pair.rejected)
    found = annotator.judge(pair, rights, beliefs)
    studio.decide(
        item.instruction.id, found.verdict, chosen=found.chosen, rejected=found.rejected, annotator=NAME, seconds=None
    )
    return found.verdict == "accept"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=None, help="where the scored workspace is kept")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--error", type=float, default=0.05, help="how often the annotator errs")
    arguments = parser.parse_args()
    folder = arguments.workspace or Path(tempfile.mkdtemp(prefix="m3po-calibration-"))
    if not (folder / "workspace").exists():
        make(folder, arguments.images)
    truth = {row["id"]: row for row in map(json.loads, (folder / "source/metadata.jsonl").read_text().splitlines())}
    studio = Studio.open(folder / "workspace")
    try:
        studio.select()  # a new selection: decisions, threshold and audit of an earlier call do not count for it
        while studio.undo(NAME):
            pass
        items, item = [], studio.review_item(ReviewView(order="id"))
        while item is not None:
            items += [item] if item.machine_pair else []
            item = studio.review_item(ReviewView(order="id"), item.next_id) if item.next_id else None
        random.Random(0).shuffle(items)
        annotator = SimulatedAnnotator(arguments.error)
        for item in items[: len(items) * 2 // 3]:
            decide(studio, annotator, item, truth)
        print(f"SIMULATED annotator, error rate {arguments.error:.0%}, {len(items)} pairs\n")
        if studio.calibration.report(TARGET)["threshold"]:
            auto = studio.calibration.accept_above(target=TARGET)
            studio.calibration.draw_audit(min(60, auto["accepts"]))
            accepted = [i for i in items[len(items) * 2 // 3 :] if i.machine_pair.m3p_score >= auto["score"]]
            while (item := studio.review_item(ReviewView("audit"))) is not None:
                decide(studio, annotator, item, truth)
            print(draw_report(studio.calibration.report(TARGET)))
            wrong = sum(not is_better(item, truth) for item in accepted)
            print(f"\nBy truth, of all that was accepted without eyes: {wrong} of {len(accepted)} wrong")
        else:
            print(draw_report(studio.calibration.report(TARGET)))
    finally:
        studio.close()


if __name__ == "__main__":
    main()
