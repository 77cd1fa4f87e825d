"""The blind comparison of two models: the handler behind ui/static/sides.js. Commands are public endpoints."""

from __future__ import annotations

import gradio as gr

from m3po.errors import UsageError
from m3po.studio import Studio
from ui.framed import BROKEN, FramedHandler, build_framed_tab
from ui.sides_view import build_sides_frame, draw_item, draw_outcome, say_progress


class SidesHandler(FramedHandler):
    """What the page may ask, each checked: HTML and words by name."""

    def __init__(self, studio: Studio) -> None:
        super().__init__("sides", models=self._models, next=self._next, again=self._again, vote=self._vote,
                         outcome=self._outcome)  # fmt: skip
        self._studio = studio

    def _models(self, data: dict, annotator: str) -> dict:
        return {"models": self._studio.sides.models()}

    def _next(self, data: dict, annotator: str) -> dict:
        return _tell(self._studio.sides.next(*_runs(data), annotator=annotator))

    def _again(self, data: dict, annotator: str) -> dict:
        return _tell(self._studio.sides.again(*_runs(data), annotator=annotator))

    def _vote(self, data: dict, annotator: str) -> dict:
        item, said, draw = (data.get(name) for name in ("item", "said", "draw"))
        if not isinstance(item, int) or isinstance(item, bool) or not (isinstance(said, str) and isinstance(draw, str)):
            raise UsageError(BROKEN)
        self._studio.sides.vote(*_runs(data), item, said, draw, annotator=annotator)
        return self._next(data, annotator)

    def _outcome(self, data: dict, annotator: str) -> dict:
        return {"html": draw_outcome(self._studio.sides.report(*_runs(data)))}


def _tell(found: dict) -> dict:
    told = {"item": found["item"], "draw": found.get("draw", ""), "judged": found["judged"]}
    return told | {"html": draw_item(found), "progress": say_progress(found)}


def _runs(data: dict) -> tuple[int, int]:
    runs = data.get("first"), data.get("second")
    if not all(isinstance(run, int) and not isinstance(run, bool) for run in runs):
        raise UsageError(BROKEN)
    return runs


def build_sides(studio: Studio) -> gr.HTML:
    """The section, for the foot of Results."""
    return build_framed_tab("sides", build_sides_frame(), SidesHandler(studio).on_command)
