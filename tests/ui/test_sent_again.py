"""What the page sends again, late, from another login, or on what is no longer so."""

import contextlib

import pytest
from review_page import BY_ID, Page, open_imported

from m3po.errors import StorageError
from m3po.studio import Studio


def batch(page, *commands, annotator="ann"):
    """As the page's outbox sends them: each with what it was pressed on, and an id of its own."""
    keys = ("instruction_id", "selection_id", "chosen", "rejected", "pending")
    sent = [{**{k: page.item.get(k) for k in keys}, "view": BY_ID, "lean": True, **c} for c in commands]
    return page.handler.on_command({"op": "batch", "commands": sent, "deck": None}, annotator)["answers"]


def test_a_decision_that_is_sent_again_is_the_same_row(page):
    first = page.item["instruction_id"]
    skip = {"op": "skip", "client_id": "one-decision", "decision_id": None}
    assert batch(page, skip, skip) == [{"stored": True}] * 2
    assert batch(page, skip) == [{"stored": True}] and len(page.studio.history(first)) == 1
    page.send("undo")
    assert batch(page, skip) == [{"stored": True}]  # it came late: what was undone stays undone
    assert [d.verdict for d in page.studio.history(first)] == ["undo", "skip"]
    assert "elsewhere" not in str(batch(page, skip | {"client_id": "another-one"}))
    other = skip | {"by": "bob", "client_id": "third-decision"}
    assert batch(page, other)[0]["error"].startswith("This was decided by bob")
    assert batch(page, other)[0]["login"] == "ann"  # by which the page knows to keep it for bob
    assert batch(page, other, annotator="")[0]["login"] == ""  # nobody's
    assert len(page.studio.history(first)) == 3


@pytest.mark.parametrize("op", ["undo", "gold"])
def test_what_another_login_asks_for_undoes_and_marks_nothing(page, op):
    """Ann's tab is still open when bob logs in by another tab of the same browser."""
    page.studio.decide(page.item["instruction_id"], "tie", annotator="bob")
    page.send("show")
    answer = page.handler.on_command({"op": op, "view": BY_ID, "by": "ann", **page.item}, "bob")
    assert answer["error"] == "This page was ann's, and bob is logged in now: nothing was changed; reload it."
    assert [d.verdict for d in page.studio.history(page.item["instruction_id"])] == ["tie"]
    assert "error" not in page.handler.on_command({"op": op, "view": BY_ID, "by": "bob", **page.item}, "bob")


def test_a_decision_on_what_somebody_else_decided_is_refused_in_the_background_too(page):
    a, b, *_ = page.ids
    page.studio.decide(page.item["instruction_id"], "override", chosen=a, rejected=b, annotator="bob")
    [answer] = batch(page, {"op": "tie", "client_id": "one-decision", "decision_id": None, "chosen": a, "rejected": b})
    assert "elsewhere" in answer["error"] and answer["item"]["chosen"] == a


def test_what_fails_while_a_refusal_is_drawn_is_the_answer_to_that_command_alone(page, monkeypatch):
    a, b, *_ = page.ids
    page.studio.decide(page.item["instruction_id"], "override", chosen=a, rejected=b, annotator="bob")
    read, asked = page.studio.review_item, []

    def break_off(*args, **options):
        asked.append(args)
        if len(asked) == 1:
            raise StorageError("The disk is full.")
        return read(*args, **options)

    monkeypatch.setattr(page.studio, "review_item", break_off)
    skip = {"op": "skip", "client_id": "two-decisions", "chosen": a, "rejected": b}
    refused, stored = batch(page, {"op": "tie", "client_id": "one-decision"}, skip)
    assert refused == {"error": "The disk is full.", "level": "error"} and stored == {"stored": True}


def test_an_undo_that_is_sent_again_takes_back_no_more(page):
    for _ in range(2):
        page.send("skip")
    first = page.send("undo", client_id="one-undo-1")["item"]["instruction_id"]
    again = page.send("undo", client_id="one-undo-1")
    assert again["item"]["instruction_id"] == first and again["message"] == "Undone: skip."
    assert page.send("undo", client_id="another-undo")["item"]["instruction_id"] != first
    assert page.send("undo", client_id="the-third-undo")["error"] == "There is nothing to undo."


@pytest.mark.parametrize("by_id", [False, True])
def test_an_undo_or_redo_that_comes_again_after_a_restart_does_no_more(tmp_path, by_id):
    told = "skip" if by_id else "flag"
    with contextlib.closing(open_imported(tmp_path)) as studio:
        item = Page(studio).item["instruction_id"]
        _, second, _ = (studio.decide(item, verdict, annotator="ann") for verdict in ("tie", "skip", "flag"))
    ids = {"of": second.id} if by_id else {}
    for op, done, rows in (("undo", "Undone", 4), ("redo", "Redone", 5)):
        for _ in range(2):
            with contextlib.closing(Studio.open(studio.path)) as again:
                message = Page(again).send(op, client_id=f"one-{op}-only", **ids)["message"]
                assert message.startswith(f"{done}: {told}") and len(again.history(item)) == rows
    with contextlib.closing(Studio.open(studio.path)) as again:
        of_bob = {"op": "undo", "view": BY_ID, "client_id": "one-undo-only"}
        answer = Page(again).handler.on_command(of_bob, "bob")
    assert answer["error"] == "There is nothing to undo."  # it is ann's name of her undo, and bob has none


def test_an_undo_that_is_done_but_cannot_be_drawn_takes_back_no_more(page, monkeypatch):
    for _ in range(2):
        page.send("skip")
    read = page.studio.review_item
    monkeypatch.setattr(page.studio, "review_item", lambda *_, **__: (_ for _ in ()).throw(StorageError("Not now.")))
    for _ in range(2):
        assert page.send("undo", client_id="one-undo-1")["error"] == "Not now."
    monkeypatch.setattr(page.studio, "review_item", read)
    assert page.send("undo", client_id="another-undo")["message"].startswith("Undone")  # one was left


@pytest.mark.parametrize("of", ["abc", -1, 2**63, True, [1]])
def test_an_undo_of_what_is_no_decision_takes_back_nothing(page, of):
    page.send("skip")
    assert "cannot be" in page.send("undo", of=of)["error"]
    assert page.send("undo")["message"].startswith("Undone")
