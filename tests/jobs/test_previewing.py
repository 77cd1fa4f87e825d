"""The preview says what an import would do, and does nothing of it."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from m3po.console import draw_preview
from m3po.errors import BadInputError, UsageError
from m3po.jobs.transfer.importing import import_source
from m3po.jobs.transfer.previewing import preview_source
from m3po.store.workspace import Workspace, create_workspace
from m3po.workspace_config import WorkspaceConfig


@pytest.fixture
def workspace(tmp_path: Path):
    opened = Workspace(create_workspace(tmp_path / "workspace", WorkspaceConfig()))
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    Image.new("RGB", (320, 200), "red").save(tmp_path / "set" / "a.png")
    return tmp_path / "set"


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


PAIR = {"ds_name": "d", "idx": "7", "image": "a.png", "question": "What?", "chosen": "Red.", "rejected": "Blue."}


def test_the_first_rows_as_they_would_go_in(workspace: Workspace, folder: Path) -> None:
    rows = [PAIR, {**PAIR, "idx": "8", "image": "gone.png"}, *({**PAIR, "idx": str(n)} for n in range(9, 20))]
    path = write(folder / "x.jsonl", rows)
    shown = preview_source(workspace, path)
    assert (shown["container"], shown["format"], shown["label"], shown["problem"]) == (
        "JSON Lines", "rlaif_v", "RLAIF-V", ""
    )  # fmt: skip
    assert shown["columns"] == list(PAIR) and shown["ignored"] == ["ds_name"]
    assert shown["mapping"] == {
        "id": "idx", "image": "image", "instruction": "question", "chosen": "chosen", "rejected": "rejected"
    }  # fmt: skip
    assert [row["row"] for row in shown["rows"]] == [f"line {n}" for n in range(1, 6)]
    assert "gone.png does not exist" in shown["rows"][1]["refused"]
    [image] = shown["rows"][0]["images"]
    assert (image["width"], image["height"]) == (320, 200)
    thumbnail = Image.open(io.BytesIO(base64.b64decode(image["thumbnail"].split(",")[1])))
    assert thumbnail.size == (160, 100) and thumbnail.convert("RGB").getpixel((80, 50))[0] > 240
    report = import_source(workspace, path)  # the preview left nothing behind, and told the truth
    assert report.added == 12 and report.refused[0].reason == shown["rows"][1]["refused"]
    assert len(preview_source(workspace, path, rows=2)["rows"]) == 2


def test_a_file_that_may_be_in_another_format_says_so_and_the_format_by_hand_decides(workspace, folder: Path) -> None:
    plain = {name: value for name, value in PAIR.items() if name != "ds_name"}  # which tells RLAIF-V from MMPR
    path = write(folder / "pairs.jsonl", [plain])
    words = "Read as MMPR, but it also looks like RLAIF-V: the format given by hand (--format rlaif_v) decides."
    shown = preview_source(workspace, path)
    assert (shown["format"], shown["doubt"]) == ("mmpr", words) and words in draw_preview(shown)
    assert preview_source(workspace, path, format="mmpr")["doubt"] == ""
    told = write(folder / "told.jsonl", [{**plain, "origin_dataset": "x"}])
    assert preview_source(workspace, told)["doubt"] == ""
    assert import_source(workspace, path).warnings == (words,)


def test_images_as_bytes_leave_nothing_behind(workspace: Workspace, folder: Path) -> None:
    image = {"bytes": (folder / "a.png").read_bytes(), "path": None}
    pq.write_table(pa.Table.from_pylist([{**PAIR, "image": image}]), folder / "x.parquet")
    shown = preview_source(workspace, folder / "x.parquet", thumbnails=False)
    assert shown["container"] == "Parquet" and "thumbnail" not in shown["rows"][0]["images"][0]
    assert not any(path.is_file() for path in workspace.images.root.rglob("*"))


def test_a_file_in_no_known_format(workspace: Workspace, folder: Path) -> None:
    path = folder / "mine.csv"
    path.write_text("nr,bild,Question,gut,schlecht\n1,a.png,What?,Red.,Blue.\n")
    shown = preview_source(workspace, path)
    assert shown["format"] == "mapping" and "in no known format" in shown["problem"]
    assert shown["mapping"] == {"instruction": "Question"} and shown["rows"][0]["images"] == []
    mapping = {"id": "nr", "image": "bild", "chosen": "gut", "rejected": "schlecht"}
    shown = preview_source(workspace, path, mapping=mapping)
    assert shown["problem"] == "" and shown["mapping"] == {"instruction": "Question", **mapping}
    row = shown["rows"][0]
    assert (row["id"], row["candidates"], len(row["images"])) == ("1", ["Red.", "Blue."], 1)
    assert row["decisions"] == [
        {"verdict": "override", "chosen": 0, "rejected": 1, "annotator": "mapping", "given": True}
    ]
    strange = write(folder / "y.jsonl", [{"frage": "Was?", "x": {"y": [{"z": 1}]}}])
    shown = preview_source(workspace, strange)
    assert shown["rows"] == [] and shown["columns"] == ["frage", "x", "x.y", "x.y.z"]
    assert shown["values"] == {"frage": "Was?", "x": "{'y': [{'z': 1}]}", "x.y": "[{'z': 1}]", "x.y.z": "[1]"}
    assert "frage        Was?" in draw_preview(shown) and "<-" not in draw_preview(shown)
    assert preview_source(workspace, strange, mapping={"instruction": "frage"})["rows"][0]["instruction"] == "Was?"


def test_what_cannot_be_previewed(workspace: Workspace, folder: Path) -> None:
    path = write(folder / "x.jsonl", [PAIR])
    for options, error, words in [
        ({"source": folder / "none.jsonl"}, BadInputError, "does not exist"),
        ({"source": path, "rows": 0}, UsageError, "rows = 0"),
        ({"source": path, "mapping": {"picture": "image"}}, UsageError, "no field"),
        ({"source": path, "format": "xml"}, UsageError, "not known"),
    ]:
        with pytest.raises(error, match=words):
            preview_source(workspace, **options)


def test_a_terminal_shows_texts_as_they_are_and_no_code(workspace: Workspace, folder: Path) -> None:
    rows = [{**PAIR, "question": "Red\x1b[31m?\nSecond line " + "x" * 500}, {**PAIR, "image": "no.png", "idx": 1}]
    text = draw_preview(preview_source(workspace, write(folder / "x.jsonl", rows), thumbnails=False))
    assert "\x1b" not in text and "Red�[31m? Second line" in text and "characters)" in text
    assert "chosen       Red." in text and "line 2: refused: image no.png" in text
    assert "instruction  <- question" in text
