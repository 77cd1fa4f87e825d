"""Gold items: whose first vote is held against the last word, and whose is not."""

import pytest
from people_acts import gold, queue_of, vote
from workspaces import ANN, BOB, CORA, open_selected

from m3po.errors import BadInputError
from m3po.types import ReviewView
from m3po.users import User


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    studio = open_selected(tmp_path_factory.mktemp("made"), 12)
    studio.close()
    return studio.path


def standing(studio, instruction_id):
    return studio.review_item(ReviewView(), instruction_id).decision


def test_gold_needs_a_decision_becomes_final_and_measures_others(studio):
    with pytest.raises(BadInputError, match="decide it first"):
        studio.people.mark_gold(1)
    golden = gold(studio, 5)
    studio.people.assign(["ann", "bob"], items=2, gold=5)
    vote(studio, ANN, golden[0], "tie")
    for item in golden:
        vote(studio, ANN, item)
        vote(studio, BOB, item, "override")
    assert standing(studio, 2).verdict == "accept" and standing(studio, 2).role == "adjudicated"
    found = {row["annotator"]: row for row in studio.people.overview()["people"]}
    assert (found["ann"]["gold_right"], found["ann"]["gold_seen"], found["bob"]["gold_right"]) == (4, 5, 0)
    low, high = found["ann"]["gold_interval"]
    assert low == pytest.approx(0.3755, abs=1e-3) and high == pytest.approx(0.9638, abs=1e-3)  # Wilson's table, 4 of 5
    assert found["cora"]["gold_seen"] == 0  # nobody is measured by herself
    # Cora corrects two of them: what she says last is what is right; of the second she thinks better of it.
    assert vote(studio, CORA, 2, "override").role == vote(studio, CORA, 3, "tie").role == "adjudicated"
    studio.as_user(CORA).undo()
    found = {row["annotator"]: row for row in studio.people.overview()["people"]}
    assert (found["ann"]["gold_right"], found["bob"]["gold_right"], found["bob"]["gold_seen"]) == (3, 1, 5)
    assert studio.as_user(CORA).review_item(ReviewView(), 2).gold
    studio.people.unmark_gold(2, "cora")
    assert {row["annotator"]: row for row in studio.people.overview()["people"]}["ann"]["gold_seen"] == 4
    assert standing(studio, 2).role == "adjudicated"  # the decision stays


def gold_figures(studio, name):
    row = next(row for row in studio.people.overview()["people"] if row["annotator"] == name)
    return row["gold_seen"], row["gold_right"]


def test_the_first_vote_on_a_gold_item_measures_whatever_follows_it(studio):
    golden = gold(studio, 4)
    studio.people.assign(["ann"], items=2, gold=4)
    ann = studio.as_user(ANN)
    vote(studio, ANN, golden[0], "tie")  # wrong; now she is shown what is right
    assert any(v.role for v in ann.review_item(ReviewView(), golden[0]).votes) and gold_figures(studio, "ann") == (1, 0)
    ann.undo()
    assert gold_figures(studio, "ann") == (1, 0)
    vote(studio, ANN, golden[0])
    ann.remark(golden[0], reason="count")
    assert gold_figures(studio, "ann") == (1, 0)
    vote(studio, ANN, golden[1])  # right, with a reason since, undone and redone: once, and right
    ann.remark(golden[1], note="sure"), ann.undo(), ann.redo(), ann.undo(), ann.undo(), ann.redo()
    assert gold_figures(studio, "ann") == (2, 1)
    for verdict in ("skip", "flag", "tie"):  # the first that is a vote
        vote(studio, ANN, golden[2], verdict)
    assert gold_figures(studio, "ann") == (3, 1)


def test_who_was_shown_the_last_word_before_the_vote_is_not_measured_by_it(studio):
    for user in (ANN, BOB):
        vote(studio, user, 1, "tie")
    vote(studio, BOB, 1)
    gold(studio, 1)  # later: it may rest on their own votes
    dan, eve = User("dan", "annotator"), User("eve", "annotator")
    assert studio.as_user(dan).review_item(ReviewView(), 1).decision.role  # nothing is assigned to him: he sees it
    vote(studio, dan, 1)
    studio.decide(1, "tie", annotator="eve", blind=True)
    assert [gold_figures(studio, user.name) for user in (ANN, BOB, dan, eve)] == [(0, 0), (0, 0), (0, 0), (1, 0)]
    studio.db.write(lambda con: con.execute("UPDATE decisions SET reason = 'imported' WHERE annotator = 'dan'"))
    assert gold_figures(studio, "dan") == (1, 1)  # a file's vote was given elsewhere


def test_a_vote_measures_by_what_was_assigned_when_it_was_given(studio):
    """Before an item is assigned, and after it is taken back, the last word on it is shown."""
    gold(studio, 1)
    vote(studio, ANN, 1)
    studio.people.assign(["ann"], items=1, gold=1)
    assert gold_figures(studio, "ann") == (0, 0)
    made = studio.people.assign(["ann", "bob"], items=2, overlap=1.0)
    before = queue_of(studio, BOB)
    for item in before:
        vote(studio, CORA, item)
        studio.people.mark_gold(item, "cora")
    studio.people.set_overlap(made["assignment_id"], 0.0)
    [kept] = queue_of(studio, BOB)
    for item in before:
        vote(studio, BOB, item)
    assert kept in before and gold_figures(studio, "bob") == (1, 1)


def test_who_looked_at_the_last_word_before_the_item_was_assigned_is_not_measured_by_it(studio):
    golden = gold(studio, 2)
    assert studio.as_user(ANN).review_item(ReviewView(), golden[0]).decision.role
    studio.sight.close()  # what she was shown is stored
    studio.people.assign(["ann", "bob"], items=2, gold=2)
    for user in (ANN, BOB):
        for item in golden:
            vote(studio, user, item)
    assert [gold_figures(studio, name) for name in ("ann", "bob")] == [(1, 1), (2, 2)]


def test_agreement_is_of_what_each_said_first(studio):
    """A vote shows what others said: who then says the same agrees with them no more than before."""
    studio.people.assign(["ann", "bob"], items=6, overlap=1.0)
    shared = queue_of(studio, ANN)
    for item in shared:
        vote(studio, BOB, item)
        vote(studio, ANN, item, "accept" if item in shared[:3] else "tie")
    first = studio.people.overview()
    assert first["disputed"] == 3 and 0 < first["kappas"][0][2].items == 6
    for item in shared[3:]:
        vote(studio, ANN, item)
    now = studio.people.overview()
    assert now["disputed"] == 0 and now["alpha"].value == first["alpha"].value < 0.5
    vote(studio, BOB, shared[0], "skip")  # who takes the vote back says nothing any more
    assert studio.people.overview()["alpha"].items == 5
