"""What a run was made from and what it did to each pair: stored once, whatever ended in between, and never changed."""

from __future__ import annotations

import math
import shutil

import duckdb
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from runs_here import open_quietly
from trained import POLICY, end_by_hand, train_by_hand, write_margins
from workspaces import make_workspace

from m3po import bridge
from m3po.errors import JobError
from m3po.jobs import ingest
from m3po.jobs.margins import ingest_missing
from m3po.lineage_commands import draw_diff, draw_lineage
from m3po.settings import TrainConfig
from m3po.store import lineage, migrations, pair_changes, runs
from m3po.store.connection import rows
from m3po.types import PAIR_OUTCOMES, ReviewView

N = 6
MARGINS = {1: (-1.0, 2.0), 2: (3.0, -0.5), 3: (1.0, 4.0), 4: (-2.0, -1.0), 5: (0.0, 0.0), 6: (math.nan, 1.0)}
OUTCOMES = {1: "learned", 2: "unlearned", 3: "kept", 4: "still_wrong", 5: "still_wrong", 6: ""}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    studio = open_quietly(make_workspace(folder, N))
    studio.select()
    studio.close()
    return studio.path


@pytest.fixture
def studio(made, tmp_path):
    shutil.copytree(made, tmp_path / "ws")
    studio = open_quietly(tmp_path / "ws")
    yield studio
    studio.close()


def changes(studio):
    return studio.db.read(lambda con: pair_changes.changes_of(con, range(1, N + 1)))


def test_what_a_run_did_is_stored_with_its_end(studio):
    run = train_by_hand(studio, MARGINS)
    assert run.state == "finished"
    found = changes(studio)
    assert {number: told[0].outcome for number, told in found.items()} == OUTCOMES
    [first], [last] = found[1], found[6]
    pair = studio.review_item(instruction_id=1).pair
    assert (first.run_id, first.chosen, first.rejected) == (run.id, pair.chosen, pair.rejected)
    assert (first.before, first.after, first.reward) == (-1.0, 2.0, pytest.approx(0.3))
    assert (last.before, last.after, last.reward) == (None, 1.0, None)
    counts = studio.db.read(lambda con: pair_changes.count_outcomes(con, run.id))
    assert counts == {name: list(OUTCOMES.values()).count(name) for name in (*PAIR_OUTCOMES, "")}

    second = train_by_hand(studio, {1: (-1.0, -0.5)}, seed=1)
    assert [each.run_id for each in changes(studio)[1]] == [second.id, run.id]  # the newest first
    assert train_by_hand(studio, None, seed=2).state == "finished"
    assert len(changes(studio)[1]) == 2


def test_a_server_that_dies_while_it_reads_the_end_stores_all_of_it_later_and_once(studio, monkeypatch):
    run = studio.start_train(TrainConfig(policy=POLICY), evaluate=False)
    write_margins(studio, run.id, MARGINS)
    with monkeypatch.context() as dying:
        dying.setattr(ingest.runs, "update_run", refuse)  # the last statement of the transaction
        with pytest.raises(MemoryError):
            end_by_hand(studio, run.id)
    assert changes(studio) == {} and studio.run(run.id).state == "running"
    studio.runner._look_after(studio.run(run.id))
    ingest_missing(studio.db, studio.runner.folder)  # as the next start does
    assert [len(told) for told in changes(studio).values()] == [1] * N
    assert studio.run(run.id).state == "finished"


def refuse(*_given, **_values):
    raise MemoryError


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1))
@example([(0.0, 0.0), (0.0, 1e-9), (1e-9, 0.0)])
def test_an_outcome_is_told_by_the_signs(margins):
    told = {(0, 1): "learned", (1, 0): "unlearned", (1, 1): "kept", (0, 0): "still_wrong"}
    table = pa.Table.from_pylist([{"margin_before": before, "margin_after": after} for before, after in margins])
    found = duckdb.from_arrow(table).project(f"{pair_changes._OUTCOME} AS outcome").fetchall()
    assert [row[0] for row in found] == [told[before > 0, after > 0] for before, after in margins]


def test_a_finished_run_that_lacks_them_gets_them_when_the_app_starts(studio):
    """Ended by an older version, or its file came back from a copy; nothing is ever stored twice."""
    run = train_by_hand(studio, None)
    assert changes(studio) == {}
    write_margins(studio, run.id, MARGINS)
    for _ in range(2):
        ingest_missing(studio.db, studio.runner.folder)
        assert {number: len(told) for number, told in changes(studio).items()} == dict.fromkeys(MARGINS, 1)


def test_margins_that_cannot_be_read_end_no_run_and_no_start(studio, caplog):
    run = train_by_hand(studio, None)
    path = studio.runner.folder(run.id).path / "margins.parquet"
    path.write_bytes(b"no parquet")
    ingest_missing(studio.db, studio.runner.folder)
    assert "restore margins.parquet" in caplog.text and changes(studio) == {}

    again = studio.start_train(TrainConfig(policy=POLICY, seed=1), evaluate=False)
    shutil.copy(path, studio.runner.folder(again.id).path)
    assert end_by_hand(studio, again.id).state == "finished"
    *_, warning = studio.run_warnings(again.id)
    assert warning.startswith(f"What run {again.id} did to each pair cannot be read")


def test_the_decisions_that_a_set_follows_from_are_frozen_with_it(studio):
    item = studio.review_item(instruction_id=2)
    studio.decide(1, "accept", annotator="ann")
    studio.decide(2, "override", chosen=item.pair.rejected, rejected=item.pair.chosen, annotator="bob")
    studio.decide(3, "tie", annotator="bob")
    run = studio.start_train(TrainConfig(policy=POLICY), evaluate=False)
    studio.undo("bob")
    studio.decide(4, "bad_question", annotator="ann")

    told = studio.db.read(lambda con: lineage.who_decided(con, run.id))
    facts = {(row["annotator"], row["verdict"]): (row["decisions"], row["pairs"]) for row in told}
    assert facts == {("ann", "accept"): (1, 1), ("bob", "override"): (1, 1), ("bob", "tie"): (1, 0)}
    assert all(row["first"] == row["last"] is not None for row in told)
    assert run.config["pairs"] == N - 1 and run.config["human"] == 2
    assert run.config["code"].startswith("0.1.0+") and run.config["packages"]["torch"]
    assert run.config["fingerprint"] and run.config["seed"] == 0


def test_a_workspace_of_before_keeps_what_it_knew_of_its_runs(tmp_path, monkeypatch):
    path = tmp_path / "m3po.duckdb"
    with monkeypatch.context() as before:
        before.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:17])
        con = duckdb.connect(str(path))
        migrations.migrate(con)
    con.execute("INSERT INTO run_pairs VALUES (3, 7, 1, 2, true, 11), (3, 8, 4, 5, false, NULL)")
    migrations.migrate(con)
    assert rows(con, "SELECT * FROM run_decisions") == [
        {"run_id": 3, "instruction_id": 7, "decision_id": 11, "agreed": True}
    ]
    con.close()


def measure(studio, run_id, before, after):
    """Held-out figures of a run, without an evaluation."""

    def change(con):
        base = runs.add_run(con, "evaluate", {}, "")
        own = runs.add_run(con, "evaluate", {}, "", parent=run_id)
        for number, figures in ((base, before), (own, after)):
            result = {"metrics": figures, "intervals": {}, "counts": {}}
            runs.update_run(con, number, state="finished", result=result)
        config = runs.read_run(con, run_id).config | {"before_run": base}
        runs.update_run(con, run_id, config=config)

    studio.db.write(change)


@pytest.fixture
def two_runs(studio):
    """Of the second: item 2 the other way round, without item 3, with item 4, at another rate."""
    studio.decide(4, "tie", annotator="ann")
    a = train_by_hand(studio, {1: (-1.0, 2.0), 2: (1.0, 2.0), 3: (1.0, 2.0), 5: (1.0, 1.0), 6: (1.0, -1.0)})
    studio.undo("ann")
    pair = studio.review_item(instruction_id=2).pair
    studio.decide(2, "override", chosen=pair.rejected, rejected=pair.chosen, annotator="bob")
    studio.decide(3, "all_wrong", annotator="bob")
    b = train_by_hand(
        studio, {1: (-1.0, -0.5), 2: (1.0, 2.0), 4: (1.0, 2.0), 5: (1.0, 1.0), 6: (1.0, 1.0)}, learning_rate=1e-3
    )
    measure(studio, a.id, {"chair_s": 0.5}, {"chair_s": 0.4, "chair_i": 0.1})
    measure(studio, b.id, {"chair_s": 0.5}, {"chair_s": 0.3})
    return a.id, b.id


def test_two_runs_differ_by_settings_pairs_and_outcome(studio, two_runs):
    a, b = two_runs
    found = studio.lineage.diff(a, b)
    changed = {name: (was, now) for name, was, now in found["config"]}
    assert changed.keys() == {"learning_rate", "human pairs", "content hash"}
    assert changed["learning_rate"] == (2e-4, 1e-3) and changed["human pairs"] == (0, 1)
    assert found["pairs"] == {"same": 3, "changed": 1, "only_a": 1, "only_b": 1}
    named = {name: [(row["source"], row["id"]) for row in rows] for name, rows in found["named"].items()}
    assert named == {"changed": [("test", "item-1")], "only_a": [("test", "item-2")], "only_b": [("test", "item-3")]}
    [other] = found["named"]["changed"]
    assert (other["chosen"], other["rejected"]) == (other["other_rejected"], other["other_chosen"])
    assert other["chosen"] == "a red boat on the water"
    none = dict.fromkeys([*PAIR_OUTCOMES, ""], 0)
    assert found["changes"]["a"] == none | {"learned": 1, "unlearned": 1, "kept": 3}
    assert found["changes"]["b"] == none | {"kept": 4, "still_wrong": 1}
    moved = {(was, now): count for was, now, count in found["moved"]}
    assert moved == {("learned", "still_wrong"): 1, ("unlearned", "kept"): 1, ("kept", "kept"): 1}
    figure = {"a": {"before": 0.5, "after": 0.4}, "b": {"before": 0.5, "after": 0.3}, "p": None}
    assert found["figures"] == {"chair_s": figure}

    def age(con):  # as an older version stored it
        config = {name: value for name, value in studio.run(a).config.items() if name not in ("code", "dtype")}
        runs.update_run(con, a, config=config)

    assert found["unknown"] == {"a": [], "b": []}
    studio.db.write(age)
    old = studio.lineage.diff(a, b)
    assert (old["config"], old["unknown"]) == (found["config"], {"a": ["dtype", "code"], "b": []})
    back = studio.lineage.diff(b, a, limit=0)
    assert back["config"] == [[name, now, was] for name, was, now in found["config"]]
    assert (back["pairs"]["only_a"], back["pairs"]["only_b"], back["named"]["only_a"]) == (1, 1, [])
    same = studio.lineage.diff(a, a)
    assert (same["config"], same["pairs"]["same"], same["pairs"]["changed"]) == ([], 5, 0)


def test_the_pairs_that_a_difference_counts_are_those_that_review_shows(studio, two_runs):
    a, b = two_runs
    pairs = studio.lineage.diff(a, b)["pairs"]
    for name, run in (("changed", f"{a}~{b}"), ("only_a", f"{a}-{b}"), ("only_b", f"{b}-{a}")):
        assert studio.review_item(ReviewView(run=run)).total == pairs[name], name


def test_the_difference_and_the_lineage_as_plain_text(studio, two_runs):
    a, b = two_runs
    text = draw_diff(bridge.call(studio, "diff_runs", {"a": a, "b": b, "limit": 5}))
    for line in (
        f"From run {a} to run {b}", "  learning_rate: 0.0002 -> 0.001", "Pairs: 3 the same",
        "  1 with another chosen or rejected answer:\n    test/item-1", f"  1 only in run {b}:\n    test/item-3",
        f"What run {a} did to its pairs: 1 learned, 1 unlearned, 3 kept, 0 still wrong",
        f"  of the same pairs 1: unlearned in run {a}, kept in {b}",
    ):  # fmt: skip
        assert line in text, text
    assert [line.split() for line in text.splitlines() if line.startswith("CHAIRs")] == [
        ["CHAIRs", "0.500", "0.400", "0.500", "0.300"]
    ]
    told = draw_lineage(bridge.call(studio, "lineage", {"run_id": b}))
    assert "  bob: 1 override" in told and "1 pair by them" in told and "  bob: 1 all wrong" in told
    assert "  code: 0.1.0+" in told and "  package torch: 9.9" in told and "  seed: 0" in told
    for run_id in (99, studio.results()[0]["after_run"].id):  # an evaluation is no training
        with pytest.raises(JobError, match=f"no training run {run_id}: choose among {b}, {a}"):
            studio.lineage.diff(a, run_id)
