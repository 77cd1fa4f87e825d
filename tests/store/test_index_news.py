"""What comes to the index while it is there: votes, imports, a longer queue, new answers, searches."""

import threading
import time

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from workspaces import Answer, add_answers, add_instruction, decide_by_lot, open_database

from m3po.errors import SearchCancelled
from m3po.selection import RULES
from m3po.settings import SelectConfig
from m3po.store import assignments, selections
from m3po.store.connection import Database
from m3po.store.pair_changes import add_changes
from m3po.store.review_index import ReviewIndex
from m3po.store.searching import Searches
from m3po.types import REVIEW_ORDERS, Area, Range, ReviewView


def test_votes_that_took_their_ids_before_others_are_seen(tmp_path):
    """An import takes ids for its votes, somebody decides, then the import commits: the smaller ids come later."""
    database, index = open_database(tmp_path), ReviewIndex()
    draw = np.random.default_rng(0)

    def fill(con):
        for number in range(3):
            add_answers(con, add_instruction(con, str(number)), [Answer("a", 0.9, -1.0), Answer("b", 0.1, -1.0)])
        selections.create_selection(con, RULES["m3po"], SelectConfig(delta=0.1))
        con.execute("SELECT nextval('decision_ids') FROM range(5)").fetchall()  # the import's
        decide_by_lot(con, 1, "ada", draw, "accept")

    def verdicts():
        seen = database.read(lambda con: [index.walk(con, ReviewView(f)).total for f in ("reviewed", "flagged")])
        return seen, database.read(index.counts)

    database.write(fill)
    assert verdicts() == ([1, 0], (1, 3))
    late = "INSERT INTO decisions (decision_id, instruction_id, verdict, annotator) VALUES (2, 2, 'flag', 'bob')"
    database.write(lambda con: con.execute(late))
    assert verdicts() == ([2, 1], (2, 3))
    database.write(lambda con: decide_by_lot(con, 3, "ada", draw, "tie"))
    assert verdicts() == ([3, 1], (3, 3))
    database.close()


def test_what_is_imported_is_added_to_what_was_read(tmp_path, monkeypatch):
    """A batch of an import does not make everybody wait until all is read anew."""
    database, index, draw = open_database(tmp_path), ReviewIndex(), np.random.default_rng(0)
    corners = ((-1, -1), (-1, 2), (2, 2), (2, -1))
    views = [ReviewView(order=order) for order in REVIEW_ORDERS if order != "reward_margin"] + [
        ReviewView("unreviewed"), ReviewView("reviewed", annotator="ada"), ReviewView("no_pair"), ReviewView("mine"),
        ReviewView(source="test"), ReviewView(source="later"), ReviewView(area=Area("chosen", corners)),
        ReviewView(ranges=(Range("m3p_score", None, None),)), ReviewView(search="what"),
        ReviewView(run="1"), ReviewView(run="1", order="reward_margin"),
    ]  # fmt: skip

    def fill(con):
        for number in range(4):
            answers = [Answer("a", 0.9 - number / 50, -1.0), Answer("b", 0.1, -1.0 - number)]
            add_answers(con, add_instruction(con, str(number)), answers)
        selections.create_selection(con, RULES["m3po"], SelectConfig(delta=0.1))
        decide_by_lot(con, 1, "ada", draw, "accept")
        con.execute("INSERT INTO run_pairs VALUES (1, 2, 3, 4, false, NULL), (1, 4, 7, 8, false, NULL)")
        margins = {"instruction_id": [2, 4], "margin_before": [1.0, 1.0], "reward_margin": [0.2, -0.2]}
        add_changes(con, 1, pa.table(margins))

    def grow(con):
        add_instruction(con, "held", split="heldout")
        new = [add_instruction(con, f"new {number}") for number in range(3)]
        con.execute("UPDATE instructions SET source = 'later' WHERE instruction_id = ?", [new[1]])
        add_instruction(con, "last", split="tune")
        con.execute("INSERT INTO decisions (instruction_id, verdict, annotator) VALUES (?, 'tie', 'ada')", [new[2]])

    def seen(by):
        def read(con):
            walks = [by.walk(con, view) for view in views]
            found = [[int(walk.ids[place]) for place in walk.places[walk.shown]] for walk in walks]
            return found, by.counts(con), [by.conditions(con, view).all_but().tolist() for view in views]

        return database.read(read)

    def refuse(*_):
        raise AssertionError("read anew")

    database.write(fill)
    seen(index)
    with monkeypatch.context() as patched:
        patched.setattr(index, "_load", refuse)
        database.write(grow)
        assert seen(index) == seen(ReviewIndex())
        database.write(lambda con: add_instruction(con, "held too", split="heldout"))
        assert seen(index) == seen(ReviewIndex())
    database.write(lambda con: selections.create_selection(con, RULES["m3po"], SelectConfig(delta=0.1)))
    assert seen(index) == seen(ReviewIndex())
    database.close()


def test_a_walk_keeps_its_places_when_the_queue_grows(tmp_path):
    database, index = open_database(tmp_path), ReviewIndex()

    def assign(*places):
        rows = [("ada", number, place, False) for place, number in enumerate(places)]
        database.write(lambda con: assignments.add_places(con, made, rows, False))

    database.write(lambda con: [add_instruction(con, str(number)) for number in range(4)])
    made = database.write(lambda con: assignments.add_assignment(con, "cora", {"blind": False}))
    assign(3, 1)
    walk = database.read(lambda con: index.walk(con, ReviewView("mine", annotator="ada")))
    assign(2, 3, 1)
    database.read(lambda con: index.walk(con, ReviewView("mine", annotator="ada")))
    assert [walk.step(3, 1), walk.step(1, -1), walk.neighbour(2, 1)] == [1, 3, None]
    database.close()


@pytest.fixture(scope="module")
def many():
    """So many answers that a search takes a while."""
    con = duckdb.connect(":memory:", config={"threads": 1})
    con.execute(
        "CREATE TABLE candidates AS SELECT range AS candidate_id, range // 8 AS instruction_id,"
        " repeat('a red boat, ', 40) || '#' || range AS text FROM range(400_000)"
    )
    con.execute("CREATE TABLE instructions AS SELECT 1 AS instruction_id, 'Cat' AS instruction")
    yield con
    con.close()


def test_a_search_is_given_up_for_a_newer_one_or_when_asked(many):
    searches, ended = Searches(), []

    def search(text, client):
        try:
            ended.append(len(searches.find(many.cursor(), text, "answers", client)[1]))
        except SearchCancelled:
            ended.append("given up")

    def begin(text, client):
        thread = threading.Thread(target=search, args=(text, client))
        thread.start()
        while not searches._under_way.get(client) and thread.is_alive():
            time.sleep(0.001)
        time.sleep(0.02)
        return thread

    first = begin("zz", "one")
    other = begin("yy", "two")
    assert searches.find(many.cursor(), "cat", "instructions", "one")[1].tolist() == [1]
    first.join()
    assert ended == ["given up"]
    assert searches.cancel("two") and not searches.cancel("two") and not searches.cancel("nobody")
    other.join()
    assert ended == ["given up", "given up"]
    assert searches.find(many.cursor(), "#399999", "answers", "one")[1].tolist() == [49999]


def test_an_answer_that_came_since_is_found(tmp_path):
    database, index = Database(tmp_path / "m3po.duckdb"), ReviewIndex()
    view = ReviewView(search="boat", search_in="answers")
    number = database.write(lambda con: add_instruction(con, "1"))
    assert database.read(lambda con: index.walk(con, view)).total == 0
    database.write(lambda con: add_answers(con, number, [Answer("a Boat", 0.5, -1.0)]))
    assert database.read(lambda con: index.walk(con, view)).first() == number
    database.close()
