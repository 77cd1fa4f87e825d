"""What the forms of all tabs share: how their events travel, how fields are read, and the stop and resume buttons."""

from __future__ import annotations

from typing import Any

from m3po.errors import BadInputError, M3poError
from m3po.studio import Studio
from ui.framed import BROKEN

# Every event goes straight to its handler: no queue, no overlay, and no public endpoint.
QUIET = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def numbers(values: dict[str, Any]) -> dict[str, Any]:
    """Fields of a form; an empty one is named. Raises BadInputError.

    What is out of bounds is refused by who is given it: a gr.Number with a bound of its own fails without a word."""
    for name, value in values.items():
        if value is None:
            raise BadInputError(f"{name} is empty: give a number.")
    return values


def run_command(studio: Studio, command: object) -> dict:
    """A stop or resume button. Returns `{}` or `{"error": sentence}`."""
    if not isinstance(command, dict) or not isinstance(command.get("run_id"), int):
        return {"error": BROKEN}
    try:
        if command.get("op") == "stop":
            studio.stop_run(command["run_id"])
        elif command.get("op") == "resume":
            studio.resume_run(command["run_id"])
    except M3poError as error:
        return {"error": str(error)}
    return {}
