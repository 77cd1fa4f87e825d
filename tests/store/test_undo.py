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
    """The oracle: what was ever done is a list, some of it is gone, and what a person may redo is a stack of places in
    it. A redo puts back what an undo took out, where it was."""

    def __init__(self):
        self.made, self.gone, self.redo_stack = [], {}, {}

    def decide(self, who, item, verdict):
        self.redo_stack[who] = []
        self.made.append((who, item, verdict))

    def undo(self, who, place=None):
        own = [p for p, (name, *_) in enumerate(self.made) if name == who and p not in self.gone]
        if place is None and not own:
            return None
        place = own[-1] if place is None else place
        self.gone[place] = who
        if self.made[place][0] == who:
            self.redo_stack.setdefault(who, []).append(place)
        return place

    def redo(self, who, place=None):
        if place is None and not self.redo_stack.get(who):
            return None
        place = self.redo_stack[who][-1] if place is None else place
        del self.gone[place]
        for stack in self.redo_stack.values():
            if place in stack:
                stack.remove(place)
        return place

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


@settings(max_examples=20)
@given(acts)
def test_any_sequence_equals_the_stacks_of_an_editor(shared, acts):
    run = next(numbers)  # names of their own, so that one workspace serves all sequences
    users = [User(f"{user.name}{run}", user.role) for user in (ANN, BOB, CORA)]
    editor, ids = Editor(), []  # of each place the row that stands for it, or did last
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
            curator = user.role == "curator"
            allowed = editor.made[place][0] == user.name or curator
            allowed &= (place in editor.gone) == (act == "redo")
            if act == "redo":
                allowed &= curator or editor.gone.get(place) == user.name
            if not allowed:
                with pytest.raises(BadInputError, match=r"^[A-Z][^.]*\.$"):
                    getattr(door, act)(decision_id=ids[place])
                continue
            found, expected = getattr(door, act)(decision_id=ids[place]), getattr(editor, act)(user.name, place)
        if expected is not None:
            assert (found.annotator, found.instruction_id, found.verdict) == editor.made[expected]
            later = [p for p, made in enumerate(editor.made) if p > expected and made[:2] == editor.made[expected][:2]]
            assert found.replaced == any(p not in editor.gone for p in later)
            if act == "redo":
                with pytest.raises(BadInputError, match="redone since"):
                    door.redo(decision_id=ids[expected])
                ids[expected] = found.id
            assert found.id == ids[expected]
    for item in ITEMS:
        said = {row.annotator: row.verdict for row in shared.history(item) if row.stands}  # by the view
        for user in users:
            vote = shared.db.read(lambda con, item=item, name=user.name: votes.own_vote(con, item, name))
            assert (vote and vote["verdict"]) == editor.stands(user.name, item)
            own = shared.db.read(lambda con, name=user.name: shared.review_index.person(con, name))
            assert own.said(item) == (editor.stands(user.name, item) or "")
            assert said.get(user.name) == editor.stands(user.name, item)


def what_stands(studio):
    found = studio.db.read(lambda con: {item: votes.votes_of(con, item) for item in ITEMS})
    said = {item: [(v.annotator, v.role, v.verdict, v.note) for v in rows] for item, rows in found.items()}
    return said, [
        (d and (d.annotator, d.verdict, d.note)) for d in (studio.review_item(instruction_id=i).decision for i in ITEMS)
    ]


def test_an_undo_and_its_redo_leave_what_stands_as_it_was(studio):
    """Of every decision, whoever made it and whatever came later; and the next plain undo is the same one."""
    ann, bob, cora = (studio.as_user(user) for user in (ANN, BOB, CORA))
    ann.decide(1, "all_wrong"), bob.decide(1, "tie"), ann.decide(1, "tie"), ann.remark(1, note="both are blue")
    ann.decide(2, "all_wrong"), bob.decide(2, "tie"), cora.decide(2, "skip")
    for verdict in ("tie", "all_right"):
        cora.decide(2, verdict, adjudicate=True)
    before = what_stands(studio)
    assert before[1] == [("ann", "tie", "both are blue"), ("cora", "all_right", "")]
    for item in ITEMS:
        made = [row for row in studio.history(item) if row.revokes is None]
        for row in made:
            undone, redone = cora.undo(decision_id=row.id), cora.redo(decision_id=row.id)
            assert what_stands(studio) == before and redone.id != row.id
            assert undone.replaced == redone.replaced == (not row.stands)
            assert undone.remark == redone.remark == (row.note == "both are blue")
            twice = cora.undo(decision_id=redone.id), cora.redo(decision_id=redone.id)
            assert what_stands(studio) == before and twice[0].replaced == (not row.stands)
    assert ann.undo().verdict == "all_wrong" and ann.undo().remark  # on the second item; then the note


def test_an_undo_sent_again_after_its_redo_says_what_it_said(studio):
    """The redone copy of what it undid is no later word, and no earlier one."""
    ann = studio.as_user(ANN)
    ann.decide(1, "tie")
    first = ann.undo(client_id="the-first-undo")
    ann.redo(client_id="its-redo")
    assert ann.undo(client_id="the-first-undo") == first and not (first.remark or first.replaced)
    ann.remark(1, note="both are blue")
    second = ann.undo(client_id="the-second-undo")
    assert second.remark
    redone = ann.redo(client_id="the-second-redo")
    assert redone.remark and ann.undo(client_id="the-second-undo") == second
    assert ann.redo(client_id="the-second-redo") == redone
    assert ann.undo(client_id="its-redo").id == redone.id  # the id of a redo is none of an undo


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
    for who, by in ((ann, "a curator"), (cora, "cora")):  # an annotator learns no other's name
        with pytest.raises(BadInputError, match=f"undone already, by {by}\\."):
            who.undo(decision_id=made.id)
    with pytest.raises(BadInputError, match="curator took this decision back"):
        ann.redo(decision_id=made.id)
    assert ann.redo() is None
    assert cora.redo() is None and cora.redo(decision_id=made.id).annotator == "ann"
    assert ann.review_item(ReviewView(), 1).decision.annotator == "ann"
    assert cora.undo() is None and cora.redo() is None  # the keys are for what is one's own
    rows = list(studio.db.read(lambda con: list(votes.history_rows(con))))
    assert [(r["annotator"], r["verdict"], r["redoes"], r["redone_by"]) for r in rows] == [
        ("ann", "tie", None, None),
        ("cora", "undo", None, None),
        ("ann", "tie", made.id, "cora"),
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
    [last, _] = [row for row in studio.history(1) if row.stands]
    assert last.role == "adjudicated"
    was = studio.as_user(User("cora", "annotator"))  # a curator no more: her own vote is all that she takes back
    with pytest.raises(BadInputError, match="only a curator takes it back"):
        was.undo(decision_id=last.id)
    assert was.undo().role == "" and was.undo() is None
    assert cora.review_item(ReviewView(), 1).gold and was.redo().verdict == "accept" and was.redo() is None
    cora.undo(decision_id=last.id)
    assert was.redo() is None
    with pytest.raises(BadInputError, match="last word on an item is a curator's"):
        was.redo(decision_id=last.id)


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
