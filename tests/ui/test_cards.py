"""The Data tab's cards: what sets each of them off."""

import gradio as gr
import pytest

from m3po.studio import Studio
from ui.export_card import build_export_card


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
