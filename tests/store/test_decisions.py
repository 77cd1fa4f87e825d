"""Decisions: append-only, what stands is a view, undo revokes, the majority counts."""

import pytest
from workspaces import make_workspace

from m3po.errors import BadInputError
from m3po.studio import Studio
from m3po.types import ReviewView


@pytest.fixture
def studio(tmp_path):
    studio = Studio.open(make_workspace(tmp_path))
    studio.select()
    yield studio
    studio.close()


def first(studio, view="all"):
    return studio.review_item(ReviewView(view))


def test_accept_keeps_the_machines_pair_and_override_replaces_it(studio):
    item = first(studio)
    assert item.pair == item.machine_pair and item.decision is None
    studio.decide(item.instruction.id, "accept")
    accepted = studio.review_item(instruction_id=item.instruction.id)
    assert accepted.decision.verdict == "accept" and accepted.pair == item.pair
    other = [c.id for c in item.candidates if item.role(c.id) == "none"]
    studio.decide(item.instruction.id, "override", chosen=other[0], rejected=other[1])
    overridden = studio.review_item(instruction_id=item.instruction.id)
    assert (overridden.pair.chosen, overridden.pair.rejected) == tuple(other)
    assert overridden.machine_pair == item.machine_pair
    assert len(studio.history(item.instruction.id)) == 2


def test_undo_walks_back_one_decision_at_a_time_and_forgets_nothing(studio):
    item = first(studio)
    studio.decide(item.instruction.id, "accept")
    studio.decide(item.instruction.id, "tie")
    assert studio.undo().verdict == "tie"
    assert studio.review_item(instruction_id=item.instruction.id).decision.verdict == "accept"
    assert studio.undo().verdict == "accept"
    assert studio.review_item(instruction_id=item.instruction.id).decision is None
    assert studio.undo() is None
    assert [d.verdict for d in studio.history(item.instruction.id)] == ["undo", "undo", "tie", "accept"]


def test_undo_is_the_annotators_own(studio):
    item = first(studio)
    studio.decide(item.instruction.id, "accept", annotator="ada")
    assert studio.undo("bob") is None
    assert studio.undo("ada").annotator == "ada"


@pytest.mark.parametrize(
    ("verdict", "ids", "sentence"),
    [
        ("override", (None, None), "no pair yet"),
        ("override", (1, 1), "same answer"),
        ("override", (1, 999), "not an answer to this instruction"),
        ("applaud", (None, None), "There is no verdict"),
    ],
)
def test_a_verdict_that_cannot_be_is_refused_and_not_stored(studio, verdict, ids, sentence):
    instruction = first(studio, "all")
    mine = [c.id for c in instruction.candidates]
    chosen, rejected = (mine[i - 1] if i and i < 900 else i for i in ids)
    with pytest.raises(BadInputError, match=sentence):
        studio.decide(instruction.instruction.id, verdict, chosen=chosen, rejected=rejected)
    assert studio.history(instruction.instruction.id) == []


def test_only_accept_and_override_train(studio):
    ids = [row["id"] for row in _exported(studio)]
    assert len(ids) == 6
    for verdict in ("accept", "tie", "all_wrong", "skip", "flag"):
        item = first(studio, "unreviewed")
        studio.decide(item.instruction.id, verdict)
    counts = studio.status()
    assert counts["decisions"] == {"accept": 1, "tie": 1, "all_wrong": 1, "skip": 1, "flag": 1}
    assert (counts["curated_pairs"], counts["human_pairs"]) == (2, 1)  # one accepted, one that nobody looked at


def _exported(studio):
    import json

    out = studio.path.parent / "out.jsonl"
    studio.export(out)
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_two_against_one_counts_and_one_against_one_keeps_the_pair_out(studio):
    item = first(studio)
    a, b = item.pair.chosen, item.pair.rejected
    studio.decide(item.instruction.id, "override", chosen=b, rejected=a, annotator="ada")
    studio.decide(item.instruction.id, "accept", chosen=a, rejected=b, annotator="bob")
    assert studio.status()["human_pairs"] == 0
    studio.decide(item.instruction.id, "override", chosen=b, rejected=a, annotator="cyd")
    assert studio.status()["human_pairs"] == 1
    assert studio.review_item(instruction_id=item.instruction.id).pair.chosen == b


def test_a_new_pick_leaves_the_decision_and_marks_it_as_made_on_an_earlier_state(studio):
    import dataclasses

    item = first(studio)
    studio.decide(item.instruction.id, "accept")
    assert not studio.review_item(instruction_id=item.instruction.id).decision.stale
    studio.select(dataclasses.replace(studio.current_select(), rule="rm_dpo", delta=0.0))
    again = studio.review_item(instruction_id=item.instruction.id)
    assert again.machine_pair != item.machine_pair
    assert again.decision.stale and again.pair.chosen == item.pair.chosen and again.pair.rejected == item.pair.rejected


def test_decisions_are_there_after_reopening(tmp_path):
    path = make_workspace(tmp_path)
    studio = Studio.open(path)
    studio.select()
    item = first(studio)
    studio.decide(item.instruction.id, "accept", note="sure", seconds=1.5)
    studio.close()
    studio = Studio.open(path)
    decision = studio.review_item(instruction_id=item.instruction.id).decision
    assert (decision.verdict, decision.note, decision.seconds) == ("accept", "sure", 1.5)
    studio.close()


def test_what_is_held_out_is_not_reviewed(studio):
    from workspaces import add_instruction

    heldout = studio.db.write(lambda con: add_instruction(con, "unseen", split="heldout"))
    with pytest.raises(BadInputError, match="held out"):
        studio.decide(heldout, "skip")


def test_a_decision_on_a_selection_that_is_no_more_is_refused(studio):
    item = first(studio)
    studio.select()
    with pytest.raises(BadInputError, match="picked anew"):
        studio.decide(item.instruction.id, "accept", selection_id=item.selection_id)
    assert studio.history(item.instruction.id) == []


@pytest.mark.parametrize("bad", ["a\0b", "half \ud83d"])
def test_a_name_or_note_that_cannot_be_stored_is_refused(studio, bad):
    item = first(studio)
    for words in ({"annotator": bad}, {"note": bad}, {"reason": bad}):
        with pytest.raises(BadInputError, match=r"^The .* holds .*\.$"):
            studio.decide(item.instruction.id, "tie", **words)
    with pytest.raises(BadInputError, match="annotator's name"):
        studio.add_edit(item.instruction.id, "A boat.", bad)
    with pytest.raises(BadInputError, match=r"^The edited answer holds .*\.$"):
        studio.add_edit(item.instruction.id, bad)
    with pytest.raises(BadInputError, match="has 100,001 characters"):
        studio.add_edit(item.instruction.id, "x" * 100_001)
    with pytest.raises(BadInputError, match="annotator's name"):
        studio.undo(bad)
    assert studio.history(item.instruction.id) == []
