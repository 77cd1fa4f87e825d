"""The whole way: import, sample, score, select, train, evaluate; and what happens when workers die, in real processes.

Where a test is not about processes, the workers' work is done in its own (runs_here): each costs seconds to start.
"""

import json
import os
import shutil
import signal
import time

import pytest
from runs_here import finish_here, open_quietly
from workspaces import BY_ID, make_images, make_workspace

from m3po.errors import BadInputError, JobError, ModelError, WorkspaceError
from m3po.jobs.planning import launches
from m3po.jobs.runner import MAX_FAILURES
from m3po.jobs.worker import Worker
from m3po.settings import SampleConfig, ScoreConfig, SelectConfig, TrainConfig
from m3po.studio import Studio
from m3po.types import ReviewView
from m3po.workspace_config import WorkspaceConfig

pytestmark = pytest.mark.slow


def wait(studio, run, *states, seconds=120):
    """Wait until the run has left `queued` and `running` (or reached one of `states`)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        run = studio.run(run.id)
        if run.state in states or (not states and not run.active):
            return run
        time.sleep(0.1)
    raise AssertionError(f"run {run.id} is still {run.state}: {studio.run_log(run.id)}")


def write_source(folder, n, heldout=0):
    images = make_images(folder, n)
    rows = []
    for i, image in enumerate(images):
        split = "heldout" if i >= n - heldout else "train"
        rows.append(
            {"file_name": image.name, "id": f"r{i}", "instruction": "Describe it.", "split": split}
            | {"answer": "A boat.", "objects": ["boat"], "category": "describe"}
        )
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def workspace(tmp_path, tiny_policy, tiny_mas):
    """A workspace of twelve train and three held-out instructions on tiny random models."""
    path = Studio.create(tmp_path / "ws", WorkspaceConfig(str(tiny_policy), str(tiny_mas)))
    studio = Studio.open(path)
    report = studio.import_source(write_source(tmp_path / "source", 15, heldout=3))
    assert (report.added, report.splits) == (15, {"train": 12, "heldout": 3})
    studio.close()
    return path


def sampling(policy, **changes):
    return SampleConfig(policy=str(policy), **({"k": 4, "max_new_tokens": 12, "batch_size": 2} | changes))


def test_sample_score_select_train_and_measure(workspace, tiny_policy, tmp_path):
    studio = open_quietly(workspace)
    sampled = finish_here(studio, studio.start_sample(sampling(tiny_policy)))
    assert (sampled.state, sampled.done, sampled.total) == ("finished", 12, 12), sampled.message
    votes = studio.db.read(
        lambda con: con.execute(
            "SELECT instruction_id, sum(votes) FROM votes JOIN candidates USING (candidate_id) GROUP BY 1"
        ).fetchall()
    )
    assert len(votes) == 12 and all(count == 4 for _, count in votes)  # K samples an instruction, merged or not

    again = finish_here(studio, studio.start_sample(sampling(tiny_policy)))
    assert again.state == "finished" and again.result["sampled"] == 0  # the same sampler adds nothing

    scored = finish_here(studio, studio.start_score())
    assert scored.state == "finished", scored.message
    status = studio.status()
    assert status["scored_candidates"] == status["candidates"] > 12

    # Random models are cut off by the token limit, so let those answers be picked.
    result = studio.select(SelectConfig(delta=0.0, length_ratio=0, allow_truncated=True))
    assert result["pairs"] == 12, result

    item = studio.review_item(ReviewView("all", "id"))
    with pytest.raises(BadInputError, match="half of a surrogate"):
        studio.add_edit(item.instruction.id, "half a pair: \ud83d")
    edit = studio.add_edit(item.instruction.id, "A red boat.")
    assert edit.origin == "human" and edit.mas is None
    studio.decide(item.instruction.id, "override", chosen=edit.id, rejected=item.pair.chosen)
    [scoring] = [run for run in studio.runs(("score",)) if run.active]  # queued by itself
    assert finish_here(studio, scoring).state == "finished"
    found = {c.id: c for c in studio.review_item(instruction_id=item.instruction.id).candidates}[edit.id]
    assert found.mas is not None and 0 < found.confidence <= 1
    assert not studio.review_item(instruction_id=item.instruction.id).decision.stale

    run = studio.start_train(TrainConfig(policy=str(tiny_policy), max_steps=2, batch_size=4))
    assert run.config["pairs"] == 12 and run.config["human"] == 1
    trained = finish_here(studio, run)
    assert trained.state == "finished", trained.message + studio.run_log(run.id)
    [result] = studio.results()
    after = finish_here(studio, result["after_run"])
    assert after.state == "finished", after.message + studio.run_log(after.id)
    [result] = studio.results()
    assert set(result["before"]) == set(result["after"]) and "chair_s" in result["after"]
    assert len(studio.run_metrics(run.id)["loss"]) == 2
    told = [c for i in range(1, 13) for c in studio.review_item(BY_ID, i).changes]
    assert len(told) == 12 and all(c.reward == pytest.approx(0.1 * (c.after - c.before)) for c in told)
    assert any(c.reward > 0 for c in told)
    assert {s["instruction_id"] for s in studio.result_samples(run.id, show="all")["rows"]} == {13, 14, 15}

    # A second run measures the same model only once.
    second = studio.start_train(TrainConfig(policy=str(tiny_policy), max_steps=1))
    assert second.config["before_run"] == result["before_run"].id
    assert second.config["content_hash"] == run.config["content_hash"]
    studio.stop_run(second.id)
    assert studio.run(second.id).state == "stopped"
    studio.close()


def test_a_worker_is_found_again_by_a_restarted_server_and_a_killed_one_goes_on_where_it_was(workspace, tiny_policy):
    studio = Studio.open(workspace)
    run = studio.start_sample(sampling(tiny_policy, batch_size=1, max_new_tokens=100))
    wait_done(studio, run, 1)
    pid = studio.runner.folder(run.id).worker_pid()
    studio.close()
    studio = Studio.open(workspace)
    found = studio.run(run.id)
    assert found.state == "running"
    wait_done(studio, run, found.done + 1)  # it went on, and what it tells is heard by the new one
    assert studio.runner.folder(run.id).worker_pid() == pid  # the same worker, not a second one
    os.kill(pid, signal.SIGKILL)
    stopped = wait(studio, run)
    assert stopped.state == "interrupted" and "resume" in stopped.message and stopped.done < 12
    studio.runner.close()
    finished = finish_here(studio, studio.resume_run(run.id))
    assert finished.state == "finished" and finished.done == 12, finished.message
    assert studio.status()["sampled_instructions"] == 12
    counts = studio.db.read(
        lambda con: con.execute(
            "SELECT sum(votes) FROM votes JOIN candidates USING (candidate_id) GROUP BY instruction_id"
        ).fetchall()
    )
    assert [count for (count,) in counts] == [4] * 12  # nothing lost, nothing twice
    studio.close()


def wait_done(studio, run, done, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (now := studio.run(run.id)).done < done:
        assert now.active, now
        time.sleep(0.02)


def test_a_run_stopped_by_the_user_keeps_what_it_has_and_its_followers_do_not_start(
    workspace, tiny_policy, monkeypatch
):
    studio = open_quietly(workspace)
    first = studio.start_sample(sampling(tiny_policy, batch_size=1))
    second = studio.start_score(after=first.id)
    tell = Worker.progress

    def tell_and_stop(job, done, *more, **named):
        tell(job, done, *more, **named)
        if done == 3:
            studio.stop_run(first.id)

    with monkeypatch.context() as stopping:
        stopping.setattr(Worker, "progress", tell_and_stop)
        stopped = finish_here(studio, first)
    assert stopped.state == "stopped" and studio.status()["sampled_instructions"] == 3
    studio.runner.tick()
    follower = studio.run(second.id)
    assert follower.state == "stopped" and f"run {first.id}" in follower.message
    assert finish_here(studio, studio.resume_run(first.id)).state == "finished"
    assert studio.status()["sampled_instructions"] == 12
    assert finish_here(studio, second).state == "finished"  # the follower came back with it
    assert studio.status()["scored_candidates"] == studio.status()["candidates"]
    studio.close()


def test_a_model_folder_that_is_none_fails_with_its_name(workspace, tmp_path, tiny_policy):
    studio = open_quietly(workspace)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"empty has no config\.json"):  # at once, by its files
        studio.start_sample(sampling(tmp_path / "empty"))
    shutil.copytree(tiny_policy, tmp_path / "emptied")
    run = studio.start_sample(sampling(tmp_path / "emptied"))
    shutil.rmtree(tmp_path / "emptied")  # while it waited
    (tmp_path / "emptied").mkdir()
    run = finish_here(studio, run)
    assert run.state == "failed" and str(tmp_path / "emptied") in run.message and "\n" not in run.message
    studio.close()


def test_a_scorer_that_does_not_load_leaves_the_scores_that_are_there(tmp_path):
    studio = open_quietly(make_workspace(tmp_path))
    studio.select()
    studio.decide(studio.review_item().instruction.id, "accept")
    gone = ScoreConfig(policy=None, mas=f"vqa:{tmp_path}/none")  # as where it went while the run waited
    run = finish_here(studio, studio.run(launches.launch_steps(studio.workspace, studio.runner, [("score", gone)])[-1]))
    assert run.state == "failed"
    assert studio.status()["scored_candidates"] == 24
    assert not studio.review_item(instruction_id=run_item(studio)).decision.stale
    studio.close()


def run_item(studio):
    return studio.review_item(ReviewView("reviewed")).instruction.id


def test_a_shard_that_was_written_but_never_told_is_not_lost(workspace, tiny_policy):
    """Killed between the rename and the event."""
    studio = open_quietly(workspace)
    run = finish_here(studio, studio.start_sample(sampling(tiny_policy)))
    folder = studio.runner.folder(run.id)
    studio.close()
    lines = [line for line in folder.events_path.read_text().splitlines() if '"shard"' not in line]
    folder.events_path.write_text("\n".join(lines) + "\n")
    Worker(folder)  # what a resumed worker does first
    told = [event["name"] for event in folder.read_events(0)[0] if event["event"] == "shard"]
    assert set(told) == {path.name for path in folder.shards()}


def test_one_run_that_cannot_be_read_does_not_hold_up_the_others(workspace, tiny_policy):
    studio = open_quietly(workspace)
    spawned = []
    studio.runner._spawn = spawned.append
    first = studio.start_sample(sampling(tiny_policy))
    second = studio.start_sample(sampling(tiny_policy, seed=1, limit=2))
    studio.runner.tick()
    assert [run.id for run in spawned] == [first.id] and studio.run(first.id).state == "running"
    folder = studio.runner.folder(first.id)
    folder.shards_path.mkdir(exist_ok=True)
    (folder.shards_path / "999999.parquet").write_bytes(b"broken")
    with folder.events_path.open("ab") as file:
        file.write(b'{"t": 1, "event": "shard", "name": "999999.parquet", "rows": 1}\n{"half a l\xc3\n')
    for _ in range(MAX_FAILURES):
        studio.runner.tick()
    assert studio.run(first.id).state == "failed"
    assert [run.id for run in spawned] == [first.id, second.id] and studio.run(second.id).state == "running"
    studio.close()


def test_a_queued_run_that_is_stopped_never_starts(workspace, tiny_policy):
    studio = Studio.open(workspace)
    studio.runner.close()  # nobody looks: the stop comes while the run is being prepared
    run = studio.start_sample(sampling(tiny_policy))
    prepare = studio.runner.prepare

    def stop_meanwhile(queued):
        studio.stop_run(run.id)
        return prepare(queued)

    studio.runner.prepare = stop_meanwhile
    studio.runner.tick()
    assert studio.run(run.id).state == "stopped"
    studio.close()


def test_two_apps_on_one_workspace(workspace):
    studio = Studio.open(workspace, address="http://127.0.0.1:7860")
    with pytest.raises(WorkspaceError, match=r"127\.0\.0\.1:7860"):
        Studio.open(workspace)
    studio.close()
    Studio.open(workspace).close()


def test_what_cannot_be_done_yet_says_what_to_do_first(tmp_path):
    studio = Studio.open(make_workspace(tmp_path))
    with pytest.raises(BadInputError, match=r"config\.toml"):
        studio.start_sample()
    with pytest.raises(JobError, match="no pair to train on"):
        studio.start_train(TrainConfig(policy="x"))
    with pytest.raises(JobError, match="There is no run 77"):
        studio.run(77)
    studio.close()


def test_a_workspace_is_not_made_over_other_files(tmp_path):
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(WorkspaceError, match="not empty"):
        Studio.create(tmp_path)
    with pytest.raises(WorkspaceError, match="is not a workspace"):
        Studio.open(tmp_path / "nowhere")


def test_import_is_split_by_image_and_strict_is_all_or_nothing(tmp_path):
    studio = Studio.open(Studio.create(tmp_path / "ws"))
    source = write_source(tmp_path / "source", 3)
    with (source / "metadata.jsonl").open("a") as file:
        file.write(json.dumps({"file_name": "missing.png", "instruction": "What?"}) + "\n")
        file.write(json.dumps({"file_name": "0.png", "id": "other", "instruction": "What?", "split": "heldout"}) + "\n")
    with pytest.raises(BadInputError, match=r"missing\.png.*--strict"):
        studio.import_source(source, strict=True)
    assert sum(studio.status()["instructions"].values()) == 0
    report = studio.import_source(source)
    assert report.added == 3 and len(report.refused) == 2
    assert "two splits" in report.refused[1].reason
    again = studio.import_source(source)
    assert (again.added, again.already_there) == (0, 3)
    studio.close()


def test_background_import_reports_its_refused_rows(tmp_path):
    studio = Studio.open(Studio.create(tmp_path / "ws"))
    source = write_source(tmp_path / "source", 3)
    with (source / "metadata.jsonl").open("a") as file:
        file.write("{broken\n")
    strict = wait(studio, studio.start_import(source, strict=True))
    assert strict.state == "failed" and "--strict" in strict.message
    assert sum(studio.status()["instructions"].values()) == 0
    run = wait(studio, studio.start_import(source))
    assert run.state == "finished" and run.result["added"] == 3 and run.result["n_refused"] == 1
    assert run.result["refused"][0][0] == "line 4"
    with pytest.raises(BadInputError, match="does not exist"):
        studio.start_import(tmp_path / "nowhere")
    studio.close()
