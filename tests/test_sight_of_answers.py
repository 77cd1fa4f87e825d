"""What people wrote as answers, as annotators see it: nothing tells who wrote what before their vote."""

import dataclasses
import threading

import pytest
from workspaces import ANN, BOB, BY_ID, CORA, make_selected

from m3po.door import Door, acting_as
from m3po.errors import NotAllowedError
from m3po.store import runs, writers
from m3po.types import ReviewView
from m3po.workspace_config import write_workspace_config
from ui.review.answers import draw_answer
from ui.review.empty import why_empty
from ui.review.handlers import ReviewHandler


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_selected(tmp_path_factory.mktemp("made"), 8)


@pytest.fixture
def blind(studio):
    write_workspace_config(studio.path / "config.toml", dataclasses.replace(studio.config, blind=True))
    return studio


def test_what_another_wrote_too_is_ones_own_answer(blind):
    """Word for word the same: one candidate, which each of its writers sees, and nobody else before her vote."""
    ann, bob, cora = (blind.as_user(user) for user in (ANN, BOB, CORA))
    page = ReviewHandler(ann)

    def texts(own) -> list[str]:
        return [c.text for c in own.review_item(BY_ID, 1).candidates]

    first = bob.add_edit(1, "what both wrote")
    of_bob = texts(bob)
    assert "what both wrote" in of_bob and "what both wrote" not in texts(ann)
    shown = ann.review_item(BY_ID, 1)
    sent = {"op": "edit", "instruction_id": 1, "candidate_id": None, "selection_id": shown.selection_id,
            "view": {"filter": "all", "order": "id"}, "text": "what  both wrote "}  # fmt: skip
    answer = page.on_command(sent, "ann")
    assert answer["item"]["pending"] == {"chosen": first.id} and str(first.id) in answer["item"]["texts"]
    assert texts(ann).count("what both wrote") == 1 and texts(bob) == of_bob
    bob.add_edit(1, "of bob alone")
    assert "of bob alone" not in texts(ann)
    for _ in range(2):
        assert ann.add_edit(1, "a car").text == "a car"  # a sampled one stays what it is
        ann.add_edit(1, "what both wrote")
    stored = blind.db.read(lambda con: con.execute("SELECT candidate_id, annotator FROM more_writers").fetchall())
    assert stored == [(first.id, "ann")]
    made = ann.decide(1, "override", chosen=first.id, rejected=shown.candidates[0].id)
    assert made.chosen == first.id and "of bob alone" in texts(ann) and "of bob alone" in texts(cora)


def begin_scoring(con) -> int:
    run_id = runs.add_run(con, "score", {}, "python -m m3po score")
    runs.update_run(con, run_id, state="running")
    return run_id


def test_nothing_tells_an_annotator_that_another_wrote_an_answer_until_she_has_voted(studio):
    ann, bob = studio.as_user(ANN), studio.as_user(BOB)
    studio.people.assign(["ann"], items=2)
    first = ann.review_item(ReviewView("mine")).instruction.id

    def own_item():
        return ann.review_item(ReviewView("mine"), first)

    def look() -> tuple:
        with acting_as(ANN):
            empty = why_empty(Door(studio), ReviewView("all", "id", "no such words"))
        return draw_answer(own_item()), empty, ann.status(), ann.runs(), ann.scorers()

    before = look()
    bob.add_edit(first, "a sentence of bob")
    run_id = studio.db.write(begin_scoring)  # as add_edit does where the workspace names a model
    assert bob.review_item(BY_ID, first).scoring and bob.runs()[0].id == run_id
    assert not own_item().scoring and look() == before
    assert (ann.run_metrics(run_id), ann.run_log(run_id), ann.run_warnings(run_id)) == ({}, "", [])
    assert ann.count_metrics(run_id) == 0
    with pytest.raises(NotAllowedError, match="what others wrote: none is shown while assigned items wait"):
        ann.run(run_id)
    ann.add_edit(first, "a sentence of her own")
    assert own_item().scoring  # hers waits, and she may know
    while item := ann.review_item(ReviewView("mine")):
        ann.decide(item.instruction.id, "tie")
    assert ann.review_item(BY_ID, first).scoring and ann.run(run_id).kind == "score"


def test_a_whole_deck_is_hidden_in_as_many_reads_as_one_item(studio, monkeypatch):
    """Blind or not; with answers and flags that others wrote and gave, and with her own."""
    ann, bob = studio.as_user(ANN), studio.as_user(BOB)
    for item in range(1, 7):
        bob.add_edit(item, "what bob wrote"), bob.decide(item, "flag")
        ann.decide(item, "skip")
    read, asked = studio.db.read, []
    monkeypatch.setattr(studio.db, "read", lambda query: asked.append(threading.get_ident()) or read(query))

    def count(ask) -> int:
        asked.clear()
        ask()
        return asked.count(threading.get_ident())  # the runner looks around meanwhile

    for blind in (False, True):
        studio.people.assign(["ann"], items=1, blind=blind)
        for user in (ann, bob):
            for ids in ([1], [1, 2, 3, 4, 5, 6]):
                user.review_items(BY_ID, ids)  # the first time, more is read
        few, many = (count(lambda ids=ids: ann.review_items(BY_ID, ids)) for ids in ([1], [1, 2, 3, 4, 5, 6]))
        assert few == many
        few, many = (
            count(lambda ahead=ahead: ann.review_neighbours(BY_ID, 1, ahead=ahead, behind=0)) for ahead in (0, 5)
        )
        assert few == many


def test_how_many_answers_people_wrote_is_counted_when_one_was_written(studio, monkeypatch):
    studio.people.assign(["ann"], items=1)
    ann, counted, count = studio.as_user(ANN), [], writers.count_written
    monkeypatch.setattr(writers, "count_written", lambda con: counted.append(con) or count(con))
    before = [ann.status()["candidates"] for _ in range(3)]
    studio.as_user(BOB).add_edit(1, "what bob wrote")
    assert [ann.status()["candidates"] for _ in range(3)] == before and len(counted) == 2
    assert (studio.status()["written"], ann.status()["written"]) == (1, 0)
