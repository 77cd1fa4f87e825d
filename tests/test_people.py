"""Assignments, queues, gold items, adjudication and figures, on a real database."""

import contextlib
import csv
import json
import shutil
from collections import Counter

import pytest
from people_acts import gold, queue_of, vote
from workspaces import ANN, BOB, CORA, open_selected

from m3po.cli import main
from m3po.door import Door, acting_as
from m3po.errors import BadInputError, UsageError
from m3po.studio import Studio
from m3po.types import ReviewView
from m3po.users import OWNER, User, Users, add_user
from ui.review.empty import why_empty
from ui.review.handlers import ReviewHandler

N = 40
MINE = ReviewView("mine")
DISPUTED = {"filter": "disagreements", "order": "id"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    studio = open_selected(tmp_path_factory.mktemp("made"), N)
    studio.close()
    return studio.path


def standing(studio, instruction_id):
    return studio.review_item(ReviewView(), instruction_id).decision


def test_queues_hold_the_shared_the_own_and_the_gold_and_nothing_twice(studio):
    golden = gold(studio, 4)
    made = studio.as_user(CORA).people.assign(["ann", "bob"], items=20, overlap=0.1, gold=3)
    assert made["created_by"] == "cora" and made["overlap"] == 0.1
    ann, bob = queue_of(studio, ANN), queue_of(studio, BOB)
    assert len(ann) == len(set(ann)) == len(bob) == 2 + 9 + 3
    assert len(set(ann) & set(bob) & set(golden)) == 3 and len(set(ann) & set(bob) - set(golden)) == 2
    assert len(set(ann) | set(bob) - set(golden)) == 20 + 3
    assert ann != sorted(ann) and set(ann[:3]) != set(golden[:3])  # gold stands anywhere
    # what has an annotator, a decision, a single answer, or is held out, is never given again
    with pytest.raises(BadInputError, match=f"Only {N - 4 - 20} items"):
        studio.people.assign(["dan"], items=N - 4 - 20 + 1)
    studio.people.assign(["dan"], items=N - 4 - 20, stratify="source")
    assert not set(queue_of(studio, User("dan", "annotator"))) & (set(ann) | set(bob) | set(golden))


def test_strata_are_in_proportion(studio):
    studio.people.assign(["ann", "bob"], items=20, stratify="m3p_score")
    scores = [studio.review_item(ReviewView(), i).machine_pair.m3p_score for i in range(1, N + 1)]
    tenth = [sorted(scores).index(score) * 10 // N for score in scores]
    for user in (ANN, BOB):
        assert set(Counter(tenth[item - 1] for item in queue_of(studio, user)).values()) == {1}


def test_a_queue_goes_on_where_it_stopped_also_after_reopening(made, tmp_path):
    path = shutil.copytree(made, tmp_path / "workspace")
    with contextlib.closing(Studio.open(path)) as studio:
        studio.people.assign(["ann"], items=6)
        whole = queue_of(studio, ANN)
        vote(studio, ANN, whole[0])
        vote(studio, ANN, whole[1], "skip")
        vote(studio, BOB, whole[2])  # another's vote takes nothing out of ann's queue
        door = studio.as_user(ANN)
        item = door.review_item(MINE)
        assert item.instruction.id == whole[2] and (item.reviewed, item.reviewable, item.total) == (1, 6, 4)
        assert door.undo().verdict == "skip" and door.review_item(MINE).instruction.id == whole[1]
    with contextlib.closing(Studio.open(path)) as studio:
        assert studio.as_user(ANN).review_item(MINE).instruction.id == whole[1]
        assert queue_of(studio, ANN) == whole[1:]


def test_what_was_skipped_comes_again_at_the_end_of_a_blind_queue(studio):
    studio.people.assign(["ann"], items=3, blind=True)
    door, (first, second, third) = studio.as_user(ANN), queue_of(studio, ANN)
    for item, verdict in ((first, "skip"), (second, "flag"), (third, "tie")):
        assert door.review_item(MINE).instruction.id == item
        vote(studio, ANN, item, verdict)
    left = door.review_item(MINE)
    assert (left.instruction.id, left.reviewed, left.reviewable, left.total) == (first, 2, 3, 1)  # not what she flagged
    [figures] = [row for row in studio.people.overview()["people"] if row["annotator"] == "ann"]
    assert (figures["done"], figures["assigned"]) == (2, 3)
    vote(studio, ANN, first, "tie")
    assert door.review_item(MINE) is None and door.review_item(ReviewView(), second).reviewed == 3
    assert door.review_item(ReviewView(), second).blind  # until all of it is voted on
    with acting_as(ANN):
        told = why_empty(Door(studio), MINE)
    assert told["action"] == "flagged" and "what you flagged" in told["text"]
    vote(studio, ANN, second, "tie")
    assert not door.review_item(ReviewView(), second).blind
    with acting_as(ANN):
        assert why_empty(Door(studio), MINE)["action"] == "all"


def test_what_was_only_skipped_is_not_reviewed_yet(studio):
    def reviewed(user):
        shown = studio.as_user(user).review_item(ReviewView(), 9).reviewed
        assert shown == studio.as_user(user).status()["reviewed"]
        return shown

    for user, verdict in ((ANN, "tie"), (BOB, "all_wrong")):  # a disputed item is reviewed, if not agreed on
        vote(studio, user, 8, verdict)
    before = reviewed(BOB)
    assert studio.status()["disagreeing"] == 1 and before == studio.review_item(ReviewView("reviewed")).total
    for verdict, now in (("skip", 0), ("flag", 1), ("skip", 0), ("tie", 1)):
        vote(studio, BOB, 9, verdict)
        assert reviewed(BOB) == reviewed(CORA) == before + now
    studio.people.assign(["bob"], items=1)
    vote(studio, BOB, 10, "skip")
    assert reviewed(BOB) == 0  # of his queue


def test_a_flag_is_found_until_somebody_votes(studio):
    def flagged():
        return [item.instruction.id for item in [studio.review_item(ReviewView("flagged"))] if item]

    studio.as_user(ANN).decide(2, "flag")
    assert flagged() == [2]
    studio.as_user(BOB).decide(2, "skip")
    assert flagged() == [2] and standing(studio, 2).annotator == "ann"  # a skip takes no flag away
    vote(studio, BOB, 2, "tie")
    assert not flagged() and standing(studio, 2).verdict == "tie"
    studio.as_user(BOB).undo()
    assert flagged() == [2]


def test_overlap_grows_and_shrinks_and_no_decision_is_lost(studio):
    made = studio.people.assign(["ann", "bob"], items=20, overlap=0.1)
    before = {user.name: queue_of(studio, user) for user in (ANN, BOB)}
    studio.as_user(CORA).people.set_overlap(made["assignment_id"], 0.5)
    ann, bob = queue_of(studio, ANN), queue_of(studio, BOB)
    assert len(set(ann) & set(bob)) == 10 and len(set(ann) | set(bob)) == 20
    assert ann[: len(before["ann"])] == before["ann"]  # what is new comes at the end
    shared = sorted(set(ann) & set(bob))
    for item in shared[:4]:
        vote(studio, ANN, item)
    assert studio.people.set_overlap(made["assignment_id"], 0.0)["overlap"] == 0.0
    left = Counter(queue_of(studio, ANN) + queue_of(studio, BOB))
    assert set(left.values()) == {1} and set(left) == (set(ann) | set(bob)) - set(shared[:4])
    assert sum(row["assigned"] for row in studio.people.overview()["people"]) == 20
    with pytest.raises(BadInputError, match="no assignment 99"):
        studio.people.set_overlap(99, 0.5)


def test_what_cannot_be_assigned_is_one_sentence(studio):
    for options, words in (
        ({"annotators": [" "], "items": 1}, "Name the annotators"),
        ({"annotators": ["ann"], "items": 0}, "from 1"),
        ({"annotators": ["ann"], "items": 1, "overlap": 10}, "no share"),
        ({"annotators": ["ann"], "items": 1, "stratify": "mood"}, "no strata"),
    ):
        with pytest.raises(UsageError, match=words):
            studio.people.assign(**options)
    with pytest.raises(BadInputError, match="'me' is a curator, who sees everything: only annotators"):
        studio.people.assign(["ann", "me"], items=1, blind=True)
    with pytest.raises(BadInputError, match="There are 0 gold items, not 2"):
        studio.people.assign(["ann"], items=1, gold=2)
    assert studio.people.assignments() == []


def test_what_is_blind_is_given_to_annotators_alone(studio, tmp_path, monkeypatch):
    monkeypatch.setattr("m3po.users._N", 2)  # the hash's own cost is tested elsewhere
    for name, role in (("ann", "annotator"), ("cora", "curator")):
        add_user(tmp_path / "users", name, "a password", role)
    studio.people.users = Users(tmp_path / "users")
    with pytest.raises(BadInputError, match="'cora' is a curator, who sees everything"):
        studio.people.assign(["ann", "cora"], items=2, blind=True)
    assert studio.people.assignments() == []
    assert studio.people.assign(["ann", "cora"], items=2)["annotators"] == ["ann", "cora"]
    assert studio.people.assign(["ann"], items=2, blind=True)["blind"]


def test_a_curators_last_word_wins_until_it_is_undone(studio):
    vote(studio, ANN, 1)
    vote(studio, BOB, 1, "override")
    assert standing(studio, 1).disagreeing == ("ann", "bob")
    door = studio.as_user(CORA)
    item = door.review_item(ReviewView("disagreements"))
    assert item.instruction.id == 1 and item.total == 1 and [v.annotator for v in item.votes] == ["ann", "bob"]
    assert studio.people.overview()["disputed"] == 1
    decided = vote(studio, CORA, 1, "tie", adjudicate=True)
    assert decided.role == "adjudicated" and standing(studio, 1).verdict == "tie"
    assert door.review_item(ReviewView("disagreements")) is None
    for user in (ANN, BOB, User("dan", "annotator"), User("eve", "annotator")):
        vote(studio, user, 1)  # four against one: it stays the last word
    assert standing(studio, 1).verdict == "tie" and not standing(studio, 1).disagreeing
    assert vote(studio, CORA, 1, "override").role == "adjudicated"  # her next one is the last word, too
    assert studio.status()["curated_pairs"] == studio.status()["pairs"]
    assert door.undo().verdict == "override" and standing(studio, 1).verdict == "tie"
    assert door.undo().verdict == "tie" and standing(studio, 1).verdict == "accept"
    assert vote(studio, ANN, 1, adjudicate=True).role == ""  # an annotator has no last word


@pytest.mark.parametrize("user", [CORA, OWNER])
def test_nobody_has_the_last_word_on_what_nobody_disputes(studio, user):
    """The view *Disagreements* shows any item that one goes to by its id or address: what is said there is a vote."""
    handler = ReviewHandler(studio.as_user(user))
    vote(studio, ANN, 2)
    for item in (1, 2):
        shown = handler.on_command({"op": "show", "instruction_id": item, "view": DISPUTED}, user.name)["item"]
        keys = ("instruction_id", "selection_id", "chosen", "rejected", "decision_id")
        tie = {"op": "tie", "view": DISPUTED} | {key: shown[key] for key in keys}
        assert "error" not in handler.on_command(tie, user.name)
        assert [d.role for d in studio.history(item) if d.annotator == user.name] == [""]
    assert standing(studio, 2).disagreeing == ("ann", user.name)
    for other in (ANN, BOB):
        vote(studio, other, 1)
    assert standing(studio, 1).verdict == "accept"  # the majority, for her word was no last one


def test_figures_of_each_annotator(studio):
    studio.people.assign(["ann"], items=10)
    for item, seconds in zip(queue_of(studio, ANN)[:4], (10.0, 20.0, 30.0, 5000.0), strict=True):
        vote(studio, ANN, item, seconds=seconds)
    row = next(row for row in studio.people.overview()["people"] if row["annotator"] == "ann")
    assert (row["assigned"], row["done"], row["left"], row["median_seconds"]) == (10, 4, 6, 25.0)
    assert row["per_hour"] == pytest.approx(3600 * 4 / (10 + 20 + 30 + 300))  # a break of an hour is no work
    assert row["seconds_left"] == pytest.approx(6 * 90)
    assert [r["annotator"] for r in studio.people.own_overview("ann")["people"]] == ["ann"]


def test_agreement_counts_pairs_and_verdicts_and_leaves_skips_out(studio):
    for item in range(1, 9):
        vote(studio, ANN, item, "override" if item in (2, 3) else "tie" if item == 4 else "accept")
        vote(studio, BOB, item, "override" if item == 2 else "tie" if item in (4, 5) else "accept")
    vote(studio, ANN, 9, "skip")
    vote(studio, BOB, 9)
    found = studio.people.overview()
    [(one, other, kappa)] = found["kappas"]
    assert (one, other, kappa.items) == ("ann", "bob", 8)
    # by hand: 6 of 8 alike; by chance 5/8 * 5/8 (machine) + 1/8 * 2/8 (tie) + 1/64 (the pair that both made of item 2)
    expected = (5 * 5 + 1 * 2 + 1) / 64
    assert kappa.value == pytest.approx((6 / 8 - expected) / (1 - expected))
    assert found["alpha"].items == 8 and 0 < found["alpha"].value < 1
    assert next(r for r in found["people"] if r["annotator"] == "ann")["agreement"] == pytest.approx(kappa.value)


def test_the_history_has_every_row_and_says_what_was_undone(studio, tmp_path):
    vote(studio, ANN, 1, seconds=2.5, note="=1+1")
    vote(studio, ANN, 1, "tie")
    studio.as_user(ANN).undo()
    vote(studio, BOB, 1, "override")
    vote(studio, CORA, 1, "override", adjudicate=True)
    assert studio.people.write_history(tmp_path / "h.jsonl")["rows"] == 5
    rows = [json.loads(line) for line in (tmp_path / "h.jsonl").read_text().splitlines()]
    assert [(r["annotator"], r["verdict"], r["revoked"]) for r in rows] == [
        ("ann", "accept", False), ("ann", "tie", True), ("ann", "undo", False), ("bob", "override", False),
        ("cora", "override", False),
    ]  # fmt: skip
    assert rows[2]["revokes"] == rows[1]["decision_id"] and rows[1]["revoked_at"] == rows[2]["at"]
    assert rows[0]["shown"]["machine"] == [rows[0]["chosen_id"], rows[0]["rejected_id"]]
    assert rows[0]["chosen"] == "a red boat on the water" and rows[4]["role"] == "adjudicated"
    studio.people.write_history(tmp_path / "h.csv")
    with (tmp_path / "h.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(r["verdict"], r["seconds"]) for r in table[:2]] == [("accept", "2.5"), ("tie", "")]
    assert len(table) == 5
    with pytest.raises(UsageError, match=r"\.csv or \.jsonl"):
        studio.people.write_history(tmp_path / "h.xlsx")


def test_a_spreadsheet_computes_nothing_of_a_history_and_its_texts_come_back(studio, tmp_path):
    notes = ['=cmd|"/c calc"!A0', "+1", "-1", "@SUM(A1)", "＝1", "'quoted", "''=1", "a = b", "7, and\nmore"]
    for note in notes:
        vote(studio, ANN, 1, note=note)
    studio.people.write_history(tmp_path / "h.csv")
    with (tmp_path / "h.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert not [text for row in table for text in row.values() if text.startswith(tuple("=+-@\t\r\n＝＋－＠"))]
    assert [row["note"].removeprefix("'") for row in table] == notes
    assert table[7]["note"] == "a = b" and table[0]["decision_id"] == "1" and table[0]["at"].startswith("20")
    studio.people.write_history(tmp_path / "h.jsonl")
    assert [json.loads(line)["note"] for line in (tmp_path / "h.jsonl").read_text().splitlines()] == notes


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_history_replaces_an_earlier_one_and_nothing_else(studio, tmp_path, suffix):
    out = tmp_path / f"h{suffix}"
    out.touch()
    for rows in (1, 2):
        vote(studio, ANN, rows)
        assert studio.people.write_history(out)["rows"] == rows
    mine = out.read_text()
    first, _, rest = mine.partition("\n")
    noted = {".csv": first.strip() + ",my_note\r\n" + rest, ".jsonl": first[:-1] + ', "my_note": ""}\n' + rest}
    for precious in ("precious", '{"id": 1}\n', "decision_id\n", "[1]\n", "\x00\n", noted[suffix]):
        out.write_text(precious)
        with pytest.raises(BadInputError, match="no history of decisions: give another name"):
            studio.people.write_history(out)
        assert out.read_text() == precious.replace("\r\n", "\n")
    out.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInputError, match="give another name"):
        studio.people.write_history(out)


def test_the_commands_do_the_same(made, tmp_path, monkeypatch, capsys):
    studio = Studio.open(shutil.copytree(made, tmp_path / "workspace"))
    vote(studio, ANN, 1)
    vote(studio, BOB, 1, "override")
    vote(studio, ANN, 2)
    path = str(studio.path)
    studio.close()

    def call(*words):
        monkeypatch.setattr("sys.argv", ["m3po", *words])
        with contextlib.suppress(SystemExit):
            main()
        told = capsys.readouterr()
        return told.out + told.err

    assert "1 items are gold now" in call("gold", path, "item-1")
    assert "decide it first" in call("gold", path, "item-30") and "No instruction" in call("gold", path, "nothing")
    assert "10 items for ann, bob, 20%" in call(
        "assign", path, "ann", "bob", "--items", "10", "--overlap", "0.2", "--gold", "1"
    )
    assert "50% of the items of assignment 1" in call("overlap", path, "1", "0.5")
    told = call("people", path)
    assert "alpha" in told and "Cohen's kappa of ann and bob" in told and "assignment 1 to ann, bob" in told
    assert json.loads(call("people", path, "--json"))["disputed"] == 1
    assert "4 decisions are in" in call("history", path, str(tmp_path / "h.csv"))
    assert call("guideline", path).endswith("Reasons: object, attribute, count, relation, text, reasoning\n")
    (tmp_path / "guideline.md").write_text("Look first.\n")
    told = call("guideline", path, "--set", str(tmp_path / "guideline.md"), "--reasons", "hue, bad words")
    assert told == "Version 1 holds now.\n"
    found = json.loads(call("guideline", path, "--version", "1", "--json"))
    assert (found["text"], found["reasons"], found["author"]) == ("Look first.", ["hue", "bad words"], "me")
    assert "has no version 2" in call("guideline", path, "--version", "2")
    assert "cannot be read" in call("guideline", path, "--set", str(tmp_path / "none.md"))
