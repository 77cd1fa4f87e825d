"""Words on items: who may put them there and take them off, who sees them, and the views that they narrow."""

import dataclasses
import json

import pytest
from workspaces import ANN, BOB, BY_ID, CORA, VIC, make_selected

from m3po.errors import BadInputError, NotAllowedError
from m3po.store.tags import set_tag
from m3po.types import ReviewView
from m3po.workspace_config import write_workspace_config
from ui.review.answers import draw_answer
from ui.review.handlers import ReviewHandler


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_selected(tmp_path_factory.mktemp("made"), 5)


def tags(own, instruction_id=1) -> list[tuple[str, str]]:
    return [(each.name, each.annotator) for each in own.review_item(BY_ID, instruction_id).tags]


def ids(own, view: ReviewView) -> list[int]:
    found, item = [], own.review_item(view)
    while item is not None and item.instruction.id not in found:
        found.append(item.instruction.id)
        item = own.review_item(view, item.instruction.id, +1)
    return found


def stored(studio) -> int:
    return studio.db.read(lambda con: con.execute("SELECT count(*) FROM item_tags").fetchall()[0][0])


def test_a_tag_is_put_on_once_and_taken_off_by_who_gave_it_or_a_curator(studio):
    ann, bob, cora = (studio.as_user(user) for user in (ANN, BOB, CORA))
    ann.set_tag(1, "  look \n again ", annotator="bob", of_all=True)
    ann.set_tag(1, "look again")
    bob.set_tag(1, "look again")
    bob.set_tag(1, "Look again")
    assert tags(cora) == [("Look again", "bob"), ("look again", "ann"), ("look again", "bob")] and stored(studio) == 3
    ann.set_tag(1, "Look again", withdrawn=True)  # it is bob's
    ann.set_tag(1, "never given", withdrawn=True)
    assert stored(studio) == 3
    ann.set_tag(1, "look again", withdrawn=True)
    assert ("look again", "bob") in tags(cora) and ("look again", "ann") not in tags(cora)
    ann.set_tag(1, "look again")
    cora.set_tag(1, "look again", withdrawn=True)
    assert tags(cora) == [("Look again", "bob")]
    by = "SELECT set_by FROM item_tags WHERE withdrawn ORDER BY rowid"
    assert [row[0] for row in studio.db.read(lambda con: con.execute(by).fetchall())] == ["ann", "cora", "cora"]
    with pytest.raises(NotAllowedError, match="vic is a viewer"):
        studio.as_user(VIC).set_tag(1, "mine")
    assert studio.history(1) == []  # no decision


UNSEEN = ["\u200b", "odd\u200b", "\u2060\u2060", "\u3164", "\u2800", "soft\u00adly", "\u0301", "\u200d"]


@pytest.mark.parametrize("name", ["", " \n ", "x" * 61, "two\x00", "\ud800", "turned\u202e", *UNSEEN])
def test_a_tag_that_cannot_be_is_refused(studio, name):
    with pytest.raises(BadInputError, match="A tag"):
        studio.set_tag(1, name)
    with pytest.raises(BadInputError, match="no instruction 99"):
        studio.set_tag(99, "odd")
    assert stored(studio) == 0


@pytest.mark.parametrize("name", ["نمی\u200cدانم", "👩\u200d🔬", "क्\u200dष", "❤️", "naïve", "?", "a, b"])
def test_words_of_any_script_are_tags(studio, name):
    studio.set_tag(1, name)
    assert tags(studio) == [(name, "me")]


def test_what_an_earlier_rule_let_on_comes_off(studio):
    studio.db.write(lambda con: set_tag(con, 1, "odd\u200b", "me", "me", withdrawn=False))
    assert tags(studio) == [("odd\u200b", "me")]
    studio.set_tag(1, "odd\u200b", withdrawn=True)
    assert tags(studio) == []


def test_a_view_is_narrowed_by_a_tag_as_it_stands_now(studio):
    view = ReviewView("all", "id", tag="odd")
    assert ids(studio, view) == []
    for item in (4, 2, 5):
        studio.set_tag(item, "odd")
    studio.set_tag(3, "odd one")
    assert ids(studio, view) == [2, 4, 5] and ids(studio, ReviewView("all", "m3p_score", tag="odd")) == [2, 4, 5]
    assert [near.ahead for near in [studio.review_neighbours(view, 2, ahead=5, behind=1)]] == [(4, 5)]
    studio.decide(4, "tie")
    assert ids(studio, dataclasses.replace(view, filter="reviewed")) == [4]
    studio.set_tag(2, "odd", withdrawn=True)
    assert ids(studio, view) == [4, 5]
    studio.people.assign(["ann"], items=2)
    queue = ids(studio.as_user(ANN), ReviewView("mine"))
    studio.set_tag(queue[1], "hers", annotator="ann")
    assert ids(studio.as_user(ANN), ReviewView("mine", tag="hers")) == [queue[1]]
    assert studio.tag_names() == ["odd", "hers", "odd one"] and studio.tag_names("ann") == ["hers"]


def test_an_annotator_narrows_by_her_own_tags_alone(studio):
    studio.as_user(BOB).set_tag(1, "odd")
    studio.as_user(ANN).set_tag(2, "odd")
    assert ids(studio.as_user(ANN), ReviewView("all", "id", tag="odd")) == [2]
    assert ids(studio.as_user(CORA), ReviewView("all", "id", tag="odd")) == [1, 2]
    assert ids(studio.as_user(CORA), ReviewView("all", "id", tag="odd", annotator="bob")) == [1]


def test_a_tag_of_another_is_hidden_from_who_judges_alone_until_her_vote(studio):
    studio.people.assign(["ann"], items=1)
    ann, bob = studio.as_user(ANN), studio.as_user(BOB)
    item = ann.review_item(ReviewView("mine")).instruction.id
    bob.set_tag(item, "second-is-wrong")
    ann.set_tag(item, "mine")
    other = item % 5 + 1
    bob.set_tag(other, "elsewhere")
    assert tags(ann, item) == [("mine", "ann")] and tags(ann, other) == [("elsewhere", "bob")]
    write_workspace_config(studio.path / "config.toml", dataclasses.replace(studio.config, blind=True))
    assert tags(ann, other) == [] and ann.tag_names() == ["mine"]
    sent = json.dumps([draw_answer(ann.review_item(BY_ID, item), None, "ann"), ReviewHandler(ann)._names()])
    assert "second-is-wrong" not in sent and '"mine": true' in sent
    ann.decide(item, "skip")
    assert tags(ann, item) == [("mine", "ann")]
    ann.decide(item, "tie")
    assert ("second-is-wrong", "bob") in tags(ann, item)


def test_keys_of_the_page_set_tags_and_keep_half_a_pair(studio):
    studio.db.write(lambda con: con.execute("DELETE FROM selection_pairs"))
    handler = ReviewHandler(studio.as_user(CORA))
    sent = {"instruction_id": 1, "view": {"filter": "all", "order": "id"}, "pending": {"chosen": 2}}
    answer = handler.on_command({**sent, "op": "tag", "text": "odd"}, "cora")
    assert answer["item"]["tags"] == [{"name": "odd", "by": ["cora"], "mine": True}]
    assert answer["item"]["pending"] == {"chosen": 2}
    again = handler.on_command({**sent, "op": "tag", "text": "odd", "client_id": "sent-again"}, "cora")
    assert again["item"]["tags"] == answer["item"]["tags"] and stored(studio) == 1
    assert handler.on_command({"op": "sources"}, "cora")["tags"] == ["odd"]
    assert handler.on_command({**sent, "op": "untag", "text": "odd"}, "cora")["item"]["tags"] == []
    for wrong in ({"text": ""}, {"text": 5}, {"text": "x", "instruction_id": None}, {"text": "x", "by": "bob"}):
        refused = handler.on_command({**sent, "op": "tag", **wrong}, "cora")
        assert refused["error"] and "Unexpected" not in refused["error"], wrong


def test_exports_carry_the_tags(studio, tmp_path):
    studio.set_tag(2, "odd")
    studio.set_tag(2, "a \u201ctag\u201d", annotator="bob")
    studio.set_tag(1, "gone"), studio.set_tag(1, "gone", withdrawn=True)
    studio.decide(2, "tie", reason="object")
    studio.export(tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "data.jsonl").read_text().splitlines()]
    assert [row.get("tags") for row in rows[:2]] == [None, ["a \u201ctag\u201d", "odd"]]
    assert json.loads((tmp_path / "out" / "selection.json").read_text())["reasons"] == {"object": 1}
    studio.people.write_history(tmp_path / "h.jsonl")
    assert json.loads((tmp_path / "h.jsonl").read_text())["tags"] == ["a \u201ctag\u201d", "odd"]


def test_a_stamp_tells_of_a_tag_only_who_is_shown_it(studio):
    """What was fetched ahead is drawn anew when a tag that one sees is set, and tells nothing of another."""
    studio.people.assign(["ann"], items=2)
    ann, bob = studio.as_user(ANN), studio.as_user(BOB)
    hers = ids(ann, ReviewView("mine"))

    def look(own) -> dict[int, str]:
        stamps = own.review_neighbours(BY_ID, 1, ahead=4, behind=0).stamps
        assert all(draw_answer(own.review_item(BY_ID, i))["stamp"] == stamp for i, stamp in stamps.items())
        return stamps

    before, others = look(ann), look(bob)
    for item in range(1, 6):
        bob.set_tag(item, "odd")
    after = look(ann)
    assert {i for i in before if before[i] == after[i]} == set(hers)
    seen = look(bob)
    assert not [i for i in others if seen[i] == others[i]]
    ann.set_tag(hers[0], "mine")
    assert look(ann)[hers[0]] != after[hers[0]]
