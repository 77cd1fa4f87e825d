"""Data sets of the hub, read while they are fetched: against a stand-in on this machine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from containers import ROWS, make_folder, png, read, write_parquet
from sources import read_source

from m3po.errors import BadInputError
from m3po.formats import arrow, hub
from m3po.images import inspect_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path)


@pytest.fixture
def fake_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's file system as a local folder: `datasets/<owner>/<name>/...`."""
    from fsspec.implementations.dirfs import DirFileSystem
    from fsspec.implementations.local import LocalFileSystem

    root = tmp_path / "hub"
    root.mkdir()
    monkeypatch.setattr(hub, "filesystem", lambda: DirFileSystem(str(root), LocalFileSystem()))
    return root


def with_bytes(row: dict) -> dict:
    return {**row, "image": {"bytes": png("red"), "path": row["image"]}}


def test_a_data_set_of_the_hub(fake_hub: Path) -> None:
    name = fake_hub / "datasets" / "owner" / "name"
    write_parquet(name / "data" / "train-00000-of-00002.parquet", [with_bytes(ROWS[0])])
    write_parquet(name / "data" / "train-00001-of-00002.parquet", [with_bytes(ROWS[1])])
    write_parquet(name / "data" / "test-00000-of-00001.parquet", [with_bytes({**ROWS[0], "idx": "t"})])
    for source, ids in [
        ("hub:owner/name", ["t", "q1", "q2"]),
        ("hf://owner/name:train", ["q1", "q2"]),
        ("hf://datasets/owner/name:test", ["t"]),
        ("hub:owner/name/data:train", ["q1", "q2"]),
        (Path("hf://owner/name:train"), ["q1", "q2"]),  # a path folds the two slashes
    ]:
        good, refused = read(source)
        assert not refused and [r.id for r in good] == ids, source
        assert all(inspect_image(r.images[0]).width == 8 for r in good)
    assert read_source("hub:owner/name")[0] == "name"


def test_a_data_set_in_another_shape_is_taken_from_its_parquet_copy(fake_hub: Path) -> None:
    (fake_hub / "datasets" / "owner" / "name").mkdir(parents=True)
    copy = fake_hub / "datasets" / "owner" / "name@refs%2Fconvert%2Fparquet" / "default" / "train" / "0000.parquet"
    write_parquet(copy, [with_bytes(ROWS[0]), ROWS[1] | {"image": {"bytes": None, "path": "b.png"}}])
    good, refused = read("hub:owner/name:train")
    assert [r.id for r in good] == ["q1"] and "brings no files" in refused[0].reason


class _Dropped(Exception):
    """As httpx.ReadTimeout: no OSError."""


def test_a_hub_that_stops_answering_in_the_middle(fake_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows that were read go in, and the others are named."""
    name = fake_hub / "datasets" / "owner" / "name"
    name.mkdir(parents=True)
    table = pa.table({"instruction": [f"What {n}? {'x' * 1000}" for n in range(90)]})
    for place in range(2):
        pq.write_table(
            table, name / f"train-{place}.parquet", row_group_size=30, compression="none", use_dictionary=False
        )
    files = []

    class Drops:
        def __init__(self, path: str) -> None:
            self.file, self.path = (fake_hub / path).open("rb"), path
            files.append(self.file)

        def read(self, size: int = -1) -> bytes:
            if "train-0" in self.path and 40_000 < self.file.tell() < 60_000:  # amid the second row group
                raise _Dropped("The read operation timed out")
            return self.file.read(size)

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

    places = [f"datasets/owner/name/train-{n}.parquet" for n in range(2)]
    system = SimpleNamespace(find=lambda place: places, open=lambda path, mode: Drops(path))
    monkeypatch.setattr(arrow, "BUFFER", 1000)
    monkeypatch.setattr(hub, "filesystem", lambda: system)
    good, [refused] = read("hub:owner/name")
    assert 30 <= len(good) - 90 < 60 and [row.row for row in good[-90:]] == [f"row {n}" for n in range(91, 181)]
    words = f"rows {len(good) - 89} to 90 are not read: train-0.parquet cannot be fetched from the hub"
    assert refused.reason.startswith(words) and "(The read operation timed out)" in refused.reason
    assert files and all(file.closed for file in files)
    places.insert(0, "datasets/owner/name/gone.parquet")
    with pytest.raises(BadInputError, match=r"gone\.parquet cannot be fetched from the hub"):
        read("hub:owner/name")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("hub:owner/nothing", "not on the hub"),
        ("hub:owner", "no data set of the hub"),
        ("hub:owner/../name", "no data set of the hub"),
        ("hub:owner/name:validation", "no split 'validation'"),
    ],
)
def test_what_the_hub_does_not_have(fake_hub: Path, source: str, words: str) -> None:
    write_parquet(fake_hub / "datasets" / "owner" / "name" / "train.parquet")
    with pytest.raises(BadInputError, match=words):
        read(source)


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse():
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(hub, "filesystem", refuse)
    with pytest.raises(BadInputError, match=r"\(no route\): check its name and the network"):
        read("hub:owner/name")


@pytest.mark.parametrize(
    ("path", "split", "expected"),
    [
        ("data/train-0-of-1.parquet", "train", True), ("c/train/0.parquet", "train", True),
        ("train.parquet", "train", True), ("c/partial-train/0.parquet", "train", True),
        ("data/train2-0.parquet", "train", False), ("data/pretrain-0.parquet", "train", False),
        ("d/test_mini.parquet", "test", True),
    ],
)  # fmt: skip
def test_which_files_are_of_a_split(path: str, split: str, expected: bool) -> None:
    assert hub.is_of_split(path, split) is expected
