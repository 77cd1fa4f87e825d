"""Columns that are mapped by hand, or guessed by their names."""

from __future__ import annotations

from pathlib import Path

import pytest
from format_rows import (
    GOOD,
    make_folder,
    read,
    write,
)

from m3po.errors import BadInputError
from m3po.formats.registry import open_source
from m3po.imported import ImportedDecision


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("set"))


NESTED = {
    "key": 7, "meta": {"files": ["a.png", "b.png"]},
    "qa": [{"q": "What is it?", "a": {"good": "Red.", "bad": "Blue."}}],
    "answers": [{"response": "Green."}, {"response": "Pink."}], "where": "tune", "gt": 4, "things": '["dog", "cat"]',
}  # fmt: skip
MAPPING = {
    "id": "key", "image": "meta.files", "instruction": "qa.0.q", "chosen": "qa.0.a.good", "rejected": "qa.0.a.bad",
    "candidates": "answers.response", "split": "where", "answer": "gt", "objects": "things",
}  # fmt: skip


def test_columns_by_hand_reach_into_a_record(folder: Path) -> None:
    path = write(folder, [NESTED, NESTED | {"key": 8, "qa": []}, NESTED | {"key": 9, "where": "test"}])
    with pytest.raises(BadInputError, match="--map instruction=question"):
        read(path)
    [row], refused = read(path, mapping=MAPPING)
    assert (row.id, row.split, row.answer, row.objects) == ("7", "tune", "4", ("dog", "cat"))
    assert row.images == (folder / "a.png", folder / "images" / "b.png") and row.instruction == "What is it?"
    assert row.candidates == ("Red.", "Blue.", "Green.", "Pink.")
    assert row.decisions == (ImportedDecision("override", 0, 1, annotator="mapping", given=True),)
    assert "column 'qa.0.q' is empty" in refused[0].reason and "the split is 'test'" in refused[1].reason


def test_columns_by_hand_replace_what_a_known_format_reads(folder: Path) -> None:
    path = write(folder, [GOOD["llava"] | {"id": "old", "sample": "new", "better": "Crimson."}])
    [row], _ = read(path, mapping={"id": "sample", "candidates": "better"})
    assert (row.id, row.instruction, row.candidates) == ("new", "What is it?", ("Crimson.",))


POPE_LIKE = {"question_id": 7, "image": "a.png", "text": "What colour?", "label": "red"}


def test_columns_by_hand_stand_in_for_what_the_format_refuses(folder: Path) -> None:
    """A file that looks like POPE and is none: nobody can make its labels yes or no by naming columns."""
    path = write(folder, [POPE_LIKE])
    with pytest.raises(BadInputError, match="no known format"):
        read(path)
    for format in ("auto", "pope"):
        [row], _ = read(path, format, mapping={"instruction": "text"})
        assert (row.id, row.instruction, row.answer, row.images) == ("7", "What colour?", "red", (folder / "a.png",))
    assert row.warnings == ("A row that POPE does not allow went in by its columns alone.",)
    [row], _ = read(write(folder, [GOOD["pope"] | {"image": None, "photo": "a.png"}]), mapping={"image": "photo"})
    assert (row.split, row.answer, row.images) == ("heldout", "no", (folder / "a.png",))  # read as POPE all the same


def test_columns_by_hand_hide_nothing_that_is_wrong_beside_them(folder: Path) -> None:
    pair = {"image": "a.png", "ask": "What is it?", "chosen": "Red.", "rejected": "Blue."}
    turns = [{"role": "user", "text": "Hi."}, 5]
    for format, record, words in (
        ("mmpr", pair | {"rejected": " "}, "no question"),
        ("mmpr", pair | {"rejected": None}, "no question"),
        ("m3po", {"instruction": "What?", "ask": "What?", "turns": turns}, "turn 2 must be an object"),
    ):
        _, [refused] = read(write(folder, [record]), format, mapping={"instruction": "ask"})
        assert words in refused.reason
    [row], _ = read(write(folder, [pair]), "mmpr", mapping={"instruction": "ask"})
    assert (row.instruction, row.candidates, row.decisions[0].given) == ("What is it?", ("Red.", "Blue."), True)


def test_candidates_by_hand_bring_no_ratings_of_others(folder: Path) -> None:
    [row], _ = read(write(folder, [GOOD["vlfeedback"] | {"mine": ["One"]}]), mapping={"candidates": "mine"})
    assert (row.candidates, row.ratings) == (("One",), ())
    [row], _ = read(write(folder, [GOOD["mmpr"] | {"mine": ["One"]}]), mapping={"candidates": "mine"})
    assert (row.candidates, row.decisions) == (("One",), ())


def test_columns_guessed_by_their_names(folder: Path) -> None:
    path = write(folder, [{"Query": "What is it?", "img_path": "a.png", "label": "red"}])
    [row], _ = read(path, "mapping")
    assert (row.instruction, row.images, row.answer) == ("What is it?", (folder / "a.png",), "red")
    assert open_source(path, "mapping").notes == [
        "Columns guessed by their names: image=img_path, instruction=Query, answer=label; --map says it otherwise."
    ]
    [row], _ = read(path, mapping={"instruction": "Query", "answer": ""})  # an empty column: there is none
    assert (row.images, row.answer) == ((folder / "a.png",), None)
    assert "image=img_path;" in open_source(path, mapping={"instruction": "Query", "answer": ""}).notes[0]
    with pytest.raises(BadInputError, match="no known format"):
        read(write(folder, [{"x": 1}]), "mapping")


@pytest.mark.parametrize(
    ("mapping", "words"),
    [({"picture": "a"}, "no field of a row"), ({"chosen": "a"}, "belong together"), ({"id": 5}, "must be a name")],
)
def test_a_mapping_that_is_none(folder: Path, mapping: dict, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        read(write(folder, [NESTED]), mapping=mapping)
