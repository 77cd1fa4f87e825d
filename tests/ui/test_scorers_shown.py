"""What the page says of scorers: refuted claims as text, the worst sentence in the tooltip, the switch."""

from __future__ import annotations

import dataclasses
import re

from workspaces import make_workspace

from m3po.store import candidates
from m3po.studio import Studio
from m3po.types import Claim
from ui.review.view import draw_item
from ui.score_card import _draw_switch


def drawn(studio, **first) -> str:
    item = studio.review_item()
    changed = dataclasses.replace(item.candidates[0], **first)
    return draw_item(dataclasses.replace(item, candidates=(changed, *item.candidates[1:])))["review-candidates"]


def test_refuted_claims_are_shown_as_text(studio) -> None:
    claims = (Claim("<b>it</b> swims", False, 0.125), Claim("it is red", True, 0.9), Claim("two boats", False))
    html = drawn(studio, claims=claims)
    assert "2 of 3 refuted" in html and "2 of 3 claims refuted:" in html
    assert "&lt;b&gt;it&lt;/b&gt; swims" in html and "<b>it</b>" not in html and "it is red" not in html
    assert "P(yes) is 0.12" in html
    assert "refuted" not in drawn(studio, claims=claims[1:2])  # nothing to say where all is upheld


def test_the_worst_sentence_is_in_the_tooltip(studio) -> None:
    assert "the worst one has 0.10" in drawn(studio, mas=0.5, mas_minimum=0.1)
    assert "worst" not in drawn(studio, mas=0.5)


def test_the_switch_lists_who_has_scored_and_is_drawn_once(studio) -> None:
    def fill(con) -> None:
        for name, count in (("vqa:/models/judge", 3), ("clip:/models/a", 1), ("clip:/other/a", 2), ("column:x", 0)):
            scorer = candidates.scorer_id(con, "mas", name, name)
            for n in range(count):
                con.execute("INSERT INTO mas_scores (candidate_id, scorer_id, mas) VALUES (?, ?, 0.5)", [n, scorer])
            candidates.activate(con, "mas", scorer) if name == "clip:/models/a" else None

    before, _ = _draw_switch(studio, "")
    assert not before.visible
    studio.db.write(fill)
    switch, now = _draw_switch(studio, "")
    numbers = {row["name"]: row["number"] for row in studio.scorers()}
    assert [label for label, _ in switch.choices] == [
        "vqa:judge: 3 candidates", f"clip:a (no. {numbers['clip:/models/a']}): 1 candidate",
        f"clip:a (no. {numbers['clip:/other/a']}): 2 candidates",
    ]  # fmt: skip
    assert switch.value == numbers["clip:/models/a"] and switch.visible
    assert "value" not in _draw_switch(studio, now)[0]  # skipped: nothing changed


def test_votes_by_meaning_stand_beside_the_votes(studio) -> None:
    alone = drawn(studio, votes=2, group_votes=2)  # alone in its group: the votes say it
    assert "say this" not in alone and "×2" not in alone  # imported ones have no votes of their own to show
    html = drawn(studio, votes=2, group_votes=6)
    assert "6 of 2 samples say this, 2 in these very words." in html and "6/2" in html
    assert "6 of 2 samples say this." in drawn(studio, votes=0, group_votes=6).replace("6 of 0", "6 of 2")


def test_a_group_that_joins_chosen_and_rejected_is_told(studio) -> None:
    first, second = studio.review_item().candidates[:2]
    studio.decide(studio.review_item().instruction.id, "override", chosen=first.id, rejected=second.id)
    item = studio.review_item()

    def with_groups(*groups) -> str:
        joined = [dataclasses.replace(c, same_as=g) for c, g in zip(item.candidates, groups, strict=True)]
        return draw_item(dataclasses.replace(item, candidates=tuple(joined)))["review-candidates"]

    assert "takes chosen and rejected for one answer" in with_groups(1, 1, 3, 4)
    for groups in ((1, 2, 1, 2), (None,) * 4):
        assert "takes chosen and rejected" not in with_groups(*groups)


def test_values_frozen_under_another_scorer_are_said_to_be(tmp_path) -> None:
    studio = Studio.open(make_workspace(tmp_path, n=1))

    def state() -> str:
        return draw_item(studio.review_item())["review-state"]

    def switch(con) -> None:
        candidates.activate(con, "mas", candidates.scorer_id(con, "mas", "clip:b", "other"))

    try:
        studio.select()
        assert "select again" not in state()
        studio.db.write(switch)
        assert "picked by another scorer&#x27;s MAS" in state() and "are by scorer as it was" in state()
        [button] = re.findall("<button[^>]*>select again</button>", state())
        assert 'class="link curator-only"' in button and 'data-open-tab="data" data-show="data-select"' in button
        studio.db.write(lambda con: candidates.activate(con, "mas", candidates.scorer_id(con, "mas", "", "scorer-1")))
        assert "select again" not in state()
        studio.db.write(switch)
        studio.select()  # nothing is scored by it: no pair and no value, so nothing of another scorer either
        assert "select again" not in state()
    finally:
        studio.close()


def test_an_answer_that_a_person_wrote_has_its_reason_for_no_rank(studio) -> None:
    item = studio.review_item()
    edit = studio.add_edit(item.instruction.id, "A fish in a boat.")
    studio.decide(item.instruction.id, "override", chosen=edit.id, rejected=item.candidates[0].id)
    item = studio.review_item()
    human = [dataclasses.replace(c, mas=0.5, logp_sum=-1.0) if c.id == edit.id else c for c in item.candidates]
    parts = draw_item(dataclasses.replace(item, candidates=tuple(human)))
    assert parts["review-candidates"].count("None here: a person wrote it") == 2  # good and hard
    assert "None here: a person wrote one of the two" in parts["review-state"]
    assert "a person wrote" not in "".join(
        draw_item(dataclasses.replace(item, candidates=item.candidates[:2])).values()
    )
