"""Which votes stand: those that left in an export and come back, those of people who skipped, a curator's last word."""

import json

import pytest
from workspaces import make_workspace

from m3po.store import votes
from m3po.studio import Studio
from m3po.types import ReviewView
from m3po.users import User

FILES = {"m3po": "data.jsonl", "argilla": "data.json", "label_studio": "data.json"}


@pytest.fixture
def studio(tmp_path):
    studio = Studio.open(make_workspace(tmp_path, n=2))
    studio.select()
    yield studio
    studio.close()


def vote(studio, annotator, first, second, **options):
    """On the first instruction: its answer number `first` is better than number `second`."""
    ids = [c.id for c in studio.review_item(instruction_id=1).candidates]
    sides = {"chosen": ids[first], "rejected": ids[second]}
    return studio.decide(1, "override", annotator=annotator, **sides, **options)


def standing(studio):
    """(annotator, role, text of the chosen answer, blind) of what stands on the first instruction."""
    texts = {c.id: c.text for c in studio.review_item(instruction_id=1).candidates}
    found = studio.db.read(lambda con: votes.votes_of(con, 1))
    return {(v.annotator, v.role, texts.get(v.chosen), v.blind) for v in found}


def stored(studio):
    return studio.db.read(lambda con: con.execute("SELECT count(*) FROM decisions").fetchall())[0][0]


@pytest.mark.parametrize("format", ["m3po", "argilla"])
def test_a_curators_last_word_and_a_reason_come_back(studio, tmp_path, format):
    vote(studio, "ann", 0, 1, reason="object", blind=True)
    for name in ("bob", "eve", "cur"):
        vote(studio, name, 0, 1)
    vote(studio, "cur", 1, 0, role="adjudicated", reason="count")
    studio.export(tmp_path / "out", format=format)
    other = Studio.open(Studio.create(tmp_path / "other"))
    try:
        for stays in (5, 5):
            other.import_source(tmp_path / "out" / FILES[format])
            assert stored(other) == stays
        assert standing(other) == standing(studio)
        decision = other.review_item(instruction_id=1).decision
        assert (decision.annotator, decision.role, decision.disagreeing) == ("cur", "adjudicated", ())
        other.export(tmp_path / "again", format="m3po")
        row = json.loads((tmp_path / "again" / "data.jsonl").read_text().splitlines()[0])
        told = {(said["annotator"], said.get("role", "")): said["reason"] for said in row["decisions"]}
        assert (told["ann", ""], told["cur", "adjudicated"], told["bob", ""]) == ("object", "count", "")
    finally:
        other.close()


def test_a_curators_last_word_is_no_annotators_vote_in_label_studio(studio, tmp_path):
    vote(studio, "cur", 0, 1)
    vote(studio, "cur", 1, 0, role="adjudicated")
    studio.export(tmp_path / "out", format="label_studio")
    [task, _] = json.loads((tmp_path / "out" / "data.json").read_text())
    [annotation] = task["annotations"]
    said = {item["from_name"]: item["value"]["choices"] for item in annotation["result"]}
    assert said["chosen"] == ["1"]


def test_a_role_that_is_none_refuses_its_row(studio, tmp_path):
    row = {"instruction": "What?", "candidates": [], "decisions": [{"verdict": "tie", "role": "boss"}]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    report = studio.import_source(tmp_path / "rows.jsonl")
    assert report.added == 0 and "has the role 'boss'" in report.refused[0].reason


@pytest.mark.parametrize("no_vote", ["skip", "flag"])
def test_a_skip_or_a_flag_is_no_vote_against_another(studio, no_vote):
    vote(studio, "ann", 1, 0)
    for name in ("bob", "eve"):
        studio.decide(1, no_vote, annotator=name)
    decision = studio.review_item(instruction_id=1).decision
    assert (decision.annotator, decision.verdict, decision.disagreeing) == ("ann", "override", ())
    assert studio.review_item(ReviewView("disagreements")) is None
    assert (studio.status()["human_pairs"], studio.status()["disagreeing"]) == (1, 0)
    vote(studio, "dan", 0, 1)
    assert studio.review_item(instruction_id=1).decision.disagreeing == ("ann", "dan")
    assert studio.review_item(ReviewView("disagreements")).instruction.id == 1


@pytest.mark.parametrize("verdicts", [("all_right", "all_wrong"), ("tie", "all_wrong"), ("bad_question", "tie")])
def test_two_verdicts_without_a_pair_are_a_disagreement(studio, verdicts):
    for name, verdict in zip(("ann", "bob"), verdicts, strict=True):
        studio.decide(1, verdict, annotator=name)
    assert studio.review_item(instruction_id=1).decision.disagreeing == ("ann", "bob")
    assert studio.review_item(ReviewView("disagreements")).instruction.id == 1
    assert (studio.status()["disagreeing"], studio.people.overview()["disputed"]) == (1, 1)
    assert studio.status()["curated_pairs"] == 1  # of two machine pairs: as before, this one is out
    last = studio.as_user(User("cora", "curator")).decide(1, verdicts[0], adjudicate=True)
    assert last.role == "adjudicated" and studio.review_item(ReviewView("disagreements")) is None
    assert studio.status()["decisions"] == {verdicts[0]: 1} and studio.status()["curated_pairs"] == 1


def test_a_majority_of_one_verdict_agrees_and_skips_and_flags_dispute_nothing(studio):
    for name, verdict in (("ann", "tie"), ("bob", "all_wrong"), ("eve", "tie")):
        studio.decide(1, verdict, annotator=name)
    assert studio.review_item(instruction_id=1).decision.verdict == "tie" and studio.status()["disagreeing"] == 0
    for name, verdict in (("ann", "skip"), ("bob", "flag")):
        studio.decide(2, verdict, annotator=name)
    assert studio.status()["disagreeing"] == 0 and studio.review_item(ReviewView("disagreements")) is None


def test_a_skip_stands_where_nobody_voted(studio):
    studio.decide(1, "skip", annotator="bob")
    assert studio.review_item(instruction_id=1).decision.verdict == "skip"
    assert studio.status()["human_pairs"] == 0 and studio.status()["curated_pairs"] == 1  # of the two machine pairs


def test_a_last_word_that_is_a_skip_is_the_last_word(studio):
    vote(studio, "ann", 1, 0)
    studio.decide(1, "skip", annotator="cur", role="adjudicated")
    decision = studio.review_item(instruction_id=1).decision
    assert (decision.annotator, decision.verdict) == ("cur", "skip")


@pytest.mark.parametrize("format", ["argilla", "label_studio"])
def test_a_vote_that_comes_back_is_not_stored_again_and_stays_undone(studio, tmp_path, format):
    vote(studio, "ann", 1, 0)
    vote(studio, "bob", 1, 0)
    studio.export(tmp_path / "out", format=format)
    file = tmp_path / "out" / FILES[format]
    assert studio.import_source(file).decisions == 0 and stored(studio) == 2
    studio.undo("ann")
    assert studio.import_source(file).decisions == 0 and stored(studio) == 3
    assert {name for name, *_ in standing(studio)} == {"bob"}
