"""The Data tab's cards: what sets each of them off."""

import gradio as gr
import pytest

from m3po.formats.mapping import FIELDS
from m3po.studio import Studio
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


def test_columns_chosen_for_one_file_are_not_taken_for_the_next(studio):
    with gr.Blocks():
        card = build_import_card(studio)
    columns = {"instruction": "frage", "image": "foto"}
    chosen = [columns.get(field) for field in FIELDS]
    same = card.read("a.csv", "auto", "", "auto:a.csv", *chosen, False)
    other = card.read("b.json", "auto", "", "auto:a.csv", *chosen, False)
    assert same["mapping"] == columns and other["mapping"] is None
