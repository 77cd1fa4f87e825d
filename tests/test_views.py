"""A vote is called blind only where nothing that blindness hides was shown before."""

import dataclasses
import threading

import pytest
from workspaces import ANN, BOB, BY_ID, add_instruction, make_selected

from m3po.errors import StorageError
from m3po.settings import write_workspace_config
from m3po.store import open_views
from m3po.store.connection import rows
from m3po.types import ReviewView
from m3po.users import OWNER, User
from m3po.views import Views


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_selected(tmp_path_factory.mktemp("made"), 8)


def stored(studio) -> list[tuple]:
    studio.sight.views.store()
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


def test_what_was_seen_between_two_blind_assignments_counts_also_after_a_restart(studio):
    studio.people.assign(["ann"], items=1, blind=True)
    ann = studio.as_user(ANN)
    first = ann.review_item(ReviewView("mine")).instruction.id
    assert ann.decide(first, "tie").blind
    seen = next(i for i in range(1, 9) if i != first)
    assert ann.review_item(BY_ID, first) and not ann.review_item(BY_ID, seen).blind
    studio.close()
    studio.__init__(type(studio.workspace)(studio.path))  # the app is started again
    studio.people.assign(["ann"], items=7, blind=True)
    ann = studio.as_user(ANN)
    said = {i: ann.decide(i, "tie").blind for i in range(1, 9) if i != first}
    assert said == {i: i != seen for i in said}
    assert stored(studio) == [("ann", seen)]  # what one voted on is known by the vote


def test_another_role_saw_it_too_and_the_owner_is_not_noted(studio):
    studio.as_user(User("ann", "curator")).review_item(BY_ID, 1)
    studio.as_user(User("ann", "viewer")).review_item(BY_ID, 2)
    studio.as_user(OWNER).review_item(BY_ID, 3)
    studio.review_item(BY_ID, 4)
    bare = studio.db.write(lambda con: add_instruction(con, "bare"))
    studio.as_user(BOB).review_item(BY_ID, bare)  # nothing is known of it that could be hidden
    switch(studio, True)
    assert not studio.as_user(ANN).decide(1, "tie").blind and studio.as_user(ANN).decide(3, "tie").blind
    assert stored(studio) == [("ann", 1), ("ann", 2)]


def test_views_are_stored_once_from_many_threads_and_wait_where_the_disk_is_full(studio, monkeypatch):
    views = Views(studio.db)
    threads = [threading.Thread(target=lambda: [views.add("ann", n % 20) for n in range(200)]) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    def refuse(con, views):
        raise StorageError("The disk is full.")

    with monkeypatch.context() as full:
        full.setattr(open_views, "add_views", refuse)
        views.store()
    assert views.has("ann", 19) and not views.has("ann", 20) and not views.has("bob", 19)
    views.close()
    assert stored(studio) == [("ann", n) for n in range(20)]
    assert Views(studio.db).has("ann", 7)
