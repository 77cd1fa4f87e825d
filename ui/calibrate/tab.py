"""The Calibrate tab: a fixed frame, filled and driven by ui/static/calibrate.js, which calls the handler."""

from __future__ import annotations

import gradio as gr

from m3po.studio import Studio
from ui.calibrate.frame import build_frame
from ui.calibrate.handlers import CalibrateHandler
from ui.framed import build_framed_tab


def build_calibrate_tab(studio: Studio) -> gr.HTML:
    """Lay out the tab's one component and connect it with `studio`."""
    return build_framed_tab("calibrate", build_frame(), CalibrateHandler(studio).on_command)
