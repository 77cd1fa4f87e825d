"""On Fine-tune: the run that the form describes packed for another machine, and what was trained there taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.components import Component

from m3po.errors import BadInputError
from m3po.files import absolute
from m3po.settings import TrainConfig
from m3po.studio import Studio
from ui.cards import build_message
from ui.data_view import draw_notice
from ui.form import QUIET
from ui.framed import say_error
from ui.markup import Markup


class ElsewhereCard:
    """An accordion under the form; `connect` ties it to the form."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        with gr.Accordion("On another machine", open=False, elem_id="train-elsewhere"):
            self._folder = gr.Textbox(
                label="New folder for the pack, or one to take back", placeholder="/path/to/folder",
                elem_id="train-elsewhere-folder",
            )  # fmt: skip
            with gr.Row():
                self._emit = gr.Button("Pack this run", elem_id="train-emit")
                self._absorb = gr.Button("Take back", elem_id="train-absorb")
            self._message = build_message("elsewhere")

    def connect(self, form: list[Component], read: Callable[..., TrainConfig]) -> None:
        """`read` makes a config of the form's values."""

        def place(folder: str) -> object:
            if not folder.strip():
                raise BadInputError("Give a folder: a new one for the pack, or a trained pack or adapter to take back.")
            return absolute(folder.strip())

        def tell(act: Callable[[], str]) -> Markup:
            try:
                return draw_notice(act(), good=True)
            except Exception as error:
                return draw_notice(say_error(error, "elsewhere", None))

        def on_emit(folder: str, *values: Any) -> Markup:
            return tell(lambda: self._studio.emit_train(read(*values), place(folder))["message"])

        def on_absorb(folder: str) -> Markup:
            def absorb() -> str:
                run = self._studio.absorb_train(place(folder))
                return f"It is run {run.id} now; the held-out split is answered next, and Results shows it."

            return tell(absorb)

        self._emit.click(on_emit, [self._folder, *form], self._message, **QUIET)
        self._absorb.click(on_absorb, self._folder, self._message, **QUIET)
