"""Walking through a view: order, filters, neighbours, and items that leave the view when they are decided."""

import itertools

import pytest
from workspaces import open_selected

from m3po.errors import BadInputError
from m3po.types import REVIEW_FILTERS, REVIEW_ORDERS, ReviewView


@pytest.fixture
def studio(tmp_path):
    studio = open_selected(tmp_path)
    yield studio
    studio.close()


def walk(studio, view):
    item, seen = studio.review_item(view), []
    while item is not None:
        seen.append(item)
        following = studio.review_item(view, item.instruction.id, +1)
        if following.instruction.id == item.instruction.id:
            return seen
        item = following
    return seen


@pytest.mark.parametrize("order", [order for order in REVIEW_ORDERS if order != "reward_margin"])  # that is of a run
def test_each_order_is_the_order_of_its_number_and_items_without_a_pair_come_last(studio, order):
    items = walk(studio, ReviewView("all", order))
    assert len(items) == 7 and [item.position for item in items] == list(range(1, 8))
    assert all(item.total == 7 for item in items)
    assert "unseen" not in {item.instruction.external_id for item in items}  # held-out is never reviewed
    if order == "id":
        assert [item.instruction.id for item in items] == sorted(item.instruction.id for item in items)
        return
    assert items[-1].pair is None and items[-1].no_pair_reason == "one_candidate"
    numbers = [getattr(item.machine_pair, order) for item in items[:-1]]
    assert numbers == sorted(numbers, reverse=order != "logp_margin")


def test_back_and_forth_come_to_the_same_item(studio):
    view = ReviewView("all", "m3p_score")
    items = walk(studio, view)
    for before, after in itertools.pairwise(items):
        assert studio.review_item(view, after.instruction.id, -1).instruction.id == before.instruction.id
        assert before.next_id == after.instruction.id


def test_filters(studio):
    verdicts = iter(["accept", "flag", "tie"])
    for item, verdict in zip(walk(studio, ReviewView("all", "id")), verdicts, strict=False):
        studio.decide(item.instruction.id, verdict)
    sizes = {name: len(walk(studio, ReviewView(name, "id"))) for name in REVIEW_FILTERS}
    assert sizes == {
        "all": 7,
        "unreviewed": 4,
        "reviewed": 3,
        "flagged": 1,
        "no_pair": 1,
        "audit": 0,
        "mine": 0,
        "disagreements": 0,
    }


def test_what_was_skipped_waits_at_the_end_and_every_count_says_so(studio, tmp_path):
    """A skip is no review: in the bar, in `status`, in the filters, and in an export of what is reviewed."""
    unreviewed = ReviewView("unreviewed", "id")
    first, second, third, *others = [item.instruction.id for item in walk(studio, unreviewed)]
    for number in (first, second):
        studio.decide(number, "skip")
    assert [item.instruction.id for item in walk(studio, unreviewed)] == [third, *others]
    studio.decide(third, "tie")
    for number in others:
        studio.decide(number, "skip")
    waiting = [first, second, *others]
    assert [item.instruction.id for item in walk(studio, unreviewed)] == waiting
    [item] = walk(studio, ReviewView("reviewed", "id"))
    assert item.instruction.id == third and (item.reviewed, studio.status()["reviewed"]) == (1, 1)
    assert studio.browsing.look(unreviewed)["left"] == sum(bool(i.machine_pair) for i in walk(studio, unreviewed))
    studio.export(tmp_path / "out.jsonl", only="reviewed")
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 1
    for number in waiting:
        studio.decide(number, "all_wrong")
    assert studio.review_item(unreviewed) is None and studio.status()["reviewed"] == 7


def test_an_item_that_left_the_view_still_knows_the_next_one(studio):
    view = ReviewView("unreviewed", "id")
    items = walk(studio, view)
    studio.decide(items[2].instruction.id, "accept")
    assert studio.review_item(view, items[2].instruction.id, +1).instruction.id == items[3].instruction.id
    assert studio.review_item(view, items[2].instruction.id, -1).instruction.id == items[1].instruction.id
    assert studio.review_item(view, items[2].instruction.id).position == 0


def test_an_empty_view_has_no_item_and_a_wrong_one_is_refused(studio):
    assert studio.review_item(ReviewView("flagged")) is None
    with pytest.raises(BadInputError):
        studio.review_item(ReviewView("all; DROP TABLE decisions", "id"))


def test_jump_by_external_and_internal_id(studio):
    item = studio.review_item(ReviewView("all", "id"))
    assert studio.find_instruction("item-0") == item.instruction.id == studio.find_instruction(str(item.instruction.id))
    assert studio.find_instruction("test/item-0") == item.instruction.id
    assert studio.find_instruction("nobody") is None
    assert studio.find_instruction("9" * 40) is None
    with pytest.raises(BadInputError, match="half of a surrogate"):
        studio.find_instruction("item \ud83d")


def test_candidates_come_with_their_scores(studio):
    item = studio.review_item(ReviewView("all", "id"))
    best = item.candidates[0]
    assert (best.mas, best.logp_sum, best.n_tokens, best.votes) == (0.9, -2.0, 5, 1)
    assert best.logp_mean == pytest.approx(-0.4)
    assert item.role(item.pair.chosen) == "chosen" and item.role(item.pair.rejected) == "rejected"
    assert item.pair.m3p_score == pytest.approx(
        (next(c.good for c in item.candidates if c.id == item.pair.chosen)
         + next(c.hard for c in item.candidates if c.id == item.pair.rejected)) / 2
    )  # fmt: skip


def test_an_id_that_two_sources_have_is_found_by_source_and_id(studio):
    first = studio.find_instruction("item-0")
    add = "INSERT INTO instructions (source, external_id, split, image_ids, system, turns, instruction, content_hash)"
    studio.db.write(lambda con: con.execute(f"{add} VALUES ('other', 'item-0', 'train', [], '', '[]', 'What?', '')"))
    with pytest.raises(BadInputError, match="2 sources: give one of test/item-0, other/item-0"):
        studio.find_instruction("item-0")
    assert studio.find_instruction("test/item-0") == first != studio.find_instruction("other/item-0")
