"""What each command does to the workspace, without a browser."""

import json
import time

import pytest
from review_page import BY_ID, Page
from workspaces import make_images

from m3po.door import Door, acting_as
from m3po.errors import StorageError
from m3po.settings import SelectConfig
from m3po.studio import Studio
from m3po.types import ReviewView
from m3po.users import OWNER, User
from ui.review.empty import why_empty
from ui.review.handlers import CHANGED, ReviewHandler


def test_half_a_pair_waits_and_a_whole_one_is_stored(page):
    a, b, *_ = page.ids
    assert "no pair to accept" in page.send("accept")["error"]
    page.send("mark", role="chosen", candidate_id=a)
    assert page.item["pending"] == {"chosen": a} and page.history() == []
    page.send("mark", role="rejected", candidate_id=a)  # the same one: it changes sides
    assert page.item["pending"] == {"rejected": a}
    drawn = page.send("mark", role="chosen", candidate_id=b)["parts"]["review-candidates"]
    assert page.history() == [("override", b, a)]
    chosen, rejected = drawn.index("<mark>1</mark>"), drawn.index("<mark>0</mark>")  # the one word that differs
    assert drawn.count("<mark>") == 2 and chosen < rejected
    assert (page.item["chosen"], page.item["rejected"], page.item["pending"]) == (b, a, {})


def test_marking_the_other_side_swaps_and_marking_the_same_is_no_decision(page):
    a, b, c, _ = page.ids
    page.send("mark", role="chosen", candidate_id=a)
    page.send("mark", role="rejected", candidate_id=b)
    page.send("mark", role="chosen", candidate_id=b)
    page.send("mark", role="chosen", candidate_id=b)
    page.send("swap")
    page.send("mark", role="rejected", candidate_id=c)
    assert page.history() == [("override", a, c), ("override", a, b), ("override", b, a), ("override", a, b)]


def test_enter_confirms_a_stored_pair_without_a_second_row(page):
    a, b, *_ = page.ids
    first = page.item["instruction_id"]
    page.send("mark", role="chosen", candidate_id=a)
    page.send("mark", role="rejected", candidate_id=b)
    page.send("accept")
    assert page.item["instruction_id"] != first
    assert len(page.studio.history(first)) == 1


@pytest.mark.parametrize("op", ["skip", "tie", "all_wrong", "all_right", "bad_question", "flag"])
def test_verdicts_move_on_and_undo_comes_back(page, op):
    first = page.item["instruction_id"]
    page.send(op)
    assert page.item["instruction_id"] != first
    assert "nothing to redo" in page.send("redo")["error"]
    page.send("undo")
    assert page.item["instruction_id"] == first
    assert "nothing to undo" in page.send("undo")["error"]
    page.send("next")
    answer = page.send("redo")
    assert page.item["instruction_id"] == first and answer["message"] == f"Redone: {op.replace('_', ' ')}."


def test_an_edit_is_chosen_and_an_empty_one_refused(page):
    a, b, *_ = page.ids
    page.send("mark", role="chosen", candidate_id=a)
    page.send("mark", role="rejected", candidate_id=b)
    assert "empty" in page.send("edit", text="  ")["error"]
    page.send("edit", text="answer 0 to 0")  # unchanged
    assert len(page.history()) == 1
    page.send("edit", text="a better answer")
    assert page.item["chosen_text"] == "a better answer" and page.item["rejected"] == b


def test_a_command_for_what_is_no_longer_shown_is_refused(page):
    a, b, c, _ = page.ids
    page.send("mark", role="chosen", candidate_id=a)
    page.send("mark", role="rejected", candidate_id=b)
    old = dict(page.item)
    page.studio.decide(old["instruction_id"], "override", chosen=c, rejected=b, annotator="someone else")
    assert page.send("swap")["error"] == CHANGED
    assert page.history()[0] == ("override", c, b)


def test_a_full_disk_stays_on_the_item_and_says_so(page, monkeypatch):
    def full(*_, **__):
        raise StorageError("The disk is full: free some space, then decide again.")

    monkeypatch.setattr(page.studio, "decide", full)
    answer = page.send("skip")
    assert answer == {"error": "The disk is full: free some space, then decide again.", "level": "error"}


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "x",
        {},
        {"op": "drop"},
        {"op": "show", "view": {"filter": "1; DROP TABLE"}},
        {"op": "accept"},
        {"op": "mark", "role": "chosen", "candidate_id": "1"},
        {"op": "mark", "instruction_id": 10**30},
        {"op": "jump", "text": "none"},
        {"op": "jump", "text": 5},
    ],
)
def test_nonsense_is_answered_with_a_sentence(studio, data):
    answer = ReviewHandler(studio).on_command(data)
    assert answer["error"] and "Unexpected" not in answer["error"], answer


def test_an_empty_view_says_what_to_do_next(page):
    answer = page.send("show", view={"filter": "flagged", "order": "id"}, instruction_id=None)
    assert answer["item"] is None and answer["empty"]["action"] == "all"


def test_moving_stops_at_both_ends(page):
    assert "first" in page.send("previous")["message"]
    page.send("next"), page.send("next")
    assert "last" in page.send("next")["message"]
    flagged = {"filter": "flagged", "order": "id"}
    outside = page.send("show", view=flagged, instruction_id=page.item["instruction_id"])
    assert outside["place"] == {"position": 0, "total": 0, "reviewed": 0, "reviewable": 3}


def test_reopening_begins_where_one_left_off(page):
    first = page.item["instruction_id"]
    page.send("skip")
    second = page.item["instruction_id"]
    reopened = Page(page.studio)
    assert reopened.send("open", instruction_id=None)["item"]["instruction_id"] == second != first
    assert reopened.send("show", instruction_id=None)["item"]["instruction_id"] == first
    for _ in range(20):
        reopened.send("skip", instruction_id=reopened.send("open", instruction_id=None)["item"]["instruction_id"])
    assert reopened.send("open", instruction_id=None)["item"]["instruction_id"] == first  # all decided


def test_an_edit_that_nobody_will_score_is_not_said_to_be_scoring(page):
    answer = page.send("edit", text="A whole new answer.")
    item = page.studio.review_item(ReviewView("all", "id"), answer["item"]["instruction_id"])
    assert any(c.origin == "human" and c.mas is None for c in item.candidates)
    active = any(run.kind == "score" and run.active for run in page.studio.runs())
    assert answer["item"]["scoring"] == active
    for run in page.studio.runs(("score",)):
        page.studio.stop_run(run.id)
        while page.studio.run(run.id).active:
            time.sleep(0.1)
    answer = page.send("show", instruction_id=item.instruction.id)
    assert answer["item"]["scoring"] is False and "not scored" in answer["parts"]["review-candidates"]


@pytest.mark.parametrize("op", ["open", "show"])
def test_a_workspace_without_candidates_says_what_to_do(tmp_path, op):
    make_images(tmp_path / "source", 1)
    row = {"file_name": "0.png", "instruction": "What is it?", "split": "train"}
    (tmp_path / "source" / "metadata.jsonl").write_text(json.dumps(row))
    studio = Studio.open(Studio.create(tmp_path / "ws"))
    try:
        studio.import_source(tmp_path / "source")
        answer = ReviewHandler(studio).on_command({"op": op, "instruction_id": None, "view": BY_ID}, "ann")
        assert answer["item"] is None and "Nothing to review yet" in answer["empty"]["title"]
    finally:
        studio.close()


def test_a_right_answer_written_against_a_wrong_one_makes_the_pair(page):
    a, *_ = page.ids
    page.send("edit", text="What is really there.", candidate_id=a)
    [(verdict, chosen, rejected)] = page.history()
    assert (verdict, rejected) == ("override", a)
    item = page.studio.review_item(ReviewView("all", "id"), page.item["instruction_id"])
    assert next(c for c in item.candidates if c.id == chosen).text == "What is really there."


def test_a_right_answer_written_against_nothing_waits_for_its_other_side(page):
    answer = page.send("edit", text="What is really there.", candidate_id=10**9)
    assert page.history() == [] and set(answer["item"]["pending"]) == {"chosen"}


def test_votes_without_a_majority_are_shown_as_such_and_not_as_decided(page):
    a, b, *_ = page.ids
    instruction = page.item["instruction_id"]
    page.studio.decide(instruction, "override", chosen=a, rejected=b, annotator="bob")
    assert "overridden by bob" in page.send("show")["parts"]["review-state"]
    page.studio.decide(instruction, "override", chosen=b, rejected=a, annotator="ann")
    state = page.send("show")["parts"]["review-state"]
    assert "reviewers disagree: ann, bob" in state and "not trained on" in state and "overridden" not in state
    assert "shown as ann has it" in state and (page.item["chosen"], page.item["rejected"]) == (b, a)
    page.studio.decide(instruction, "override", chosen=b, rejected=a, annotator="<i>cyd")
    state = page.send("show")["parts"]["review-state"]
    assert "disagree" not in state and "not trained on" not in state and "overridden by &lt;i&gt;cyd" in state


def test_an_imported_vote_is_said_to_be_imported_and_not_to_be_outdated(page, tmp_path):
    a, b, *_ = page.ids
    line = json.loads((tmp_path / "rows.jsonl").read_text().splitlines()[0])
    line["candidates"] = [candidate | {"id": n} for n, candidate in enumerate(line["candidates"])]
    vote = {"verdict": "override", "chosen": 1, "rejected": 0, "annotator": "bob"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(line | {"decisions": [vote], "given": [vote]}))
    page.studio.import_source(tmp_path / "rows.jsonl")
    page.studio.select(SelectConfig(rule="given"))  # the machine has a pick now, which it had not then
    state = page.send("show")["parts"]["review-state"]
    assert (page.item["chosen"], page.item["rejected"]) == (b, a)
    assert "overridden by bob" in state and ">imported<" in state and "changed since" not in state
    against = {"verdict": "override", "chosen": 0, "rejected": 1, "annotator": "cyd"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(line | {"decisions": [vote, against]}))
    page.studio.import_source(tmp_path / "rows.jsonl")
    state = page.send("show")["parts"]["review-state"]
    assert "reviewers disagree: bob, cyd" in state and "shown as cyd has it" in state and ">imported<" not in state


def test_the_items_around_are_sent_once_and_again_when_they_change(page):
    around = {"op": "deck", "instruction_id": page.item["instruction_id"], "view": BY_ID}
    deck = page.handler.on_command({**around, "known": {}}, "ann")
    assert [int(i) for i in deck["items"]] == deck["ahead"] and len(deck["ahead"]) == 2 and deck["behind"] == []
    known = {i: answer["stamp"] for i, answer in deck["items"].items()}
    assert page.handler.on_command({**around, "known": known}, "ann")["items"] == {}
    second = deck["ahead"][0]
    page.studio.decide(second, "skip", annotator="bob")
    fresh = page.handler.on_command({**around, "known": known}, "ann")
    assert (
        list(fresh["items"]) == [str(second)]
        and "skipped by bob" in fresh["items"][str(second)]["parts"]["review-state"]
    )
    assert fresh["place"] == {"position": 1, "total": 3, "reviewed": 0, "reviewable": 3}  # what is skipped waits still
    assert len(page.handler.on_command({**around, "known": 5}, "ann")["items"]) == 2
    for nonsense in ({"instruction_id": None}, {"view": {"ranges": 3}}, {"view": {"area": {"role": "chosen"}}}):
        assert page.handler.on_command({**around, **nonsense}, "ann")["error"]
    assert page.handler.on_command({**around, "instruction_id": 10**9}, "ann")["ahead"] == []


def test_an_empty_view_sends_an_annotator_to_nothing_that_is_hidden_from_her(page, tmp_path):
    unreviewed, empty = ReviewView("unreviewed"), Studio.open(Studio.create(tmp_path / "empty"))
    assert (
        why_empty(page.studio, unreviewed)["action"] == "train" and why_empty(empty, ReviewView())["action"] == "data"
    )
    with acting_as(User("ann", "annotator")):
        told = [why_empty(page.studio, unreviewed), why_empty(page.studio, ReviewView()), why_empty(empty, unreviewed),
                why_empty(empty, ReviewView("mine")), why_empty(page.studio, ReviewView("flagged"))]  # fmt: skip
    empty.close()
    assert [one["action"] for one in told] == ["all", "", "", "", "all"]
    assert not [one for one in told if "Data" in one["text"] or "ine-tune" in one["text"]]


def test_a_search_finds_and_can_be_given_up(page):
    found = page.send("show", view=BY_ID | {"search": "question 2"}, instruction_id=None, client="browser-tab")
    assert found["place"]["total"] == 1 and "question 2" in found["parts"]["review-instruction"]
    page.send("show", view=BY_ID | {"search": "ANSWER 3 to 1", "search_in": "answers"}, instruction_id=None)
    by_answer = page.studio.review_item(ReviewView("all", "id", "to 1", "answers"))
    assert by_answer.instruction.id == page.item["instruction_id"]
    nothing = page.send("show", view=BY_ID | {"search": "zebra"}, instruction_id=None)
    assert nothing["item"] is None and nothing["empty"]["action"] == "all"
    assert page.handler.on_command({"op": "cancel", "client": "browser-tab"}) == {"cancelled": False}  # it is done


def said(page) -> list[tuple]:
    return [(d.verdict, d.reason, d.note) for d in page.studio.history(page.item["instruction_id"])]


def test_a_reason_and_a_note_go_with_a_decision_or_with_what_one_decided(page):
    a, b, *_ = page.ids
    assert "decide first" in page.send("reason", reason="object")["error"] and said(page) == []
    page.send("mark", role="chosen", candidate_id=a, reason="object", note="there is no car")
    assert said(page) == [] and page.item["own"] is None
    page.send("mark", role="rejected", candidate_id=b, reason="object", note="there is no car")
    assert said(page) == [("override", "object", "there is no car")]
    assert (page.item["own"]["reason"], page.item["stands"]) == ("object", None)
    page.send("reason", reason="count", note="ignored: a reason is asked for")
    page.send("note", note="two cars", reason="ignored")
    assert said(page)[0] == ("override", "count", "two cars") and len(said(page)) == 3
    first = page.item["instruction_id"]
    page.send("accept", reason="count", note="two cars")  # what stands says so already
    assert len(page.studio.history(first)) == 3
    page.send("show", instruction_id=first)
    page.send("accept", reason="text", note="two cars")
    assert len(page.studio.history(first)) == 4 and page.studio.history(first)[0].reason == "text"
    page.send("undo")
    assert page.item["instruction_id"] == first and page.item["own"]["reason"] == "count"


def test_a_reason_for_what_somebody_else_decided_meanwhile_is_refused(page):
    page.send("tie"), page.send("previous")
    drawn = dict(page.item)
    page.studio.decide(drawn["instruction_id"], "tie", annotator="somebody else")
    answer = page.send("reason", reason="object", decision_id=drawn["decision_id"])
    assert "decided elsewhere" in answer["error"] and answer["item"]["stands"]["by"] == "somebody else"
    for reason in ("imported", "unknown", 5, None):
        page.send("reason", reason=reason)
    assert {row[1] for row in said(page)} == {""}


def test_an_item_brings_the_reasons_of_the_newest_guideline(page):
    assert page.item["reasons"][0] == "object" and page.item["guideline"] == 0
    page.studio.guideline.write("Look.", ["hue"])
    answer = page.handler.on_command(
        {"op": "deck", "instruction_id": page.item["instruction_id"], "view": BY_ID}, "ann"
    )
    assert all(near["item"]["reasons"] == ["hue"] for near in answer["items"].values())
    page.send("show")
    assert page.item["reasons"] == ["hue"] and page.item["guideline"] == 1


def test_the_gold_button_does_what_it_says_whatever_another_page_did(page):
    page.studio.people.mark_gold(page.studio.decide(page.item["instruction_id"], "tie").instruction_id)
    page.handler = ReviewHandler(Door(page.studio, lambda: OWNER))  # who may see that it is one
    gold = lambda: page.studio.people.overview()["gold"]  # noqa: E731
    assert "already" in page.send("gold", gold=True)["message"] and gold() == 1
    assert "o gold item any more" in page.send("gold", gold=False)["message"] and gold() == 0
    assert "o gold item any more" in page.send("gold", gold=False)["message"] and gold() == 0
