"""What the Playground tab answers: commands that are none, images by address, and answers that are no HTML."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import tiny

from m3po.jobs.playground.playground import _Answer, _Question
from ui.playground_tab import PlaygroundHandler
from ui.playground_view import draw_answers

HOSTILE = '<img src=x onerror="window.hacked=1">'


def test_nonsense_is_refused_in_a_sentence(studio) -> None:
    handler = PlaygroundHandler(studio)
    side = [{}]
    for nonsense in (None, [], {}, {"op": "read"}, {"op": "upload", "data": "no base64!", "name": "x"},
                     {"op": "upload", "data": 5}, {"op": "ask"}, {"op": "ask", "sides": [None], "images": []},
                     {"op": "ask", "sides": side, "images": [7]}, {"op": "ask", "sides": side, "images": {}},
                     {"op": "ask", "sides": [{"run": "8"}], "images": [], "question": "x"},
                     {"op": "ask", "sides": side, "images": [], "item": "1", "question": "x"},
                     {"op": "ask", "sides": side, "images": [], "options": [], "question": "x"},
                     {"op": "ask", "sides": side, "images": [], "question": "x"},  # no number
                     {"op": "item", "id": []}, {"op": "picture", "image": "../m3po.duckdb"},
                     {"op": "look"}):  # fmt: skip
        told = handler.on_command(nonsense)
        assert told["error"] and "Unexpected" not in told["error"], nonsense
    assert studio.playground._process is None


def test_an_upload_is_shown_as_models_see_it_and_asked_for_again_where_it_is_gone(studio, tiny_policy: Path) -> None:
    handler, out = PlaygroundHandler(studio), io.BytesIO()
    tiny.build_image(1, 64).save(out, "TIFF")  # which no browser shows
    sent = {"op": "upload", "name": "scan.tif", "data": base64.b64encode(out.getvalue()).decode()}
    told = handler.on_command(sent)
    assert told["name"] == "scan.tif" and told["html"].startswith('<img src="data:image/webp;base64,')
    again = handler.on_command({"op": "picture", "image": told["images"][0]})
    assert (again["images"], again["html"]) == (told["images"], told["html"])
    studio.playground._uploads.clear()  # as in an app that was started anew
    asked = {"op": "ask", "question": "What?", "sides": [{"policy": str(tiny_policy)}], "images": told["images"]}
    asked |= {"temperature": 0, "max_new_tokens": 8, "seed": 0}
    told = handler.on_command(asked)
    assert told.get("gone") is True, told


def test_answers_are_text_and_words_that_differ_are_marked() -> None:
    def drawn(*answers: _Answer, done: bool) -> list[str]:
        return draw_answers(vars(_Question("q", "x", [vars(a) for a in answers], [0, 1], done=done)))

    one = _Answer(f"{HOSTILE} run", text=f"A red boat {HOSTILE}", tokens=4, seconds=0.5, logp_mean=-0.5, whole=True)
    two = _Answer("base", text=f"A blue boat {HOSTILE}", tokens=4, seconds=0.5, mas=0.25, whole=True)
    left, right = drawn(one, two, done=True)
    assert "<img" not in left + right
    assert "A <mark>red</mark> boat" in left and "A <mark>blue</mark> boat" in right and "8.0/s" in left
    assert "−0.500" in left and "0.250" in right
    assert "<mark>" not in "".join(drawn(one, two, done=False)), "half an answer differs from everything"
    assert all("the same words" in side for side in drawn(one, one, done=True))
    assert "notice-bad" in drawn(_Answer("base", error="It is gone."), done=True)[0]
