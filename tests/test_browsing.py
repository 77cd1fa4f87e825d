"""What the Browse page counts, against plain loops; what it lists, in its order; what it is asked, checked."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
from workspaces import Answer, add_answers, add_instruction, make_workspace

from m3po import browsing
from m3po.errors import BadInputError
from m3po.settings import SelectConfig
from m3po.store import beliefs, candidates
from m3po.studio import Studio
from m3po.types import PAIR_MEASURES, Area, Range, ReviewView
from ui.browse_tab import PAGE, BrowseHandler

N = 40


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """Pairs of random scores; instruction k's variants with a swapped image keep the order where k is even."""
    studio = Studio.open(make_workspace(tmp_path_factory.mktemp("browsing"), n=0))
    studio.runner.close()
    draw = random.Random(7)

    def fill(con) -> None:
        for k in range(N):
            number = add_instruction(con, f"q{k}", text="<b>What?</b>" if k == 0 else "What?")
            chosen = Answer(f"good {k}", 0.6 + 0.4 * draw.random(), -draw.random() * 5, tokens=draw.randint(3, 9))
            rejected = Answer(f"bad <i>{k}</i>", 0.5 * draw.random(), -draw.random() * 5, tokens=draw.randint(3, 9))
            ids = add_answers(con, number, [chosen, rejected])
            swapped = candidates.scorer_id(con, beliefs.variant_kind("mas", "swap"), "scorer", "scorer-1|swap:0<9")
            insert = "INSERT INTO mas_scores (candidate_id, scorer_id, run_id, mas) VALUES (?, ?, 2, ?)"
            for candidate, value in zip(ids, (0.4, 0.1) if k % 2 == 0 else (0.1, 0.4), strict=True):
                con.execute(insert, [candidate, swapped, value])
        add_answers(con, add_instruction(con, "lonely"), [Answer("one", 0.5, -1.0)])

    studio.db.write(fill)
    studio.select(SelectConfig(delta=0.0, length_ratio=0.0, normalise="minmax", weight_chosen=1.0))
    yield studio
    studio.close()


def pairs_of(studio: Studio) -> list[dict]:
    """Every pair from the database, one by one."""
    found = []
    for k in range(N):
        item = studio.review_item(ReviewView(order="id"), studio.find_instruction(f"q{k}"))
        by_id = {c.id: c for c in item.candidates}
        chosen, rejected = by_id[item.machine_pair.chosen], by_id[item.machine_pair.rejected]
        found.append({
            "id": item.instruction.id, "k": k, "confidence": rejected.confidence, "mas": rejected.mas,
            "length_ratio": chosen.n_tokens / rejected.n_tokens,
            **{name: getattr(item.machine_pair, name) for name in ("m3p_score", "logp_margin", "mas_gap")},
        })  # fmt: skip
    return found


BOX = Area("rejected", ((0.3, 0.1), (0.95, 0.1), (0.95, 0.45), (0.3, 0.45)))
VIEW = ReviewView(ranges=(Range("logp_margin", -0.4, None), Range("length_ratio", 0.4, 2.0)), area=BOX)


def lets_in(pair: dict, but: str = "") -> bool:
    conditions = {
        "logp_margin": pair["logp_margin"] >= -0.4,
        "length_ratio": 0.4 <= pair["length_ratio"] <= 2.0,
        "area": 0.3 <= pair["confidence"] <= 0.95 and 0.1 <= pair["mas"] <= 0.45,
    }
    return all(holds for name, holds in conditions.items() if name != but)


def test_a_view_is_counted_whatever_the_condition_that_each_figure_shows(studio: Studio) -> None:
    pairs, looked = pairs_of(studio), studio.browsing.look(VIEW)
    assert looked["total"] == N and 0 < looked["left"] == sum(map(lets_in, pairs)) < N
    for measure in PAIR_MEASURES:
        shown = looked["histograms"][measure]
        values = [pair[measure] for pair in pairs if lets_in(pair, but=measure)]
        assert sum(shown["counts"]) == len(values)
        expected, _ = np.histogram(values, browsing.BINS, (shown["low"], shown["high"]))
        assert sum(abs(np.array(shown["counts"]) - expected)) <= 2  # a value on an edge may fall on either side
    there = {pair["id"]: pair for pair in pairs if lets_in(pair, but="area")}
    points = looked["plot"]["points"]
    assert {number for _, _, number in points} == set(there) and looked["plot"]["shown"] == len(there)
    for mas, confidence, number in points:
        assert (mas, confidence) == pytest.approx((there[number]["mas"], there[number]["confidence"]), abs=1e-5)


def test_review_with_the_same_view_has_the_same_items(studio: Studio) -> None:
    assert studio.review_item(VIEW).total == studio.browsing.look(VIEW)["left"]


def test_many_points_are_counted_in_cells(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browsing, "FEW", 3)
    plot = studio.browsing.look(ReviewView())["plot"]
    cells = np.array(plot["counts"]).reshape(plot["rows"], plot["columns"])
    pairs = pairs_of(studio)
    expected, _, _ = np.histogram2d(
        [pair["confidence"] for pair in pairs], [pair["mas"] for pair in pairs], cells.shape, (plot["y"], plot["x"])
    )
    assert cells.sum() == N and abs(cells - expected).sum() <= 4


def test_negatives_come_most_confident_first_page_by_page(studio: Studio) -> None:
    wanted = [pair["id"] for pair in sorted(pairs_of(studio), key=lambda pair: -pair["confidence"])]
    total, first = studio.browsing.negatives(ReviewView(), 0, 15)
    pages = [
        *first,
        *studio.browsing.negatives(ReviewView(), 15, 15)[1],
        *studio.browsing.negatives(ReviewView(), 30, 15)[1],
    ]
    assert total == N and [pair.instruction_id for pair in pages] == wanted
    assert all(pair.rejected.startswith("bad") and pair.chosen.startswith("good") for pair in pages)
    assert studio.browsing.negatives(ReviewView(), 1_000)[1] == []


def test_only_pairs_that_survived_a_test(studio: Studio) -> None:
    even = {pair["id"] for pair in pairs_of(studio) if pair["k"] % 2 == 0}
    view = ReviewView(survived="mas_swap")
    total, found = studio.browsing.negatives(view, 0, N)
    assert total == len(even) and {pair.instruction_id for pair in found} == even
    assert {pair.survived for pair in found} == {("mas_swap",)}
    assert studio.browsing.negatives(ReviewView(survived="logp_blank"), 0, N) == (0, [])
    # Browse counts them, and Review walks through the same ones.
    first = studio.review_item(view)
    assert studio.browsing.look(view)["left"] == first.total == len(even)
    walked = {first.instruction.id, *studio.review_neighbours(view, first.instruction.id, ahead=N, behind=0).ahead}
    assert walked == even
    confident = [pair for pair in pairs_of(studio) if pair["confidence"] > 0.5]
    both = dataclasses.replace(view, area=Area("rejected", ((0.5, -1), (1, -1), (1, 2), (0.5, 2))))
    assert studio.review_item(both).total == sum(pair["k"] % 2 == 0 for pair in confident) > 0
    with pytest.raises(BadInputError, match="no test"):
        studio.review_item(ReviewView(survived="any"))
    [test, *others] = studio.dependence.tests()
    assert (test["scored"], test["preferred"], test["survived"]) == (N, N, N // 2)
    assert test["interval"][0] < 0.5 < test["interval"][1] and not any(other["scored"] for other in others)


def test_what_the_page_asks_is_checked_and_texts_are_no_markup(studio: Studio) -> None:
    handler = BrowseHandler(studio)
    hostile_ones = [None, {}, {"op": "drop"}, {"op": "gallery", "view": {"survived": "x'; --"}}]
    hostile_ones += [{"op": "look", "view": view} for view in ({"ranges": 3}, {"area": {}}, {"tag": 5})]
    for hostile in hostile_ones:
        assert handler.on_command(hostile).keys() == {"error"}
    answer = handler.on_command({"op": "gallery", "start": "3"})
    assert answer["start"] == 0 and answer["html"].count("data-item=") == PAGE
    assert "<i>" not in answer["html"] and "bad &lt;i&gt;" in answer["html"]
    assert "20 of 40" in handler.on_command({"op": "tests"})["html"]
    assert "score" in handler.on_command({"op": "start", "limit": 3})["error"]
    with pytest.raises(BadInputError):
        studio.browsing.look(ReviewView(), "both")


def test_a_workspace_without_pairs_says_so(tmp_path) -> None:
    studio = Studio.open(make_workspace(tmp_path, n=1))
    looked = studio.browsing.look(ReviewView())
    assert (looked["total"], looked["left"], looked["plot"]["points"]) == (0, 0, [])
    assert studio.browsing.negatives(ReviewView()) == (0, [])
    assert "Not tested yet" in BrowseHandler(studio).on_command({"op": "tests"})["html"]
    studio.close()
