"""What comes under a known id: the same again is nothing, anything else is refused and changes nothing."""

import json

import pytest
from workspaces import make_images

from m3po.store import instructions
from m3po.studio import Studio

FIRST = {
    "file_name": "0.png",
    "split": "train",
    "id": "a",
    "instruction": "What is it?",
    "answer": "A boat.",
    "objects": ["boat"],
}


def import_rows(studio, folder, rows):
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return studio.import_source(folder)


@pytest.fixture
def studio(tmp_path):
    make_images(tmp_path / "source", 2)
    studio = Studio.open(Studio.create(tmp_path / "ws"))
    yield studio
    studio.close()


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"instruction": "And now?"}, "content"),
        ({"file_name": "1.png"}, "content"),
        ({"split": "heldout"}, "content"),
        ({"answer": "A fish."}, "answer"),
        ({"objects": ["boat", "fish"]}, "objects"),
    ],
)
@pytest.mark.parametrize("same_file", [True, False])
def test_a_known_id_with_something_else_is_refused_and_changes_nothing(studio, tmp_path, changed, what, same_file):
    folder = tmp_path / "source"
    first = [] if same_file else [import_rows(studio, folder, [FIRST])]
    report = import_rows(studio, folder, [*([FIRST] if same_file else []), FIRST | changed])
    [refused] = report.refused
    assert refused.row == ("line 2" if same_file else "line 1")
    assert "'a'" in refused.reason and f"other {what}" in refused.reason and "new id" in refused.reason
    assert report.added == int(same_file) and len(first) == int(not same_file)
    truth = studio.db.read(lambda con: con.execute("SELECT answer, objects, category FROM truth").fetchall())
    assert truth == [("A boat.", ["boat"], None)]


def test_truth_that_was_not_told_yet_is_added_and_the_order_of_objects_means_nothing(studio, tmp_path):
    two = FIRST | {"objects": ["boat", "fish"]}
    import_rows(studio, tmp_path / "source", [two])
    before = studio.db.read(lambda con: instructions.state_of_split(con, "train"))
    report = import_rows(studio, tmp_path / "source", [two | {"objects": ["fish", "boat"], "category": "describe"}])
    assert (report.added, report.already_there, report.refused) == (0, 1, ())
    truth = studio.db.read(lambda con: con.execute("SELECT answer, objects, category FROM truth").fetchall())
    assert truth == [("A boat.", ["boat", "fish"], "describe")]
    assert studio.db.read(lambda con: instructions.state_of_split(con, "train")) != before  # measured anew


def test_an_answer_that_a_person_wrote_stays_one_over_export_and_import(studio, tmp_path):
    import_rows(studio, tmp_path / "source", [FIRST | {"split": "train"}])
    item = studio.review_item()
    studio.add_edit(item.instruction.id, "A red boat.")
    studio.export(tmp_path / "out.jsonl")
    other = Studio.open(Studio.create(tmp_path / "other"))
    try:
        report = other.import_source(tmp_path / "out.jsonl")
        assert report.added == 1, report
        assert [(c.text, c.origin) for c in other.review_item().candidates] == [("A red boat.", "human")]
    finally:
        other.close()


def test_a_row_that_leaves_its_truth_out_is_there_already(studio, tmp_path):
    import_rows(studio, tmp_path / "source", [FIRST])
    without = {key: value for key, value in FIRST.items() if key not in ("answer", "objects")}
    report = import_rows(studio, tmp_path / "source", [without, FIRST])
    assert (report.added, report.already_there, report.refused) == (0, 2, ())
