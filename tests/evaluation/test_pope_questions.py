"""POPE built from any images whose objects are known: against a case made by hand, and in a workspace."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from runs_here import open_quietly

from m3po.errors import JobError, UsageError
from m3po.evaluation.metrics import summarise
from m3po.evaluation.pope_questions import build_questions
from m3po.store import instructions
from m3po.studio import Studio

IMAGES = {
    "1": ["dog", "leash"], "2": ["dog", "leash", "owl"], "3": ["car", "person"], "4": ["person"], "5": ["person"],
    "6": ["dog"],
}  # fmt: skip


def test_absent_objects_are_drawn_in_three_ways():
    asked = {
        way: {(q.name, q.there) for q in build_questions(IMAGES, 1) if q.image == "6" and q.way == way}
        for way in ("random", "popular", "adversarial")
    }
    assert asked["popular"] == {("dog", True), ("person", False)}  # of all absent ones in most images: 3
    assert asked["adversarial"] == {("dog", True), ("leash", False)}  # twice beside a dog
    [(name, _)] = {each for each in asked["random"] if not each[1]}
    assert name in {"leash", "owl", "car", "person"}
    assert next(q.text for q in build_questions(IMAGES, 3) if q.name == "owl") == "Is there an owl in the image?"


@given(st.dictionaries(st.text("abc", min_size=1), st.sets(st.sampled_from("vwxyz"), max_size=5), max_size=6))
def test_half_of_every_set_is_there_and_nothing_is_asked_twice(objects):
    found = build_questions(objects)
    assert len(set(found)) == len(found)
    for question in found:
        assert question.there == (question.name in objects[question.image])
    for way in ("random", "popular", "adversarial"):
        of_way = [q for q in found if q.way == way]
        assert 2 * sum(q.there for q in of_way) == len(of_way)


def test_a_workspace_with_object_labels_gets_its_own_sets_once(tmp_path):
    studio = open_quietly(Studio.create(tmp_path / "ws"))
    try:
        with pytest.raises(JobError, match="need `objects`"):
            studio.build_pope()
        rows = []
        for name, objects in IMAGES.items():
            Image.new("RGB", (8, 6), (int(name) * 9, 0, 0)).save(tmp_path / f"{name}.png")
            split = "train" if name == "1" else "heldout"
            rows.append({"file_name": f"{name}.png", "instruction": "Describe.", "objects": objects, "split": split})
        (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        studio.import_source(tmp_path)
        told = studio.build_pope(1)
        assert told["images"] == 5 and told["added"] == 5 * 3 * 2
        with pytest.raises(UsageError, match="built from this workspace's images before"):
            studio.build_pope()
        table = studio.db.read(lambda con: instructions.heldout_rows(con, "heldout", studio.workspace.images))
    finally:
        studio.close()
    found = summarise([row | {"text": "Yes."} for row in table.to_pylist()]).metrics
    for way in ("random", "popular", "adversarial"):
        assert found[f"pope_own_{way}_accuracy"] == 0.5 and found[f"pope_own_{way}_recall"] == 1
        assert found[f"pope_own_{way}_f1"] == pytest.approx(2 / 3) and found[f"pope_own_{way}_yes_ratio"] == 1
