"""Whatever stands where something else is expected, one bad row never ends an import, and good rows go in."""

from __future__ import annotations

import copy
import json
import logging
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from m3po.formats.m3po import parse
from m3po.formats.pictures import Pictures
from m3po.formats.registry import FORMATS
from m3po.formats.rows import RowChecker, read_rows
from m3po.formats.votes import read_time
from m3po.imported import RefusedRow
from m3po.jobs.transfer import importing
from m3po.store.connection import rows
from m3po.store.workspace import Workspace, create_workspace
from m3po.workspace_config import WorkspaceConfig

MUTATIONS = 150  # a format
NASTY = [
    None, True, 5, -1.5, 10**400, "", " ", "a\0b", "\ud800", "0001-01-01T00:00:00+14:00", "[" * 3000, "9" * 400,
    [], {}, [[]], [None], [5], {"x": 1}, [{"x": [1]}], [["a"], {"b": 2}],
]  # fmt: skip
TURNS = [{"role": "user", "text": "Hi."}, {"role": "assistant", "text": "Yes?"}]
PAIR = {"chosen": "Red.", "rejected": "Blue."}
VOTE = {"verdict": "override", "chosen": 1, "rejected": 2, "annotator": "ada", "note": "so", "seconds": 2.5,
        "at": "2025-03-01T12:30:00+00:00"}  # fmt: skip
STAR = {"type": "rating", "from_name": "stars", "to_name": "answer_1", "value": {"rating": 4}}
SIDES = {"type": "pairwise", "from_name": "p", "to_name": "answer_1,answer_2", "value": {"selected": "left"}}
RANKS = {"type": "ranker", "from_name": "r", "to_name": "answers", "value": {"ranker": {"_": ["1", "2"]}}}
CHOICE = {"type": "choices", "from_name": "chosen", "to_name": "answers", "value": {"choices": ["1"]}}
NOTE = {"type": "textarea", "from_name": "note", "to_name": "answers", "value": {"text": ["so"]}}


def says(name: str, text: str) -> dict:
    return {"from": name, "value": text}


GOOD: dict[str, dict] = {
    "imagefolder": {"file_name": "a.png", "instruction": "What?", "objects": ["dog"], "answer": "Red.", "split": None},
    "vlfeedback": {
        "prompt": "What?", "img_path": "a.png",
        "completions": [{"response": "Red.", "model": "m", "annotations": {"Helpfulness": {"Rating": "4"}}}],
    },
    "rlhf_v": {"image": "a.png", "text": {"question": "What?", **PAIR}, "ds_name": "d", "origin_dataset": "d"},
    "rlaif_v": {"image": "a.png", "question": "What?", **PAIR, "ds_name": "d"},
    "llamafactory": {
        "conversations": [says("human", "What?")], "images": ["a.png"],
        "chosen": says("gpt", "Red."), "rejected": says("gpt", "Blue."),
    },
    "ms_swift": {
        "messages": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "Red."}],
        "rejected_response": "Blue.", "images": ["a.png"],
    },
    "trl": {
        "images": ["a.png"], "prompt": [{"role": "user", "content": [{"type": "text", "text": "What?"}]}],
        "chosen": [{"role": "assistant", "content": "Red."}], "rejected": [{"role": "assistant", "content": "Blue."}],
    },
    "mmpr": {"image": "a.png", "question": "What?", **PAIR},
    "pope": {"question_id": 1, "image": "a.png", "text": "Is it?", "label": "no", "category": "random"},
    "mme": {"question_id": "a", "image": "a.png", "question": "Is it?", "answer": "No", "category": "OCR"},
    "sharegpt": {"images": ["a.png"], "conversations": [says("human", "What?"), says("gpt", "Red.")], "system": "Be."},
    "llava": {"image": "a.png", "conversations": [says("human", "What?"), says("gpt", "Red.")]},
    "m3po": {
        "images": ["a.png"], "instruction": "What?", "system": "Be.", "turns": TURNS, "objects": ["dog"], "pair": PAIR,
        "candidates": [{"id": n, "text": text, "source": "human", "ratings": {"stars": 4}}
                       for n, text in enumerate(("Red.", "Blue."), 1)],
        "decisions": [VOTE], "given": [VOTE],
    },
    "label_studio": {
        "data": {"image": "a.png", "instruction": "What?", "answers": ["Red.", "Blue."], "turns": TURNS},
        "annotations": [{"completed_by": {"email": "ada"}, "created_at": "2025-03-01T12:30:00Z", "lead_time": 8.5,
                         "was_cancelled": False, "result": [SIDES, RANKS, CHOICE, NOTE, STAR]}],
    },
    "argilla": {
        "fields": {"image": "a.png", "instruction": "What?", "answer_1": "Red.", "answer_2": "Blue."},
        "metadata": {"m3po_votes": '{"ada": {"seconds": 2.5}}'}, "status": "completed",
        "responses": [{"user_id": "ada", "status": "submitted", "inserted_at": "2025-03-01T12:30:00",
                       "values": {"chosen": {"value": "answer_1"}, "rating_answer_1": {"value": 4},
                                  "rank": {"value": [{"value": "answer_1", "rank": 1}]}}}],
    },
}  # fmt: skip


def places(value: object, path: tuple = ()) -> Iterator[tuple]:
    """Every place in a record, as the keys that lead there."""
    if path:
        yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


def mutated(record: dict, draw: random.Random) -> dict:
    record = copy.deepcopy(record)
    for _ in range(draw.choice((1, 1, 2))):
        *path, last = draw.choice(list(places(record)))
        inside = record
        for key in path:
            inside = inside[key]
        inside[last] = copy.deepcopy(draw.choice(NASTY))
    return record


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    root = tmp_path_factory.mktemp("fuzz")
    opened = Workspace(create_workspace(root / "workspace", WorkspaceConfig()))
    yield opened
    opened.close()


def test_every_format_is_fuzzed() -> None:
    assert set(GOOD) == set(FORMATS) - {"mapping"}


@pytest.mark.parametrize("name", GOOD)
def test_no_row_ends_an_import(workspace: Workspace, caplog: pytest.LogCaptureFixture, name: str) -> None:
    draw = random.Random(name)
    record = {key: value for key, value in GOOD[name].items() if value is not None}
    bad = [mutated(record, draw) for _ in range(MUTATIONS)]
    for row in bad:
        for format in FORMATS.values():
            format.recognises(row)
    path = workspace.path.parent / name / f"{name}.jsonl"
    path.parent.mkdir()
    Image.new("RGB", (8, 6), (10 * list(GOOD).index(name), 0, 0)).save(path.parent / "a.png")  # of one split
    lines = [json.dumps(row) for row in [record | {"id": "first"}, *bad, record | {"id": "last"}]]
    path.write_text("\n".join(lines) + "\n")
    with caplog.at_level(logging.ERROR):
        report = importing.import_source(workspace, path, format=name)
    assert report.added + report.already_there + report.n_refused == MUTATIONS + 2 and report.n_refused > 20
    sql = "SELECT external_id FROM instructions WHERE source = ? AND external_id IN ('first', 'last') ORDER BY 1"
    there = workspace.db.read(lambda con: rows(con, sql, [report.source]))
    assert [row["external_id"] for row in there] == ["first", "last"]
    assert all(row.reason.endswith(".") and "\n" not in row.reason for row in report.refused)
    assert not caplog.records  # each is refused by a check of its own


def test_what_no_check_foresaw_is_refused_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    checker = RowChecker(Pictures(None, lambda data, info: Path()))

    def careless(record: dict, row: str):
        return checker.build(row, **{**parse(record, ""), "id": record["key"]})

    good = {"instruction": "What?", "key": "1"}
    found = list(read_rows(iter([("line 1", {"instruction": "What?"})] * 2 + [("line 3", good)]), careless))
    assert [isinstance(row, RefusedRow) for row in found] == [True, True, False]
    assert "cannot be read (KeyError); compare it" in found[0].reason and len(caplog.records) == 1


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "soon", 5])
def test_a_time_that_is_none(text: object) -> None:
    assert read_time(text) is None
