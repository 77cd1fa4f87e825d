"""What an import must never do: show a held-out image to training, store a row twice, or end at one bad row."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest
from PIL import Image

from m3po import deciding
from m3po.errors import BadInputError, RunStopped
from m3po.formats import pictures
from m3po.jobs.transfer import importing
from m3po.store.connection import rows
from m3po.store.items import Items
from m3po.store.workspace import Workspace, create_workspace
from m3po.workspace_config import WorkspaceConfig


@pytest.fixture
def workspace(tmp_path: Path):
    opened = Workspace(create_workspace(tmp_path / "workspace", WorkspaceConfig()))
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, and the first once more under another name."""
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (8, 6), colour).save(tmp_path / f"{name}.png")
    shutil.copyfile(tmp_path / "a.png", tmp_path / "copy.png")
    return tmp_path


def write(folder: Path, *records: object, name: str = "rows.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder / name


def asked(id: str, *images: str, **more: object) -> dict:
    return {"id": id, "images": list(images), "instruction": f"What is {id}?", **more}


@pytest.mark.parametrize(
    "records",
    [
        [asked("1", "a.png", split="train"), asked("2", "copy.png", split="heldout")],
        [asked("1", "b.png", "a.png", split="train"), asked("2", "copy.png", split="heldout")],
        [asked("1", "a.png", split="train", candidates=[{"text": "Red."}]), asked("2", "copy.png", split="heldout")],
    ],
)
def test_an_image_under_two_names_stays_in_one_split(workspace: Workspace, folder: Path, records: list[dict]) -> None:
    report = importing.import_source(workspace, write(folder, *records))
    assert (report.added, report.splits) == (1, {"train": 1})
    assert "two splits (heldout and train)" in report.refused[0].reason
    free = write(folder, asked("3", "copy.png"), asked("4", "b.png", "copy.png"), name="free.jsonl")
    importing.import_source(workspace, free)
    sql = """SELECT count(DISTINCT i.split) AS n FROM instructions i, images m
             WHERE list_contains(i.image_ids, m.image_id) GROUP BY m.image_id"""
    assert {row["n"] for row in workspace.db.read(lambda con: rows(con, sql))} == {1}


@pytest.mark.parametrize("strict", [False, True])
def test_a_file_that_is_started_twice_goes_in_once(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch, strict: bool
) -> None:
    path = write(folder, *(asked(str(n), "a.png") for n in range(20)))
    inside, go_on, reports = threading.Event(), threading.Event(), []
    make_ready = importing.make_ready

    def held(*parts: object):
        inside.set()
        assert go_on.wait(5)
        yield from make_ready(*parts)

    def start(**options: object) -> threading.Thread:
        thread = threading.Thread(target=lambda: reports.append(importing.import_source(workspace, path, **options)))
        thread.start()
        return thread

    def stop(done: int) -> None:
        raise RunStopped("Stopped by the user.")

    monkeypatch.setattr(importing, "make_ready", held)
    first = start(strict=strict)
    assert inside.wait(10)
    second = start()
    with pytest.raises(RunStopped):  # one that waits can be stopped
        importing.import_source(workspace, path, progress=stop)
    go_on.set()
    for thread in (first, second):
        thread.join(30)
    assert sorted((report.added, report.already_there) for report in reports) == [(0, 20), (20, 0)]
    assert workspace.db.read(lambda con: rows(con, "SELECT count(*) AS n FROM instructions"))[0]["n"] == 20


def test_everybody_can_write_while_a_strict_import_reads_images(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    importing.import_source(workspace, write(folder, asked("0", "a.png", split="train"), name="first.jsonl"))
    inspect_image, stored = pictures.inspect_image, []

    def beside(path: Path, **options: object):
        """As long as an image is looked at, a decision and an edit are stored by others."""
        for change in (
            lambda: deciding.decide(workspace.db, Items(workspace.db, workspace.images), 1, "flag"),
            lambda: deciding.add_edit(workspace.db, 1, f"Answer {len(stored)}."),
        ):
            thread = threading.Thread(target=lambda change=change: stored.append(change()))
            thread.start()
            thread.join(10)
            assert not thread.is_alive()
        return inspect_image(path, **options)

    monkeypatch.setattr(pictures, "inspect_image", beside)
    path = write(folder, asked("1", "a.png"), asked("2", "b.png"))
    assert importing.import_source(workspace, path, strict=True).added == 2
    assert len(stored) == 2 * 2 * 2  # two images, looked at twice
    bad = write(folder, asked("3", "a.png"), asked("4", "b.png", split="train"), asked("5", "b.png", split="tune"))
    with pytest.raises(BadInputError, match=r"line \d: its image would be in two splits"):
        importing.import_source(workspace, bad, strict=True)
    assert workspace.db.read(lambda con: rows(con, "SELECT count(*) AS n FROM instructions"))[0]["n"] == 3


def test_a_strict_import_stops_within_its_transaction_and_leaves_nothing(workspace: Workspace, folder: Path) -> None:
    path = write(folder, *(asked(str(n), "a.png") for n in range(5)))
    told = []

    def check() -> None:
        raise RunStopped("Stopped by the user.")

    with pytest.raises(RunStopped):
        importing.import_source(workspace, path, strict=True, progress=told.append, check=check)
    assert told[-1] == 5
    assert workspace.db.read(lambda con: rows(con, "SELECT count(*) AS n FROM instructions"))[0]["n"] == 0


def test_a_warning_names_its_first_row_and_how_many_there_are(workspace: Workspace, folder: Path) -> None:
    pair = {"image": "a.png", "question": "What?", "chosen": "Red.", "rejected": "Blue."}
    same = pair | {"rejected": "Red. "}
    path = write(folder, pair, same, pair | {"question": "Who?"}, same | {"question": "Why?"})
    [warning] = importing.import_source(workspace, path, format="mmpr").warnings
    assert warning.startswith("line 2 and 1 more row: Chosen and rejected are the same answer: ")
    assert "correct one of them" in warning
    moving = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    moving[0].save(folder / "moving.gif", save_all=True, append_images=moving[1:])
    many = [asked(str(n), "moving.gif" if n % 2 else "b.png") for n in range(200)]
    [warning] = importing.import_source(workspace, write(folder, *many, name="many.jsonl")).warnings
    assert warning.startswith("line 2 and 99 more rows: Image moving.gif has 2 frames")
