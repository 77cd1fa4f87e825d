"""What is taken out of an item before an annotator gets it, and when it is there."""

import dataclasses
import json

import pytest
from workspaces import ANN, BOB, BY_ID, CORA, VIC, make_selected

from m3po.errors import NotAllowedError
from m3po.store import runs
from m3po.studio import Studio
from m3po.types import Area, Candidate, Range, ReviewView
from m3po.workspace_config import WorkspaceConfig, read_workspace_config, write_workspace_config
from ui.people_view import draw_assignments
from ui.review.answers import draw_answer
from ui.review.belief import read_belief


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_selected(tmp_path_factory.mktemp("made"), 8)


@pytest.fixture
def blind(studio):
    write_workspace_config(studio.path / "config.toml", dataclasses.replace(studio.config, blind=True))
    return studio


def as_sent(item) -> str:
    return json.dumps(dataclasses.asdict(item), default=str)


def test_blind_nothing_but_texts_is_there_until_the_vote(blind):
    full = blind.review_item(BY_ID)
    blind.as_user(BOB).decide(1, "override", chosen=full.pair.rejected, rejected=full.pair.chosen, note="bobs note")
    blind.as_user(BOB).add_edit(1, "what bob wrote")
    own = blind.as_user(ANN)
    item = own.review_item(BY_ID)
    assert item.blind and {c.text for c in item.candidates} == {c.text for c in full.candidates}
    assert (item.pair, item.machine_pair, item.decision, item.given, item.votes) == (None, None, None, None, ())
    sent = as_sent(item)
    for secret in ("bob", "0.9", "-2.0", str(full.pair.m3p_score), str(full.candidates[0].confidence)):
        assert secret not in sent, secret
    for candidate in item.candidates:
        kept = {name: value for name, value in dataclasses.asdict(candidate).items() if value}
        assert kept.keys() == {"id", "text", "origin"}, kept
    assert own.history(1) == []
    with pytest.raises(NotAllowedError, match="while you judge blind"):
        own.train_preview(None)

    chosen, rejected = full.pair.chosen, full.pair.rejected
    assert own.decide(1, "skip").verdict == "skip"
    assert (
        own.review_item(BY_ID).blind and own.review_item(BY_ID).decision.verdict == "skip"
    )  # no vote: it stays hidden
    made = own.decide(1, "override", chosen=chosen, rejected=rejected)
    assert made.verdict == "accept" and made.blind  # it is the machine's pair, though she could not know
    shown = own.review_item(BY_ID)
    assert not shown.blind and shown.machine_pair == full.machine_pair and shown.candidates[0].mas is not None
    assert {vote.annotator for vote in shown.votes} == {"ann", "bob"} and len(own.history(1)) == 3
    assert [c.id for c in shown.candidates][:4] == [c.id for c in item.candidates]  # nothing moved to another key

    own.undo()
    assert own.review_item(BY_ID).blind
    again = own.decide(1, "override", chosen=chosen, rejected=rejected)
    assert (again.verdict, again.blind) == ("accept", False)  # the machine's pair still, though she has seen it
    assert blind.status()["overridden"] == 0
    assert own.decide(1, "accept", chosen=rejected, rejected=chosen).verdict == "override"


def test_blind_an_edit_that_is_a_scored_answer_tells_no_score_of_it(blind):
    for answer in blind.review_item(BY_ID).candidates:
        told = blind.as_user(ANN).add_edit(1, answer.text)
        assert told == Candidate(answer.id, answer.text, "sampled")
    blind.as_user(ANN).decide(1, "tie")
    assert blind.as_user(ANN).add_edit(1, answer.text).mas == answer.mas is not None  # after the vote nothing is hidden


def test_blind_views_tell_nothing_and_every_annotator_has_an_order_of_her_own(blind):
    blind.as_user(BOB).decide(2, "flag")
    own = blind.as_user(ANN)
    for view in (ReviewView("all", "m3p_score"), ReviewView("no_pair", "mas_gap"), ReviewView("disagreements")):
        item, seen = own.review_item(view), []
        while item.instruction.id not in seen:
            seen.append(item.instruction.id)
            item = own.review_item(view, item.instruction.id, +1)
        assert seen == sorted(seen) and len(seen) == 8
    assert own.review_item(ReviewView("flagged")) is None and own.review_item(ReviewView("reviewed")) is None
    assert own.review_item(ReviewView("unreviewed")).total == 8  # by what she decided, not bob
    orders = {}
    for user in (ANN, BOB):
        items = [blind.as_user(user).review_item(BY_ID, i) for i in range(1, 9)]
        orders[user.name] = [[c.id for c in item.candidates] for item in items]
        again = [[c.id for c in blind.as_user(user).review_item(BY_ID, i).candidates] for i in range(1, 9)]
        assert orders[user.name] == again
        relative = {tuple(c - min(ids) for c in ids) for ids in orders[user.name]}
        assert len(relative) > 3  # shuffled by item
    assert orders["ann"] != orders["bob"]
    for user in (CORA, VIC):
        assert not blind.as_user(user).review_item(BY_ID).blind


def test_blind_without_an_assignment_the_progress_is_ones_own_everywhere(blind):
    own, bob = blind.as_user(ANN), blind.as_user(BOB)

    def told() -> set[tuple[int, int]]:
        item, around = own.review_item(BY_ID, 3), own.review_neighbours(BY_ID, 3, ahead=2, behind=1)
        counts = own.status()
        found = {(each.reviewed, each.reviewable) for each in (item, around, *own.review_items(BY_ID, [1, 4]))}
        return found | {(counts["reviewed"], counts["reviewable"])}

    bob.decide(3, "tie")
    bob.decide(4, "tie")
    assert told() == {(0, 8)}
    own.decide(3, "tie")
    own.decide(4, "skip")
    assert told() == {(1, 8)}  # also on what she has voted on
    assert (bob.review_item(BY_ID).reviewed, blind.as_user(CORA).review_item(BY_ID).reviewed) == (2, 2)


@pytest.mark.parametrize(
    "narrowed",
    [
        {"ranges": (Range("m3p_score", 0.5, None),)},
        {"area": Area("rejected", ((0, 0), (1, 0), (1, 1)))},
        {"reason": "object"},
        {"tag": "odd"},
        {"run": "1"},
        {"search": "answer", "search_in": "answers"},
    ],
)
@pytest.mark.parametrize("name", ["all", "mine"])
def test_blind_nobody_finds_out_by_narrowing_a_view(blind, narrowed, name):
    own, view = blind.as_user(ANN), ReviewView(name, **narrowed)
    for ask in (lambda: own.review_item(view), lambda: own.review_neighbours(view, 1, ahead=2, behind=1)):
        with pytest.raises(NotAllowedError, match=r"^You judge blind: take out .*\.$"):
            ask()


def test_a_stamp_tells_nothing_that_is_hidden_and_changes_with_the_vote(blind):
    """What was fetched ahead is what would be drawn now: the stamps of both agree, before the vote and after."""
    own, bob = blind.as_user(ANN), blind.as_user(BOB)

    def look() -> dict[int, str]:
        around = own.review_neighbours(ReviewView(), 3, ahead=5, behind=2)
        assert (around.ahead, around.behind, around.decided) == ((4, 5, 6, 7, 8), (2, 1), {})  # by id, not by score
        for i, stamp in around.stamps.items():
            assert draw_answer(own.review_item(ReviewView(), i))["stamp"] == stamp
        return around.stamps

    before = look()
    bob.decide(3, "tie")
    bob.decide(4, "flag")
    assert look() == before
    own.decide(4, "skip")
    skipped = look()
    assert {i for i in before if skipped[i] != before[i]} == {4}
    own.decide(3, "all_wrong")
    voted = look()
    assert {i for i in before if voted[i] != skipped[i]} == {3}
    assert "b" in before[3] and "b" not in voted[3]


def test_a_stamp_changes_when_the_blindness_ends(studio):
    studio.people.assign(["ann"], items=1, blind=True)
    own = studio.as_user(ANN)
    item = own.review_item(ReviewView("mine"))
    before = own.review_neighbours(BY_ID, 1, ahead=7, behind=0)
    assert (before.reviewed, before.reviewable) == (0, 1)
    assert draw_answer(item)["fixed_order"] and own.review_item(ReviewView()).fixed_order  # by id, whatever is chosen
    own.decide(item.instruction.id, "tie")
    after = own.review_neighbours(BY_ID, 1, ahead=7, behind=0)
    assert all(after.stamps[i] != before.stamps[i] for i in range(1, 9)) and after.reviewed == 1
    assert not draw_answer(own.review_item(ReviewView()))["fixed_order"]
    studio.people.assign(["cora"], items=1)
    cora = studio.as_user(CORA)
    assert cora.review_item(ReviewView("mine")).fixed_order and not cora.review_item(ReviewView()).fixed_order


def test_a_blind_assignment_hides_until_it_is_done_and_assigned_items_always_hide_others(studio):
    studio.as_user(CORA).decide(1, "accept")
    studio.as_user(CORA).people.mark_gold(1)
    studio.people.assign(["ann"], items=2, gold=1, blind=True)
    studio.people.assign(["bob"], items=2, gold=1)
    ann, bob = studio.as_user(ANN), studio.as_user(BOB)
    gold = bob.review_item(BY_ID, 1)
    assert not gold.blind and gold.machine_pair and (gold.decision, gold.votes, gold.gold) == (None, (), False)
    assert bob.history(1) == []  # nothing tells that it is a gold item
    assert bob.review_item(BY_ID, 8).machine_pair
    for _ in range(3):
        item = ann.review_item(ReviewView("mine"))
        assert item.blind and all(ann.review_item(BY_ID, i).blind for i in (7, 8))
        ann.decide(item.instruction.id, "tie")
        seen = ann.review_item(BY_ID, item.instruction.id)  # also the last one, with which the blindness ends
        assert [c.id for c in seen.candidates] == [c.id for c in item.candidates] and not seen.blind
    assert ann.review_item(ReviewView("mine")) is None and not ann.review_item(BY_ID, 8).blind


def add_token_logps(studio, candidate_id):
    """The token log-probs that a scoring run would store."""

    def add(con):
        scorer = con.execute("SELECT max(scorer_id) FROM scorers WHERE kind = 'logp'").fetchall()[0][0]
        con.execute("DELETE FROM logprobs WHERE candidate_id = ?", [candidate_id])
        con.execute(
            "INSERT INTO logprobs VALUES (?, ?, 1, -3, 2, [7, 3], [-1.5, -1.5], [0, 2], now()::TIMESTAMP)",
            [candidate_id, scorer],
        )

    studio.db.write(add)


def told_of(own, item_id) -> set[int]:
    return {belief.candidate_id for belief in own.token_beliefs([item_id])}


def test_while_assigned_items_wait_nothing_tells_what_others_did_with_them(studio):
    """Not blind: scores are there. What is gold, or what another did, is told by no filter, search, colour or count."""
    cora, ann, bob = (studio.as_user(user) for user in (CORA, ANN, BOB))
    for item in (1, 2):
        cora.decide(item, "accept")
    cora.people.mark_gold(1)
    studio.people.assign(["ann"], items=2, gold=1)
    waiting = ann.review_item(ReviewView("mine"))
    before = ann.status()
    assert (before["reviewed"], before["reviewable"], before["decisions"]) == (0, 3, {})
    bob.decide(waiting.instruction.id, "flag")
    edit = bob.add_edit(waiting.instruction.id, "a sentence of bob")
    add_token_logps(studio, edit.id)
    assert edit.id in told_of(bob, waiting.instruction.id)
    assert edit.id not in told_of(ann, waiting.instruction.id)
    for name in ("reviewed", "flagged", "disagreements"):
        found = ann.review_item(ReviewView(name, "id"))
        assert found is None or (name, found.total) == ("disagreements", 8)
    assert ann.review_item(ReviewView("unreviewed", "id")).total == 8
    for name in ("all", "mine"):
        with pytest.raises(NotAllowedError, match="search in instructions"):
            ann.review_item(ReviewView(name, "id", "a sentence", "answers"))
    for ask in (lambda: ann.train_preview(None), lambda: ann.calibration.report(), lambda: ann.calibration.what_if()):
        with pytest.raises(NotAllowedError, match="what others decided"):
            ask()
    after = ann.status()
    assert before == after
    [work] = ann.people.overview()["assignments"]
    assert work["items"] == 3 and not {"gold", "overlap"} & work.keys() and "3 items" in draw_assignments([work])

    while item := ann.review_item(ReviewView("mine")):
        ann.decide(item.instruction.id, "tie")
    assert edit.id in told_of(ann, waiting.instruction.id) and ann.status()["reviewed"] == 4
    assert ann.review_item(ReviewView("reviewed", "id")).total == 4
    assert ann.review_item(ReviewView("all", "id", "a sentence", "answers")).total == 1


def test_who_is_alone_is_told_of_the_counts_what_is_known_to_tell_nothing_of_others(studio, monkeypatch):
    studio.as_user(BOB).decide(1, "tie")
    config = {"policy": "p", "human": 3, "pairs": 5}
    studio.db.write(lambda con: runs.add_run(con, "train", config, ""))
    whole = studio.status()
    monkeypatch.setattr(studio, "status", lambda: whole | {"something_new": {"bob": 1}})
    own = studio.as_user(ANN)
    assert own.status()["something_new"] == {"bob": 1} and own.results()[0]["human"] == 3
    studio.people.assign(["ann"], items=2)
    assert own.status()["something_new"] == {} and own.status()["selection"] == whole["selection"]
    assert "'human': 3" not in repr(own.results()) and own.results()[0]["config"] == config | {"human": 0}
    studio.people.assign(["ann"], items=2, blind=True)
    told = own.status()
    assert {type(value) for value in told.values()} == {type(value) for value in studio.status().values()}
    assert told["selection"] == whole["selection"] | {"pairs": 0} and (told["pairs"], told["no_pair"]) == (0, {})
    assert all(row["pair_share"] is None for row in told["samplers"]) and len(told["samplers"]) == 1


def test_blind_tokens_are_coloured_item_by_item_after_the_vote(blind):
    own, first = blind.as_user(ANN), blind.review_item(BY_ID)
    for candidate in first.candidates:
        add_token_logps(blind, candidate.id)
    asked = {"kind": "logp", "instruction_ids": [1, 2]}
    told = read_belief(own, asked)
    assert told["answers"] == {"1": {}, "2": {}} and all("after your vote" in note for note in told["notes"].values())
    own.decide(1, "tie")
    told = read_belief(own, asked)
    assert len(told["answers"]["1"]) == len(first.candidates) and "1" not in told["notes"]
    assert told["answers"]["2"] == {} and "after your vote" in told["notes"]["2"]


def test_config_toml_switches_blindness_on_and_off_while_the_app_runs(blind):
    own, config = blind.as_user(ANN), blind.path / "config.toml"
    assert own.review_item(BY_ID).blind
    config.write_text("blind = fal")  # half written
    assert own.review_item(BY_ID).blind
    config.write_text("")  # an editor that empties it first
    assert own.review_item(BY_ID).blind
    config.write_text("blind = false")
    assert not own.review_item(BY_ID).blind
    config.write_text("\n")
    assert not own.review_item(BY_ID).blind
    config.write_text("blind = true")
    assert own.review_item(BY_ID).blind
    config.write_text("# blind = true\n")
    assert not own.review_item(BY_ID).blind
    config.write_text("blind = true\n")
    assert own.review_item(BY_ID).blind
    config.unlink()
    assert own.review_item(BY_ID).blind


def test_a_new_workspace_is_as_blind_as_its_config_says(tmp_path):
    path = Studio.create(tmp_path / "workspace", WorkspaceConfig(blind=True))
    assert read_workspace_config(path / "config.toml").blind
    assert not read_workspace_config(Studio.create(tmp_path / "other") / "config.toml").blind
