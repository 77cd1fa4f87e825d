"""Undo and redo: any sequence of them equals the plain stacks of an editor, and is there after reopening."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workspaces import make_workspace

from m3po.errors import BadInputError
from m3po.store import votes
from m3po.studio import Studio
from m3po.types import ReviewView
from m3po.users import User

ITEMS = (1, 2)
ANN, BOB, CORA = User("ann", "annotator"), User("bob", "annotator"), User("cora", "curator")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    studio = Studio.open(make_workspace(tmp_path_factory.mktemp("undo"), n=3))
    studio.select()
    yield studio
    studio.close()


@pytest.fixture
def studio(tmp_path):
    studio = Studio.open(make_workspace(tmp_path, n=3))
    studio.select()
    yield studio
    studio.close()


class Editor:
    """The oracle: what is done is a list, what a person may undo and redo are stacks of places in it."""

    def __init__(self):
        self.made, self.gone, self.undone_by, self.redone = [], set(), {}, set()
        self.undo_stack, self.redo_stack = {}, {}

    def push(self, who, item, verdict, *, by):
        place = len(self.made)
        self.made.append((who, item, verdict))
        for name in {who, by}:
            self.undo_stack.setdefault(name, []).append(place)
        return place

    def decide(self, who, item, verdict):
        self.redo_stack[who] = []
        return self.push(who, item, verdict, by=who)

    def undo(self, who, place=None):
        if place is None:
            open_ = [p for p in self.undo_stack.get(who, []) if p not in self.gone]
            if not open_:
                return None
            place = open_[-1]
        self.gone.add(place)
        self.undone_by[place] = who
        self.redo_stack.setdefault(who, []).append(place)
        return place

    def redo(self, who, place=None):
        if place is None:
            if not self.redo_stack.get(who):
                return None
            place = self.redo_stack[who][-1]
        for stack in self.redo_stack.values():
            if place in stack:
                stack.remove(place)
        self.redone.add(place)
        return self.push(*self.made[place], by=who)

    def stands(self, who, item):
        own = [p for p, (name, on, _) in enumerate(self.made) if (name, on) == (who, item) and p not in self.gone]
        return self.made[own[-1]][2] if own else None


numbers = itertools.count()
people = st.integers(0, 2)
acts = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), people, st.sampled_from(ITEMS), st.sampled_from(["tie", "skip", "flag"])),
        st.tuples(st.sampled_from(["undo", "redo"]), people, st.none() | st.integers(0, 12)),
    ),
    max_size=14,
)


@settings(max_examples=20, deadline=None)
@given(acts)
def test_any_sequence_equals_the_stacks_of_an_editor(shared, acts):
    run = next(numbers)  # names of their own, so that one workspace serves all sequences
    users = [User(f"{user.name}{run}", user.role) for user in (ANN, BOB, CORA)]
    editor, ids = Editor(), []
    for act, person, *rest in acts:
        user = users[person]
        door = shared.as_user(user)
        if act == "decide":
            ids.append(door.decide(*rest).id)
            editor.decide(user.name, *rest)
            continue
        place = rest[0]
        if place is None:
            found, expected = getattr(door, act)(), getattr(editor, act)(user.name)
            assert (found is None) == (expected is None)
        else:
            if place >= len(ids):
                continue
            owner, curator = editor.made[place][0], user.role == "curator"
            allowed = owner == user.name or curator
            if act == "undo":
                allowed &= place not in editor.gone
            else:
                allowed &= place in editor.gone - editor.redone
                allowed &= curator or editor.undone_by.get(place) == user.name
            if not allowed:
                with pytest.raises(BadInputError, match=r"^[A-Z][^.]*\.$"):
                    getattr(door, act)(decision_id=ids[place])
                continue
            found, expected = getattr(door, act)(decision_id=ids[place]), getattr(editor, act)(user.name, place)
        if expected is not None:
            assert (found.annotator, found.instruction_id, found.verdict) == editor.made[expected]
            if act == "redo":
                ids.append(found.id)
            assert found.id == ids[expected]
    for user in users:
        for item in ITEMS:
            vote = shared.db.read(lambda con, item=item, name=user.name: votes.own_vote(con, item, name))
            assert (vote and vote["verdict"]) == editor.stands(user.name, item)
            assert shared.sight._person(user.name).said(item) == (editor.stands(user.name, item) or "")


def test_undo_undo_redo_redo_is_where_one_began_also_after_reopening(tmp_path):
    studio = Studio.open(make_workspace(tmp_path, n=3))
    studio.select()
    item = studio.review_item(ReviewView("all", "id"))
    others = [c.id for c in item.candidates if item.role(c.id) == "none"]
    first = studio.decide(1, "override", chosen=others[0], rejected=others[1], note="sure", reason="count", seconds=3.0)
    studio.decide(2, "tie")
    studio.undo()
    assert studio.undo().id == first.id
    studio.close()
    again = Studio.open(studio.path)
    try:
        redone = again.redo()
        assert redone.id != first.id and redone.note == "sure" and redone.reason == "count" and redone.seconds == 3.0
        assert again.review_item(instruction_id=1).pair.chosen == others[0]
        assert again.redo().verdict == "tie" and again.redo() is None
        shown = again.db.read(
            lambda con: con.execute(
                "SELECT shown, selection_id, blind FROM decisions WHERE decision_id IN (?, ?)", [first.id, redone.id]
            ).fetchall()
        )
        assert shown[0] == shown[1] and json.loads(shown[0][0])
        assert not again.review_item(instruction_id=1).decision.stale
        assert again.undo().verdict == "tie" and again.undo().id == redone.id  # undo after redo undoes the redone
        again.decide(3, "skip")
        assert again.redo() is None  # a new decision ends what can be redone
        assert again.undo().instruction_id == 3 and again.redo().instruction_id == 3 and again.redo() is None
    finally:
        again.close()


def test_a_curator_takes_back_and_redoes_anybodys_and_an_annotator_her_own(studio):
    ann, bob, cora = (studio.as_user(user) for user in (ANN, BOB, CORA))
    made = ann.decide(1, "tie")
    unknown = "no such decision of yours"
    for of in (made.id, 999):
        with pytest.raises(BadInputError, match=unknown):  # not to tell what is hidden: as if it were not there
            bob.undo(decision_id=of)
    assert cora.undo(decision_id=made.id).annotator == "ann"
    assert ann.review_item(ReviewView(), 1).decision is None and ann.undo() is None
    with pytest.raises(BadInputError, match="undone already, by cora"):
        ann.undo(decision_id=made.id)
    with pytest.raises(BadInputError, match="curator took this decision back"):
        ann.redo(decision_id=made.id)
    assert ann.redo() is None
    assert cora.redo().annotator == "ann"
    assert ann.review_item(ReviewView(), 1).decision.annotator == "ann"
    assert cora.undo().annotator == "ann" and cora.redo().annotator == "ann"  # what she did last is what is undone
    rows = list(studio.db.read(lambda con: list(votes.history_rows(con))))
    assert [(r["annotator"], r["verdict"], r["redoes"], r["redone_by"]) for r in rows] == [
        ("ann", "tie", None, None),
        ("cora", "undo", None, None),
        ("ann", "tie", made.id, "cora"),
        ("cora", "undo", None, None),
        ("ann", "tie", rows[2]["decision_id"], "cora"),
    ]
    assert studio.db.read(lambda con: votes.count_voters(con, 1)) == 1  # who only undoes is no voter


def test_a_gold_item_is_one_again_when_its_decision_is_redone(studio):
    cora = studio.as_user(CORA)
    cora.decide(1, "accept")
    cora.people.mark_gold(1)
    assert cora.review_item(ReviewView(), 1).gold
    assert cora.undo().role == "adjudicated" and not cora.review_item(ReviewView(), 1).gold
    cora.redo()
    assert cora.review_item(ReviewView(), 1).gold
    was = studio.as_user(User("cora", "annotator"))  # a curator no more
    was.undo()
    with pytest.raises(BadInputError, match="last word on an item is a curator's"):
        was.redo()


def test_imported_votes_and_undos_are_refused_in_a_sentence(studio):
    made = studio.decide(1, "tie")
    studio.db.write(lambda con: con.execute("UPDATE decisions SET reason = 'imported'"))  # as an import marks it
    for act in (studio.undo, studio.redo):
        with pytest.raises(BadInputError, match="came with a file"):
            act(decision_id=made.id)
    assert studio.undo() is None
    studio.decide(1, "skip")
    studio.undo()
    with pytest.raises(BadInputError, match="no such decision of yours"):
        studio.undo(decision_id=studio.history(1)[0].id)
