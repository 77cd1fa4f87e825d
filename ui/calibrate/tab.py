"""The Calibrate tab: a fixed frame, filled and driven by ui/static/calibrate.js, which calls the handler."""

from __future__ import annotations

import gradio as gr

from m3po.door import current_user
from m3po.studio import Studio
from ui.calibrate.frame import build_frame
from ui.calibrate.handlers import CalibrateHandler
from ui.scripts import load_script


def build_calibrate_tab(studio: Studio) -> gr.HTML:
    """Lay out the tab's one component and connect it with `studio`."""
    handler = CalibrateHandler(studio)

    def calibrate(command: dict) -> dict:
        return handler.on_command(command, _caller())

    return gr.HTML(
        html_template=build_frame(),
        js_on_load=load_script("calibrate"),
        server_functions=[calibrate],
        elem_id="calibrate",
        apply_default_css=False,
    )


def _caller() -> str:
    user = current_user()
    return user.name if user else ""
