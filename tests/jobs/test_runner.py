"""What a reader of the runs table may see while the runner works, and that a forgotten studio ends quietly."""

import os
import subprocess
import sys

import pytest
from workspaces import make_workspace

from m3po.errors import JobError, ModelError, UnusableModelError
from m3po.jobs import worker
from m3po.jobs.ingest import Tail, ingest_events
from m3po.jobs.runner import JobRunner
from m3po.store import runs
from m3po.store.workspace import Workspace


@pytest.fixture
def workspace_path(tmp_path):
    return make_workspace(tmp_path)


@pytest.fixture
def seen(workspace_path):
    """A runner that does its work in the server, and every state of its run that was ever committed."""
    workspace = Workspace(workspace_path)
    states = []
    write = workspace.db.write

    def write_and_look(work):
        result = write(work)
        states.extend(workspace.db.read(lambda con: runs.read_runs(con)))
        return result

    workspace.db.write = write_and_look
    runner = JobRunner(workspace.db, workspace.runs_path, prepare=lambda run: {"message": "Done.", "pairs": 3})
    yield runner, states
    workspace.close()


def test_a_finished_run_has_its_result_and_end_from_the_first_moment(seen):
    runner, states = seen
    runner.db.write(lambda con: runner.queue(con, "select", {}, ""))
    runner.tick()
    finished = [run for run in states if run.state == "finished"]
    assert finished and all(run.result == {"message": "Done.", "pairs": 3} for run in finished)
    assert all(run.ended_at and run.message == "Done." and (run.done, run.total) == (1, 1) for run in finished)


def test_a_run_stopped_in_the_queue_says_so_from_the_first_moment(seen):
    runner, states = seen
    runner.stop(runner.db.write(lambda con: runner.queue(con, "select", {}, "")))
    runner.tick()
    ended = [run for run in states if run.state != "queued"]
    assert ended and {(run.state, run.message) for run in ended} == {("stopped", "Stopped before it started.")}
    assert all(run.ended_at for run in ended)


def test_python_ends_quietly_with_a_studio_left_open(workspace_path):
    code = f"from m3po.studio import Studio; studio = Studio.open({str(workspace_path)!r}); print(studio.path)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "FATAL" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("script", "state", "words"),
    [
        ("kill -9 $$", "interrupted", "was killed; resume"),
        ("echo no such library; exit 1", "failed", "no such library"),
    ],
)
def test_how_a_worker_that_told_nothing_died_is_told(seen, script, state, words):
    runner, _ = seen
    run_id = running(runner)
    with runner.folder(run_id).log_path.open("w") as log:
        runner._processes[run_id] = subprocess.Popen(["sh", "-c", script], stdout=log)
    runner._processes[run_id].wait(20)
    runner.tick()
    ended = runner.db.read(lambda con: runs.read_run(con, run_id))
    assert ended.state == state and words in ended.message


def running(runner) -> int:
    """A run that is marked as at work, its folder written."""
    run_id = runner.db.write(lambda con: runner.queue(con, "sample", {}, ""))
    runner.folder(run_id).write_config({})
    runner.db.write(lambda con: runs.update_run(con, run_id, state="running"))
    return run_id


def work_as_process(monkeypatch, folder, work) -> int:
    """A worker's main in this process; returns its exit status."""
    monkeypatch.setattr(worker.sys, "argv", ["sample", str(folder.path)])
    monkeypatch.setattr(worker.os, "nice", lambda _: 0)
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)
    monkeypatch.setattr(worker, "obey", lambda _: None)
    with pytest.raises(SystemExit) as ended:
        worker.main(work)
    return ended.value.code


def test_a_run_says_that_it_stops_until_it_has(seen):
    """Whatever its present batch tells meanwhile."""
    runner, _ = seen
    run_id = running(runner)
    job = worker.Worker(runner.folder(run_id))
    told = []
    for done in (1, 2):
        job.emit("progress", done=done, total=9, unit="steps", message="training")
        runner.db.write(lambda con: ingest_events(con, run_id, "sample", {}, runner.folder(run_id), Tail()))
        run = runner.db.read(lambda con: runs.read_run(con, run_id))
        told.append((run.done, run.message))
        runner.stop(run_id)
    os.close(job._lock)
    assert told == [(1, "training"), (2, "Stopping after the present batch ...")]


def test_a_worker_that_was_asked_to_stop_ends_with_3_and_its_run_is_stopped(seen, monkeypatch):
    runner, _ = seen
    run_id = running(runner)
    runner.stop(run_id)
    assert work_as_process(monkeypatch, runner.folder(run_id), lambda job: job.check_stop()) == 3
    runner.tick()
    ended = runner.db.read(lambda con: runs.read_run(con, run_id))
    assert ended.state == "stopped" and "can be resumed" in ended.message


@pytest.mark.parametrize("error", [UnusableModelError("No such model."), ModelError("No network.")])
def test_only_a_run_whose_model_can_be_had_is_resumed(seen, monkeypatch, error):
    """As its worker tells it, in this process."""
    runner, _ = seen
    run_id = runner.db.write(lambda con: runner.queue(con, "sample", {}, ""))
    folder = runner.folder(run_id)
    folder.write_config({})

    def work(job):
        raise error

    assert work_as_process(monkeypatch, folder, work) == 1
    runner.db.write(lambda con: ingest_events(con, run_id, "sample", {}, folder, Tail()))
    run = runner.db.read(lambda con: runs.read_run(con, run_id))
    assert (run.state, run.message) == ("failed", str(error))
    if isinstance(error, UnusableModelError):
        assert not run.resumable
        with pytest.raises(JobError, match=r"cannot be resumed\. No such model\."):
            runner.resume(run_id)
    else:
        assert run.resumable and runner.resume(run_id).state == "queued"


def test_what_another_run_wants_is_not_stopped_with_a_training(seen):
    """Two trainings begin with one model, which is measured once for both."""
    runner, _ = seen

    def add(con):
        before = runs.add_run(con, "evaluate", {"policy": "p"}, "")
        trainings = [runs.add_run(con, "train", {"policy": "p", "before_run": before}, "") for _ in range(2)]
        return before, trainings, [runs.add_run(con, "evaluate", {}, "", parent=t, after=t) for t in trainings]

    before, (one, other), (after_one, after_other) = runner.db.write(add)

    def state_of(run_id):
        return runner.db.read(lambda con: runs.read_run(con, run_id)).state

    assert runner.stop_all([before, one, after_one]) == 2
    assert [state_of(i) for i in (before, one, after_one, other, after_other)] == [
        "queued", "stopped", "stopped", "queued", "queued",
    ]  # fmt: skip
    assert runner.stop_all([before, other, after_other]) == 3 and state_of(before) == "stopped"
