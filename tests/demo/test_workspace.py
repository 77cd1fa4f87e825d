"""The demo's ImageFolder: same arguments, same files; splits never share an image; nothing from the models'
training."""

import hashlib
import json

import pytest

from m3po.demo.easyvqa import load_easy_vqa
from m3po.demo.workspace import SCENES_PER_SEED, write_demo_source

SIZES = {"n_train": 12, "n_tune": 6, "n_heldout": 12}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_demo_source(tmp_path_factory.mktemp("demo"), **SIZES)


def read_rows(folder):
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_rows_have_all_fields_and_unique_ids(source):
    rows = read_rows(source)
    assert {frozenset(row) for row in rows} == {
        frozenset({"file_name", "id", "instruction", "split", "answer", "objects", "category"})
    }
    assert len({row["id"] for row in rows}) == len(rows)
    assert all((source / row["file_name"]).exists() for row in rows)
    assert {"describe", "exist_present", "exist_partner_absent", "easy_vqa"} <= {row["category"] for row in rows}


def test_splits_are_disjoint_by_image_content(source):
    seen = {}
    for row in read_rows(source):
        assert seen.setdefault(digest(source / row["file_name"]), row["split"]) == row["split"]
    assert set(seen.values()) == {"train", "tune", "heldout"}
    assert len(seen) == sum(SIZES.values())


def test_easy_vqa_images_come_from_the_test_split(source):
    train = {digest(image.path) for image in load_easy_vqa("train")}
    assert not [p for p in source.glob("*-easy-*.png") if digest(p) in train]


def test_same_arguments_same_files(source, tmp_path):
    again = write_demo_source(tmp_path / "again", **SIZES)
    assert {p.name: digest(p) for p in again.iterdir()} == {p.name: digest(p) for p in source.iterdir()}
    other = write_demo_source(tmp_path / "other", n_train=6, n_tune=0, n_heldout=0, seed=1)
    assert not {digest(p) for p in other.glob("*scene*")} & {digest(p) for p in source.glob("*scene*")}


def test_too_many_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at most"):
        write_demo_source(tmp_path, n_train=SCENES_PER_SEED + 1)
