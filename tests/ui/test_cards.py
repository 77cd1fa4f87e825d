"""The Data tab's cards: what sets each of them off."""

import json

import gradio as gr
import pytest
from PIL import Image

from m3po.formats.mapping import FIELDS
from m3po.studio import Studio
from ui.data_tab import build_data_tab
from ui.export_card import build_export_card
from ui.import_card import build_import_card


@pytest.fixture
def studio(tmp_path):
    studio = Studio.open(Studio.create(tmp_path / "ws"))
    yield studio
    studio.close()


def test_enter_in_the_path_exports(studio):
    with gr.Blocks():
        card = build_export_card(studio)
    path = card.form[0]
    assert [submit.__self__ for submit in card.submits] == [path]
    assert card.pilot is None


def test_pope_of_the_own_images_is_asked_by_a_button(studio, tmp_path):
    rows = []
    for name, objects in {"1": ["dog"], "2": ["car"]}.items():
        Image.new("RGB", (8, 6), (int(name) * 9, 0, 0)).save(tmp_path / f"{name}.png")
        row = {"file_name": f"{name}.png", "instruction": "Describe.", "objects": objects, "split": "heldout"}
        rows.append(json.dumps(row) + "\n")
    with gr.Blocks() as page:
        build_data_tab(studio, page)
    ids = {block.elem_id: number for number, block in page.blocks.items()}
    [press] = [event.fn for event in page.fns.values() if (ids["data-pope"], "click") in event.targets]

    def said(per_image):
        """By card, what stands beneath its button."""
        outputs = press(per_image)
        return [str(text) for text in outputs[:7] if text]

    assert page.blocks[ids["data-pope"]].value == "Ask" and page.blocks[ids["pope-per-image"]].value == 3
    assert "notice-bad" in said(3)[0] and "No POPE question can be asked: held-out rows of several" in said(3)[0]
    assert "per_image is empty: give a number." in said(None)[0]
    (tmp_path / "metadata.jsonl").write_text("".join(rows))
    studio.import_source(tmp_path)
    [told] = said(2)
    assert "notice-good" in told and "12 questions about 2 images went in; half of the answers are yes." in told
    assert studio.status()["instructions"]["heldout"] == 2 + 12
    assert "was built from this workspace" in said(2)[0]


def test_columns_chosen_for_one_file_are_not_taken_for_the_next(studio):
    with gr.Blocks():
        card = build_import_card(studio)
    columns = {"instruction": "frage", "image": "foto"}
    chosen = [columns.get(field) for field in FIELDS]
    same = card.read("a.csv", "auto", "", "auto:a.csv", *chosen, False)
    other = card.read("b.json", "auto", "", "auto:a.csv", *chosen, False)
    assert same["mapping"] == columns and other["mapping"] is None
