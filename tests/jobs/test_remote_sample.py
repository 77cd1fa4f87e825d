"""Sampling from a server, as a run of a workspace: votes, log-probs beside, what is skipped, stopped, resumed."""

from __future__ import annotations

import json
import math
import os
import re
import threading
import time
from pathlib import Path

import pytest
import tiny
from openai_server import FakeServer
from runs_here import open_quietly, run_here
from workspaces import add_instruction, open_database

from m3po.errors import JobError, UsageError
from m3po.jobs import batches
from m3po.models import remote
from m3po.models.fingerprint import model_fingerprint
from m3po.settings import EvaluateConfig, SampleConfig, ScoreConfig, TrainConfig
from m3po.store import migrations
from m3po.studio import Studio
from m3po.workspace_config import WorkspaceConfig

SECRET = "sk-do-not-store-0123456789"
ANSWERS = ["A boat.", "A  boat. ", "A fish.", "No."]


@pytest.fixture(autouse=True)
def quick_and_keyless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.001)
    for name in remote.KEY_NAMES:
        monkeypatch.delenv(name, raising=False)


def make(folder: Path, n: int = 5, config: WorkspaceConfig | None = None) -> Path:
    """A workspace with `n` train instructions, the first with an image, and no answers."""
    source = folder / "source"
    source.mkdir()
    tiny.build_image(0).save(source / "0.png")
    path = Studio.create(folder / "workspace", config)
    studio = open_quietly(path)
    (source / "metadata.jsonl").write_text(
        json.dumps({"file_name": "0.png", "instruction": "What is in picture 0?", "id": "item-0", "split": "train"})
    )
    studio.import_source(source)
    studio.close()
    database = open_database(path)
    for number in range(1, n):
        database.write(lambda con, i=number: add_instruction(con, f"item-{i}", text=f"What is in picture {i}?"))
    database.close()
    return path


@pytest.fixture
def studio(tmp_path: Path):
    studio = open_quietly(make(tmp_path))
    yield studio
    studio.close()


def sample(studio: Studio, spec: str, **options) -> object:
    return run_here(studio, studio.start_sample(SampleConfig(spec, **({"k": 4, "max_new_tokens": 9} | options))))


def query(studio: Studio, sql: str) -> list[tuple]:
    return studio.db.read(lambda con: con.execute(sql).fetchall())


def export(studio: Studio, folder: Path) -> list[dict]:
    studio.export(folder / "out.jsonl")
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def test_answers_are_merged_and_their_log_probs_lie_beside(studio: Studio, tmp_path: Path) -> None:
    with FakeServer(reply=lambda body, j: ANSWERS[j]) as server:
        run = sample(studio, server.spec)
        assert (run.state, run.done, run.total, run.unit) == ("finished", 5, 5, "instructions"), run.message
        assert run.result["policy_fingerprint"] == model_fingerprint(server.spec) != model_fingerprint("x")
        again = sample(studio, server.spec)
        assert again.result["sampled"] == 0 and len(server.requests) == 5
        spec = server.spec
    assert (
        sum(isinstance(body["messages"][0]["content"], list) for body in server.requests) == 1
    )  # the one with a picture
    assert run.result["answers"] == 15 and run.result["skipped"] == 0
    said = sum(map(len, ANSWERS))
    assert run.result["prompt_tokens"] == 5 * 10 + 100 and run.result["completion_tokens"] == 5 * said
    assert query(studio, "SELECT count(*), sum(votes), max(votes) FROM votes") == [(15, 20, 2)]
    assert query(studio, "SELECT count(*) FROM logprobs") == [(0,)]  # never as our own
    assert query(studio, "SELECT DISTINCT policy FROM samplers") == [(spec,)]
    rows = export(studio, tmp_path)
    [boat] = [c for c in rows[1]["candidates"] if c["text"] == "A boat."]
    assert boat["logp_sum"] is None and boat["sampler_logp_sum"] == pytest.approx(-0.25 * len("A boat.") - 0.5)
    settings = {"adapter": None, "k": 4, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 9, "seed": 0}
    assert boat["samplers"] == [{"sampler": 1, "policy": spec, "settings": settings, "votes": 2}]
    assert query(studio, "SELECT DISTINCT n_tokens FROM sampler_logprobs ORDER BY 1") == [(4,), (8,)]


def test_a_mute_server_leaves_no_log_prob(studio: Studio, tmp_path: Path) -> None:
    with FakeServer(reply=lambda body, j: ANSWERS[j], log_probs=False, usage=False) as server:
        run = sample(studio, server.spec)
    assert run.result["prompt_tokens"] is None
    assert query(studio, "SELECT count(*) FROM sampler_logprobs") == [(0,)]
    assert all("sampler_logp_sum" not in c for row in export(studio, tmp_path) for c in row["candidates"])


def test_what_the_server_refuses_costs_only_itself(studio: Studio) -> None:
    def refuse(body: dict) -> str | None:
        return "This model's maximum context length is 16" if "picture 2" in str(body["messages"]) else None

    with FakeServer(ANSWERS, refuse=refuse) as server:
        run = sample(studio, server.spec)
        assert run.state == "finished" and run.result["sampled"] == 4 and run.result["skipped"] == 1
        [warning] = studio.run_warnings(run.id)
        assert "'item-2' of test is skipped" in warning and "maximum context length is 16" in warning
        server.refuse = None
        assert sample(studio, server.spec).result["sampled"] == 1  # the one that was skipped is asked again


def test_a_server_that_goes_away_fails_the_run_and_resume_goes_on(studio: Studio) -> None:
    def reply(body: dict, j: int) -> str:
        if len(server.requests) == 4:
            server.always = 404
        return ANSWERS[j]

    with FakeServer(reply=reply) as server:
        run = sample(studio, server.spec, concurrency=1)
        assert run.state == "failed" and "has no model" in run.message and "\n" not in run.message
        assert query(studio, "SELECT count(DISTINCT instruction_id) FROM sampled") == [(4,)]
        server.always, server.reply = None, lambda body, j: ANSWERS[j]
        server.requests.clear()
        run = run_here(studio, studio.resume_run(run.id))
        assert run.state == "finished" and run.result["sampled"] == 5 and len(server.requests) == 1
        assert run.result["completion_tokens"] == 5 * sum(map(len, ANSWERS))  # of both attempts
    assert query(studio, "SELECT DISTINCT n FROM (SELECT sum(votes) n FROM votes JOIN candidates USING (candidate_id)"
                         " GROUP BY instruction_id)") == [(4,)]  # fmt: skip


def test_a_server_that_fails_everything_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "ATTEMPTS", 2)
    studio = open_quietly(make(tmp_path, 40))
    with FakeServer(always=500) as server:
        run = sample(studio, server.spec, concurrency=4)
    count = re.match(r"(\d+) instructions in a row got no answer", run.message)
    assert run.state == "failed" and count and 16 <= int(count[1]) < 16 + 4, run.message  # those that were under way
    assert "bad moment" in run.message and len(server.requests) < 2 * 40
    with FakeServer(refuse=lambda body: "temperature is too high") as server:
        few = sample(studio, server.spec, limit=3)  # not one of them: that is no success either
    assert few.state == "failed" and "3 instructions in a row" in few.message and "too high" in few.message
    studio.close()


def test_stopped_between_requests(tmp_path: Path) -> None:
    studio = open_quietly(make(tmp_path, 30))

    def reply(body: dict, j: int) -> str:
        if len(server.requests) >= 5:
            studio.runner.folder(run.id).request_stop()
        return ANSWERS[j]

    with FakeServer(reply=reply, seconds=0.05) as server:
        config = SampleConfig(server.spec, k=2, concurrency=2)
        run = studio.start_sample(config)
        began = time.monotonic()
        run = run_here(studio, run)
        assert run.state == "stopped" and 0 < run.done < 30 and time.monotonic() - began < 5
        assert query(studio, "SELECT count(*) FROM sampled") == [(len(server.requests),)]  # those under way too
        server.reply = lambda body, j: ANSWERS[j]
        finished = run_here(studio, studio.resume_run(run.id))
        assert finished.state == "finished" and len(server.requests) == 30
    studio.close()


def test_a_hanging_request_does_not_hold_up_a_stop(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "STOP_SECONDS", 0.1)
    with FakeServer(ANSWERS, hang=20) as server:
        run = studio.start_sample(SampleConfig(server.spec))
        threading.Timer(0.3, lambda: studio.runner.folder(run.id).request_stop()).start()
        began = time.monotonic()
        assert run_here(studio, run).state == "stopped" and time.monotonic() - began < 5


def test_a_broken_image_costs_only_itself(studio: Studio) -> None:
    [image] = list((studio.path / "images").rglob("*.png"))
    image.write_bytes(image.read_bytes()[:50])
    with FakeServer(ANSWERS) as server:
        run = sample(studio, server.spec)
    assert run.result["skipped"] == 1 and run.result["sampled"] == 4
    assert "'item-0' of source is skipped" in studio.run_warnings(run.id)[0]


def test_the_key_is_nowhere_in_the_workspace(studio: Studio, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After good runs and bad ones, from a server that repeats the Authorization header wherever it can."""
    monkeypatch.setenv("M3PO_API_KEY", SECRET)
    monkeypatch.setattr(remote, "ATTEMPTS", 2)
    leak = f"You sent Bearer {SECRET}."
    with FakeServer(reply=lambda body, j: leak, key=SECRET, echo_key=True) as server:
        assert sample(studio, server.spec).state == "finished"
        assert server.headers[0]["Authorization"] == f"Bearer {SECRET}"
        for seed, bad in enumerate((401, 403, 404, 500, 418, 302), start=1):
            server.always = bad
            assert sample(studio, server.spec, seed=seed).state in ("failed", "finished")
        server.always, server.refuse = None, lambda body: "no such thing" if "picture 1" in str(body) else None
        assert sample(studio, server.spec, seed=99).result["skipped"] == 1
    said = json.dumps([studio.status(), [run.message for run in studio.runs()], export(studio, tmp_path)], default=str)
    said += "".join("".join(studio.run_warnings(run.id)) for run in studio.runs())
    assert SECRET not in said and "[key]" in said
    studio.db.write(lambda con: con.execute("SELECT 1").fetchall())
    studio.close()
    files = [path for path in [*studio.path.rglob("*"), *tmp_path.rglob("*")] if path.is_file()]
    assert any(path.name == "events.jsonl" for path in files) and any(path.name == "m3po.duckdb" for path in files)
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    # Parquet and DuckDB compress: read what they hold, too.
    studio = open_quietly(studio.path)
    for (table,) in query(studio, "SELECT table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'"):
        assert SECRET not in str(query(studio, f"FROM {table}")), table
    for shard in studio.path.rglob("*.parquet"):
        assert SECRET not in str(query(studio, f"FROM read_parquet('{shard}')"))


@pytest.mark.parametrize(
    "config",
    [lambda spec: TrainConfig(policy=spec), lambda spec: ScoreConfig(policy=spec, mas=None),
     lambda spec: EvaluateConfig(policy=spec)],
)  # fmt: skip
def test_what_needs_the_weights_says_so(config) -> None:
    with pytest.raises(UsageError, match="give --policy FOLDER"):
        config("remote:m@http://h/v1")


def test_a_remote_policy_takes_no_adapter() -> None:
    with pytest.raises(UsageError, match="--lora-modules"):
        SampleConfig("remote:m@http://h/v1", adapter="a")


def test_answers_without_a_log_prob_are_told_of(tmp_path: Path, tiny_mas: Path, tiny_policy: Path) -> None:
    """From remote answers to pairs, with the workspace's own policy on a server and weights named by hand."""
    with FakeServer(reply=lambda body, j: ANSWERS[j]) as server:
        studio = open_quietly(make(tmp_path, 3, WorkspaceConfig(server.spec, f"clip:{tiny_mas}")))
        last = studio.start_pipeline(SampleConfig(server.spec, k=4, limit=3))
        chain = [run for run in reversed(studio.runs()) if run.id <= last.id]
        assert [run.kind for run in chain] == ["sample", "score", "select"]
        assert run_here(studio, chain[0]).state == "finished"
    scored = run_here(studio, chain[1])
    assert scored.state == "finished" and scored.config["policy"] is None, scored.message
    run_here(studio, chain[2])
    status = studio.status()
    assert status["pairs"] == 0 and status["no_pair"]["no_logprob"] == 1 and status["without_log_prob"] == 9
    assert "9 answers of a remote policy have no log-prob" in status["advice"] and "--policy FOLDER" in status["advice"]
    with pytest.raises(UsageError, match="give --policy FOLDER"):
        studio.default_train()
    with pytest.raises(JobError, match=r"9 answers of a remote policy have no log-prob.*score --policy FOLDER"):
        studio.start_train(TrainConfig(policy=str(tiny_policy)))
    preview = studio.train_preview(TrainConfig(policy=str(tiny_policy)))
    assert any("no log-prob" in problem for problem in preview["problems"])

    run = run_here(studio, studio.start_score(ScoreConfig(policy=str(tiny_policy), mas=None)))
    assert run.state == "finished", run.message
    assert studio.status()["advice"] == "" and query(studio, "SELECT count(*) FROM logprobs") == [(9,)]
    assert studio.default_train().policy == str(tiny_policy)
    studio.close()


def test_an_older_workspace_learns_who_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as old:
        old.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:2])
        database = open_database(tmp_path)
        database.write(lambda con: con.execute(
            """
            INSERT INTO samplers (fingerprint, config, created_at) VALUES ('sha256:1', '{}', now()::TIMESTAMP);
            INSERT INTO samplers (fingerprint, config, created_at) VALUES ('sha256:2', '{}', now()::TIMESTAMP);
            INSERT INTO runs (run_id, kind, config) VALUES (7, 'sample', '{"policy": "org/name"}');
            INSERT INTO sampled VALUES (1, 1, 7), (1, 2, 7)
            """
        ))  # fmt: skip
        database.close()
    database = open_database(tmp_path)
    found = database.read(lambda con: con.execute("SELECT policy FROM samplers ORDER BY sampler_id").fetchall())
    assert found == [("org/name",), (None,)]
    database.close()


def test_waiting_is_shared(studio: Studio) -> None:
    """Five requests of 0.2 s at once take a little over 0.2 s, not a second."""
    with FakeServer(ANSWERS, seconds=0.2) as server:
        run = sample(studio, server.spec, concurrency=5)
        assert server.most_at_once == 5
    assert math.isclose(run.result["seconds_each"], 0.04, abs_tol=0.06)
    assert os.environ.get("M3PO_API_KEY") is None
