"""A tab that is one component: a fixed frame, driven by a script of ours that sends commands to a handler here.

Commands are public endpoints: whoever sends one is known by m3po.door, and what goes wrong is answered in a sentence.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import gradio as gr

from m3po.deciding import DEFAULT_ANNOTATOR
from m3po.door import current_user
from m3po.errors import M3poError, UsageError
from ui.scripts import load_script

log = logging.getLogger(__name__)
BROKEN = "The page sent something that is no command; reload it."


class FramedHandler:
    """What such a tab may ask for: each command has a method, which takes it and who asks, and answers with a dict."""

    def __init__(self, name: str, **ops: Callable[[dict, str], dict]) -> None:
        self._name, self._ops = name, ops

    def on_command(self, data: object, annotator: str = "") -> dict:
        """The answer as JSON; `error` is a sentence, and nothing was changed."""
        try:
            if not isinstance(data, dict) or data.get("op") not in self._ops:
                raise UsageError(BROKEN)
            return self._ops[data["op"]](data, annotator or DEFAULT_ANNOTATOR)
        except Exception as error:
            return {"error": say_error(error, self._name, data)}


def build_framed_tab(
    name: str, frame: str, on_command: Callable[[object, str], dict], *functions: Callable[..., dict]
) -> gr.HTML:
    """The tab's component; its script `name`.js calls `server.<name>(command)`, and `functions` by their names."""

    def command(data: dict) -> dict:
        if not _can_be_answered(data):
            return {"error": BROKEN, "level": "hint"}
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


def _can_be_answered(data: object) -> bool:
    """Whether it is a command by its form, in text that can be written: half of a surrogate pair, told in an answer,
    would break it."""
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return isinstance(data, dict) and isinstance(data.get("op"), str)


def say_error(error: Exception, name: str, data: object) -> str:
    """What went wrong with a command of the tab `name`, for the user; a bug is in the log as well."""
    if isinstance(error, M3poError):
        return str(error)
    log.error("%s command failed: %r", name, data, exc_info=error)
    return f"Unexpected {type(error).__name__}: {error}. Nothing was changed; the log has the details."
