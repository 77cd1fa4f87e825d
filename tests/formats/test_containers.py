"""Every record format in every container: what JSON, CSV, Parquet, saved data sets and the hub hand over."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from sources import read_source

from m3po.errors import BadInputError
from m3po.formats import arrow, hub, lines, tables
from m3po.formats.containers import open_container
from m3po.formats.tables import read_table
from m3po.images import inspect_image
from m3po.types import ImportedRow, RefusedRow


def png(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "set" / "images").mkdir(parents=True)
    (tmp_path / "set" / "a.png").write_bytes(png("red"))
    (tmp_path / "set" / "images" / "b.png").write_bytes(png("blue"))
    return tmp_path / "set"


def read(path: object, format: str = "auto", **options) -> tuple[list[ImportedRow], list[RefusedRow]]:
    found = list(read_source(path, format, **options)[1])
    return [r for r in found if isinstance(r, ImportedRow)], [r for r in found if isinstance(r, RefusedRow)]


ROWS = [
    {"idx": "q1", "image": "a.png", "question": "What colour?", "chosen": "Red.", "rejected": "Blue.", "ds_name": "d"},
    {
        "idx": "q2",
        "image": "b.png",
        "question": 'Say "hi",\nthen go.',
        "chosen": "Hi",
        "rejected": "No",
        "ds_name": "d",
    },
]


def write_csv(path: Path, delimiter: str = ",") -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(ROWS[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)
    return path


def write_saved(path: Path, splits: bool = False) -> Path:
    from datasets import Dataset, DatasetDict

    parts = [Dataset.from_list(ROWS[:1]), Dataset.from_list(ROWS[1:])]
    if splits:
        DatasetDict({"train": parts[0], "test": parts[1]}).save_to_disk(str(path))
    else:
        Dataset.from_list(ROWS).save_to_disk(str(path), num_shards=2)
    for name in ("a.png", "b.png"):
        (path / name).write_bytes(
            (path.parent / name if name == "a.png" else path.parent / "images" / name).read_bytes()
        )
    return path


def write_parquet(path: Path, rows: list[dict] = ROWS, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


CONTAINERS: dict[str, Callable[[Path], Path]] = {
    "lines": lambda f: _text(f / "x.jsonl", "\n".join(map(json.dumps, ROWS))),
    "list": lambda f: _text(f / "x.json", json.dumps(ROWS, indent=1)),
    "csv": lambda f: write_csv(f / "x.csv"),
    "tsv": lambda f: write_csv(f / "x.tsv", "\t"),
    "semicolons, called text": lambda f: write_csv(f / "x.txt", ";"),
    "parquet": lambda f: write_parquet(f / "x.parquet", row_group_size=1),
    "saved": lambda f: write_saved(f / "saved"),
    "saved splits": lambda f: write_saved(f / "saved", splits=True),
    "folder of parquet": lambda f: write_parquet(f / "data" / "train-00000.parquet").parents[1],
}


def _text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_same_rows_from_every_container(folder: Path, name: str) -> None:
    good, refused = read(CONTAINERS[name](folder))
    assert not refused
    assert [(r.id, r.instruction, r.candidates) for r in good] == [
        (row["idx"], row["question"], (row["chosen"], row["rejected"])) for row in ROWS
    ]
    assert all(len(r.images) == 1 and r.decisions[0].given and r.decisions[0].annotator == "rlaif_v" for r in good)


# --- images as bytes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["struct", "binary", "uri", "path in struct"])
def test_images_in_the_rows(folder: Path, shape: str) -> None:
    data = png("lime")
    value = {
        "struct": {"bytes": data, "path": "x.png"},
        "binary": data,
        "uri": "data:image/png;base64," + base64.b64encode(data).decode(),
        "path in struct": {"bytes": None, "path": "a.png"},
    }[shape]
    path = write_parquet(folder / "x.parquet", [{"image": value, "instruction": f"What {n}?"} for n in range(3)])
    kept: dict[str, bytes] = {}

    def keep(data: bytes, info) -> Path:
        kept[info.sha256] = data
        return Path(info.sha256)

    good, refused = read(path, keep_image=keep)
    assert not refused and len(good) == 3
    if shape == "path in struct":
        assert good[0].images == (folder / "a.png",) and not kept
    else:
        assert list(kept.values()) == [data] and good[2].images == (Path(next(iter(kept))),)
        assert inspect_image(read(path)[0][0].images[0]).sha256 == next(iter(kept))  # without `keep_image`: a file


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"bytes": b"no image", "path": "x\n.png"}, r"Image 'x\n.png' is not an image"),
        ({"bytes": b"", "path": None}, "image 1 is empty"),
        ({"bytes": png("red")[:45], "path": None}, "image 1 is truncated"),
        ({"bytes": None, "path": None}, "neither bytes nor a path"),
        ({"bytes": None, "path": "../../x.png"}, "lies outside"),
    ],
)
def test_bad_images_in_the_rows(folder: Path, value: dict, words: str) -> None:
    rows = [{"image": v, "instruction": "What?"} for v in ({"bytes": png("red"), "path": None}, value)]
    good, refused = read(write_parquet(folder / "x.parquet", rows))
    assert [r.row for r in good] == ["row 1"] and [r.row for r in refused] == ["row 2"]
    assert words.lower() in refused[0].reason.lower() and "\n" not in refused[0].reason


def test_a_data_uri_that_is_none(folder: Path) -> None:
    rows = [{"image": uri, "instruction": "?"} for uri in ("data:image/png,AAAA", "data:image/png;base64,?!")]
    path = _text(folder / "x.jsonl", "\n".join(map(json.dumps, [{"instruction": "?"}, *rows])))
    _, refused = read(path)
    assert "without base64" in refused[0].reason and "no valid base64" in refused[1].reason


# --- damage --------------------------------------------------------------------------------------------------------


def test_a_damaged_row_group_costs_its_rows_alone(folder: Path) -> None:
    rows = [{"instruction": f"What is {n}? " + "x" * 200} for n in range(40)]
    path = write_parquet(folder / "x.parquet", rows, row_group_size=10, compression="none", use_dictionary=False)
    data = bytearray(path.read_bytes())
    place = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    data[place : place + 40] = b"\xff" * 40
    path.write_bytes(data)
    good, refused = read(path)
    assert [r.instruction[:11] for r in good] == [row["instruction"][:11] for n, row in enumerate(rows) if n // 10 != 1]
    assert len(refused) == 1 and refused[0].row == "row 11" and "rows 11 to 20" in refused[0].reason
    assert [r.id for r in good][10] == "21"


def test_text_of_parquet_that_is_no_utf8(folder: Path) -> None:
    texts = pa.array([b"fine", b"caf\xe9", b"fine too"], pa.binary()).cast(pa.string(), safe=False)
    pq.write_table(pa.table({"instruction": texts}), folder / "x.parquet")
    good, refused = read(folder / "x.parquet")
    assert [r.row for r in good] == ["row 1", "row 3"] and "UTF-8" in refused[0].reason


def test_a_saved_data_set_that_is_not_whole(folder: Path) -> None:
    path = write_saved(folder / "saved")
    second = path / "data-00001-of-00002.arrow"
    second.write_bytes(second.read_bytes()[:100])
    good, refused = read(path)
    assert len(good) == 1 and refused[0].row == "row 2" and "damaged" in refused[0].reason
    second.unlink()
    with pytest.raises(BadInputError, match="lacks its file data-00001"):
        read(path)


@pytest.mark.parametrize("name", [".", "..", "", "/etc", "../saved", "train/..", "train\\x", "a\0b", "gone", "loop"])
def test_a_saved_data_set_whose_splits_are_none(folder: Path, name: str) -> None:
    path = write_saved(folder / "saved", splits=True)
    (path / "loop").symlink_to(path)
    (path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", name]}))
    words = "lacks its split" if name in ("gone", "loop") else "is no folder in it: name its own"
    with pytest.raises(BadInputError, match=words) as refused:
        read(path)
    assert repr(name) in str(refused.value)


BAD_TABLES = {
    "cells missing": ("1,a.png", "2 cells where the header has 3"),
    "cells too many": ("1,a.png,What, now?", "4 cells"),
    "not utf-8": (b"1,a.png,caf\xe9", "not valid UTF-8"),
    "a quote never closed": ('1,a.png,"What?', "never closed"),
    "a quote amid a cell": ('1,a.png,"What" is it?', "not valid CSV"),
    "nul": (b"1,a.png,Wh\0at?", "NUL"),
    "empty cell": ("1,a.png,", "must be text, not null"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_line_of_a_table(folder: Path, case: str) -> None:
    line, words = BAD_TABLES[case]
    line = line if isinstance(line, bytes) else line.encode()
    data = [b"id,file_name,instruction", b'first,a.png,"two\nlines, ""quoted"""', line, b'last,a.png,5" wide?']
    (folder / "metadata.csv").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(data))
    good, refused = read(folder)
    assert [r.id for r in good] == ["first", "last"] and good[0].instruction == 'two\nlines, "quoted"'
    assert [r.row for r in refused] == ["line 4"] and words in refused[0].reason, refused


def test_a_cell_may_have_any_number_of_lines_and_a_quote_that_stays_open_costs_its_own(folder: Path) -> None:
    text = "line\n" * 5_000
    good, refused = read(_text(folder / "x.csv", f'id,instruction\na,"What?\n{text}"\nb,"Who?\n' + "c,Why?\n" * 5_000))
    assert good[0].instruction == f"What?\n{text}" and [row.row for row in refused] == ["line 5004"]
    assert len(good) == 1 + 5_000 and "never closed" in refused[0].reason


def test_what_is_read_on_for_an_open_quote_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MORE_BYTES", 100)
    good, refused = read(_text(folder / "x.csv", 'id,instruction\na,"What?\n' + "b,Why?\n" * 30 + 'd,e"\n'))
    assert len(good) == 31 and [row.row for row in refused] == ["line 2"]


@pytest.mark.parametrize("header", ["id,id,question", "id,,question"])
def test_a_header_that_is_none(folder: Path, header: str) -> None:
    with pytest.raises(BadInputError, match="each column a name of its own"):
        read(_text(folder / "x.csv", f"{header}\n1,2,3\n"))


cells = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(cells, cells, cells), max_size=6), delimiter=st.sampled_from(",;\t|"))
def test_a_table_reads_as_the_standard_library_wrote_it(tmp_path: Path, rows: list, delimiter: str) -> None:
    path = tmp_path / "x.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([("a", "b", "c"), *rows])
    found = [record for _, record in read_table(path)]
    assert found == [dict(zip("abc", (cell or None for cell in row), strict=True)) for row in rows]


# --- JSON lists ----------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(json_values, max_size=6), chunk=st.integers(1, 40), indent=st.sampled_from([None, 2]))
def test_a_list_is_read_in_pieces_of_any_size(tmp_path: Path, values: list, chunk: int, indent: int | None) -> None:
    path = _text(tmp_path / "x.json", "\ufeff " + json.dumps(values, indent=indent, ensure_ascii=chunk % 2 == 0) + "\n")
    before, lines.CHUNK = lines.CHUNK, chunk
    try:
        assert [value for _, value in lines.read_list(path)] == values
    finally:
        lines.CHUNK = before


def test_a_list_that_breaks_keeps_what_came_before(folder: Path) -> None:
    rows = [{"instruction": f"What {n}?"} for n in range(3)]
    whole = json.dumps(rows, indent=1)
    for text, kept, words in [
        (whole[:-1], 3, "breaks off"),
        (whole[:-9], 2, "not valid JSON"),
        (whole.replace("What 1?", 'Wh"at'), 1, "line 6"),
        (whole.replace("What 1?", "a" * 9 + "\x01"), 1, "not valid JSON"),
    ]:
        good, refused = read(_text(folder / "x.json", text))
        assert len(good) == kept and len(refused) == 1 and words in refused[0].reason, (refused, text)
        assert refused[0].row == f"entry {kept + 1}"
    (folder / "x.json").write_bytes(whole.encode().replace(b"What 1?", b"caf\xe9"))
    good, refused = read(folder / "x.json")
    assert [r.row for r in good] == ["entry 1", "entry 3"] and "UTF-8" in refused[0].reason


# --- bounded memory ------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_file(folder: Path) -> None:
    """60 MB in images of 0.5 MB and row groups of 10 MB: what Arrow holds at a time stays at two groups."""
    data = Image.effect_noise((700, 700), 90).tobytes()
    images = [data + n.to_bytes(4, "little") for n in range(120)]
    path = folder / "x.parquet"
    table = pa.table({"image": pa.array(images, pa.binary()), "instruction": [f"{n}" for n in range(120)]})
    pq.write_table(table, path, row_group_size=20, compression="none", use_dictionary=False)
    del table, images
    before, peak = pa.total_allocated_bytes(), 0
    for n, (_, record) in enumerate(open_container(path).records()):
        assert record["instruction"] == str(n)
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert n == 119 and path.stat().st_size > 58_000_000 and peak < 25_000_000, f"{peak:,}"


# --- the hub, by a stand-in ------------------------------------------------------------------------------------------


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


def test_reading_arrow_brings_no_torch() -> None:
    assert not {"datasets", "torch"} & set(vars(arrow)) and not {"datasets", "torch"} & set(vars(hub))


@pytest.mark.parametrize("rest", ['[{"instruction": "Lost?"}]', "rubbish", "\n\n]"])
def test_what_follows_a_list_is_not_lost_in_silence(folder: Path, rest: str) -> None:
    good, refused = read(_text(folder / "x.json", json.dumps([{"instruction": "What?"}]) + "\n" + rest))
    assert len(good) == 1 and refused[0].row == "entry 2" and "something else follows" in refused[0].reason


def test_an_exported_folder_is_read_by_its_name(folder: Path) -> None:
    _text(folder / "selection.json", "{}")
    _text(folder / "data.jsonl", '{"instruction": "What?"}\n')
    good, refused = read(folder)
    assert [row.instruction for row in good] == ["What?"] and not refused


def test_a_parquet_file_with_a_column_twice(folder: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["What?"]), pa.array(["Who?"])], names=["instruction", "instruction"])
    pq.write_table(table, folder / "x.parquet")
    with pytest.raises(BadInputError, match="'instruction' twice"):
        read(folder / "x.parquet")
