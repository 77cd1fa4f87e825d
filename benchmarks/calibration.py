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
from dataclasses import dataclass
from pathlib import Path

from benchmarks._runs import wait
from m3po.calibration import AUDIT
from m3po.calibration_commands import draw_report
from m3po.demo.language import mentioned_kinds
from m3po.demo.models import demo_models
from m3po.demo.workspace import write_demo_source
from m3po.evaluation.annotator import NAME, SimulatedAnnotator
from m3po.store import auto_accept, flips, selections
from m3po.store.candidate_rows import candidates_of
from m3po.store.connection import Connection
from m3po.studio import Studio
from m3po.types import ReviewView
from m3po.workspace_config import WorkspaceConfig

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


def quality(text: str, truth: dict) -> float:
    """How right an answer is, to a strict annotator: 1 for the truth's own words, else 0; for a description the things
    it names less those that are not there."""
    if truth["category"] != "describe":
        return float(text == truth["answer"])
    named, there = mentioned_kinds(text), set(truth["objects"])
    return len(named & there) - len(named - there)


@dataclass(frozen=True)
class Item:
    """A pair of the machine's, and how right each candidate truly is."""

    id: int
    pair: tuple[int, int]
    score: float
    quality: dict[int, float]
    belief: dict[int, float]

    @property
    def right(self) -> bool:
        return self.quality[self.pair[0]] > self.quality[self.pair[1]]


def read_items(con: Connection, truth: dict[str, dict]) -> list[Item]:
    """Every pair of the newest selection."""
    selection = selections.latest_selection(con)
    ids, scores, _ = auto_accept.pair_scores(con, selection)
    answers = candidates_of(con, ids.tolist(), selection)
    names, _ = flips.tell_flips(con, ids.tolist(), [])
    items = []
    for instruction_id, score in zip(ids.tolist(), scores.tolist(), strict=True):
        row = selections.pair_of(con, selection, instruction_id)
        known = truth[names[instruction_id]["external_id"]]
        rights = {c["candidate_id"]: quality(c["text"], known) for c in answers[instruction_id]}
        belief = {c["candidate_id"]: c["logp_mean"] for c in answers[instruction_id]}
        items.append(Item(instruction_id, (row["chosen"], row["rejected"]), score, rights, belief))
    return items


def decide(studio: Studio, annotator: SimulatedAnnotator, item: Item) -> None:
    """Store what the annotator says of the machine's pair."""
    found = annotator.judge(item.pair, item.quality, item.belief)
    studio.decide(item.id, found.verdict, chosen=found.chosen, rejected=found.rejected, annotator=NAME)


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
        while studio.undo(NAME):  # of an earlier call
            pass
        studio.select()  # a threshold and an audit of an earlier call do not count for a new selection
        items = studio.db.read(lambda con: read_items(con, truth))
        random.Random(0).shuffle(items)
        annotator = SimulatedAnnotator(arguments.error)
        seen, unseen = items[: len(items) * 2 // 3], items[len(items) * 2 // 3 :]
        for item in seen:
            decide(studio, annotator, item)
        print(f"SIMULATED annotator, error rate {arguments.error:.0%}, {len(items)} pairs, {len(seen)} decided\n")
        if studio.calibration.report(TARGET)["threshold"]:
            auto = studio.calibration.accept_above(target=TARGET)
            studio.calibration.draw_audit(min(AUDIT, auto["accepts"]))
            accepted = [item for item in unseen if item.score >= auto["score"]]
            by_id = {item.id: item for item in accepted}
            while (shown := studio.review_item(ReviewView("audit"))) is not None:
                decide(studio, annotator, by_id[shown.instruction.id])
            wrong = sum(not item.right for item in accepted)
            print(draw_report(studio.calibration.report(TARGET)))
            print(f"\nBy truth, of all that was accepted without eyes: {wrong} of {len(accepted)} wrong")
        else:
            print(draw_report(studio.calibration.report(TARGET)))
    finally:
        studio.close()


if __name__ == "__main__":
    main()
