"""The Review tab: a fixed frame, filled and driven by ui/static/review.js, which calls the handler on the server.

One component. The items around the shown one come ahead of the keys, so that no decision waits for a round trip; what a
key asks that is not there yet, one answer brings drawn.
"""

from __future__ import annotations

import hashlib

import gradio as gr

from m3po.studio import Studio
from ui.framed import build_framed_tab
from ui.review.belief import read_belief
from ui.review.frame import build_frame
from ui.review.guideline import answer_guideline
from ui.review.handlers import ReviewHandler


def build_review_tab(studio: Studio) -> gr.HTML:
    """Lay out the tab's one component and connect it with `studio`."""

    def belief(asked: dict) -> dict:
        return read_belief(studio, asked)

    def guideline(asked: dict) -> dict:
        return answer_guideline(studio, asked)

    frame = build_frame(_digest(str(studio.path)), _digest(studio.made_at))
    return build_framed_tab("review", frame, ReviewHandler(studio).on_command, belief, guideline)


def _digest(text: str) -> str:
    """Tells the browser one workspace from another at the same address, without telling it where it lies."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
