"""On Results: where the shown run comes from, and what is another one than in a run that is chosen beside it."""

from __future__ import annotations

import gradio as gr

from m3po.errors import M3poError
from m3po.studio import Studio
from ui.data_view import draw_notice
from ui.lineage_view import draw_lineage
from ui.markup import Markup

PICK_JS = """
element.addEventListener('change', (event) => {
  if (event.target.id === 'lineage-other') trigger('compare', {other: Number(event.target.value) || null});
});
"""


class LineageCard:
    """`html` is drawn by the tab, with what it draws else of a run; its event `compare` names the other run, which
    `other` keeps."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self.other = gr.State(None)
        self.html = gr.HTML("", js_on_load=PICK_JS, apply_default_css=False, elem_id="results-lineage")

    def draw(self, run_id: int, other: int | None) -> Markup:
        try:
            others = [run for run in self._studio.lineage.runs() if run["id"] != run_id]
            asked = other if any(run["id"] == other for run in others) else None
            difference = self._studio.lineage.diff(asked, run_id) if asked else None
            return draw_lineage(self._studio.lineage.read(run_id), others, difference)
        except M3poError as error:
            return draw_notice(str(error))
