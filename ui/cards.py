"""What the cards of the Data tab share: a heading, a strip that shows the newest run, and how a form is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from gradio.components import Component

from m3po.studio import Studio
from ui.form import run_command
from ui.run_view import RUN_BUTTONS_JS


@dataclass(kw_only=True)
class Card:
    """One step of the Data tab: its `button`, the `message` beneath it, the `strip` that tells of its runs (None: it is
    done at once), and the components of its `form`, whose values `read` makes a config of."""

    button: gr.Button
    message: gr.HTML
    form: list[Component]
    read: Callable[..., Any]
    strip: gr.HTML | None = None
    pilot: gr.Button | None = None
    preview: gr.HTML | None = None  # rendered by whoever lays out the tab
    submits: list[Callable] = field(default_factory=list)  # other ways than the button to set it off
    policy: list[Component] = field(default_factory=list)  # of the form: the policy's name and its model options


def draw_heading(title: str, what: str = "") -> gr.HTML:
    text = f"<h2>{title}</h2>" + (f"<p>{what}</p>" if what else "")
    return gr.HTML(text, apply_default_css=False, js_on_load=None)


def build_message(name: str, text: str = "") -> gr.HTML:
    """Where a card says what its button did, or why not; takes no room while it has nothing to say."""
    return gr.HTML(text, apply_default_css=False, js_on_load=None, elem_id=f"{name}-message", elem_classes="message")


def build_run_strip(studio: Studio) -> gr.HTML:
    """The newest run of a kind, with its buttons."""

    def on_run_button(command: dict) -> dict:
        return run_command(studio, command)

    return gr.HTML(
        "",
        server_functions=[on_run_button],
        js_on_load=RUN_BUTTONS_JS,
        apply_default_css=False,
        elem_classes="run-strip",
    )
