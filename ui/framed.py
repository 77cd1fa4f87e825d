"""A tab that is one component: a fixed frame, driven by a script of ours that sends commands to a handler here.

Commands are public endpoints: whoever sends one is known by m3po.door, and what goes wrong is answered in a sentence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import gradio as gr

from m3po.door import current_user
from m3po.errors import M3poError
from ui.scripts import load_script

log = logging.getLogger(__name__)


def build_framed_tab(
    name: str, frame: str, on_command: Callable[[object, str], dict], *functions: Callable[..., dict]
) -> gr.HTML:
    """The tab's component; its script `name`.js calls `server.<name>(command)`, and `functions` by their names."""

    def command(data: dict) -> dict:
        user = current_user()
        return on_command(data, user.name if user else "")

    command.__name__ = name
    return gr.HTML(
        html_template=frame,
        js_on_load=load_script(name),
        server_functions=[command, *functions],
        elem_id=name,
        apply_default_css=False,
    )


def say_error(error: Exception, name: str, data: object) -> str:
    """What went wrong with a command of the tab `name`, for the user; a bug is in the log as well."""
    if isinstance(error, M3poError):
        return str(error)
    log.error("%s command failed: %r", name, data, exc_info=error)
    return f"Unexpected {type(error).__name__}: {error}. Nothing was changed; the log has the details."
