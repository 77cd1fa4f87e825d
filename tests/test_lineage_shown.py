"""What runs did, as the page shows it to each person: on an item, by filter and order, and in two runs' difference."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys

import pytest
from runs_here import open_quietly
from trained import BETA, train_by_hand, write_margins
from workspaces import ANN, BY_ID, CORA, VIC, make_selected

from m3po.cli import main
from m3po.errors import NotAllowedError
from m3po.jobs.margins import ingest_missing
from m3po.store.comparisons import add_comparison_run
from m3po.types import ReviewView
from m3po.workspace_config import write_workspace_config
from ui.review.answers import draw_answer
from ui.review.changes import SHOWN
from ui.review.handlers import ReviewHandler

N = 6
MARGINS = {1: (-1.0, 2.0), 2: (3.0, -0.5), 3: (1.0, 4.0), 4: (-2.0, -1.0)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of six pairs of which two were left out, then another pair of item 2."""
    path = make_selected(tmp_path_factory.mktemp("made"), N)
    studio = open_quietly(path)
    train_by_hand(studio, MARGINS)
    pair = studio.review_item(BY_ID, 2).pair
    studio.as_user(CORA).decide(2, "override", chosen=pair.rejected, rejected=pair.chosen)
    studio.close()
    return path


@pytest.fixture
def studio(made, tmp_path):
    studio = open_quietly(shutil.copytree(made, tmp_path / "workspace"))
    yield studio
    studio.close()


def ids(studio, view):
    found, item = [], studio.review_item(view)
    while item is not None:
        found.append(item.instruction.id)
        item = studio.review_item(view, item.next_id) if item.next_id else None
    return found


def test_an_item_shows_what_each_run_did_and_which_pair_that_was(studio):
    drawn = draw_answer(studio.review_item(BY_ID, 1))["parts"]["review-state"]
    assert "−1.00 → +2.00" in drawn and "outcome-learned" in drawn and 'data-open-run="1"' in drawn
    assert f"Reward margin +{3 * BETA:.3f}" in drawn and "another pair" not in drawn
    other = draw_answer(studio.review_item(BY_ID, 2))["parts"]["review-state"]
    assert "outcome-unlearned" in other and "another pair: 1 over 2" in other
    assert "run-change" not in draw_answer(studio.review_item(BY_ID, 5))["parts"]["review-state"]
    for seed in range(1, SHOWN + 2):
        train_by_hand(studio, MARGINS, seed=seed)
    many = draw_answer(studio.review_item(BY_ID, 1))["parts"]["review-state"]
    assert many.count('class="run-change"') == SHOWN + 2 and "2 other runs" in many


def test_the_run_that_is_looked_for_comes_first_and_those_of_comparisons_last(studio):
    for seed in range(1, SHOWN + 2):
        train_by_hand(studio, MARGINS, seed=seed)

    studio.db.write(lambda con: add_comparison_run(con, 1, "rm_dpo", 7, "mark", {}, 5, 5))
    drawn = draw_answer(studio.review_item(BY_ID, 1))["parts"]["review-state"]
    assert re.findall(r'data-open-run="(\d+)"', drawn) == ["4", "3", "2", "1", "5"]
    assert "run 5 · rm_dpo, seed 7" in drawn
    for run in (1, 5):
        first = studio.review_item(ReviewView(run=str(run), order="id"), 1).changes
        assert [change.run_id for change in first] == [run, *(i for i in (4, 3, 2, 1, 5) if i != run)]


def test_a_view_of_a_run_by_outcome_and_by_reward_margin(studio):
    assert ids(studio, ReviewView(run="1", order="id")) == [1, 2, 3, 4, 5, 6]
    assert ids(studio, ReviewView(run="1", outcome="learned")) == [1]
    assert ids(studio, ReviewView(run="1", outcome="flipped", order="id")) == [1, 2]
    assert ids(studio, ReviewView(run="1", order="reward_margin")) == [2, 4, 1, 3, 5, 6]  # -3.5, 1, 3, 3, unmeasured
    before = studio.review_neighbours(BY_ID, 1, ahead=3, behind=0).stamps
    second = train_by_hand(studio, {1: (0.0, -5.0), 3: (0.0, -1.0)}, seed=1)
    view = ReviewView(run=str(second.id), order="reward_margin")
    assert ids(studio, view)[:2] == [1, 3]
    assert ids(studio, ReviewView(run="2~1")) == [2] and ids(studio, ReviewView(run="2-1")) == []
    after = studio.review_neighbours(BY_ID, 1, ahead=3, behind=0).stamps
    assert all(after[i] != before[i] for i in before)  # what a page has fetched ahead is drawn anew
    assert draw_answer(studio.review_item(BY_ID, 2))["stamp"] == after[2]


def test_an_order_that_was_kept_is_not_shown_when_the_run_has_told_more(studio):
    view = ReviewView(run="2", order="reward_margin")
    run = train_by_hand(studio, None, seed=1)
    assert (run.id, ids(studio, view)) == (2, [1, 2, 3, 4, 5, 6])
    write_margins(studio, 2, {6: (0.0, -1.0)})
    ingest_missing(studio.db, studio.runner.folder)
    assert ids(studio, view) == [6, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("hides", ["blind", "assigned"])
def test_who_is_to_judge_for_herself_is_not_told_what_runs_did(studio, hides):
    if hides == "blind":
        write_workspace_config(studio.path / "config.toml", dataclasses.replace(studio.config, blind=True))
    else:
        studio.people.assign(["ann"], items=N - 1)
    own = studio.as_user(ANN)
    item = own.review_item(BY_ID, 1)
    assert (item.changes, item.measured) == ((), 0)
    assert "run-change" not in draw_answer(item)["parts"]["review-state"]
    around = own.review_neighbours(BY_ID, 1, ahead=3, behind=0)
    hidden = {number: stamp for number, stamp in around.stamps.items() if number != 2}  # that one was not assigned
    assert not any("r" in stamp for stamp in hidden.values())
    assert draw_answer(item)["stamp"] == around.stamps[1]
    asks = [
        lambda: own.review_item(ReviewView(run="1")), lambda: own.lineage.diff(1, 1), lambda: own.lineage.read(1),
        lambda: own.browsing.look(ReviewView(run="1", outcome="flipped")), lambda: own.lineage.runs(),
    ]  # fmt: skip
    for ask in asks:
        with pytest.raises(NotAllowedError):
            ask()
    named = ReviewHandler(own).on_command({"op": "sources"}, "ann")
    assert named["runs"] == []
    own.decide(1, "tie")
    assert own.review_item(BY_ID, 1).changes  # her vote on it is there


def test_viewers_and_curators_see_them(studio):
    for user in (VIC, CORA):
        own = studio.as_user(user)
        assert own.review_item(BY_ID, 1).changes and ids(own, ReviewView(run="1", outcome="learned")) == [1]
    assert ReviewHandler(studio).on_command({"op": "sources"})["runs"] == [
        {"id": 1, "state": "finished", "pairs": N, "measured": True}
    ]


def test_the_commands(made, monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["m3po", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    code, out, _ = run("lineage", str(made), "1")
    assert code == 0 and "What it did to its pairs: 1 learned, 1 unlearned, 1 kept, 1 still wrong" in out
    code, out, _ = run("diff", str(made), "1", "1", "--limit", "3", "--json")
    assert code == 0 and json.loads(out)["pairs"] == {"same": N, "changed": 0, "only_a": 0, "only_b": 0}
    assert run("diff", str(made), "1", "7") == (1, "", "There is no training run 7: choose among 1.\n")
