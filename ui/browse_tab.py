"""The Browse tab: all pairs at a glance. A fixed frame, driven by ui/static/browse.js, which asks the server here."""

from __future__ import annotations

import gradio as gr

from m3po.studio import Studio
from ui.addresses import view_of
from ui.browse_view import build_browse_frame, draw_negatives, draw_tests
from ui.formatting import plural
from ui.framed import FramedHandler, build_framed_tab

PAGE = 24  # cards of the gallery
MAX_START = 10_000_000


class BrowseHandler(FramedHandler):
    """What the page may ask, each checked: handlers are public endpoints."""

    def __init__(self, studio: Studio) -> None:
        super().__init__("browse", look=self._look, gallery=self._gallery, tests=self._tests, start=self._start)
        self.studio = studio

    def _look(self, data: dict, annotator: str) -> dict:
        role = data.get("role") if data.get("role") in ("chosen", "rejected") else "rejected"
        return self.studio.browsing.look(view_of(data.get("view") or {}), role, client=f"browse {annotator}")

    def _gallery(self, data: dict, annotator: str) -> dict:
        start = _whole(data.get("start"), MAX_START)
        view = view_of(data.get("view") or {})
        total, found = self.studio.browsing.negatives(view, start, PAGE, client=f"gallery {annotator}")
        return {"total": total, "start": start, "page": PAGE, "html": draw_negatives(found)}

    def _tests(self, data: dict, _: str) -> dict:
        survived = data.get("survived") if isinstance(data.get("survived"), str) else ""
        dependence = self.studio.dependence
        runs = [self.studio.run(number) for number in dependence.active()]
        at_work = next((run for run in runs if run.state == "running"), None)
        left = f", then {plural(len(runs) - 1, 'more run')}" if len(runs) > 1 else ""
        words = f"Testing: {at_work.done} of {at_work.total} instructions{left}" if at_work and at_work.total else ""
        return {"html": draw_tests(dependence.tests(), survived), "active": len(runs), "message": words}

    def _start(self, data: dict, _: str) -> dict:
        self.studio.start_dependence(_whole(data.get("limit"), 100_000_000))
        return self._tests(data, _)


def _whole(value: object, most: int) -> int:
    return min(max(value, 0), most) if isinstance(value, int) and not isinstance(value, bool) else 0


def build_browse_tab(studio: Studio) -> gr.HTML:
    """Lay out the tab's one component and connect it with `studio`."""
    return build_framed_tab("browse", build_browse_frame(), BrowseHandler(studio).on_command)
