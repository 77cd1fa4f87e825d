"""Every record format in every container: what JSON, CSV, Parquet, saved data sets and the hub hand over."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from containers import ROWS, make_folder, png, read, write_csv, write_parquet, write_saved
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from m3po.errors import BadInputError
from m3po.formats import arrow, hub, lines, tables
from m3po.formats.containers import open_container
from m3po.formats.tables import read_table
from m3po.images import inspect_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path)


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


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
