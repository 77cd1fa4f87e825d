"""What a finished run is good for, under its figures: the next round, and its adapter as a folder for others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gradio as gr

from m3po.errors import BadInputError
from m3po.files import absolute
from m3po.studio import Studio
from m3po.types import Run
from ui.cards import build_message, draw_heading
from ui.data_view import draw_notice, open_tab
from ui.form import QUIET
from ui.framed import say_error
from ui.markup import Markup, join, tag

TRY = tag("button", "Try it in the playground →", type="button", class_="link", id="run-playground")
TRY_JS = """
element.querySelector('button').onclick = () => {
  const shown = document.querySelector('#results-overview tr.shown [data-show-run]');
  if (shown) location.hash = `playground?right=run-${shown.dataset.showRun}`;
};
"""


class RunActions:
    """The card; `connect` ties it to what says which run is shown."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        with gr.Column(elem_classes="card-group curator-only", elem_id="run-actions"):
            draw_heading("What next", "The next round samples, scores and selects with this run's adapter.")
            gr.HTML(TRY, js_on_load=TRY_JS, apply_default_css=False)
            self._round = gr.Button("Begin the next round", elem_id="run-round")
            self._out = gr.Textbox(label="New folder for its model", placeholder="/path/to/folder", elem_id="run-out")
            with gr.Row():
                self._adapter = gr.Button("Export the adapter", elem_id="run-adapter")
                self._merged = gr.Button("Export it merged", elem_id="run-merged")
            self._message = build_message("run-actions")
        self.buttons = [self._round, self._adapter, self._merged]

    @staticmethod
    def draw(run: Run | None) -> list:
        """The buttons: of use once the run has an adapter."""
        done = run is not None and run.state == "finished"
        return [gr.Button(interactive=done)] * 3

    def connect(self, wanted: gr.State, shown: Callable[[int | None], Run | None]) -> None:
        """`shown` finds the run that the page shows where `wanted` was clicked, or nothing was."""

        def tell(act: Callable[[int], Markup | str], wanted: int | None) -> Markup | str:
            try:
                run = shown(wanted)
                if run is None:
                    raise BadInputError("There is no run yet: fine-tune once.")
                return act(run.id)
            except Exception as error:
                return draw_notice(say_error(error, "results", wanted))

        def place(out: str) -> object:
            if not out.strip():
                raise BadInputError("Give a new folder for the model.")
            if not Path(out.strip()).expanduser().is_absolute():  # of what: the app's folder is nothing to a browser
                raise BadInputError(f"{out.strip()} is no whole path: begin it with / or ~.")
            return absolute(out.strip())

        def begin(run_id: int) -> Markup:
            self._studio.start_round(run_id)
            told = draw_notice(f"The next round from run {run_id} samples now, then scores and selects.", good=True)
            return join([told, open_tab("data", "Watch it on Data")])

        def export(run_id: int, out: str) -> Markup:
            return draw_notice(self._studio.export_adapter(run_id, place(out))["message"], good=True)

        def merge(run_id: int, out: str) -> Markup:
            run = self._studio.start_merge(run_id, place(out))
            return draw_notice(
                f"Run {run.id} merges the adapter of run {run_id} and writes it to {out.strip()}.", good=True
            )

        self._round.click(lambda wanted: tell(begin, wanted), wanted, self._message, **QUIET)
        for button, act in ((self._adapter, export), (self._merged, merge)):
            button.click(
                lambda wanted, out, act=act: tell(lambda run_id: act(run_id, out), wanted),
                [wanted, self._out], self._message, **QUIET,
            )  # fmt: skip
