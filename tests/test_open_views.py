"""A vote is called blind only where nothing that blindness hides was shown before."""

import contextlib
import dataclasses
import shutil
import threading
import time

import pytest
from workspaces import ANN, BOB, BY_ID, add_instruction, make_selected

from m3po.errors import StorageError
from m3po.store import open_views
from m3po.store.connection import rows
from m3po.store.open_views import OpenViews
from m3po.studio import Studio
from m3po.types import ReviewView
from m3po.users import OWNER, User
from m3po.workspace_config import write_workspace_config


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_selected(tmp_path_factory.mktemp("made"), 8)


def stored(studio) -> list[tuple]:
    studio.sight.close()
    return read_stored(studio)


def read_stored(studio) -> list[tuple]:
    found = studio.db.read(lambda con: rows(con, "SELECT * FROM open_views ORDER BY ALL"))
    return [(row["annotator"], row["instruction_id"]) for row in found]


def switch(studio, blind: bool) -> None:
    write_workspace_config(studio.path / "config.toml", dataclasses.replace(studio.config, blind=blind))


def test_who_saw_scores_by_free_browsing_does_not_vote_blind(studio):
    ann, bob = studio.as_user(ANN), studio.as_user(BOB)
    assert ann.review_item(BY_ID, 1).machine_pair
    assert len(ann.review_items(BY_ID, [2, 3])) == 2  # fetched ahead
    switch(studio, True)
    for item in (1, 2, 3, 4):
        assert ann.review_item(BY_ID, item).blind
    assert [ann.decide(item, "tie").blind for item in (1, 2, 3, 4)] == [False, False, False, True]
    assert bob.decide(1, "tie").blind
    assert stored(studio) == [("ann", 1), ("ann", 2), ("ann", 3)]


def test_what_was_seen_between_two_blind_assignments_counts_also_after_a_restart(made, tmp_path):
    path = shutil.copytree(made, tmp_path / "workspace")
    with contextlib.closing(Studio.open(path)) as studio:
        studio.people.assign(["ann"], items=1, blind=True)
        ann = studio.as_user(ANN)
        first = ann.review_item(ReviewView("mine")).instruction.id
        assert ann.decide(first, "tie").blind
        seen = next(i for i in range(1, 9) if i != first)
        assert ann.review_item(BY_ID, first) and not ann.review_item(BY_ID, seen).blind
    with contextlib.closing(Studio.open(path)) as studio:
        studio.people.assign(["ann"], items=7, blind=True)
        ann = studio.as_user(ANN)
        said = {i: ann.decide(i, "tie").blind for i in range(1, 9) if i != first}
        assert said == {i: i != seen for i in said}
        assert stored(studio) == [("ann", seen)]  # what one voted on is known by the vote


def test_another_role_saw_it_too_and_the_owner_is_not_noted(studio):
    studio.as_user(User("ann", "curator")).review_item(BY_ID, 1)
    studio.as_user(User("ann", "viewer")).review_item(BY_ID, 2)
    studio.as_user(OWNER).review_item(BY_ID, 3)
    studio.as_user(User("me", "curator")).review_item(BY_ID, 5)  # a login of that name
    studio.review_item(BY_ID, 4)
    bare = studio.db.write(lambda con: add_instruction(con, "bare"))
    studio.as_user(BOB).review_item(BY_ID, bare)  # nothing is known of it that could be hidden
    switch(studio, True)
    assert not studio.as_user(ANN).decide(1, "tie").blind and studio.as_user(ANN).decide(3, "tie").blind
    assert not studio.as_user(User("me", "annotator")).decide(5, "tie").blind
    assert stored(studio) == [("ann", 1), ("ann", 2), ("me", 5)]


def test_anothers_tag_or_answer_is_something_hidden_too_and_ones_own_is_not(studio):
    """On items without a score or a pick, where nothing else tells."""
    tagged, edited, own = (studio.db.write(lambda con, name=name: add_instruction(con, name)) for name in "abc")
    ann, bob = studio.as_user(ANN), studio.as_user(BOB)
    bob.set_tag(tagged, "odd"), bob.add_edit(edited, "what bob wrote")
    ann.set_tag(own, "odd"), ann.add_edit(own, "what ann wrote")
    for item in (tagged, edited, own):
        ann.review_item(BY_ID, item)
    studio.as_user(User("cyd", "viewer")).review_items(BY_ID, [tagged, edited])
    switch(studio, True)
    assert [ann.decide(item, "tie").blind for item in (tagged, edited, own)] == [False, False, True]
    assert stored(studio) == [("ann", tagged), ("ann", edited), ("cyd", tagged), ("cyd", edited)]


def test_lists_of_pairs_are_something_seen_too(studio):
    """The gallery of Browse, the pairs that another setting changes, and what a check found."""
    ann, bob = studio.as_user(ANN), studio.as_user(BOB)
    total, [first, second] = ann.browsing.negatives(BY_ID, 0, 2)
    gallery = {first.instruction_id, second.instruction_id}
    flips = {each["instruction_id"] for each in bob.calibration.what_if(delta=0.99, which="lost", limit=3)["items"]}
    assert total == 8 and len(flips) == 3
    finding = "INSERT INTO pair_findings SELECT 1, instruction_id, chosen, rejected, 'near_equal', 'nearly' FROM"
    found = f"(FROM selection_pairs WHERE instruction_id IN ({min(flips)}, {min(set(range(1, 9)) - flips)}))"
    studio.db.write(lambda con: con.execute(f"{finding} {found}"))
    checked = {pair["instruction_id"] for pair in bob.preflight.findings(1)["pairs"]}
    studio.as_user(OWNER).browsing.negatives(BY_ID)
    switch(studio, True)
    assert {i for i in range(1, 9) if not ann.decide(i, "tie").blind} == gallery
    assert len(checked) == 2 and {i for i in range(1, 9) if not bob.decide(i, "tie").blind} == flips | checked
    assert stored(studio) == sorted([("ann", i) for i in gallery] + [("bob", i) for i in flips | checked])


def test_views_are_stored_once_from_many_threads(studio):
    views = OpenViews(studio.db)
    threads = [threading.Thread(target=lambda: [views.add("ann", n % 20) for n in range(200)]) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert views.has("ann", 19) and not views.has("ann", 20) and not views.has("bob", 19)
    views.add("bob", 3)
    views.close()
    assert stored(studio) == [("ann", n) for n in range(20)] + [("bob", 3)]
    again = OpenViews(studio.db)
    assert again.has("ann", 7) and not again.has("bob", 7)


@pytest.mark.parametrize("error", [StorageError("The disk is full."), RuntimeError("Something else.")])
def test_what_cannot_be_stored_waits_and_is_tried_again_by_itself(studio, monkeypatch, error):
    refused = threading.Event()

    def refuse(con, views):
        refused.set()
        raise error

    views = OpenViews(studio.db)
    monkeypatch.setattr(open_views, "WAIT", 0.01)
    monkeypatch.setattr(open_views, "RETRY", 0.1)
    with monkeypatch.context() as full:
        full.setattr(open_views, "add_views", refuse)
        views.add("ann", 1)
        assert refused.wait(10)
        with pytest.raises(type(error)):
            views.store()
    views.add("ann", 2)
    limit = time.monotonic() + 10
    while not (found := read_stored(studio)) and time.monotonic() < limit:
        time.sleep(0.01)
    assert found == [("ann", 1), ("ann", 2)]


def test_nothing_is_written_after_the_end(studio, monkeypatch, caplog):
    """Neither by a request that comes late, nor because the last write failed."""
    monkeypatch.setattr(open_views, "WAIT", 0.01)
    monkeypatch.setattr(open_views, "RETRY", 0.01)
    with monkeypatch.context() as full:
        full.setattr(open_views, "add_views", lambda con, views: 1 / 0)
        views = OpenViews(studio.db)
        views.add("ann", 1)
        views.close()  # and whoever closes goes on
    assert "not stored yet" in caplog.text
    before = threading.active_count()
    views.add("ann", 2)
    assert threading.active_count() <= before and views._timer is None
    assert read_stored(studio) == []


def test_one_persons_views_are_read_while_others_go_on(studio, monkeypatch):
    """A slow disk holds up who comes for the first time, and nobody else."""
    views, reading, slow = OpenViews(studio.db), threading.Event(), threading.Event()
    views.add("ann", 1)
    read = studio.db.read
    monkeypatch.setattr(studio.db, "read", lambda query: reading.set() or (slow.wait(10) and read(query)))
    late = threading.Thread(target=views.add, args=("bob", 1), daemon=True)
    late.start()
    assert reading.wait(10)
    added = threading.Thread(target=views.add, args=("ann", 2), daemon=True)
    added.start()
    added.join(5)
    waits = added.is_alive()
    slow.set()
    late.join(10), added.join(10)
    assert not waits
    views.close()
    assert stored(studio) == [("ann", 1), ("ann", 2), ("bob", 1)]
