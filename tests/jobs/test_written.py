"""What an export may replace and remove: what an earlier export wrote there and nobody changed, and nothing else."""

import hashlib
import json

import pytest
from exports import open_pairs, wait

from m3po.errors import BadInputError, StorageError
from m3po.jobs.transfer import exporting


@pytest.fixture
def studio(tmp_path):
    yield from open_pairs(tmp_path)


def test_an_export_over_another_leaves_nothing_of_that_behind(studio, tmp_path):
    out = tmp_path / "out"
    studio.export(out, format="mmpr")
    (out / "notes.txt").write_text("mine")
    (out / "images" / "mine.png").write_bytes(b"mine")
    studio.export(out, format="trl")
    assert {p.name for p in out.iterdir()} == {"data.parquet", "images", "notes.txt", "README.md", "selection.json"}
    assert [p.name for p in (out / "images").iterdir()] == ["mine.png"]


def test_a_file_that_no_export_wrote_is_never_replaced(studio, tmp_path):
    out, lone = tmp_path / "out", tmp_path / "train.jsonl"
    lone.write_text("mine")
    for export in (studio.export, studio.start_export):
        with pytest.raises(
            BadInputError, match=r"train\.jsonl is there already and no export of ours wrote what it holds"
        ):
            export(lone)
    assert lone.read_text() == "mine"
    lone.unlink()
    for format in ("m3po", "mmpr"):  # what an export wrote is replaced
        assert wait(studio, studio.start_export(lone, format=format)).state == "finished"
    for _ in range(2):
        studio.export(tmp_path / "now.jsonl")
    wait(studio, studio.start_export(out, format="mmpr"))
    for name, format in (("dataset_info.json", "llamafactory"), ("data.parquet", "trl"), ("data.csv", "csv")):
        (out / name).write_text("mine")
        with pytest.raises(BadInputError, match=f"{name} is there already"):
            studio.start_export(out, format=format)
        assert (out / name).read_text() == "mine"
    (out / "dataset_info.json").unlink()
    studio.export(out, format="llamafactory")
    assert (out / "data.csv").read_text() == "mine" and not (out / "data.jsonl").exists()
    studio.export(out, format="mmpr")
    assert not (out / "data.json").exists() and not (out / "dataset_info.json").exists()


def test_an_export_that_broke_off_over_another_may_replace_the_files_of_both(studio, tmp_path, monkeypatch):
    out = tmp_path / "out"
    studio.export(out, format="llamafactory")
    monkeypatch.setattr(exporting, "write", lambda *parts: (_ for _ in ()).throw(StorageError("full")))
    with pytest.raises(StorageError):
        studio.export(out, format="mmpr")
    monkeypatch.undo()
    studio.export(out, format="csv")
    assert {p.name for p in out.iterdir()} == {"data.csv", "README.md", "selection.json", "images"}


def test_what_a_person_wrote_over_an_export_is_kept(studio, tmp_path):
    out, lone = tmp_path / "out", tmp_path / "train.jsonl"
    studio.export(lone)
    lone.write_text("mine")
    with pytest.raises(BadInputError, match="no export of ours wrote what it holds"):
        studio.export(lone)
    assert lone.read_text() == "mine"
    wait(studio, studio.start_export(lone.with_name("run.jsonl")))
    studio.workspace.written.clear()  # the hash outlives the process, in the run
    studio.export(lone.with_name("run.jsonl"))
    lone.with_name("run.jsonl").write_text("mine")
    with pytest.raises(BadInputError, match=r"run\.jsonl is there already"):
        studio.export(lone.with_name("run.jsonl"))
    for name in ("README.md", "data.jsonl", "selection.json"):
        studio.export(out, format="mmpr")
        before = (out / name).read_text()
        (out / name).write_text(before.replace("given", "mine") + "\n")
        with pytest.raises(BadInputError, match=f"{name} is there already"):
            studio.export(out, format="mmpr")
        (out / name).write_text(before)
    (out / "data.jsonl").write_text("mine")
    studio.export(out, format="csv")  # another name: what was changed stays beside it
    assert (out / "data.jsonl").read_text() == "mine"


def test_an_export_removes_only_the_pictures_that_exports_wrote_there(studio, tmp_path):
    out, mine = tmp_path / "out", f"{'a' * 64}.png"
    (out / "images").mkdir(parents=True)
    (out / "images" / mine).write_bytes(b"mine")
    lone = tmp_path / "out" / "lone.csv"
    for path in out.rglob("*"):
        path.touch()
    (out / ".m3po-export").touch()  # as an export that broke off leaves it
    studio.export(out, format="mmpr")
    written = {path.name for path in (out / "images").iterdir()} - {mine}
    changed = min(written)
    (out / "images" / changed).write_bytes(b"edited")
    studio.export(out, format="trl")
    assert {path.name for path in (out / "images").iterdir()} == {mine, changed}
    (out / "images" / changed).unlink()
    studio.export(out, format="mmpr")
    studio.export(lone, format="csv", images="files")
    studio.export(out, format="mmpr", images="paths")
    assert {path.name for path in (out / "images").iterdir() if path.suffix == ".png"} == {mine, *written}
    for row in lone.read_text().splitlines()[1:]:
        assert (out / row.split(",")[2].strip('"')).is_file()


def test_an_export_reaches_through_no_link(studio, tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    studio.export(out, format="mmpr")
    (out / "images").rename(elsewhere)
    (out / "images").symlink_to(elsewhere)
    before = sorted(path.name for path in elsewhere.iterdir())
    with pytest.raises(BadInputError, match="is a link"):
        studio.export(out, format="mmpr")
    studio.export(out, format="trl")
    assert sorted(path.name for path in elsewhere.iterdir()) == before and len(before) == 2
    (tmp_path / "mine.md").write_text((out / "README.md").read_text())
    (out / "README.md").unlink()
    (out / "README.md").symlink_to(tmp_path / "mine.md")
    with pytest.raises(BadInputError, match=r"README\.md is there already"):
        studio.export(out, format="trl")


def test_the_list_of_what_was_written_reaches_nothing_outside(studio, tmp_path):
    """selection.json may have come from anyone."""
    out = tmp_path / "out"
    studio.export(out, format="mmpr")
    (tmp_path / "mine.txt").write_text("mine")
    (out / "notes.txt").write_text("mine")
    facts = json.loads((out / "selection.json").read_text())
    facts.pop("seal")
    mine = hashlib.sha256(b"mine").hexdigest()
    facts["files"] |= {"../mine.txt": mine, "notes.txt": mine, str(tmp_path / "mine.txt"): mine}
    facts["seal"] = hashlib.sha256((json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode()).hexdigest()
    (out / "selection.json").write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    studio.export(out, format="csv")
    assert (tmp_path / "mine.txt").exists() and (out / "notes.txt").exists() and not (out / "data.jsonl").exists()
