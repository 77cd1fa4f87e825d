"""Two models judged blind on what they answered: what is shown, what is kept, and what is told when."""

from __future__ import annotations

import json

import pytest
from workspaces import ANN, CORA, add_instruction, make_selected

from m3po.errors import NotAllowedError, UsageError
from m3po.store import runs
from m3po.studio import Studio
from ui.sides_tab import SidesHandler

N = 12


@pytest.fixture
def studio(tmp_path):
    """Two finished evaluations of twelve held-out instructions: they differ on ten, and the second's are marked."""
    opened = Studio.open(make_selected(tmp_path, 2))

    def fill(con) -> None:
        ids = [add_instruction(con, f"unseen-{n}", split="heldout", text=f"What is in {n}?") for n in range(N)]
        for number in range(2):
            run = runs.add_run(con, "evaluate", {"policy": "/models/base", "split": "heldout"}, "")
            runs.update_run(con, run, state="finished")
            for n, item in enumerate(ids):
                text = f"answer {n}" + (" better" if number and n >= 2 else "")
                con.execute("INSERT INTO answers VALUES (?, ?, ?)", [run, item, text])

    opened.db.write(fill)
    yield opened
    opened.close()


def judge_all(part, first, second, said, **who) -> list[str]:
    """Vote on every item by what `said` makes of the two texts; on which side the better one stood."""
    sides = []
    while (found := part.next(first, second, **who))["item"] is not None:
        sides.append("left" if "better" in found["left"] else "right")
        part.vote(first, second, found["item"], said(found), found["draw"], **who)
    return sides


def test_sides_and_order_are_drawn_and_votes_are_of_the_models(studio):
    second, first = (model["run"] for model in studio.sides.models())
    found = studio.sides.next(first, second)
    assert (found["judged"], found["total"], found["same"]) == (0, N - 2, 2)
    assert found == studio.sides.next(first, second)  # a reload draws the same
    better = judge_all(studio.sides, first, second, lambda found: "left" if "better" in found["left"] else "right")
    assert set(better) == {"left", "right"}, "the better one always stood on the same side"
    report = studio.sides.report(first, second)
    assert (report["wins"], report["losses"], report["win_rate"], report["people"]) == (N - 2, 0, 1.0, 1)
    # Another person is asked the same, in another order and on sides of her own.
    other = judge_all(studio.sides, first, second, lambda found: "left", annotator="cora")
    assert len(other) == N - 2 and other != better
    turned = studio.sides.report(second, first)
    assert turned["losses"] >= turned["wins"] and studio.sides.next(second, first)["item"] is None
    again = studio.sides.report(first, second)
    assert again["people"] == 2 and again["items"] == N - 2 and again["wins"] + again["ties"] == N - 2


def test_the_newest_vote_of_a_person_counts_and_none_is_deleted(studio):
    second, first = (model["run"] for model in studio.sides.models())
    found = studio.sides.next(first, second)
    for said in ("left", "right", "tie"):
        studio.sides.vote(first, second, found["item"], said, found["draw"])
    report = studio.sides.report(first, second)
    assert (report["items"], report["ties"], report["wins"] + report["losses"]) == (1, 1, 0)
    assert studio.db.read(lambda con: con.execute("SELECT count(*) FROM side_votes").fetchall()) == [(3,)]


def test_the_last_one_is_judged_again_on_the_same_sides(studio):
    second, first = (model["run"] for model in studio.sides.models())
    with pytest.raises(UsageError, match="none of these"):
        studio.sides.again(first, second)
    seen = []
    for said in ("left", "tie"):
        seen.append(studio.sides.next(first, second))
        studio.sides.vote(first, second, seen[-1]["item"], said, seen[-1]["draw"])
    again = studio.sides.again(second, first)
    assert (again["item"], again["left"], again["draw"], again["judged"]) == (
        seen[1]["item"], seen[1]["left"], seen[1]["draw"], 2,
    )  # fmt: skip
    studio.sides.vote(first, second, again["item"], "both_bad", again["draw"])
    report = studio.sides.report(first, second)
    assert (report["items"], report["ties"], report["both_bad"]) == (2, 0, 1)
    with pytest.raises(UsageError, match="none of these"):  # another person's
        studio.sides.again(first, second, annotator="cora")


def test_what_cannot_be_judged_is_refused_in_a_sentence(studio):
    second, first = (model["run"] for model in studio.sides.models())
    for bad, words in (((first, first), "two different"), ((first, 99), "no finished evaluation")):
        with pytest.raises(UsageError, match=words):
            studio.sides.next(*bad)
    with pytest.raises(UsageError, match="no verdict"):
        studio.sides.vote(first, second, 3, "first", "")
    with pytest.raises(UsageError, match="no item"):
        studio.sides.vote(first, second, 10**6, "left", "")
    with pytest.raises(NotAllowedError):
        studio.as_user(ANN).sides.next(first, second)
    alike = studio.db.read(lambda con: con.execute("SELECT min(instruction_id) FROM answers").fetchall())[0][0]
    with pytest.raises(UsageError, match="not alike"):
        studio.sides.vote(first, second, alike, "tie", "")
    found = studio.as_user(CORA).sides.next(first, second)
    with pytest.raises(UsageError, match="drawn for another"):  # another curator's login, the same page
        studio.sides.vote(first, second, found["item"], "left", found["draw"])
    studio.as_user(CORA).sides.vote(first, second, found["item"], "tie", found["draw"], annotator="bob")
    votes = studio.db.read(lambda con: con.execute("SELECT annotator FROM side_votes").fetchall())
    assert votes == [("cora",)]


def test_the_page_is_not_told_which_model_says_what(studio):
    second, first = (model["run"] for model in studio.sides.models())
    handler, pair = SidesHandler(studio), {"first": first, "second": second}
    assert [set(model) for model in handler.on_command({"op": "models"})["models"]] == [
        {"run", "name", "of", "before"}
    ] * 2
    told = handler.on_command({"op": "next", **pair})
    assert set(told) == {"item", "draw", "html", "progress", "judged"} and "10 judged" in told["progress"]
    assert "base" not in json.dumps(told) and "run" not in json.dumps(told["html"])
    judged = handler.on_command({"op": "vote", "item": told["item"], "draw": told["draw"], "said": "left", **pair})
    assert judged["item"] != told["item"] and judged["progress"].startswith("1 of 10")
    again = handler.on_command({"op": "again", **pair})
    assert again == told | {"judged": 1, "progress": judged["progress"]}
    assert "is preferred to" in handler.on_command({"op": "outcome", **pair})["html"]
    float_item = {"op": "vote", "item": float(judged["item"]), "draw": judged["draw"], "said": "tie", **pair}
    for nonsense in (None, [], {}, {"op": "vote"}, {"op": "next", "first": True, "second": "x"}, {"op": "drop"},
                     {"op": "vote", "item": [], "said": {}, **pair}, {"op": "vote", "item": None, **pair},
                     float_item):  # fmt: skip
        assert handler.on_command(nonsense)["error"]
