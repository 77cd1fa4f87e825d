"""Rows read in columns are the rows read one by one: the same taken, the same refused, in the same words."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sources import read_in_blocks, read_source

from m3po.formats import blocks
from m3po.formats.blocks import RowBlock
from m3po.imported import ImportedRow, RefusedRow
from m3po.text import asked_content


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (8, 6), colour).save(root / name)
    return root


def spell_out(block: RowBlock) -> list[ImportedRow]:
    """A block as the rows that it stands for; what it says of their content is checked on the way."""
    found = []
    for r in block.table.to_pylist():
        files = [block.files[place] for place in r["images"]]
        row = ImportedRow(
            f"line {r['number']}", r["id"], tuple(path for path, _ in files), r["instruction"], r["system"] or "",
            split=r["split"], answer=r["answer"], category=r["category"],
            objects=None if r["objects"] is None else tuple(r["objects"]),
        )  # fmt: skip
        content = asked_content([info.sha256 for _, info in files], row.system, (), row.instruction, row.split)
        assert json.loads(r["content"]) == json.loads(content) and r["content"] == content
        found.append(row)
    return found


def read_both_ways(path: Path, format: str) -> tuple[list, list, int]:
    slowly = list(read_source(path, format)[1])
    in_blocks = list(read_in_blocks(path, format))
    n_blocks = sum(isinstance(item, RowBlock) for item in in_blocks)
    quickly = [row for item in in_blocks for row in (spell_out(item) if isinstance(item, RowBlock) else [item])]
    by_line = sorted(quickly, key=lambda row: int(row.row.split()[1]))
    return slowly, by_line, n_blocks


TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["What is it?", "", "  ", "\u00a0", "<image>\nWhat?", 'say "hi" \\ back', "a\nb", "\ud83d\ude00",
                     "多少", "a\x00b", "\x1c", "\x85", "x" * 100_001, "2020-01-01", "é" * 60_000]),
    st.integers(), st.none(), st.lists(st.text(max_size=3), max_size=1), st.booleans(),
)  # fmt: skip
IMAGE = st.sampled_from(["a.png", "b.png", "missing.png", "../a.png", "http://x/y.png", "", " a.png", "a\x00"])
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.one_of(st.sampled_from(["x", "y", "1", " ", "x" * 1001]), st.integers(0, 3), st.none(), st.floats()),
        "instruction": TEXTS, "system": TEXTS, "answer": TEXTS, "category": TEXTS,
        "split": st.sampled_from(["train", "heldout", "test", None, 3]),
        "images": st.one_of(st.lists(IMAGE, max_size=3), st.none(), IMAGE, st.lists(st.none(), max_size=2)),
        "image": st.one_of(st.none(), IMAGE), "file_name": st.one_of(st.none(), IMAGE),
        "objects": st.one_of(st.none(), st.lists(st.text(max_size=5), max_size=2), st.lists(st.none(), max_size=1)),
        "candidates": st.sampled_from([[], [{"text": "Red."}], None, "x"]), "turns": st.sampled_from([None, []]),
        "else": st.one_of(st.text(max_size=3), st.integers(), st.floats(), st.lists(st.integers(), max_size=2)),
    },
)  # fmt: skip
GOOD = st.builds(
    lambda n, text: {"id": f"r{n}", "images": ["a.png"], "file_name": None, "instruction": text},
    st.integers(0, 40),
    st.sampled_from(["What?", "Où est l'oiseau?", 'Say "x".']),
)
RAW = st.sampled_from(
    [b"", b"  ", b"{", b"[1]", b"{}{}", b'{"instruction": "a"} x', b"\xff", b'{"instruction": "\\ud800"}']
)


@settings(max_examples=150)
@given(
    records=st.lists(st.one_of(GOOD, GOOD, GOOD, GOOD, RECORDS, RAW), min_size=1, max_size=30),
    format=st.sampled_from(["m3po", "imagefolder"]), end=st.sampled_from([b"\n", b"\r\n"]), bom=st.booleans(),
    few=st.sampled_from([1, 50]), last=st.booleans(), ascii=st.booleans(), size=st.sampled_from([150, 2_000_000]),
)  # fmt: skip
def test_blocks_and_rows_agree(folder, records, format, end, bom, few, last, ascii, size):
    lines = [
        r if isinstance(r, bytes) else json.dumps(r, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
        for r in records
    ]
    path = folder / "rows.jsonl"
    path.write_bytes(
        (b"\xef\xbb\xbf" if bom else b"") + end.join(lines) + (end if last else b"") + b'\n{"instruction": ""}'
    )
    before = blocks.FEW, blocks.BLOCK_BYTES
    blocks.FEW, blocks.BLOCK_BYTES = (
        few,
        size,
    )  # one odd row, or a whole block, read line by line; blocks of a few lines
    try:
        slowly, quickly, _ = read_both_ways(path, format)
    finally:
        blocks.FEW, blocks.BLOCK_BYTES = before
    assert quickly == slowly


def test_plain_rows_do_take_the_fast_way_and_an_odd_one_among_them_keeps_its_line(folder):
    rows = [{"id": n, "image": "a.png" if n % 2 else "b.png", "instruction": f"What is {n}?"} for n in range(200)]
    rows[17]["instruction"] = " "
    rows[120] = rows[119] | {"instruction": "Else?"}  # an id again, with other content
    (folder / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    slowly, quickly, n_blocks = read_both_ways(folder / "many.jsonl", "m3po")
    assert quickly == slowly and n_blocks == 2
    assert [r.row for r in quickly if isinstance(r, RefusedRow)] == ["line 18", "line 121"]


def test_nesting_without_end_under_a_key_that_nobody_reads_is_no_danger(folder):
    deep = '{"instruction": "What?", "else": ' + "[" * 100_000 + "]" * 100_000 + "}\n"
    (folder / "deep.jsonl").write_text('{"instruction": "What?"}\n' + deep * 2)
    [block] = read_in_blocks(folder / "deep.jsonl", "m3po")
    assert block.table["instruction"].to_pylist() == ["What?"] * 3 and isinstance(block.table, pa.Table)
