"""POPE's files and MME's folder as they are published, into a workspace and through its evaluation."""

import json
from pathlib import Path

import pytest
from PIL import Image

from m3po.errors import BadInputError
from m3po.evaluation.metrics import summarise
from m3po.formats.registry import open_source
from m3po.images import ImageInfo
from m3po.imported import ImportedRow
from m3po.store import instructions
from m3po.studio import Studio


def draw(path: Path, shade: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (shade, 0, 90)).save(path)
    return path


def keep(data: bytes, info: ImageInfo) -> Path:
    raise AssertionError("no image comes as bytes")


def read(folder: Path) -> tuple[list[ImportedRow], list]:
    found = list(open_source(folder).rows(keep))
    return [r for r in found if isinstance(r, ImportedRow)], [r for r in found if not isinstance(r, ImportedRow)]


@pytest.fixture
def mme(tmp_path: Path) -> Path:
    """Both layouts that are published: texts beside the images, and each in a folder of its own."""
    folder = tmp_path / "MME_Benchmark_release_version"
    questions = "Is there a dog? Please answer yes or no.\tYes\nIs there a cat? Please answer yes or no.\tNo\n"
    draw(folder / "existence" / "0001.png", 1)
    (folder / "existence" / "0001.txt").write_text(questions)
    draw(folder / "OCR" / "images" / "0002.jpg", 2)
    (folder / "OCR" / "questions_answers_YN").mkdir()
    (folder / "OCR" / "questions_answers_YN" / "0002.txt").write_bytes(questions.replace("\n", "\r\n").encode())
    (folder / "eval_tool").mkdir()
    (folder / "eval_tool" / "readme.txt").write_text("not a category")
    return folder


def test_the_official_folder_is_told_by_its_categories(mme: Path) -> None:
    source = open_source(mme)
    assert (source.format, source.container.kind) == ("mme", "MME folder")
    rows, refused = read(mme)
    assert not refused and [(row.category, row.answer, row.split) for row in rows] == [
        ("mme_ocr", "yes", "heldout"), ("mme_ocr", "no", "heldout"),
        ("mme_existence", "yes", "heldout"), ("mme_existence", "no", "heldout"),
    ]  # fmt: skip
    assert rows[0].id == "OCR/0002.jpg#1" and rows[0].images == (mme / "OCR" / "images" / "0002.jpg",)
    assert rows[3].instruction == "Is there a cat? Please answer yes or no."


def test_a_category_without_questions_is_named(mme: Path) -> None:
    draw(mme / "count" / "images" / "0001.jpg", 3)
    rows, [refused] = read(mme)
    assert (len(rows), refused.row) == (4, "count") and "the category has no questions" in refused.reason


def test_a_set_that_comes_again_under_another_name_is_asked_once(mme: Path, tmp_path: Path) -> None:
    asked = [{"question_id": n, "image": "a.png", "text": f"Is there {n}?", "label": "no"} for n in range(3)]
    draw(tmp_path / "val2014" / "a.png", 9)
    studio = Studio.open(Studio.create(tmp_path / "workspace"))
    try:
        for name, rows in (("coco_pope_random", asked), ("again_coco_pope_random", asked[1:])):
            (tmp_path / f"{name}.json").write_text("\n".join(json.dumps(row) for row in rows))
        told = [
            studio.import_source(tmp_path / f"{name}.json", images=tmp_path / "val2014")
            for name in ("coco_pope_random", "again_coco_pope_random", "coco_pope_random")
        ]
        assert [(one.added, one.already_there) for one in told] == [(3, 0), (0, 2), (0, 3)]
        (tmp_path / "coco_pope_popular.json").write_text(json.dumps(asked[0]))  # another set's question
        assert studio.import_source(tmp_path / "coco_pope_popular.json", images=tmp_path / "val2014").added == 1
    finally:
        studio.close()


def test_what_is_wrong_with_a_folder_is_named_file_by_file(mme: Path) -> None:
    texts = {
        "0003": ("Is it? \tYes\n", True), "0004": ("Is it?\tYes\nIs it not?\tNo\n", False),
        "0005": ("Is it? Yes\nIs it not?\tMaybe\n", True),
    }  # fmt: skip
    for n, (name, (text, image)) in enumerate(texts.items()):
        (mme / "existence" / f"{name}.txt").write_text(text)
        if image:
            draw(mme / "existence" / f"{name}.png", 10 + n)
    rows, refused = read(mme)
    assert len(rows) == 4
    told = {row.row: row.reason for row in refused}
    assert "1 lines where MME has two" in told["existence/0003.txt"]
    assert "no image 0004" in told["existence/0004.txt"]
    assert "no tab" in told["existence/0005.txt line 1"] and "write Yes or No" in told["existence/0005.txt line 2"]
    with pytest.raises(BadInputError, match=r"has no metadata\.jsonl"):
        open_source(mme / "eval_tool")


def test_benchmarks_are_measured_side_by_side_and_never_mixed(mme: Path, tmp_path: Path) -> None:
    """POPE's three files share images and the questions after what is there; each is a figure of its own."""
    for n in range(2):
        draw(tmp_path / "val2014" / f"COCO_{n}.jpg", 50 + n)
    there = [(f"COCO_{n}.jpg", "Is there a dog in the image?", "yes") for n in range(2)]
    absent = {"random": "car", "popular": "person", "adversarial": "cat"}
    for way, name in absent.items():
        asked = [*there, *((image, f"Is there a {name} in the image?", "no") for image, *_ in there)]
        lines = [
            json.dumps({"question_id": n, "image": image, "text": text, "label": label})
            for n, (image, text, label) in enumerate(asked, 1)
        ]
        (tmp_path / f"coco_pope_{way}.json").write_text("\n".join(lines))
    studio = Studio.open(Studio.create(tmp_path / "ws"))
    try:
        for way in absent:
            added = studio.import_source(tmp_path / f"coco_pope_{way}.json", images=tmp_path / "val2014").added
            assert added == 4
        assert studio.import_source(mme).added == 4
        table = studio.db.read(lambda con: instructions.heldout_rows(con, "heldout", studio.workspace.images))
        rows = table.to_pylist()
        out = tmp_path / "pope.jsonl"
        studio.export(out, format="pope")
    finally:
        studio.close()
    # Says yes to whatever is there or usually is: right on random ones, wrong on all popular and on one adversarial.
    said = {"car": "No.", "person": "Yes, it is.", "dog": "Yes."}
    cats = iter(("There isn't one.", "No, but there is a dog."))
    for row in rows:
        name = next((name for name in said if name in row["instruction"]), None)
        row["text"] = said[name] if name else next(cats) if row["category"] == "pope_adversarial" else "No"
    summary = summarise(rows)

    def five(way: str) -> list[float]:
        return [
            summary.metrics[f"pope_{way}_{name}"] for name in ("accuracy", "precision", "recall", "f1", "yes_ratio")
        ]

    assert five("random") == [1, 1, 1, 1, 0.5]
    assert five("popular") == [0.5, 0.5, 1, pytest.approx(2 / 3), 1]
    assert five("adversarial") == [0.75, pytest.approx(2 / 3), 1, pytest.approx(0.8), 0.75]
    assert summary.counts["pope_random"] == 4 and summary.metrics["mme_perception"] == 400
    assert not {key for key in summary.metrics if not key.startswith(("pope_", "mme_"))}
    kept = {json.loads(line).get("category") for line in out.read_text().splitlines()}
    assert kept == {"pope_random", "pope_popular", "pope_adversarial", None}  # POPE has no word for MME's
