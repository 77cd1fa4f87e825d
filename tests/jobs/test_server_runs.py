"""Imports and exports in threads of the app: how they end when the disk is full, and when the app closes."""

from __future__ import annotations

import json
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from m3po.errors import JobError
from m3po.jobs import server_runs
from m3po.jobs.transfer import importing
from m3po.store import runs
from m3po.store.connection import Database
from m3po.studio import Studio


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    opened = Studio.open(Studio.create(tmp_path / "workspace"))
    yield opened
    opened.close()


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def write_rows(folder: Path, count: int) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"id": str(n), "instruction": f"What is {n}?"}) + "\n" for n in range(count)))
    return path


@contextmanager
def disk_that_takes_nothing(path: Path) -> Iterator[None]:
    """Every commit's write to the database's log fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name(path.name + ".wal").stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def stored_state(database: Database, run_id: int) -> str:
    return database.read(lambda con: runs.read_run(con, run_id)).state


def test_how_a_run_ended_is_shown_at_once_and_stored_when_the_disk_takes_it(studio, tmp_path, monkeypatch):
    monkeypatch.setattr(server_runs, "STORE_AGAIN_SECONDS", 0.1)
    inside, go_on = threading.Event(), threading.Event()
    count_rows = importing.count_rows

    def held(source: str) -> int:
        inside.set()
        assert go_on.wait(10)
        return count_rows(source)

    monkeypatch.setattr(importing, "count_rows", held)
    run = studio.start_import(write_rows(tmp_path, 50))
    assert inside.wait(10)
    with disk_that_takes_nothing(studio.db.path):
        go_on.set()
        wait_for(lambda: not studio.run(run.id).active)
        shown = studio.run(run.id)
        assert (shown.state, shown.rate) == ("failed", None) and "cannot be written" in shown.message
        assert [r["state"] for r in studio.status()["runs"]] == [r.state for r in studio.runs()] == ["failed"]
        assert stored_state(studio.db, run.id) == "running"
    wait_for(lambda: stored_state(studio.db, run.id) == "failed")
    assert "cannot be written" in studio.run(run.id).message
    studio.resume_run(run.id)
    wait_for(lambda: not studio.run(run.id).active)
    assert studio.run(run.id).result["added"] == 50
    wait_for(lambda: stored_state(studio.db, run.id) == "finished")


def test_a_run_is_done_again_though_its_end_was_never_stored(studio, tmp_path, monkeypatch):
    monkeypatch.setattr(server_runs, "STORE_AGAIN_SECONDS", 0.05)
    begun, go_on, work = threading.Event(), threading.Event(), studio.server_runs.work["import"]

    def held(*parts: object) -> tuple[dict, bool]:
        begun.set()
        assert go_on.wait(10)
        return work(*parts)

    studio.server_runs.work["import"] = held
    run = studio.start_import(write_rows(tmp_path, 3))
    assert begun.wait(10)
    with disk_that_takes_nothing(studio.db.path):
        go_on.set()
        wait_for(lambda: not studio.run(run.id).active)
    begun.clear()
    go_on.clear()
    studio.resume_run(run.id)
    assert begun.wait(10)
    time.sleep(0.2)  # what still tried to store the first end must not end the second
    assert studio.run(run.id).state == stored_state(studio.db, run.id) == "running"
    with pytest.raises(JobError, match="running already"):
        studio.server_runs.begin(run.id, "import", run.config)
    go_on.set()
    wait_for(lambda: stored_state(studio.db, run.id) == "finished")


def test_closing_the_app_interrupts_an_import_and_it_can_be_resumed(tmp_path):
    folder = Studio.create(tmp_path / "workspace")
    studio = Studio.open(folder)
    at_work = threading.Event()

    def endless(config: dict, folder: Path, tell: server_runs.Teller) -> tuple[dict, bool]:
        at_work.set()
        while True:
            tell(1, 2)
            time.sleep(0.01)

    studio.server_runs.work["import"] = endless
    run = studio.start_import(write_rows(tmp_path, 3))
    assert at_work.wait(10)
    studio.close()
    assert not [thread for thread in threading.enumerate() if thread.name == f"import-{run.id}"]
    database = Database(folder / "m3po.duckdb")
    assert stored_state(database, run.id) == "interrupted"
    database.close()
    again = Studio.open(folder)
    assert "resume to go on" in again.run(run.id).message
    again.resume_run(run.id)
    wait_for(lambda: not again.run(run.id).active)
    assert again.run(run.id).result["added"] == 3
    again.close()
