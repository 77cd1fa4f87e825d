"""What stands of the decisions on a few items against the views over all; items that are kept against the database."""

import datetime as dt
import threading

import numpy as np
import pytest
from workspaces import Answer, add_answers, add_instruction, open_database

from m3po.store import candidate_rows, decisions, standing, undos
from m3po.store.connection import rows
from m3po.store.instructions import Images
from m3po.store.items import Items
from m3po.types import VERDICTS

N = 40
PAIRS = ((1, 2), (2, 1), (1, 3), (None, None), (1, None))
START = dt.datetime(2026, 1, 1)
NEWEST_UNDONE = (
    "SELECT revokes FROM decisions WHERE revokes IS NOT NULL AND decision_id NOT IN (SELECT undo_id FROM redone)"
    " ORDER BY 1 DESC LIMIT 12"
)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    database = open_database(tmp_path_factory.mktemp("standing"))
    yield database
    database.close()


def add_decisions(con, draw):
    """Votes of several people, imported ones, last words, undone ones: of everything that the views know."""
    for table in ("decisions", "redone"):
        con.execute(f"DELETE FROM {table}")
    for _ in range(N * 4):
        verdict = VERDICTS[draw.integers(len(VERDICTS))] if draw.random() < 0.4 else VERDICTS[draw.integers(2)]
        chosen, rejected = PAIRS[draw.integers(len(PAIRS))]
        role = "adjudicated" if draw.random() < 0.1 else ""
        said = decisions.NewDecision(
            int(draw.integers(N)), verdict, chosen, rejected, "abc"[draw.integers(3)], None, "",
            ("", "imported", "object")[draw.integers(3)], 1, {}, role,
        )  # fmt: skip
        at = START + dt.timedelta(days=int(draw.integers(5)))
        row = decisions.add_decision(con, said)
        con.execute("UPDATE decisions SET decided_at = ? WHERE decision_id = ?", [at, row["decision_id"]])
        if draw.random() < 0.2:
            con.execute("UPDATE decisions SET reason = NULL WHERE decision_id = ?", [row["decision_id"]])
    for row in rows(con, "SELECT * FROM decisions"):
        if draw.random() < 0.2:
            undos.revoke(con, row, row["annotator"])
    for _ in range(2):  # some redone, of those some undone and redone again
        for (undone,) in con.execute(NEWEST_UNDONE).fetchall():
            again = undos.restore(con, undos.find_decision(con, undone), "a")
            if draw.random() < 0.5:
                undos.revoke(con, undos.find_decision(con, again), "a")
            elif draw.random() < 0.3:  # of before the place was kept
                con.execute("UPDATE redone SET original = NULL WHERE decision_id = ?", [again])


@pytest.mark.parametrize("seed", range(4))
def test_what_stands_on_some_items_is_what_the_views_say(database, seed):
    def check(con):
        add_decisions(con, np.random.default_rng(seed))
        by_id = {"standing": {}, "current": {}}
        for name, found in by_id.items():
            for row in rows(con, f"SELECT * FROM {name}_decisions ORDER BY original"):
                found.setdefault(row["instruction_id"], []).append(row)
        found = standing.standing_rows(con, range(N))
        assert found == by_id["standing"] and len(found) > N / 2
        assert {number: [standing.current_row(said)] for number, said in found.items()} == by_id["current"]
        assert standing.standing_rows(con, [3, 5]) == {i: found[i] for i in (3, 5) if i in found}
        assert standing.current_row([]) is None and standing.standing_rows(con, []) == {}

    database.write(check)


def test_a_kept_item_is_never_older_than_what_was_stored(tmp_path, monkeypatch):
    database = open_database(tmp_path)
    first, second = database.write(lambda con: [add_instruction(con, name) for name in "ab"])
    items = Items(database, Images(tmp_path))
    asked = []

    def ask(con, ids, *more):
        asked.append(ids)
        return candidate_rows.candidates_of(con, ids, *more)

    monkeypatch.setattr("m3po.store.items.candidates_of", ask)
    monkeypatch.setattr("m3po.store.connection.GIVE_WAY_SECONDS", 0.0)

    def read(*ids):
        return database.read(lambda con: items.read(con, ids))

    assert read(first, second, 99)[first].candidates == () and set(read(first)) == {first}
    said = decisions.NewDecision(first, "skip", None, None, "ann", None, "", "", None, {})
    database.write(lambda con: decisions.add_decision(con, said), lane="decision")
    assert read(second)[second].instruction.external_id == "b" and asked == [[first, second]]
    answers = [Answer("red", 0.1, -1.0), Answer("blue", 0.2, -1.0)]
    database.write(lambda con: add_answers(con, first, answers))
    assert [c.text for c in read(first)[first].candidates] == ["red", "blue"]

    def late(con):  # this transaction does not see what another thread stores meanwhile, and must not keep that as new
        change = "UPDATE candidates SET text = 'green' WHERE text = 'red'"
        other = threading.Thread(target=lambda: database.write(lambda con: con.execute(change)))
        other.start()
        other.join()
        assert items.read(con, [first])[first].candidates[0].text == "red"

    database.write(late, lane="decision")
    assert [c.text for c in read(first)[first].candidates] == ["green", "blue"]
    database.close()
