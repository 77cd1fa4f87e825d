"""Views over the index: every filter, order, range, area and search against a plain-Python reading of the same rows."""

import dataclasses
import math
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from workspaces import Answer, add_answers, add_instruction, decide_by_lot, open_database

from m3po.errors import BadInputError
from m3po.selection import RULES
from m3po.settings import SelectConfig
from m3po.store import assignments, selections, tags, undos
from m3po.store.areas import Points
from m3po.store.connection import rows
from m3po.store.pair_changes import add_changes
from m3po.store.review_index import ReviewIndex
from m3po.types import REVIEW_FILTERS, REVIEW_ORDERS, SEARCH_PLACES, VIEW_OUTCOMES, Area, Range, ReviewView

WORDS = ("red boat", "Red Boat 100%", "a_b", "back\\slash", "Éclair", "éCLAIR", "")
ANNOTATORS = ("ada", "bob")
N = 48


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """Some items of every kind: with pairs and without, undecided, decided by one or by both, decided and undone."""
    database = open_database(tmp_path_factory.mktemp("index"))
    draw = np.random.default_rng(5)

    def fill(con):
        for number in range(N):
            split = "heldout" if number % 11 == 10 else "train"
            instruction = add_instruction(con, str(number), split=split, text=f"What? {WORDS[number % 7]}")
            con.execute("UPDATE instructions SET source = ? WHERE instruction_id = ?", [f"s{number % 3}", instruction])
            grid = [round(x, 1) for x in draw.random(8)]
            add_answers(
                con,
                instruction,
                [
                    Answer(f"{WORDS[(number + k) % 7]} {k}", grid[k], -3 * grid[k + 4], int(draw.integers(2, 9)))
                    for k in range(int(draw.integers(0, 4)))
                ],
            )
        selections.create_selection(con, RULES["m3po"], SelectConfig(delta=0.1))
        for number in range(N):
            for annotator in ANNOTATORS:
                if draw.random() < 0.4:
                    decide_by_lot(con, number + 1, annotator, draw)
        for number in range(0, N, 9):
            decide_by_lot(con, number + 1, "cora", draw, role="adjudicated")
        queue = draw.permutation(N)[:20].tolist()
        first = assignments.add_assignment(con, "cora", {"blind": False})
        assignments.add_places(
            con, first, [("ada", number + 1, place, False) for place, number in enumerate(queue)], False
        )
        for row in rows(con, "SELECT * FROM decisions WHERE decision_id % 7 = 0"):
            undos.revoke(con, row, row["annotator"])
        for _ in range(3 * N):  # put on, taken off, put on again
            name, who = ("odd", "odd one")[int(draw.integers(2))], ANNOTATORS[int(draw.integers(2))]
            tags.set_tag(con, int(draw.integers(1, N + 1)), name, who, who, withdrawn=bool(draw.integers(2)))

        for run in RUNS:  # some pairs of each, some with their sides exchanged, some with margins, none of run 3
            pairs = [row for row in rows(con, PAIRS) if draw.random() < 0.7]
            for row in pairs:
                sides = [row["chosen"], row["rejected"]][:: 1 if draw.random() < 0.8 else -1]
                number = row["instruction_id"]
                con.execute("INSERT INTO run_pairs VALUES (?, ?, ?, ?, false, NULL)", [run, number, *sides])
            if run < 3:
                margins = [
                    {"instruction_id": row["instruction_id"], "chosen": row["chosen"], "rejected": row["rejected"]}
                    | dict(zip(("margin_before", "margin_after"), draw.choice(MARGINS, 2).tolist(), strict=True))
                    for row in pairs[:-3]
                ]
                margins = [{**row, "reward_margin": row["margin_after"] - row["margin_before"]} for row in margins]
                add_changes(con, run, pa.Table.from_pylist(margins))

    database.write(fill)
    yield database
    database.close()


RUNS, MARGINS = (1, 2, 3), (-2.0, -0.5, 0.0, 0.5, 1.5)
PAIRS = "SELECT instruction_id, chosen, rejected FROM selection_pairs WHERE chosen IS NOT NULL ORDER BY 1"


def of_runs(con, view):
    """By item, the reward margin (None: there is none) of those that the view's run and outcome let in."""
    one, other = re.fullmatch(r"(\d+)(?:[-~](\d+))?", view.run).groups()
    pairs = {
        run: {row["instruction_id"]: (row["chosen"], row["rejected"]) for row in rows(con, "SELECT * FROM run_pairs")
              if row["run_id"] == run} for run in (int(one), int(other or 0))
    }  # fmt: skip
    mine, theirs = pairs[int(one)], pairs[int(other or 0)]
    if "-" in view.run:
        mine = {number: pair for number, pair in mine.items() if number not in theirs}
    if "~" in view.run:
        mine = {number: pair for number, pair in mine.items() if theirs.get(number, pair) != pair}
    told = {row["instruction_id"]: row for row in rows(con, "SELECT * FROM pair_changes") if row["run_id"] == int(one)}
    if view.outcome:
        wanted = [view.outcome] if view.outcome != "flipped" else ["learned", "unlearned"]
        words = {(False, True): "learned", (True, False): "unlearned", (True, True): "kept"}
        said = {n: words.get((row["margin_before"] > 0, row["margin_after"] > 0), "still_wrong")
                for n, row in told.items()}  # fmt: skip
        mine = {number: pair for number, pair in mine.items() if said.get(number) in wanted}
    return {number: told[number]["reward_margin"] if number in told else None for number in mine}


def expected(con, view):
    """The ids of the view in its order, the slow way."""
    found = []
    pairs = {row["instruction_id"]: row for row in rows(con, "SELECT * FROM selection_pairs WHERE chosen IS NOT NULL")}
    table = "standing_decisions" if view.annotator else "current_decisions"
    who = {row["instruction_id"]: row for row in rows(con, f"SELECT * FROM {table}")
           if not (view.annotator or view.filter == "mine")
           or (row["annotator"] == view.annotator and not row["role"])}  # fmt: skip
    queue = {row["instruction_id"]: row["place"] for row in rows(con, "SELECT * FROM queues")
             if row["annotator"] == view.annotator}  # fmt: skip
    voters = {}
    for row in rows(con, "SELECT * FROM standing_decisions"):
        voters.setdefault(row["instruction_id"], []).append(row)
    tagged = {}
    for row in rows(con, "SELECT * FROM item_tags ORDER BY rowid"):
        if row["tag"] == view.tag and view.annotator in ("", row["annotator"]):
            tagged[row["instruction_id"], row["annotator"]] = not row["withdrawn"]
    has_tag = {number for (number, _), stands in tagged.items() if stands}
    of_run = of_runs(con, view) if view.run else {}
    texts = {}
    for row in rows(con, "SELECT instruction_id, text FROM candidates"):
        texts.setdefault(row["instruction_id"], []).append(row["text"])
    for item in rows(con, "SELECT * FROM instructions WHERE split = 'train'"):
        number = item["instruction_id"]
        pair, decision = pairs.get(number), who.get(number)
        verdict = decision["verdict"] if decision else None
        lets_in = {
            "all": True,
            "unreviewed": verdict in (None, "skip"),
            "reviewed": verdict not in (None, "skip"),
            "flagged": verdict == "flag",
            "no_pair": pair is None and verdict not in ("accept", "override"),
            "audit": False,  # none was drawn
            "mine": number in queue and verdict in (None, "skip"),
            "disagreements": is_disputed(voters.get(number, [])),
        }[view.filter]
        if view.tag:
            lets_in &= number in has_tag
        if view.reason:
            lets_in &= decision is not None and (decision["reason"] or "") == view.reason
        if view.source:
            lets_in &= item["source"] == view.source
        if view.search.strip():
            where = texts.get(number, []) if view.search_in == "answers" else [item["instruction"]]
            lets_in &= any(view.search.strip().lower() in text.lower() for text in where)
        for limits in view.ranges:
            value = pair and measure(pair, limits.measure)
            low = -math.inf if limits.low is None else limits.low
            high = math.inf if limits.high is None else limits.high
            if limits.measure == "length_ratio":  # kept in 32 bits
                low, high, value = np.float32(low), np.float32(high), value and np.float32(value)
            lets_in &= value is not None and bool(low <= value <= high)
        if view.area:
            lets_in &= pair is not None and inside(view.area.corners, *point(pair, view.area.role))
        if view.run:
            lets_in &= number in of_run
        if lets_in:
            found.append((number, pair))
    if view.filter in ("unreviewed", "mine"):  # what was skipped comes when all else is done
        found = [each for each in found if each[0] not in who] or found
    sign = {"logp_margin": 1, "m3p_score": -1, "mas_gap": -1}
    if view.filter == "mine":
        found.sort(key=lambda each: queue[each[0]])
    elif view.order == "reward_margin":
        found.sort(key=lambda each: (of_run[each[0]] is None, of_run[each[0]], each[0]))
    elif view.order != "id":
        found.sort(key=lambda each: (each[1] is None, each[1] and sign[view.order] * each[1][view.order], each[0]))
    else:
        found.sort(key=lambda each: each[0])
    return [number for number, _ in found]


def is_disputed(votes):
    """Several voted, none of them has the last word, and no more than half say the same."""
    said = [
        (v["chosen"], v["rejected"]) if v["verdict"] in ("accept", "override") else v["verdict"]
        for v in votes
        if v["verdict"] not in ("skip", "flag")
    ]
    final = any(v["role"] == "adjudicated" for v in votes)
    return len(said) > 1 and not final and max(map(said.count, said)) * 2 <= len(said)


def measure(pair, name):
    return pair["chosen_tokens"] / pair["rejected_tokens"] if name == "length_ratio" else pair[name]


def point(pair, role):
    return float(np.float32(math.exp(pair[f"{role}_logp_mean"]))), float(np.float32(pair[f"{role}_mas"]))


def inside(corners, x, y):
    """Even-odd: of the edges that cross this height, the number to the right."""
    odd = False
    for k, (x0, y0) in enumerate(corners):
        x1, y1 = corners[(k + 1) % len(corners)]
        if (y0 > y) != (y1 > y) and x < (x1 - x0) * (y - y0) / (y1 - y0) + x0:
            odd = not odd
    return odd


fine = st.floats(-1, 1).map(lambda x: round(x, 3))
corners = st.lists(st.tuples(fine, fine), min_size=3, max_size=9).map(tuple)
ranges = st.builds(
    Range, st.sampled_from(["m3p_score", "logp_margin", "mas_gap", "length_ratio"]), st.none() | fine, st.none() | fine
)
views = st.builds(
    ReviewView,
    filter=st.sampled_from(REVIEW_FILTERS),
    order=st.sampled_from(REVIEW_ORDERS),
    search=st.sampled_from(["", "", "boat", "RED b", "100%", "_", "\\", "éc", " ", "nowhere"]),
    search_in=st.sampled_from(SEARCH_PLACES),
    source=st.sampled_from(["", "", "s1", "nobody's"]),
    ranges=st.lists(ranges, max_size=2).map(tuple),
    area=st.none() | st.builds(Area, st.sampled_from(["chosen", "rejected"]), corners),
    tag=st.sampled_from(["", "", "odd", "none"]),
    reason=st.sampled_from(["", "", "object", "text"]),
    annotator=st.sampled_from(["", "ada", "bob", "cora", "nobody"]),
    run=st.sampled_from(["", "1", "2", "3", "1-2", "2-1", "3-1", "1~2", "2~3", "7", "1-7"]),
    outcome=st.sampled_from(["", "", *VIEW_OUTCOMES]),
).map(lambda view: view if view.run else without_run(view))


def without_run(view):
    """An outcome and a reward margin are of a run."""
    return dataclasses.replace(view, outcome="", order="id" if view.order == "reward_margin" else view.order)


index = ReviewIndex()


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(view=views)
@example(view=ReviewView(area=Area("rejected", ((-1, -1), (-1, 2), (2, 2), (2, -1)))))
@example(view=ReviewView(ranges=(Range("length_ratio", 1.0, None),)))
@example(view=ReviewView("mine", annotator="ada"))
@example(view=ReviewView("disagreements"))
@example(view=ReviewView("reviewed", annotator="cora"))
@example(view=ReviewView(run="1", order="reward_margin"))
@example(view=ReviewView(run="2~1", outcome="flipped", order="reward_margin"))
@example(view=ReviewView("mine", run="1", annotator="ada"))
def test_a_view_is_what_reading_every_row_gives(database, view):
    def compare(con):
        walk, wanted = index.walk(con, view), expected(con, view)
        assert [int(walk.ids[place]) for place in walk.places[walk.shown]] == wanted
        assert walk.total == len(wanted) and walk.first() == (wanted[0] if wanted else None)
        for position, number in enumerate(wanted, start=1):
            assert walk.position(number) == position
            assert walk.following(number, 3) == wanted[position : position + 3]
            assert walk.neighbour(number, -1) == (wanted[position - 2] if position > 1 else None)
            assert walk.step(number, 2) == wanted[min(position + 1, len(wanted) - 1)]
        assert walk.following(10**9, 3) == []

    database.read(compare)


@settings(max_examples=100)
@given(st.lists(st.tuples(fine | st.just(math.nan), fine), max_size=30), corners)
def test_points_in_a_polygon(points, corners):
    x, y = (np.array([p[k] for p in points], np.float32) for k in (0, 1))
    found = Points(x, y).inside(corners)
    assert found.tolist() == [inside(corners, float(a), float(b)) for a, b in zip(x, y, strict=True)]


@pytest.mark.parametrize(
    "view",
    [
        ReviewView(order="random()"),
        *(ReviewView(run=name) for name in ("one", "0", "1-", "1-2-3", "1~", "99999999999999999999", "\u0661")),
        ReviewView(run="1", outcome="lost"),
        ReviewView(outcome="learned"),
        ReviewView(order="reward_margin"),
        ReviewView(search="a", search_in="decisions"),
        ReviewView(ranges=(Range("mas", 0, 1),)),
        ReviewView(ranges=(Range("mas_gap", math.nan, 1),)),
        ReviewView(area=Area("other", ((0, 0), (0, 1), (1, 1)))),
        ReviewView(area=Area("chosen", ((0, 0), (0, 1)))),
        *(ReviewView(**{name: "half \ud83d"}) for name in ("search", "source", "reason", "annotator")),
        ReviewView(area=Area("chosen", ((0, 0), (0, 1), (1, math.inf)))),
    ],
)
def test_a_condition_that_cannot_be_is_refused(database, view):
    with pytest.raises(BadInputError):
        database.read(lambda con: index.walk(con, view))
