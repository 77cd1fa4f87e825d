"""What a sampler, a log-prob scorer and an evaluation are known by: unchanged by options that say nothing new."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import workspaces

from m3po.errors import BadInputError, ModelError, UsageError
from m3po.jobs.planning import plans, scorings
from m3po.models import fingerprint
from m3po.models.fingerprint import model_fingerprint
from m3po.settings import EvaluateConfig, SampleConfig, ScoreConfig, TrainConfig, weights_of
from m3po.store import candidates, instructions, runs
from m3po.studio import Studio
from m3po.types import Run

# As the version without model options stored them.
STORED_SAMPLER = {"adapter": None, "k": 8, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 128, "seed": 0}
STORED_MARK = {"split": "heldout", "max_new_tokens": 128, "limit": 0}
TELLING = [{"dtype": "bfloat16"}, {"quantise": "8bit"}, {"max_pixels": 400}, {"min_pixels": 400}]
SILENT = [{}, {"device_map": "auto"}, {"attention": "eager"}, {"batch_size": 3}]


@pytest.fixture
def studio(tmp_path: Path):
    studio = Studio.open(workspaces.make_workspace(tmp_path, n=3))
    studio.runner.close()  # nothing is started here
    yield studio
    studio.close()


def queued(kind: str, config: object) -> Run:
    values = dataclasses.asdict(config)
    return Run(id=1, kind=kind, state="queued", config=values, command="", created_at=instructions.now())


def test_a_workspace_sampled_by_an_earlier_version_is_not_sampled_again(studio, tiny_policy) -> None:
    def store(con) -> None:
        sampler = candidates.sampler_id(con, model_fingerprint(tiny_policy), STORED_SAMPLER)
        con.execute(
            "INSERT INTO sampled (sampler_id, instruction_id, run_id) SELECT ?, instruction_id, 1 FROM instructions",
            [sampler],
        )

    studio.db.write(store)
    for options in SILENT:
        prepared = plans.prepare(studio.workspace, queued("sample", SampleConfig(policy=str(tiny_policy), **options)))
        assert isinstance(prepared, dict) and prepared["sampled"] == 0, options
    for options in TELLING:
        config, table = plans.prepare(
            studio.workspace, queued("sample", SampleConfig(policy=str(tiny_policy), **options))
        )
        assert table.num_rows == 3 and config | options == config


def test_a_workspace_scored_by_an_earlier_version_is_not_scored_again(studio, tiny_policy) -> None:
    def store(con) -> None:
        scorer = candidates.scorer_id(con, "logp", str(tiny_policy), model_fingerprint(tiny_policy))
        con.execute(
            "INSERT INTO logprobs SELECT candidate_id, ?, 1, -1.0, 2, [], [], [], now()::TIMESTAMP FROM candidates",
            [scorer],
        )

    studio.db.write(store)
    for options in SILENT:
        config = ScoreConfig(policy=str(tiny_policy), mas=None, **options)
        assert isinstance(plans.prepare(studio.workspace, queued("score", config)), dict), options
    for options in TELLING:
        config = ScoreConfig(policy=str(tiny_policy), mas=None, **options)
        frozen, table = plans.prepare(studio.workspace, queued("score", config))
        assert table.num_rows == 3 and frozen["logp_scorer"] not in (1, 2)


def test_an_evaluation_of_an_earlier_version_is_used_again(studio, tiny_policy) -> None:
    known = plans.evaluated_fingerprint

    def marks(con) -> list[str]:
        rows = instructions.state_of_split(con, "heldout")
        old = json.dumps([model_fingerprint(tiny_policy), STORED_MARK, rows], sort_keys=True)
        return [old] + [
            plans.evaluation_mark(con, config := EvaluateConfig(policy=str(tiny_policy), **options), known(config))
            for options in (*SILENT, *TELLING)
        ]

    old, *found = studio.db.read(marks)
    assert found[: len(SILENT)] == [old] * len(SILENT)
    assert len({old, *found}) == 1 + len(TELLING)


def test_answers_are_scored_by_the_weights_that_gave_them(studio, tiny_policy, tiny_adapter) -> None:
    sampled = SampleConfig(policy=str(tiny_policy), adapter=str(tiny_adapter), dtype="bfloat16", max_pixels=9)
    assert scorings.logp_fingerprint(studio.default_score(sampled)).startswith(plans.identify(sampled)[0] + "?")
    studio.start_pilot(sampled)
    studio.start_pipeline(sampled)
    studio.start_pilot(SampleConfig(policy="remote:m@http://h/v1"))
    *plain, of_server = [run.config for run in reversed(studio.runs()) if run.kind == "score"]
    assert len(plain) == 3
    for config in plain:
        assert weights_of(ScoreConfig(**config)) == weights_of(sampled) and config["mas"] == "scorer"
    assert of_server["policy"] == "policy"  # the one whose log-probs are shown
    assert [config["activate"] for config in (*plain, of_server)] == [False, True, True, False]


def test_nothing_is_queued_of_what_cannot_be_scored(studio, tiny_policy) -> None:
    sampled, nowhere = SampleConfig(policy=str(tiny_policy)), ScoreConfig(policy="./nowhere", mas=None)
    for start in (studio.start_pipeline, studio.start_pilot):
        with pytest.raises(BadInputError, match="no rating 'NoSuch'"):
            start(sampled, ScoreConfig(policy=None, mas="column:NoSuch"))
        with pytest.raises(ModelError, match="nowhere does not exist"):
            start(sampled, nowhere)
    assert studio.runs() == []


def test_a_judge_is_known_by_the_options_that_change_what_it_says(studio, tiny_policy) -> None:
    judge, grouper = f"vqa:{tiny_policy}", f"judge:{tiny_policy}"
    model = model_fingerprint(tiny_policy)

    def known(kind: str, **config) -> str:
        frozen, _ = plans.prepare(studio.workspace, queued("score", ScoreConfig(policy=None, **config)))
        return studio.db.read(lambda con: candidates.scorer_info(con, frozen[f"{kind}_scorer"]))["fingerprint"]

    for options in SILENT:
        assert known("mas", mas=judge, **options) == f"vqa:{model}"
        assert known("group", mas=None, group=grouper, **options) == f"judge:{model}"
    for options in TELLING:
        assert known("mas", mas=judge, **options) == f"vqa:{model}?{json.dumps(options)}"
        assert known("group", mas=None, group=grouper, **options) == f"judge:{model}?{json.dumps(options)}"


def test_an_option_that_no_model_takes_is_refused(studio, tiny_policy) -> None:
    for config in (
        ScoreConfig(policy=None, mas="clip:org/name", dtype="bfloat16"),
        ScoreConfig(policy=None, mas="remote:m@http://h/v1", trust_remote_code=True),
        ScoreConfig(policy=None, mas=None, group="embed:org/name", max_pixels=9),
    ):
        with pytest.raises(UsageError, match=r"is for a policy or a judge .* leave it out"):
            studio.start_score(config)
    mean = ScoreConfig(policy=None, mas=f"1*clip:org/name + 1*vqa:{tiny_policy}", dtype="bfloat16")
    clip, vqa, both = studio.start_scoring(mean)
    assert [run.config["dtype"] for run in (clip, vqa, both)] == ["auto", "bfloat16", "bfloat16"]
    for run in (clip, vqa):
        plans.prepare(studio.workspace, run)


def test_an_edit_is_judged_as_the_answers_beside_it_were(studio, tiny_policy) -> None:
    config = ScoreConfig(policy=None, mas=f"vqa:{tiny_policy}", dtype="bfloat16")
    run = studio.start_score(config)
    frozen, _ = plans.prepare(studio.workspace, run)

    def score(con) -> None:
        con.execute(
            "INSERT INTO mas_scores (candidate_id, scorer_id, run_id, mas, created_at) VALUES (1, ?, ?, 0.5, now())",
            [frozen["mas_scorer"], run.id],
        )
        candidates.activate(con, "mas", frozen["mas_scorer"])

    studio.db.write(score)
    assert scorings.scorings_in_use(studio.db) == [ScoreConfig(policy="policy", mas=None), config]


def watch(monkeypatch, database, name: str) -> list:
    """A list that is empty but while the database does what `name` (read or write) asks of it."""
    real, inside = getattr(database, name), []

    def watched(do):
        inside.append(do)
        try:
            return real(do)
        finally:
            inside.pop()

    monkeypatch.setattr(database, name, watched)
    return inside


def test_models_files_are_read_outside_of_transactions(studio, tiny_policy, monkeypatch) -> None:
    """They may be large and far away, and while something is written nobody else can."""
    policy, judge = str(tiny_policy), f"vqa:{tiny_policy}"
    write, read_files, now = studio.db.write, fingerprint._fingerprint, {"read": 0}

    def look(*given):
        assert not writing, f"{given[0]} is read inside a transaction"
        now["read"] += 1
        return read_files(*given)

    sampled = SampleConfig(policy=policy, pilot=2, k=16)
    for _ in range(9):
        past = studio.start_sample(sampled)
        write(lambda con, run=past.id: runs.update_run(con, run, state="finished", result={"seconds_each": 1.0}))
    writing = watch(monkeypatch, studio.db, "write")
    monkeypatch.setattr(fingerprint, "_fingerprint", look)
    chain = studio.start_pilot(sampled, ScoreConfig(policy=policy, mas=judge))
    grouping = studio.start_score(ScoreConfig(policy=None, mas=None, group=f"judge:{policy}"))
    for run in (*chain[:-1], grouping):
        plans.prepare(studio.workspace, run)
    studio.start_evaluate(EvaluateConfig(policy=policy))
    now["read"] = 0
    plans.prepare(studio.workspace, chain[-1])
    assert 0 < now["read"] <= 5  # not once for every sampling that was ever timed


def test_the_driver_is_not_asked_while_the_database_is_read(studio, tiny_policy, monkeypatch) -> None:
    reading, now = watch(monkeypatch, studio.db, "read"), {"asked": 0}

    def ask() -> float:
        assert not reading
        now["asked"] += 1
        return 1e12

    monkeypatch.setattr("m3po.models.memory.free_memory", ask)
    shown = studio.train_preview(TrainConfig(policy=str(tiny_policy)))
    assert now["asked"] == 1 and "A step takes about" in shown["memory"] and "longest" not in shown


def test_a_model_that_is_another_now_is_read_once_and_not_for_every_run(studio, tiny_policy, monkeypatch) -> None:
    config, sampled = ScoreConfig(policy=str(tiny_policy), mas=None), SampleConfig(str(tiny_policy), pilot=2)

    def fill(con) -> None:
        for _ in range(5):
            runs.add_run(con, "score", dataclasses.asdict(config), "")
        candidates.activate(con, "logp", candidates.scorer_id(con, "logp", str(tiny_policy), "other weights"))

    studio.db.write(fill)
    read_files, read = fingerprint._fingerprint, []

    def look(*given):
        read.append(given)
        return read_files(*given)

    monkeypatch.setattr(fingerprint, "_fingerprint", look)
    assert scorings.active_policy(studio.db) == {"policy": str(tiny_policy)} and len(read) == 1
    past, settings = [queued("sample", sampled)] * 5, plans.settings_of(sampled)
    assert not any(map(plans.sampled_by(SampleConfig("elsewhere"), "other weights", settings), past)) and len(read) == 2
    assert all(map(plans.sampled_by(sampled, "other weights", settings), past)) and len(read) == 2


def test_an_edit_is_scored_as_the_answers_beside_it_were(studio, tiny_policy, tiny_adapter, monkeypatch) -> None:
    config = ScoreConfig(policy=str(tiny_policy), mas=None, adapter=str(tiny_adapter), dtype="bfloat16", max_pixels=9)

    def score(con) -> None:
        runs.add_run(con, "score", dataclasses.asdict(config), "")
        runs.add_run(con, "score", dataclasses.asdict(ScoreConfig(policy=str(tiny_policy), mas=None)), "")
        scorer = candidates.scorer_id(con, "logp", str(tiny_policy), scorings.logp_fingerprint(config))
        candidates.activate(con, "logp", scorer)

    studio.db.write(score)
    read_files, now = fingerprint._fingerprint, {"files": 0}
    reading = watch(monkeypatch, studio.db, "read")

    def look(*given):
        assert not reading  # files may be large and far away
        now["files"] += 1
        return read_files(*given)

    monkeypatch.setattr(fingerprint, "_fingerprint", look)
    assert ScoreConfig(mas=None, **scorings.active_policy(studio.db)) == config and now["files"]
