"""An item's history as the page draws it: what became of each row, and who gets which button."""

import re
import shutil

import pytest
from workspaces import ANN, BOB, CORA, make_selected

from m3po.studio import Studio
from m3po.users import User
from m3po.workspace_config import WorkspaceConfig
from ui.review.handlers import ReviewHandler

VIEW = {"filter": "all", "order": "id"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_selected(tmp_path_factory.mktemp("made"), 2, WorkspaceConfig(blind=True))


@pytest.fixture
def studio(made, tmp_path):
    """Not the one of the tests beside: the module's own workspace."""
    studio = Studio.open(shutil.copytree(made, tmp_path / "workspace"))
    yield studio
    studio.close()


def ask(studio, user, **command):
    return ReviewHandler(studio.as_user(user)).on_command({"instruction_id": 1, "view": VIEW, **command}, user.name)


def drawn(studio, user) -> list[list[str]]:
    """Its rows, newest first, as texts."""
    html = ask(studio, user, op="history")["history"]
    rows = re.findall(r"<tr data-decision.*?</tr>", html, re.S)
    return [[re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<td>(.*?)</td>", row, re.S)] for row in rows]


def test_every_row_says_what_became_of_it(studio):
    machine = studio.review_item(instruction_id=1).machine_pair
    first = studio.as_user(CORA).decide(
        1, "override", chosen=machine.rejected, rejected=machine.chosen, note="<b>no</b>"
    )
    studio.as_user(CORA).decide(1, "tie", seconds=3.4)
    ask(studio, CORA, op="undo")
    ask(studio, CORA, op="undo", of=first.id)
    answer = ask(studio, CORA, op="redo", of=first.id)
    assert answer["message"] == "Redone: override." and answer["item"]["chosen"] == machine.rejected
    rows = [[row[i] for i in (0, 1, 2, 3, 5, 7, 8, 9)] for row in drawn(studio, CORA)]
    said = "&lt;b&gt;no&lt;/b&gt;"
    assert rows == [
        ["5", "cora", "overridden (redo of 1)", "2 over 1", said, "–", "✓ stands", "Undo"],
        ["4", "cora", "undo of 1", "", "", "", "", ""],
        ["3", "cora", "undo of 2", "", "", "", "", ""],
        ["2", "cora", "tie", "–", "–", "3", "undone by cora", "Redo"],
        ["1", "cora", "overridden", "2 over 1", said, "–", "undone by cora, redone", ""],
    ]
    studio.as_user(CORA).decide(1, "skip")
    assert [row[8] for row in drawn(studio, CORA)][:2] == ["✓ stands", "replaced by a later one"]


def test_what_a_later_decision_replaced_is_undone_and_redone_under_it_and_told_so(studio):
    first = studio.as_user(CORA).decide(1, "all_wrong")
    studio.as_user(CORA).decide(1, "tie")
    for op, done in (("undo", "Undone"), ("redo", "Redone")):
        assert ask(studio, CORA, op=op, of=first.id)["message"] == f"{done}: all wrong, but a later decision stands."
        assert studio.review_item(instruction_id=1).decision.verdict == "tie"
    assert [row[8] for row in drawn(studio, CORA)] == [
        "replaced by a later one", "", "✓ stands", "undone by cora, redone",
    ]  # fmt: skip
    assert ask(studio, CORA, op="undo")["message"] == "Undone: tie."


def test_undo_and_redo_of_a_reason_say_the_same(studio):
    door = studio.as_user(CORA)
    door.decide(1, "tie")
    door.remark(1, reason="count")
    for _ in range(2):
        assert ask(studio, CORA, op="undo")["message"] == "Undone: its reason or note."
        assert ask(studio, CORA, op="redo")["message"] == "Redone: its reason or note."
    assert studio.review_item(instruction_id=1).decision.reason == "count"


def test_a_last_word_has_no_button_for_who_is_no_curator_any_more(studio):
    for user in (ANN, BOB):
        studio.as_user(user).decide(1, "tie" if user == ANN else "all_wrong")
    studio.as_user(CORA).decide(1, "tie", adjudicate=True)
    was = User("cora", "annotator")
    studio.as_user(was).decide(1, "tie")
    html = ask(studio, was, op="history")["history"]
    buttons = dict(zip(("own", "last word"), re.findall(r'<button[^>]*class="([^"]*)"', html), strict=False))
    assert buttons == {"own": "plain", "last word": "plain curator-only"}


def test_blind_she_sees_and_undoes_her_own_alone(studio):
    theirs = studio.as_user(BOB).decide(1, "flag")
    mine = studio.as_user(ANN).decide(1, "skip")
    studio.as_user(CORA).undo(decision_id=mine.id)
    rows = drawn(studio, ANN)
    assert [(row[0], row[1], row[8]) for row in rows] == [("1", "ann", "undone by a curator")]
    html = str(ask(studio, ANN, op="history"))
    assert "bob" not in html and "cora" not in html and "curator-only" in html  # she cannot redo what a curator undid
    for op in ("undo", "redo"):
        for of in (theirs.id, 999):
            answer = ask(studio, ANN, op=op, of=of)
            assert answer["error"].startswith("There is no such decision of yours") and "bob" not in str(answer)
    assert "curator took" in ask(studio, ANN, op="redo", of=mine.id)["error"]
    assert [row[1] for row in drawn(studio, CORA)] == ["cora", "ann", "bob"]
    assert ask(studio, CORA, op="undo", of=theirs.id)["message"] == "Undone: bob's flag."


def test_an_item_that_nobody_decided_says_so(studio):
    assert "Nobody has decided" in ask(studio, ANN, op="history")["history"]
    assert "could have a history" in ask(studio, ANN, op="history", instruction_id=None)["error"]
