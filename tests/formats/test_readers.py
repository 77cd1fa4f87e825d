"""What the readers take in and what they refuse, row by row, on files as people really have them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image
from sources import detect_format, read_source

from m3po.errors import BadInputError
from m3po.formats import rows as row_checks
from m3po.imported import ImportedRow, RefusedRow
from m3po.types import Turn


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder `set` with two images, and one image outside of it."""
    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    Image.new("RGB", (8, 6), "red").save(root / "a.png")
    Image.new("RGB", (8, 6), "blue").save(root / "images" / "b.png")
    Image.new("RGB", (8, 6), "lime").save(tmp_path / "outside.png")
    return root


def write(path: Path, lines: list[object]) -> Path:
    """JSON Lines; a str or bytes goes in as it is."""
    raw = [
        line if isinstance(line, bytes) else line.encode() if isinstance(line, str) else json.dumps(line).encode()
        for line in lines
    ]
    path.write_bytes(b"\n".join(raw) + b"\n")
    return path


def read(path: Path, format: str = "auto") -> tuple[list[ImportedRow], list[RefusedRow]]:
    found = list(read_source(path, format)[1])
    return [r for r in found if isinstance(r, ImportedRow)], [r for r in found if isinstance(r, RefusedRow)]


# --- good rows -----------------------------------------------------------------------------------------------------


def test_imagefolder_takes_every_key(folder: Path) -> None:
    full = {"id": "x", "file_names": ["a.png", "images/b.png"], "instruction": "Compare.", "system": "Be brief.",
            "answer": "One is red.", "objects": ["red", "blue"], "category": "compare", "split": "heldout",
            "else": 1}  # fmt: skip
    write(folder / "metadata.jsonl", [{"file_name": "a.png", "instruction": "What?"}, full])
    name, found = read_source(folder)
    first, second = found
    assert name == "set"
    assert (first.row, first.id, first.images, first.split) == ("line 1", "1", (folder / "a.png",), None)
    assert (first.answer, first.objects, first.category) == (None, None, None)
    assert second == ImportedRow(
        "line 2", "x", (folder / "a.png", folder / "images" / "b.png"), "Compare.", "Be brief.", split="heldout",
        answer="One is red.", objects=("red", "blue"), category="compare",
    )  # fmt: skip
    assert [r.id for r in read_source(folder / "metadata.jsonl")[1]] == ["1", "x"]


def conversation(*turns: str) -> list[dict]:
    """Turns written as "human: ..." and so on."""
    return [dict(zip(("from", "value"), turn.split(": ", 1), strict=True)) for turn in turns]


LLAVA = [
    {"id": 7, "image": "a.png", "conversations": conversation("human: <image>\nWhat is it?", "gpt: Red.")},
    {"id": "two", "image": ["a.png", "b.png"], "conversations": conversation(
        "system: Be brief.", "human: <image><image>\nCompare.", "gpt: Red, blue.", "human: Which is first?")},
    {"conversations": conversation("human: Tell a joke.", "gpt:  ")},
    {"image": "a.png", "conversations": conversation("human: hello", "gpt: hi", "human: And <image> here?")},
]  # fmt: skip


@pytest.mark.parametrize("as_lines", [False, True])
def test_llava(folder: Path, as_lines: bool) -> None:
    path = folder / "chat.json"
    write(path, LLAVA) if as_lines else path.write_text(json.dumps(LLAVA, indent=1))
    name, found = read_source(path)
    one, two, three, four = found
    unit = "line" if as_lines else "entry"
    assert name == "chat"
    # The answer is an imported candidate and no truth.
    assert one == ImportedRow(f"{unit} 1", "7", (folder / "a.png",), "What is it?", candidates=("Red.",))
    assert two.images == (folder / "a.png", folder / "images" / "b.png")  # found in images/
    assert (two.system, two.instruction, two.candidates) == ("Be brief.", "Which is first?", ())
    assert two.turns == (Turn("user", "Compare."), Turn("assistant", "Red, blue."))
    assert (three.id, three.images, three.candidates) == ("3", (), ())
    assert four.instruction == "And here?" and len(four.warnings) == 1 and "first" in four.warnings[0]


def test_m3po_takes_candidates_texts_and_leaves_scores(folder: Path) -> None:
    write(folder / "rows.jsonl", [
        {"id": "r", "images": ["a.png"], "instruction": "What?", "split": "tune",
         "turns": [{"role": "user", "text": "Hi"}, {"role": "assistant", "text": "Hello"}],
         "candidates": [{"text": "Red."}, {"id": 9, "text": "Blue.", "mas": 0.3}],
         "pair": {"chosen": 9, "rejected": 1}, "decision": {"verdict": "accept"}, "mine": {"x": [1]}},
        {"instruction": "No picture at all?"},
    ])  # fmt: skip
    good, refused = read(folder / "rows.jsonl")
    assert not refused
    assert good[0].candidates == ("Red.", "Blue.") and good[0].split == "tune"
    assert len(good[0].warnings) == 1 and "not taken over" in good[0].warnings[0]
    assert not any(row.warnings for row in good[1:])  # they hold nothing of the kind
    assert good[0].turns == (Turn("user", "Hi"), Turn("assistant", "Hello"))
    assert good[1].images == () and good[1].id == "2"


def test_bom_crlf_blank_lines_and_no_last_line_end(folder: Path) -> None:
    row = json.dumps({"file_name": "a.png", "instruction": "Qué? 多少"}, ensure_ascii=False).encode()
    (folder / "metadata.jsonl").write_bytes(
        b"\xef\xbb\xbf" + row + b"\r\n\r\n  \n" + row.replace(b"a.png", b"images/b.png")
    )
    good, refused = read(folder)
    assert not refused
    assert [(r.row, r.instruction) for r in good] == [("line 1", "Qué? 多少"), ("line 4", "Qué? 多少")]


def test_a_symbolic_link_inside_the_folder_is_fine_and_one_outside_is_not(folder: Path) -> None:
    (folder / "in.png").symlink_to("images/b.png")
    (folder / "out.png").symlink_to("../outside.png")
    (folder / "loop.png").symlink_to("loop.png")
    names = ("in.png", "out.png", "loop.png")
    write(folder / "metadata.jsonl", [{"file_name": name, "instruction": "What?"} for name in names])
    good, refused = read(folder)
    assert [r.row for r in good] == ["line 1"] and [r.row for r in refused] == ["line 2", "line 3"]
    assert "lies outside" in refused[0].reason


# --- bad rows ------------------------------------------------------------------------------------------------------

GOOD = {"file_name": "a.png", "instruction": "What?"}
BAD_ROWS = {
    "broken json": ('{"file_name": "a.png", "instr', "not valid JSON"),
    "not an object": ("[1, 2]", "a list where"),
    "just text": ('"hello"', "text where"),
    "nul bytes": (b'{"file_name": "a.png", "instruction": "a\0b"}', "NUL"),
    "escaped nul": ({**GOOD, "instruction": "a\0b"}, "NUL"),
    "invalid utf-8": (b'{"file_name": "a.png", "instruction": "caf\xe9"}', "not valid UTF-8"),
    "half a surrogate": ('{"file_name": "a.png", "instruction": "\\ud800"}', "surrogate"),
    "huge number": ('{"file_name": "a.png", "instruction": "x", "id": ' + "9" * 5000 + "}", "too many digits"),
    "deep nesting": ('{"file_name": ' + "[" * 200_000 + "}", "nested too deeply"),
    "no instruction": ({"file_name": "a.png"}, "no instruction"),
    "number as instruction": ({**GOOD, "instruction": 5}, "must be text, not a number"),
    "null instruction": ({**GOOD, "instruction": None}, "must be text, not null"),
    "list as instruction": ({**GOOD, "instruction": ["What?"]}, "must be text, not a list"),
    "blank instruction": ({**GOOD, "instruction": " \n"}, "is empty"),
    "only a placeholder": ({**GOOD, "instruction": "<image>\n"}, "is empty"),
    "one megabyte": ({**GOOD, "instruction": "x" * 1_000_000}, "1,000,000 characters"),
    "no image": ({"file_name": None, "instruction": "What?"}, "names no image"),
    "images as dict": ({"images": {"0": "a.png"}, "instruction": "What?"}, "not an object"),
    "number as image": ({"images": [1], "instruction": "What?"}, "not a number"),
    "empty path": ({**GOOD, "file_name": " "}, "empty"),
    "missing image": ({**GOOD, "file_name": "no.png"}, "does not exist"),
    "folder as image": ({**GOOD, "file_name": "images"}, "is a folder"),
    "text as image": ({**GOOD, "file_name": "metadata.jsonl"}, "not an image"),
    "path that leaves": ({**GOOD, "file_name": "../outside.png"}, "lies outside"),
    "hidden way out": ({**GOOD, "file_name": "images/../../outside.png"}, "lies outside"),
    "absolute path": ({**GOOD, "file_name": "/etc/passwd"}, "lies outside"),
    "address": ({**GOOD, "file_name": "https://example.org/a.png"}, "is an address"),
    "data address": ({**GOOD, "file_name": "data:image/png;base64,AAAA"}, "not an image"),
    "nul in path": ({**GOOD, "file_name": "a\0.png"}, "NUL"),
    "endless path": ({**GOOD, "file_name": "x" * 5000}, "cannot be read"),
    "unknown split": ({**GOOD, "split": "validation"}, "train, tune, heldout"),
    "number as split": ({**GOOD, "split": 3}, "the split is a number"),
    "truth as id": ({**GOOD, "id": True}, "must be text or a whole number"),
    "float as id": ({**GOOD, "id": 1.5}, "must be text or a whole number"),
    "blank id": ({**GOOD, "id": ""}, "the id is empty"),
    "long id": ({**GOOD, "id": "x" * 5000}, "5,000 characters"),
    "number as answer": ({**GOOD, "answer": 3}, "the answer must be text"),
    "objects as text": ({**GOOD, "objects": "boat"}, "list of names"),
    "number in objects": ({**GOOD, "objects": ["boat", 2]}, "object 2 must be text"),
    "system as list": ({**GOOD, "system": ["a"]}, "the system text must be text"),
    "category as dict": ({**GOOD, "category": {}}, "the category must be text"),
}


def check_sentence(refused: RefusedRow) -> None:
    assert refused.reason.endswith(".") and "\n" not in refused.reason
    assert ";" in refused.reason or ":" in refused.reason or "write" in refused.reason  # what is wrong; what to do
    assert len(refused.reason) < 400


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_refused_and_the_others_go_in(folder: Path, case: str) -> None:
    row, words = BAD_ROWS[case]
    write(
        folder / "metadata.jsonl", [GOOD, {**GOOD, "file_name": "images/b.png"}, row, {**GOOD, "instruction": "After?"}]
    )
    good, refused = read(folder)
    assert [r.row for r in good] == ["line 1", "line 2", "line 4"]
    assert [r.row for r in refused] == ["line 3"]
    assert words in refused[0].reason
    check_sentence(refused[0])


BAD_M3PO = {
    "candidates as text": ({"candidates": "Red."}, "candidates must be a list"),
    "candidate as text": ({"candidates": ["Red."]}, "candidate 1 must be an object with text"),
    "candidate without text": ({"candidates": [{"text": "Red."}, {"id": 1}]}, "candidate 2"),
    "number as candidate": ({"candidates": [{"text": 5}]}, "candidate 1 must be text"),
    "candidate of null": ({"candidates": [{"text": None}]}, "candidate 1 must be text, not null"),
    "turns as text": ({"turns": "hello"}, "turns must be a list"),
    "turn without role": ({"turns": [{"text": "hello"}]}, "turn 1 must be an object"),
    "unknown role": ({"turns": [{"role": "robot", "text": "hello"}]}, "from 'robot'"),
    "turn without answer": ({"turns": [{"role": "user", "text": "hello"}]}, "no answer"),
    "line break in path": ({"images": ["no\nfile\x1b[31m.png"]}, r"image 'no\nfile\x1b[31m.png' does not exist"),
    "turns out of order": ({"turns": [{"role": "assistant", "text": "hello"}]}, "where the user is due"),
    "number in turn": ({"turns": [{"role": "user", "text": 5}]}, "turn 1 must be text"),
}
BAD_LLAVA = {
    "text": ("hello", "an object is expected"),
    "no conversations": ({"image": "a.png"}, "no conversations"),
    "conversations as text": ({"conversations": "hello"}, "must be a list of turns"),
    "no turns": ({"conversations": []}, "no human turn"),
    "only gpt": ({"conversations": conversation("gpt: hello")}, "no human turn"),
    "unknown speaker": ({"conversations": [{"from": ["x"], "value": "hello"}]}, "write human or gpt"),
    "number as value": ({"conversations": [{"from": "human", "value": 5}]}, "turn 1 must be text"),
    "turn as text": ({"conversations": ["hello"]}, "turn 1 must be an object"),
    "two humans": ({"conversations": conversation("human: a", "human: b")}, "no answer"),
    "too many placeholders": (
        {"image": "a.png", "conversations": conversation("human: <image><image> a")},
        "2 <image>",
    ),
    "image as dict": ({"image": {}, "conversations": conversation("human: a")}, "not an object"),
    "way out": ({"image": "../outside.png", "conversations": conversation("human: a")}, "lies outside"),
    "null byte": ({"image": "a\0", "conversations": conversation("human: a")}, "NUL"),
}


@pytest.mark.parametrize("case", BAD_M3PO)
def test_bad_m3po_rows(folder: Path, case: str) -> None:
    extra, words = BAD_M3PO[case]
    base = {"images": ["a.png"], "instruction": "What?"}
    good, refused = read(write(folder / "rows.jsonl", [base, {**base, **extra}, base]))
    assert len(good) == 2 and [r.row for r in refused] == ["line 2"]
    assert words in refused[0].reason
    check_sentence(refused[0])


@pytest.mark.parametrize("case", BAD_LLAVA)
def test_bad_llava_entries(folder: Path, case: str) -> None:
    entry, words = BAD_LLAVA[case]
    path = folder / "chat.json"
    path.write_text(json.dumps([LLAVA[0], entry, LLAVA[1]]))
    good, refused = read(path)
    assert len(good) == 2 and [r.row for r in refused] == ["entry 2"]
    assert words in refused[0].reason
    check_sentence(refused[0])


def test_a_repeated_id(folder: Path) -> None:
    same = {"id": "a", **GOOD}
    rows = [
        same,
        same,
        {**same, "instruction": "Other?"},
        {**same, "file_name": "images/b.png"},
        {**same, "split": "tune"},
    ]
    good, refused = read(write(folder / "metadata.jsonl", rows).parent)
    assert [r.row for r in good] == ["line 1", "line 2"]  # the same again is no error
    assert [r.row for r in refused] == ["line 3", "line 4", "line 5"]
    assert all("id 'a' was already used" in r.reason for r in refused)


def test_an_image_over_rows_is_decoded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    real = Image.open
    monkeypatch.setattr("PIL.Image.open", lambda path, **options: opened.append(path) or real(path, **options))
    write(folder / "metadata.jsonl", [{**GOOD, "instruction": f"What {n}?"} for n in range(50)])
    good, refused = read(folder)
    assert len(good) == 50 and not refused and len(opened) == 1


def test_a_line_without_end_is_refused_and_reading_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m3po.formats.lines.MAX_LINE_BYTES", 1000)
    write(folder / "metadata.jsonl", [GOOD, {**GOOD, "instruction": "x" * 5500}, {**GOOD, "instruction": "After?"}])
    good, refused = read(folder)
    assert [r.row for r in good] == ["line 1", "line 3"] and [r.row for r in refused] == ["line 2"]


def test_rows_come_one_by_one(folder: Path) -> None:
    """A generator: the first row is there before the file's second half is looked at."""
    path = write(folder / "metadata.jsonl", [GOOD] * 20_000)
    found = read_source(folder)[1]
    assert isinstance(next(found), ImportedRow)
    path.write_bytes(b"")  # what was not read yet is gone
    assert len(list(found)) < 19_999


# --- files that cannot be used at all --------------------------------------------------------------------------------

BAD_FILES = {
    "empty.jsonl": (b"", "is empty"),
    "blank.jsonl": (b"\xef\xbb\xbf \n\n", "is empty"),
    "prose.txt": (b"Dear reader,\nthis is prose.\n", "not JSON Lines"),
    "utf16.jsonl": ("\ufeff{}".encode("utf-16-le"), "UTF-16"),
    "parquet.parquet": (b"PAR1\x15\x04\x15\x10\0\0PAR1", "cannot be read as Parquet"),
    "broken.json": (b'[{"id": 1, "conversations": [}]', "not valid JSON"),
    "other.jsonl": (b'{"frage": "Was?", "bild": "a.png"}\n', "no known format (its keys: frage, bild"),
    "pretty.json": (b'{\n  "instruction": "What?"\n}\n', "not JSON Lines"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_an_unusable_file_is_refused_whole(tmp_path: Path, name: str) -> None:
    data, words = BAD_FILES[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInputError) as caught:
        read_source(tmp_path / name)  # at once, before the first row is asked for
    message = str(caught.value)
    assert name in message and words in message and message.endswith(".") and "\n" not in message


def test_missing_unknown_and_not_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, format, words in [
        (tmp_path / "no.jsonl", "auto", "does not exist"),
        (tmp_path / "no.jsonl", "llava", "does not exist"),
        (tmp_path / "a\0b", "auto", "cannot be read"),
        (tmp_path, "auto", "has no metadata.jsonl"),
        (tmp_path, "m3po", "has no metadata.jsonl"),
        (tmp_path / "pipe", "auto", "not a regular file"),
        (tmp_path, "rlhf-w", "choose auto, imagefolder, "),
    ]:
        with pytest.raises(BadInputError, match=words):
            read_source(path, format)


def test_detection_goes_by_content_past_broken_lines(folder: Path) -> None:
    for name, rows, expected in [
        ("one.txt", ["{broken", {"images": [], "instruction": "a"}], "m3po"),
        ("two.json", [{"file_name": "a.png", "instruction": "a"}], "imagefolder"),
        ("three.jsonl", [{"conversations": [], "instruction": "a"}], "llava"),
    ]:
        assert detect_format(write(folder / name, rows)) == expected
    write(folder / "metadata.jsonl", ["{broken"])
    assert detect_format(folder) == "imagefolder"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<image>\nWhat?", "What?"),
        ("What?\n<image>", "What?"),
        ("A <image> B", "A B"),
        ("A\n<image>\nB", "A\nB"),
        ("<image><image>\nA", "A"),
        ("<image> <image>", ""),
        ("<ima<image>ge>", "<ima ge>"),
        ("  untouched  ", "  untouched  "),
    ],
)
def test_placeholders_go_and_the_rest_stays(text: str, expected: str) -> None:
    assert row_checks.strip_placeholders(text) == expected


def test_a_text_that_is_not_closed_reads_as_a_sentence(folder: Path) -> None:
    (folder / "x.jsonl").write_text('{"instruction": "What?"}\n{"instruction": "Wh\n')
    _, [refused] = read(folder / "x.jsonl")
    assert "(Unterminated string starting at column 17)" in refused.reason
