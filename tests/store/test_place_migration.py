"""Undos and redos that an older version stored mean the same by the newest schema, and go on by its rules."""

import duckdb
import pytest
from workspaces import Answer, add_answers, add_instruction

from m3po.store import migrations, undos, votes
from m3po.store.connection import Database, rows

VIEWS = ("standing_decisions", "current_decisions", "gold")


def add(con, item: int, verdict: str, *, role: str | None = None, revokes: int | None = None) -> int:
    return con.execute(
        "INSERT INTO decisions (instruction_id, verdict, annotator, decided_at, role, revokes)"
        " VALUES (?, ?, 'ann', now()::TIMESTAMP, ?, ?) RETURNING decision_id",
        [item, verdict, role, revokes],
    ).fetchall()[0][0]


@pytest.fixture
def older(tmp_path, monkeypatch):
    """The database as schema 13 left it: an item with an undone word, one with a redone word that was newest then, one
    with a redone last word and one with a plain one, which are gold; and what stood."""
    path = tmp_path / "m3po.duckdb"
    with monkeypatch.context() as before:
        before.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:13])
        con = duckdb.connect(str(path))
        migrations.migrate(con)
    items = [add_instruction(con, name) for name in "abcd"]
    for item in items:
        add_answers(con, item, [Answer("good", 0.9, -1.0), Answer("bad", 0.1, -1.0)])
    undone, redone, final, plain = items
    add(con, undone, "tie")
    add(con, undone, "undo", revokes=add(con, undone, "skip"))
    for item, role in ((redone, None), (final, "adjudicated")):
        undo = add(con, item, "undo", revokes=add(con, item, "tie", role=role))
        add(con, item, "all_wrong", role=role)
        again = add(con, item, "tie", role=role)  # a redo came after it, by the older rule
        con.execute("INSERT INTO redone VALUES (?, ?, 'ann')", [again, undo])
    for item, decision in ((final, again), (plain, add(con, plain, "all_right", role="adjudicated"))):
        con.execute("INSERT INTO gold_items VALUES (?, ?, 'ann', now()::TIMESTAMP, false)", [item, decision])
    stood = {view: rows(con, f"SELECT * FROM {view} ORDER BY decision_id") for view in VIEWS}
    con.close()
    return path, items, stood


def test_what_stood_before_the_newest_schema_stands_after_it(older):
    path, items, stood = older
    assert [len(stood[view]) for view in VIEWS] == [4, 4, 2] and stood["gold"][0]["verdict"] == "tie"
    database = Database(path)
    for view, before in stood.items():
        after = database.read(lambda con, view=view: rows(con, f"SELECT * FROM {view} ORDER BY decision_id"))
        assert [{name: row[name] for name in before[0]} for row in after] == before
    said = database.read(lambda con: [votes.votes_of(con, item) for item in items])
    assert [[(each.verdict, each.role) for each in on] for on in said] == [
        [("tie", "")], [("tie", "")], [("tie", "adjudicated")], [("all_right", "adjudicated")]
    ]  # fmt: skip
    database.close()


def test_an_old_redo_is_undone_and_redone_by_the_new_rule(older):
    path, (_, item, *_), _ = older
    database = Database(path)

    def reverse(con) -> list[str]:
        found, verdicts = votes.own_vote(con, item, "ann"), []
        undos.revoke(con, found, "ann")
        verdicts.append(votes.own_vote(con, item, "ann")["verdict"])
        undos.restore(con, undos.find_decision(con, found["decision_id"]), "ann")
        verdicts.append(votes.own_vote(con, item, "ann")["verdict"])
        return verdicts

    assert database.write(reverse) == ["all_wrong", "tie"]
    database.close()
