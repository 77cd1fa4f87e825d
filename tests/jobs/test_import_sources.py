"""What an import stores of sources that are not plain files of paths: images as bytes, the hub, columns by hand."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sources import read_in_blocks

from m3po.errors import BadInputError, UsageError
from m3po.formats import hub
from m3po.formats.registry import open_source
from m3po.jobs.transfer import importing, reading
from m3po.store.workspace import Workspace, create_workspace
from m3po.workspace_config import WorkspaceConfig


@pytest.fixture
def workspace(tmp_path: Path):
    opened = Workspace(create_workspace(tmp_path / "workspace", WorkspaceConfig()))
    yield opened
    opened.close()


def write_parquet(path: Path, n: int = 3, **bad: object) -> Path:
    rows = []
    for number in range(n):
        out = io.BytesIO()
        Image.new("RGB", (8, 6), (number % 2 * 200, 10, 10)).save(out, "PNG")
        row = {"image": {"bytes": out.getvalue(), "path": None}, "question": f"What {number}?", "chosen": "a"}
        rows.append({**row, "rejected": "b", "ds_name": "d", **bad})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def images_of(workspace: Workspace) -> list[Path]:
    return sorted(path for path in workspace.images.root.rglob("*") if path.is_file())


@pytest.mark.parametrize("strict", [False, True])
def test_images_as_bytes_are_stored_by_their_content(workspace: Workspace, tmp_path: Path, strict: bool) -> None:
    report = importing.import_source(workspace, write_parquet(tmp_path / "x.parquet"), strict=strict)
    assert (report.added, report.refused) == (3, ())
    stored = images_of(workspace)
    assert len(stored) == 2  # three rows, two pictures
    assert all(path.parent.name == path.name[:2] and Image.open(path).size == (8, 6) for path in stored)
    again = importing.import_source(workspace, tmp_path / "x.parquet", strict=strict)
    assert (again.added, again.already_there) == (0, 3) and images_of(workspace) == stored


def test_strict_leaves_nothing_behind(workspace: Workspace, tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", chosen=None)
    with pytest.raises(BadInputError, match="row 1: it has no chosen answer"):
        importing.import_source(workspace, path, format="rlaif_v", strict=True)
    assert images_of(workspace) == []


def test_the_hub_and_a_workspace_that_forbids_it(workspace: Workspace, tmp_path: Path, monkeypatch) -> None:
    from fsspec.implementations.dirfs import DirFileSystem
    from fsspec.implementations.local import LocalFileSystem

    write_parquet(tmp_path / "hub" / "datasets" / "owner" / "name" / "train.parquet")
    monkeypatch.setattr(hub, "filesystem", lambda: DirFileSystem(str(tmp_path / "hub"), LocalFileSystem()))
    report = importing.import_source(workspace, "hub:owner/name:train")
    assert (report.source, report.added) == ("name", 3)
    assert importing.import_source(workspace, "hf://owner/name:train").already_there == 3

    monkeypatch.setattr(hub, "filesystem", lambda: pytest.fail("the hub was asked"))
    with pytest.raises(UsageError, match="--strict does not go with hub:owner/name"):
        importing.import_source(workspace, "hub:owner/name:train", strict=True)
    closed = Workspace(create_workspace(tmp_path / "closed", WorkspaceConfig(remote=False)))
    try:
        for source in ("hub:owner/name", "hf://owner/name:train"):
            with pytest.raises(UsageError, match="remote = false"):
                importing.import_source(closed, source)
    finally:
        closed.close()


def test_columns_by_hand_and_a_folder_of_images(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "pictures" / "a.png")
    path = tmp_path / "mine.csv"
    path.write_text("bild,frage,gut,schlecht\na.png,Was?,rot,blau\nb.png,Und?,1,2\n")
    mapping = {"image": "bild", "instruction": "frage", "chosen": "gut", "rejected": "schlecht"}
    report = importing.import_source(workspace, path, mapping=mapping, images=tmp_path / "pictures")
    assert report.added == 1 and [row.row for row in report.refused] == ["line 3"]
    with pytest.raises(UsageError, match="no folder"):
        importing.import_source(workspace, path, mapping=mapping, images=tmp_path / "none")
    with pytest.raises(UsageError, match="no field"):
        importing.import_source(workspace, path, mapping={"picture": "bild"})
    config = {"source": str(path), "format": "auto", "split": "tune", "strict": True, "mapping": {"image": "my bild"}}
    words = importing.command_line(tmp_path, {**config, "images": None})
    assert words.endswith(f"{path} --split tune --map 'image=my bild' --strict")


def test_a_column_that_is_not_there_is_refused_once_with_those_that_are(tmp_path):
    rows = [{"frage": f"What is {n}?", "foto": "a.png"} for n in range(3)]
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UsageError, match="instruction=frag: the file has no such column; it has frage, foto"):
        open_source(tmp_path / "odd.jsonl", mapping={"instruction": "frag", "image": "foto"})


def test_broken_rows_cost_no_transactions_of_their_own(workspace: Workspace, tmp_path: Path) -> None:
    """Rows that refused ones alone part go in together; one of another kind, or an id again, keeps its place."""
    Image.new("RGB", (8, 6), "red").save(tmp_path / "a.png")
    rows = [{"id": f"r{n}", "image": "a.png", "instruction": f"What is {n}?", "split": "train"} for n in range(400)]
    for n in (60, 120, 399):
        rows[n]["instruction"] = " "
    rows[200] = rows[10] | {"instruction": "Else?"}  # an id again, with other content
    rows[300] = rows[20]  # and one that is the same row
    path = tmp_path / "many.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pictures = reading.StoredPictures(workspace)
    [ready] = reading.make_ready(pictures, read_in_blocks(path, "m3po"))
    assert ready.seen == 400 and len(ready.batch.rows) == 396 and ready.repeats
    report = importing.import_source(workspace, path)
    assert (report.added, report.already_there, report.n_refused) == (395, 1, 4)
    assert [row.row for row in report.refused] == ["line 61", "line 121", "line 201", "line 400"]
    rows[150]["image"] = '["a.png"]'  # good, and read by the format's own parser: the order of the rows stays
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    seen = [ready.seen for ready in reading.make_ready(pictures, read_in_blocks(path, "m3po"))]
    assert seen == [150, 1, 249]
