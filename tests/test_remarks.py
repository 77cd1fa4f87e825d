"""Reasons and notes that go with decisions, and the guideline that lists the reasons."""

import csv
import dataclasses
import json

import pytest
from workspaces import ANN, BOB, BY_ID, CORA, VIC, make_selected

from m3po.errors import BadInputError, NotAllowedError
from m3po.guidelines import Guidelines
from m3po.store.connection import rows
from m3po.types import DEFAULT_REASONS
from m3po.workspace_config import write_workspace_config
from ui.review.answers import draw_answer
from ui.review.guideline import answer_guideline


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_selected(tmp_path_factory.mktemp("made"), 4)


def rows_of(studio, instruction_id=1) -> list[dict]:
    """As they are stored, oldest first."""
    sql = "SELECT * FROM decisions WHERE instruction_id = ? ORDER BY decision_id"
    return studio.db.read(lambda con: rows(con, sql, [instruction_id]))


def stands(studio, instruction_id=1) -> tuple:
    decision = studio.review_item(BY_ID, instruction_id).decision
    return decision and (decision.verdict, decision.reason, decision.note)


def test_a_remark_is_the_same_decision_once_more_and_an_undo_takes_it_back(studio):
    studio.decide(1, "flag", seconds=7.5, blind=True, role="adjudicated")
    first = rows_of(studio)[0]
    cora = {"curator": True}  # as whom one changes a last word
    studio.add_edit(1, "an answer that was not there then")
    assert studio.remark(1, reason="count", **cora).reason == "count"
    assert studio.remark(1, note="three, not two", **cora).reason == "count"
    last = rows_of(studio)[-1]
    changed = {name for name in first if first[name] != last[name]}
    assert changed == {"decision_id", "decided_at", "reason", "note"} and len(rows_of(studio)) == 3
    assert stands(studio) == ("flag", "count", "three, not two")
    studio.remark(1, reason="count", **cora)
    assert len(rows_of(studio)) == 3  # it says nothing new
    studio.undo(**cora)
    assert stands(studio) == ("flag", "count", "")
    studio.remark(1, reason="", **cora)
    assert stands(studio) == ("flag", "", "")
    studio.undo(**cora), studio.undo(**cora), studio.undo(**cora)
    assert stands(studio) is None


def test_who_is_no_curator_any_more_says_no_last_word_again(studio):
    own, demoted = studio.as_user(CORA), studio.as_user(dataclasses.replace(CORA, role="annotator"))
    own.decide(1, "tie")
    own.people.mark_gold(1)
    assert own.remark(1, reason="count").role == "adjudicated"
    before = rows_of(studio)
    assert demoted.remark(1, reason="object", curator=True).role == ""  # it goes with her vote
    assert rows_of(studio)[:-1] == before and stands(studio) == ("tie", "count", "")
    own.people.unmark_gold(1)
    studio.db.write(lambda con: con.execute("DELETE FROM decisions WHERE role IS NULL"))
    with pytest.raises(BadInputError, match="no decision of yours"):
        demoted.remark(1, reason="object")


def test_a_gold_item_keeps_the_reason(studio):
    studio.decide(1, "tie", reason="text", note="of ann", annotator="ann")
    studio.people.mark_gold(1, "cora")
    gold = rows_of(studio)[-1]
    assert (gold["annotator"], gold["role"], gold["reason"], gold["note"]) == ("cora", "adjudicated", "text", "")


def test_a_remark_sent_again_is_stored_once(studio):
    studio.decide(1, "tie")
    made = [studio.remark(1, reason="text", client_id="of-the-page") for _ in range(2)]
    assert made[0].id == made[1].id and len(rows_of(studio)) == 2
    assert studio.stored_decision(1, "", "of-the-page").id == made[0].id


def test_a_remark_goes_with_ones_own_decision_alone(studio):
    studio.decide(1, "tie", annotator="bob")
    with pytest.raises(BadInputError, match="no decision of yours"):
        studio.as_user(ANN).remark(1, reason="object")
    studio.db.write(lambda con: con.execute("UPDATE decisions SET reason = 'imported', annotator = 'ann'"))
    with pytest.raises(BadInputError, match="no decision of yours"):
        studio.as_user(ANN).remark(1, reason="object")  # it came with a file
    studio.as_user(ANN).decide(1, "skip")
    studio.decide(1, "tie", annotator="cora", role="adjudicated")
    made = studio.as_user(ANN).remark(1, reason="object", annotator="bob")
    assert (made.annotator, made.verdict, made.role) == ("ann", "skip", "")
    assert stands(studio) == ("tie", "", "")  # the curator's last word
    assert studio.as_user(CORA).remark(1, note="final").role == "adjudicated"
    assert studio.review_item(BY_ID, 1).decision.note == "final"
    with pytest.raises(NotAllowedError, match="vic is a viewer"):
        studio.as_user(VIC).remark(1, reason="object")


@pytest.mark.parametrize("reason", ["imported", "colour", "Object", "object\0", "\ud800"])
def test_a_reason_is_one_of_the_guideline(studio, reason):
    for say in (lambda: studio.decide(1, "tie", reason=reason), lambda: studio.remark(1, reason=reason)):
        with pytest.raises(BadInputError, match="reason"):
            say()
    with pytest.raises(BadInputError, match="shorten"):
        studio.decide(1, "tie", note="n" * 10_001)
    assert rows_of(studio) == []


@pytest.mark.parametrize("note", ["turned\u202e round", "\u2066x", "\u200b", "\u2800 ", "bell\x07"])
def test_a_note_is_text_that_can_be_seen(studio, note):
    with pytest.raises(BadInputError, match=r"^The note holds a character that cannot be shown"):
        studio.decide(1, "tie", note=note)
    studio.decide(1, "tie", note="one\n\ttwo\r\n👩\u200d🔬 \u200fשלום")
    with pytest.raises(BadInputError, match="cannot be shown"):
        studio.remark(1, note=note)
    assert len(studio.history(1)) == 1


def test_a_guideline_has_versions_and_an_old_reason_can_still_arrive(studio):
    own = studio.as_user(CORA).guideline
    assert own.current().version == 0 and own.current().reasons == DEFAULT_REASONS
    studio.decide(1, "tie", reason="object")
    one = own.write("Look first.\r\n\r\n- at the image ", ["hue ", "  e\u0301tat", "shape"], author="somebody else")
    assert (one.version, one.text, one.author) == (1, "Look first.\n\n- at the image", "cora")
    assert one.reasons == ("hue", "\u00e9tat", "shape")
    assert own.write(one.text, list(one.reasons)) == one  # nothing new
    two = own.write(reasons=["shape"])
    assert (two.version, two.text, own.current()) == (2, one.text, two)
    assert own.version(1) == one and [row["version"] for row in own.versions()] == [2, 1]
    studio.decide(2, "tie", reason="hue")
    with pytest.raises(BadInputError, match=r"no reason 'colour': choose one of shape, or"):
        studio.decide(2, "tie", reason="colour")
    with pytest.raises(BadInputError, match="no version 3"):
        own.version(3)
    assert Guidelines(studio.db).current() == two


def test_two_who_write_at_once_lose_nothing(studio):
    studio.as_user(CORA).guideline.write("one", after=0)
    with pytest.raises(BadInputError, match="cora wrote version 1 meanwhile"):
        studio.guideline.write("another", after=0)
    with pytest.raises(BadInputError, match="cora wrote version 1 meanwhile"):
        studio.guideline.write("one", after=0)  # the same words, but of somebody else
    assert studio.as_user(CORA).guideline.write("one", after=0).version == 1  # sent again: its answer was lost
    assert studio.guideline.write("both", after=1).version == 2
    with pytest.raises(BadInputError, match="me wrote version 2 meanwhile"):
        studio.as_user(CORA).guideline.write("one", after=0)


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        ([], "from 1 to 30"),
        (["x"] * 31, "from 1 to 30"),
        (["object", "Object "], "stands twice"),
        (["Imported"], "marks votes that came with a file"),
        (["  "], "is empty"),
        (["x" * 61], "shorten it to 60"),
        (["turned\u202e round"], "cannot be shown"),
        (["two\x07"], "cannot be shown"),
        (["\u200b"], "cannot be shown"),
        (["object\u200b"], "cannot be shown"),
        (["left, right"], "holds a comma"),
    ],
)
def test_a_list_of_reasons_that_cannot_be_is_refused(studio, reasons, words):
    with pytest.raises(BadInputError, match=words):
        studio.guideline.write(reasons=reasons)
    with pytest.raises(BadInputError, match="cannot be shown"):
        studio.guideline.write("half \ud800")
    with pytest.raises(BadInputError, match="shorten it to 50,000"):
        studio.guideline.write("x" * 50_001)
    assert studio.guideline.versions() == []


def test_everybody_reads_the_guideline_and_curators_write_it(studio):
    write_workspace_config(studio.path / "config.toml", dataclasses.replace(studio.config, blind=True))
    studio.guideline.write("Look first.")
    for user in (ANN, VIC):
        own = studio.as_user(user)
        assert own.guideline.current().text == "Look first." and len(own.guideline.versions()) == 1
        with pytest.raises(NotAllowedError, match="only a curator"):
            own.guideline.write("Mine.")
        refused = answer_guideline(own, {"op": "write", "text": "Mine."})
        assert "only a curator" in refused["error"] and studio.guideline.current().version == 1


def test_a_reason_or_a_note_of_another_reaches_nobody_who_judges_blind(studio):
    write_workspace_config(studio.path / "config.toml", dataclasses.replace(studio.config, blind=True))
    studio.as_user(BOB).decide(1, "tie", reason="count", note="there are three")
    own = studio.as_user(ANN)

    def sent() -> str:
        drawn = draw_answer(own.review_item(BY_ID, 1), None, "ann")
        drawn["item"].pop("reasons")  # the list from which she may choose
        return json.dumps([drawn, dataclasses.asdict(own.review_item(BY_ID, 1))], default=str)

    assert not [word for word in ("count", "three", "bob") if f'"{word}' in sent() or f"{word} " in sent()]
    own.decide(1, "skip", reason="text", note="later")
    assert "three" not in sent()
    drawn = draw_answer(own.review_item(BY_ID, 1), None, "ann")["item"]
    assert drawn["own"] == {"by": "ann", "verdict": "skip", "reason": "text", "note": "later"}
    own.decide(1, "all_right")
    assert "there are three" in sent()  # she has voted


def test_the_history_says_which_guideline_held_and_exports_carry_the_reason(studio, tmp_path):
    studio.decide(1, "tie", reason="object")
    studio.guideline.write("Look first.")
    studio.remark(1, note="on the left")
    studio.people.write_history(tmp_path / "h.jsonl")
    told = [json.loads(line) for line in (tmp_path / "h.jsonl").read_text().splitlines()]
    assert [(row["guideline"], row["reason"], row["note"]) for row in told] == [
        (None, "object", ""), (1, "object", "on the left"),
    ]  # fmt: skip
    studio.people.write_history(tmp_path / "h.csv")
    assert [row["guideline"] for row in csv.DictReader((tmp_path / "h.csv").open())] == ["", "1"]
    studio.export(tmp_path / "out.jsonl", only="reviewed")
    [row] = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert (row["decision"]["reason"], row["decisions"][0]["reason"]) == ("object", "object")
    studio.db.write(lambda con: con.execute("UPDATE decisions SET reason = 'imported'"))
    studio.export(tmp_path / "out.jsonl", only="reviewed")
    [row] = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert (row["decision"]["reason"], row["decisions"][0]["reason"]) == ("", "")  # a mark, no reason


def test_what_the_page_asks_of_the_guideline_is_checked(studio):
    for asked in (None, [], {"version": "1"}, {"version": True}, {"version": -1}, {"op": "drop"}):
        assert answer_guideline(studio, asked)["version"] == 0
    assert "no version 7" in answer_guideline(studio, {"version": 7})["error"]
    made = answer_guideline(studio, {"op": "write", "text": "<i>", "reasons": ["a", 5, None], "after": 0})
    assert (made["version"], made["reasons"], made["versions"]) == (1, ["a"], [1])
    assert made["html"].startswith("<p>&lt;i&gt;</p>") and "me," in made["by"]
    assert answer_guideline(studio, {"op": "write", "text": 5, "reasons": "x", "after": "0"})["version"] == 1
