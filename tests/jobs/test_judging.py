"""Answers of two evaluations judged by a real scorer in the test's own process, once, and told from what is stored."""

import json

import pyarrow as pa
import pytest
import tiny
from runs_here import open_quietly, run_here

from m3po.errors import JobError, UsageError
from m3po.evaluation.win_rate import win_rate
from m3po.images import load_rgb
from m3po.models.alignment import MeanScorer, load_scorer
from m3po.store import runs
from m3po.studio import Studio
from m3po.text import build_messages

SAID = [("a red boat", "a fish"), ("a fish", "a red boat"), ("a sun", " a sun "), ("Yes.", "No.")]


@pytest.fixture
def made(tmp_path, tiny_mas):
    """Three descriptions, and one question of POPE; a training between two finished evaluations of all four."""
    rows = []
    for n in range(len(SAID)):
        tiny.build_image(n).save(tmp_path / f"{n}.png")
        truth = (
            {"answer": "yes", "category": "pope_random"} if n == 3 else {"objects": ["boat"], "category": "describe"}
        )
        rows.append(
            {"id": f"q{n}", "file_name": f"{n}.png", "instruction": "Describe it.", "split": "heldout", **truth}
        )
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    studio = open_quietly(Studio.create(tmp_path / "ws"))
    assert studio.import_source(tmp_path).added == len(SAID)

    def change(con):
        before = runs.add_run(con, "evaluate", {"policy": "p"}, "")
        train = runs.add_run(con, "train", {"before_run": before, "policy": "p"}, "")
        after = runs.add_run(con, "evaluate", {"policy": "p"}, "", parent=train)
        for side, run_id in enumerate((before, after)):
            texts = [said[side] for said in SAID]
            runs.add_answers(con, run_id, pa.table({"instruction_id": range(1, len(SAID) + 1), "text": texts}))
            runs.update_run(con, run_id, state="finished", result={"metrics": {"chair_s": 0.5}, "intervals": {}})
        runs.update_run(con, train, state="finished")
        return train

    yield studio, studio.db.write(change), str(tiny_mas), tmp_path
    studio.close()


def test_what_differs_is_judged_once_and_a_benchmark_is_left_to_its_own_figures(made):
    studio, train, mas, folder = made
    run = run_here(studio, studio.judging.start(train, mas))
    assert run.state == "finished", run.message
    [found] = studio.reports.read(train)["win_rates"]
    scorer = load_scorer(mas)
    expected = []
    for n, texts in enumerate(SAID[:2]):
        image = [load_rgb(folder / f"{n}.png")]
        [judged] = scorer.score([build_messages("Describe it.", 1)], [image], [list(texts)])
        expected.append((n, *(judgement.score for judgement in judged)))
    assert {name: found[name] for name in ("wins", "losses", "ties", "win_rate")} == {
        name: value
        for name, value in win_rate(expected, same=1).items()
        if name in ("wins", "losses", "ties", "win_rate")
    }
    assert (found["items"], found["unjudged"], found["against"], found["run"]) == (3, 0, "the base", run.id)
    again = studio.judging.start(train, mas)
    assert again.id == run.id and again.state == "finished"  # nothing is computed again
    mean = run_here(studio, studio.judging.start(train, f"1*{mas} + 3*clip:{mas}"))
    assert mean.state == "finished" and len(studio.reports.read(train)["win_rates"]) == 2
    assert not [row for row in studio.scorers() if row["candidates"]]  # no candidate has a score by it


def test_who_cannot_judge_or_be_judged_is_told_why(made):
    studio, train, mas, folder = made
    with pytest.raises(UsageError, match="no scorer"):
        studio.judging.start(train)
    with pytest.raises(UsageError, match="ratings of imported answers"):
        studio.judging.start(train, f"0.5*{mas} + 0.5*column:stars")
    with pytest.raises(JobError, match="no training run that was measured"):
        studio.judging.start(99, mas)
    with pytest.raises(UsageError, match="against itself"):
        studio.judging.start(train, mas, against=train)
    with pytest.raises(UsageError, match="no suffix"):
        studio.reports.write(folder / "out.xlsx", train)
    assert studio.reports.read(1)["before_run"] is None and "Value" in (
        studio.reports.write(folder / "one.md", 1) and (folder / "one.md").read_text()
    )
    with pytest.raises(JobError, match="no training run and no finished evaluation"):
        studio.reports.read(98)


def test_a_mean_scales_each_part_by_its_range():
    class Constant:
        def __init__(self, value, low, high):
            self.value, self.scorer_range = value, (low, high)

        def score(self, prompts, images, answers):
            from m3po.types import Judgement

            return [[Judgement(self.value) for _ in texts] for texts in answers]

    mean = MeanScorer("m", [(0.25, Constant(0.0, -1, 1)), (0.75, Constant(0.2, 0, 1))])
    [[found]] = mean.score([[]], [[]], [["a"]])
    assert found.score == pytest.approx(0.25 * 0.5 + 0.75 * 0.2) and mean.needs_image
