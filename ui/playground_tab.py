"""The Playground tab: the handler behind ui/static/playground.js. Commands are public endpoints."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io

import gradio as gr

from m3po.errors import BadImageError, JobError, UsageError
from m3po.images import read_rgb
from m3po.jobs.playground.speakers import Side
from m3po.studio import Studio
from m3po.types import Instruction
from ui.framed import BROKEN, build_framed_tab, say_error
from ui.playground_view import build_playground_frame, draw_answers, draw_images, draw_upload

PATIENCE = 1.0  # seconds that a look waits for the next words
SHOWN_SIDE = 1080
MOST_NAME = 200  # characters of a file's name
_NUMBERS = ("temperature", "max_new_tokens", "seed")


class PlaygroundHandler:
    """What the page may ask, each checked."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._ops = {
            "choices": lambda data: self._studio.playground.choices(), "upload": self._upload, "picture": self._picture,
            "item": self._item, "next": self._next, "ask": self._ask, "look": self._look, "stop": self._stop,
            "release": self._release,
        }  # fmt: skip

    def on_command(self, data: object, _: str = "") -> dict:
        """Values and HTML by name; `error` is a sentence, `gone` where an image or a question is not here any more."""
        try:
            if not isinstance(data, dict) or data.get("op") not in self._ops:
                raise UsageError(BROKEN)
            return self._ops[data["op"]](data)
        except BadImageError as error:
            return {"error": str(error), "gone": data["op"] == "ask"}
        except Exception as error:
            told = {key: value for key, value in data.items() if key != "data"} if isinstance(data, dict) else data
            return {"error": say_error(error, "playground", told)}

    def _upload(self, data: dict) -> dict:
        try:
            sent = base64.b64decode(_text(data, "data"), validate=True)
        except (binascii.Error, ValueError):
            raise UsageError(BROKEN) from None
        name = _text(data, "name")[:MOST_NAME] or "upload"
        return self._uploaded(self._studio.playground.upload(sent, name), name)

    def _uploaded(self, address: str, name: str) -> dict:
        """Drawn as models see it: browsers show no TIFF."""
        image, out = read_rgb(self._studio.playground.uploaded(address), SHOWN_SIDE, name=name), io.BytesIO()
        image.save(out, "WEBP", quality=88)
        shown = f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
        return {"images": [address], "html": draw_upload(shown, *image.size), "name": name, "item": None}

    def _picture(self, data: dict) -> dict:
        """An image by its address: an upload that is kept, or the workspace's own."""
        address = _text(data, "image")
        if self._studio.playground.uploaded(address) is not None:
            return self._uploaded(address, "")
        image = self._studio.image(address)
        if image is None:
            raise UsageError("That image is not here any more: choose it again.")
        return {"images": [address], "html": draw_images([image]), "name": "", "item": None}

    def _item(self, data: dict) -> dict:
        return _draw_item(self._studio.playground.item(_text(data, "id")))

    def _next(self, data: dict) -> dict:
        after = data.get("after")
        return _draw_item(self._studio.playground.next_heldout(after if _is_whole(after) else None))

    def _ask(self, data: dict) -> dict:
        sides, images, item = data.get("sides"), data.get("images"), data.get("item")
        if not (isinstance(sides, list) and isinstance(images, list) and all(isinstance(i, str) for i in images)):
            raise UsageError(BROKEN)
        if item is not None and not _is_whole(item):
            raise UsageError(BROKEN)
        given = {name: data.get(name) for name in _NUMBERS}
        options = data.get("options")
        if options is not None and not isinstance(options, dict):
            raise UsageError(BROKEN)
        asked = self._studio.playground.ask(
            _text(data, "question"),
            [_side(side) for side in sides],
            images=images,
            item=item,
            options=_options(options) if options else None,
            **given,
        )
        return {"question": asked}

    def _look(self, data: dict) -> dict:
        seen = data.get("seen")
        try:
            told = self._studio.playground.look(_text(data, "question"), seen if _is_whole(seen) else -1, PATIENCE)
        except JobError as error:
            return {"error": str(error), "gone": True}
        return {
            "version": told["version"],
            "done": told["done"],
            "sides": draw_answers(told),
            "names": [side["name"] for side in told["sides"]],
            "notes": told["notes"],
        }

    def _stop(self, _: dict) -> dict:
        self._studio.playground.stop()
        return {}

    def _release(self, _: dict) -> dict:
        self._studio.playground.release()
        return {}


def _draw_item(found: Instruction) -> dict:
    lines = [f"{found.source}/{found.external_id}", found.split]
    lines += [f"with {len(found.turns)} earlier turns"] if found.turns else []
    return {
        "item": found.id,
        "id": f"{found.source}/{found.external_id}",
        "name": " · ".join(lines),
        "question": found.instruction,
        "images": [image.sha256 for image in found.images],
        "html": draw_images(found.images),
    }


def _side(data: object) -> Side:
    if not isinstance(data, dict):
        raise UsageError(BROKEN)
    run = data.get("run")
    if run is not None and not _is_whole(run):
        raise UsageError(BROKEN)
    return Side(_text(data, "policy").strip(), _text(data, "adapter").strip(), run, data.get("before") is True)


def _options(data: dict) -> dict:
    """Those that the page has fields for; their values are checked where they are used."""
    given = {name: data[name] for name in ("dtype", "quantise") if isinstance(data.get(name), str)}
    return given | {"trust_remote_code": data.get("trust_remote_code") is True}


def _text(data: dict, name: str) -> str:
    value = data.get(name, "")
    if not isinstance(value, str):
        raise UsageError(BROKEN)
    return value


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def build_playground_tab(studio: Studio) -> gr.HTML:
    """Lay out the tab's one component and connect it with `studio`."""
    marks = [hashlib.sha256(text.encode()).hexdigest()[:16] for text in (str(studio.path), studio.made_at)]
    return build_framed_tab("playground", build_playground_frame(*marks), PlaygroundHandler(studio).on_command)
