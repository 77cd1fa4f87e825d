"""Scorers side by side: ratings and means in SQL against plain Python, and the switch between them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from workspaces import make_workspace, open_database

from m3po.errors import BadInputError, UsageError
from m3po.jobs.planning import plans, scorings
from m3po.jobs.schemas import SCORE_OUTPUT
from m3po.models.fingerprint import scorer_fingerprint
from m3po.scorer_spec import parse_scorer
from m3po.settings import ScoreConfig, SelectConfig, TrainConfig
from m3po.store import candidates, groups, migrations, scorers
from m3po.store.connection import Database
from m3po.studio import Studio
from m3po.types import Claim
from m3po.workspace_config import WorkspaceConfig


@pytest.fixture
def studio(tmp_path: Path):
    """Two instructions with four candidates each; nothing runs by itself."""
    path = make_workspace(tmp_path, 2)
    database = open_database(path)
    ratings = [(n, "Helpfulness", value) for n, value in ((1, 1.0), (2, 5.0), (3, 2.0), (3, 4.0), (5, 3.0))]
    ratings += [(1, "Ethics", 3.0), (2, "Ethics", float("nan"))]
    database.write(lambda con: con.executemany("INSERT INTO ratings VALUES (?, ?, ?)", ratings))
    database.close()
    opened = Studio.open(path)
    yield opened
    opened.close()


def mas_of(studio: Studio, scorer: int) -> dict[int, float]:
    sql = "SELECT candidate_id, mas FROM mas_scores WHERE scorer_id = ?"
    return dict(studio.db.read(lambda con: con.execute(sql, [scorer]).fetchall()))


def prepare(studio: Studio, run_id: int = 77, **config: object) -> dict:
    """What the server does when such a run's turn comes."""
    run = type("R", (), {"id": run_id, "config": {"policy": None, **config}, "kind": "score"})
    return plans.prepare(studio.workspace, run)


def by_name(studio: Studio) -> dict[str, dict]:
    return {row["name"]: row for row in studio.scorers()}


def test_a_rating_of_the_file_is_a_scorer(studio: Studio) -> None:
    result = prepare(studio, mas="column:Helpfulness")
    assert result["scored"] == 4
    row = by_name(studio)["column:Helpfulness"]
    assert (row["range_low"], row["range_high"], row["candidates"], row["active"]) == (1.0, 5.0, 4, True)
    assert mas_of(studio, row["id"]) == {1: 1.0, 2: 5.0, 3: 3.0, 5: 3.0}  # rated twice: the mean; not rated: unscored
    assert prepare(studio, mas="column:Helpfulness")["scored"] == 0
    prepare(studio, mas="column:Ethics")
    assert mas_of(studio, by_name(studio)["column:Ethics"]["id"]) == {1: 3.0}


def test_an_unknown_rating_is_refused_before_anything_is_queued(studio: Studio, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no rating 'Humour'.*there are Ethics, Helpfulness"):
        studio.start_score(ScoreConfig(None, "column:Humour"))
    with pytest.raises(BadInputError, match=r"no rating 'Humour'"):
        studio.start_score(ScoreConfig(None, "0.5*column:Humour + 0.5*column:Ethics"))
    assert studio.runs() == []


def test_a_remote_judge_is_refused_where_the_workspace_forbids_it(tmp_path: Path) -> None:
    studio = Studio.open(make_workspace(tmp_path, 1, WorkspaceConfig(remote=False)))
    try:
        for mas in ("remote:m@http://localhost:1/v1", "1*remote-rating:m@http://localhost:1/v1 + 1*column:x"):
            with pytest.raises(UsageError, match="remote = false"):
                studio.start_score(ScoreConfig(None, mas))
    finally:
        studio.close()


def test_a_mean_is_taken_over_the_parts_ranges(studio: Studio) -> None:
    """The first scorer (FOUR of tests/workspaces.py) has [-1, 1], the rating 1 to 5."""
    first = studio.scorers()[0]
    studio.db.write(lambda con: candidates.set_scorer_range(con, first["id"], -1.0, 1.0))
    prepare(studio, mas="column:Helpfulness")
    rating = by_name(studio)["column:Helpfulness"]["id"]
    scorer = studio.db.write(lambda con: scorers.mean_scorer(con, "m", [(0.75, first["id"]), (0.25, rating)]))
    assert studio.db.write(lambda con: scorers.fill_mean(con, scorer, 1)) == 4
    one, two = mas_of(studio, first["id"]), mas_of(studio, rating)
    expected = {n: 0.75 * (one[n] + 1) / 2 + 0.25 * (two[n] - 1) / 4 for n in two}
    assert mas_of(studio, scorer) == pytest.approx(expected)
    assert studio.db.write(lambda con: scorers.fill_mean(con, scorer, 1)) == 0  # nothing twice
    again = studio.db.write(lambda con: scorers.mean_scorer(con, "m", [(0.75, first["id"]), (0.25, rating)]))
    assert again == scorer
    # A later import that widens the rating makes another mean: stored values stay what they were.
    studio.db.write(lambda con: con.execute("INSERT INTO ratings VALUES (6, 'Helpfulness', 9.0)"))
    prepare(studio, mas="column:Helpfulness")
    wider = studio.db.write(lambda con: scorers.mean_scorer(con, "m", [(0.75, first["id"]), (0.25, rating)]))
    assert wider != scorer and mas_of(studio, scorer) == pytest.approx(expected)


def test_a_mean_of_ratings_through_the_door(studio: Studio) -> None:
    studio.db.write(lambda con: con.execute("INSERT INTO ratings VALUES (2, 'Ethics', 1.0), (3, 'Ethics', 5.0)"))
    spec = "1*column:Helpfulness + 3*column:Ethics"
    config = ScoreConfig(None, spec)
    for number, step in enumerate(scorings.score_steps(config)):
        prepare(studio, number, mas=step.mas, activate=step.activate)
    rows = by_name(studio)
    mean = next(row for name, row in rows.items() if "*" in name)
    assert [row["active"] for row in rows.values()] == [False, False, False, True]
    assert parse_scorer(mean["name"]) == parse_scorer(spec)
    assert mas_of(studio, mean["id"]) == pytest.approx(
        {1: 0.25 * 0 + 0.75 * 0.5, 2: 0.25 * 1 + 0.75 * 0, 3: 0.25 * 0.5 + 0.75 * 1}
    )
    done = studio.select(SelectConfig(normalise="raw", delta=0.0))  # a mean lies in [0, 1]
    assert done["pairs"] == 1


def wait(studio: Studio, runs: list) -> list[str]:
    deadline = time.monotonic() + 60
    while any(studio.run(run.id).active for run in runs) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [studio.run(run.id).state for run in runs]


def test_the_runs_of_a_mean_follow_one_another(studio: Studio) -> None:
    """Ratings need no worker: this is the whole way, from the door through the queue."""
    studio.db.write(lambda con: con.execute("INSERT INTO ratings VALUES (2, 'Ethics', 1.0)"))
    queued = studio.start_scoring(ScoreConfig(None, "1*column:Helpfulness + 1*column:Ethics"))
    assert wait(studio, queued) == ["finished"] * 3
    assert {run.command for run in queued} == {queued[0].command} and "--activate" not in queued[0].command
    assert [row["candidates"] for row in studio.scorers()[-3:]] == [4, 2, 2] and studio.scorers()[-1]["active"]
    # A part that cannot be scored stops what waits for it; nothing is switched.
    studio.db.write(lambda con: con.execute("INSERT INTO ratings VALUES (1, 'Same', 2.0)"))
    queued = studio.start_scoring(ScoreConfig(None, "1*column:Same + 1*column:Ethics"))
    assert wait(studio, queued) == ["finished", "finished", "failed"]
    assert "only one score" in studio.run(queued[-1].id).message
    assert [row["name"] for row in studio.scorers() if row["active"]] == ["1*column:Helpfulness + 1*column:Ethics"]


def test_a_mean_needs_a_range(studio: Studio) -> None:
    first = studio.scorers()[0]["id"]
    with pytest.raises(BadInputError, match="no range"):
        studio.db.write(lambda con: scorers.mean_scorer(con, "m", [(0.5, first), (0.5, first)]))


def test_the_steps_of_a_scoring() -> None:
    def steps(mas: str | None) -> list[tuple]:
        return [(s.policy, s.mas, s.activate) for s in scorings.score_steps(ScoreConfig("p", mas))]

    assert steps(None) == [("p", None, True)]
    assert steps("clip:a") == [("p", "clip:a", True)]  # as ever: one run for both
    assert steps("vqa:a") == [("p", None, True), (None, "vqa:a", True)]
    assert steps("0.7*clip:a+0.3*vqa:b") == [
        ("p", None, True), (None, "clip:a", False), (None, "vqa:b", False), (None, "0.7*clip:a + 0.3*vqa:b", True),
    ]  # fmt: skip


def test_switching_keeps_every_score(studio: Studio) -> None:
    first = studio.scorers()[0]
    prepare(studio, mas="column:Helpfulness")
    assert [row["active"] for row in studio.scorers()] == [False, True]
    assert studio.review_item().candidates[1].mas == 5.0
    studio.use_scorer(first["name"])
    assert studio.review_item().candidates[1].mas == 0.2
    studio.use_scorer("2")
    assert studio.review_item().candidates[1].mas == 5.0
    studio.select(SelectConfig(delta=0.0))
    other = "another scorer than the one that is shown"
    assert other not in " ".join(studio.train_preview(TrainConfig("x"))["problems"])
    studio.use_scorer(first["number"])
    assert other in " ".join(studio.train_preview(TrainConfig("x"))["problems"])
    with pytest.raises(
        UsageError, match=r"There is no scorer nope; there are: 1 \(scorer\), 2 \(column:Helpfulness\)\."
    ):
        studio.use_scorer("nope")


def test_what_identifies_a_scorer(tiny_mas: Path) -> None:
    def of(text: str) -> str:
        return scorer_fingerprint(parse_scorer(text).parts[0])

    assert of(str(tiny_mas)) == of(f"clip:{tiny_mas}")  # what a workspace stored before there were kinds
    assert len({of(f"{prefix}{tiny_mas}") for prefix in ("clip:", "vqa:", "claims:")}) == 3
    assert of("vqa:a/b,adapter=c/d") != of("vqa:a/b")
    assert of("column:x") == "column:x"


# ---- claims and minimum ------------------------------------------------------------------------------------------


def test_claims_and_minimum_are_stored_shown_and_exported(studio: Studio, tmp_path: Path) -> None:
    claims = [
        {"text": "a <b>boat</b>", "upheld": True, "p_yes": 0.9},
        {"text": "it swims", "upheld": False, "p_yes": 0.1},
    ]
    rows = [
        {"instruction_id": 1, "candidate_id": 1, "mas": 0.5, "claims": claims},
        {"instruction_id": 1, "candidate_id": 2, "mas": 0.4, "mas_minimum": 0.1, "claims": []},
        {"instruction_id": 1, "candidate_id": 3},
    ]
    shard = tmp_path / "1.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=SCORE_OUTPUT), shard)

    def ingest(con) -> None:
        scorer = candidates.scorer_id(con, "mas", "claims:x", "claims:x")
        candidates.ingest_scores(con, shard, None, scorer, 1)
        candidates.ingest_scores(con, shard, None, scorer, 2)  # a second run of the same keeps the first values

    studio.db.write(ingest)
    assert studio.review_item().candidates[0].claims == ()  # another scorer is active
    studio.use_scorer("claims:x")
    one, two, three, _ = studio.review_item().candidates
    assert one.claims == (Claim("a <b>boat</b>", True, 0.9), Claim("it swims", False, 0.1)) and one.mas_minimum is None
    assert (two.mas, two.mas_minimum, two.claims) == (0.4, 0.1, ()) and three.mas is None
    studio.export(tmp_path / "out.jsonl")
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])["candidates"]
    assert first[0]["claims"] == claims and first[1]["mas_minimum"] == 0.1 and "claims" not in first[1]


def test_shards_of_an_older_version_go_in(studio: Studio, tmp_path: Path) -> None:
    names = [name for name in SCORE_OUTPUT.names if name not in ("mas_minimum", "claims")]
    schema = pa.schema([SCORE_OUTPUT.field(name) for name in names])
    pq.write_table(
        pa.Table.from_pylist([{"instruction_id": 1, "candidate_id": 1, "mas": 0.5}], schema=schema), tmp_path / "1"
    )
    scorer = studio.db.write(lambda con: candidates.scorer_id(con, "mas", "x", "x"))
    studio.db.write(lambda con: candidates.ingest_scores(con, tmp_path / "1", None, scorer, 1))
    assert mas_of(studio, scorer) == {1: 0.5}


def test_a_workspace_of_before_keeps_its_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = migrations.MIGRATIONS
    monkeypatch.setattr(migrations, "MIGRATIONS", whole[:2])
    old = Database(tmp_path / "m3po.duckdb")
    old.write(lambda con: con.execute("INSERT INTO mas_scores VALUES (1, 1, 1, 0.25, now()::TIMESTAMP)"))
    old.close()
    monkeypatch.setattr(migrations, "MIGRATIONS", whole)
    new = Database(tmp_path / "m3po.duckdb")
    assert new.read(lambda con: con.execute("SELECT mas, minimum FROM mas_scores").fetchall()) == [(0.25, None)]
    new.close()


# ---- groups by meaning -----------------------------------------------------------------------------------------


def test_votes_of_a_group_are_added_up(studio: Studio, tmp_path: Path) -> None:
    def shard(name: str, same: list[tuple[int, int]]) -> Path:
        rows = [{"instruction_id": 1, "candidate_id": c, "same_as": first} for c, first in same]
        pq.write_table(pa.Table.from_pylist(rows, schema=SCORE_OUTPUT), tmp_path / name)
        return tmp_path / name

    config, table = prepare(studio, mas=None, group="embed:a/b")
    assert config["group_scorer"] and table.num_rows == 2
    assert table.select(["candidate_ids", "texts"]).to_pylist()[0]["candidate_ids"] == [1, 2, 3, 4]
    scorer = config["group_scorer"]
    assert [c.group_votes for c in studio.review_item(instruction_id=1).candidates] == [None] * 4
    studio.db.write(lambda con: groups.ingest_groups(con, shard("1", [(1, 1), (2, 1), (3, 3), (4, 3)]), scorer, 1))
    studio.db.write(lambda con: candidates.activate(con, "group", scorer))
    assert [c.votes for c in studio.review_item(instruction_id=1).candidates] == [1, 4, 1, 1]
    assert [c.group_votes for c in studio.review_item(instruction_id=1).candidates] == [5, 5, 2, 2]
    studio.export(tmp_path / "out.jsonl")
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])["candidates"]
    assert [(c["same_as"], c["group_votes"]) for c in first] == [(1, 5), (1, 5), (3, 2), (3, 2)]
    _, table = prepare(studio, mas=None, group="embed:a/b")
    assert table.num_rows == 1  # the other instruction alone
    # A new answer groups its instruction anew; the newest run counts.
    studio.db.write(lambda con: candidates.add_human(con, 1, "a new one", "me"))
    _, table = prepare(studio, mas=None, group="embed:a/b")
    assert table.num_rows == 2
    studio.db.write(
        lambda con: groups.ingest_groups(con, shard("2", [(1, 1), (2, 2), (3, 2), (4, 4), (9, 1)]), scorer, 2)
    )
    assert [c.group_votes for c in studio.review_item(instruction_id=1).candidates][:4] == [1, 5, 5, 1]
    assert "without groups" in prepare(studio, mas=None, group="off")["message"]
    assert [c.group_votes for c in studio.review_item(instruction_id=1).candidates][:4] == [None] * 4


def test_grouping_comes_after_scoring() -> None:
    steps = scorings.score_steps(ScoreConfig("p", "clip:a", group="judge:b"))
    assert [(s.policy, s.mas, s.group) for s in steps] == [("p", "clip:a", None), (None, None, "judge:b")]
    assert len(scorings.score_steps(ScoreConfig(None, None, group="off"))) == 1


def test_a_scorer_that_never_scored_anything_is_not_listed_unless_it_is_active(studio: Studio) -> None:
    first = studio.scorers()
    failed = studio.db.write(lambda con: candidates.scorer_id(con, "mas", "clip:mistyped", "hub:mistyped@main"))
    assert studio.scorers() == first
    with pytest.raises(UsageError, match="There is no scorer clip:mistyped"):
        studio.use_scorer("clip:mistyped")
    studio.db.write(lambda con: candidates.activate(con, "mas", failed))
    assert [row["id"] for row in studio.scorers() if row["active"]] == [failed]


def test_scorers_are_numbered_without_gaps_in_the_order_in_which_they_first_scored(studio: Studio) -> None:
    def add(con) -> None:
        late = candidates.scorer_id(con, "mas", "clip:late", "hub:late@main")  # known first, loaded last
        candidates.scorer_id(con, "logp", "policy", "hub:policy@main")
        early = candidates.scorer_id(con, "mas", "clip:early", "hub:early@main")
        con.execute("INSERT INTO mas_scores (candidate_id, scorer_id, run_id, mas) VALUES (1, ?, 80, 0.5)", [early])
        con.execute("INSERT INTO mas_scores (candidate_id, scorer_id, run_id, mas) VALUES (1, ?, 81, 0.5)", [late])
        con.execute("INSERT INTO mas_scores (candidate_id, scorer_id, run_id, mas) VALUES (2, ?, 82, 0.5)", [early])

    studio.db.write(add)
    assert [(row["number"], row["name"]) for row in studio.scorers()[1:]] == [(2, "clip:early"), (3, "clip:late")]
    assert studio.use_scorer("3")["name"] == "clip:late"
