"""The playground in a real browser: an image and a question, two answers side by side, and what is kept of them."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from browser import HOSTILE, App, app_on_copy, draw_image

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]
ANSWERED = "#playground-root[data-asking='']"
BUSY = "[data-side='0'] .chip-busy"
SIDES = ".playground-sides .playground-text"


def test_a_question_is_answered_by_two_models_side_by_side(app: App, open_page, tmp_path: Path, tiny_adapter: Path):
    page = open_page(f"{app.url}/#playground?right=other&right_adapter={tiny_adapter}&tokens=24")
    page.wait_for_selector("#playground-root")
    page.wait_for_function("document.querySelector('[data-side=\"1\"] [data-field=adapter]').value")
    assert page.eval_on_selector_all(".playground-side select", "all => all.map((s) => s.value)") == ["own", "other"]
    page.set_input_files("#playground-file", str(draw_image(tmp_path / "photo.png", 3)))
    page.wait_for_function("document.querySelector('#playground-picture img')?.naturalWidth === 160")
    page.fill("#playground-question", HOSTILE[0])
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#playground-sides [data-whole]", timeout=60_000)
    page.wait_for_selector(ANSWERED)
    first = page.locator(SIDES).all_inner_texts()
    assert len(first) == 2 and first[0] != first[1] and page.locator(".playground-sides mark").count() > 1
    figures = page.locator(".playground-sides .playground-figures").all_inner_texts()
    assert all("log-prob" in text and "MAS" in text and "tokens" in text for text in figures)
    assert "Last questions (1)" in page.inner_text("#playground-history summary")

    # Another question to the same models: both are stopped at once, and what they said stays.
    page.fill("#playground-temperature", "5")
    page.fill("#playground-tokens", "900")
    page.click("#playground-ask")
    page.wait_for_function(f"document.querySelectorAll('{SIDES}').length === 2")
    page.click("#playground-stop")
    page.wait_for_selector(ANSWERED, timeout=10_000)
    assert page.locator(SIDES).count() == 2

    # A side that cannot answer says why; the other answers. All of it is there after a reload, answers and image too.
    page.fill("[data-side='1'] [data-field=adapter]", "/nowhere/at/all")
    page.fill("#playground-temperature", "0")
    page.fill("#playground-tokens", "24")
    page.click("#playground-ask")
    page.wait_for_selector("[data-side='1'] .notice-bad")
    page.wait_for_selector("[data-side='0'] [data-whole]")
    page.wait_for_selector(ANSWERED)
    assert page.locator(SIDES).all_inner_texts() == first[:1]
    page.reload()
    page.wait_for_selector("[data-side='1'] .notice-bad")
    page.wait_for_function("document.querySelector('#playground-picture img')?.naturalWidth === 160")
    assert page.input_value("#playground-question") == HOSTILE[0]
    page.click("#playground-history summary")
    assert page.locator(".past").count() == 3 and page.locator(".past .playground-text").last.inner_text() == first[1]
    page.click("#playground-release")
    page.wait_for_selector("#playground-memory", state="hidden")
    assert not page.evaluate("window.hacked")


def find_child(app: App) -> int:
    """The process that answers."""
    command = ["pgrep", "-P", str(app.process.pid), "-f", "m3po.jobs.playground.asking"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])


def test_a_question_outlives_what_goes_wrong_around_it(scored_workspace: Path, open_page, tmp_path: Path):
    """A network that fails for a while, a reload, a tab beside it, a killed process, an app that is started anew."""
    with app_on_copy(scored_workspace, tmp_path) as app:
        page = open_page(f"{app.url}/#playground?left=own&right=nobody&tokens=900&t=5&q=What+is+it")
        page.wait_for_function("document.querySelector('#playground-question')?.value")
        page.click("#playground-ask")
        page.wait_for_selector(BUSY)
        os.kill(find_child(app), signal.SIGSTOP)  # else a model as small as this one is done too soon

        # A reload in the middle, while the network fails: it is asked again, and its answer comes.
        failing = []

        def fail(route) -> None:
            if len(failing) < 3 and '"look"' in (route.request.post_data or ""):
                failing.append(route.request)
                return route.abort()
            return route.continue_()

        page.route("**/component_server**", fail)
        page.reload()
        page.wait_for_selector("#playground-message:has-text('it is asked again until it does')")
        page.wait_for_selector(BUSY)
        page.wait_for_selector("#playground-message", state="hidden")
        assert len(failing) == 3
        page.unroute("**/component_server**")

        # A second tab asks at the same time.
        other = open_page(f"{app.url}/#playground?left=own&right=nobody&q=And+now")
        other.wait_for_function("document.querySelector('#playground-question')?.value")
        other.click("#playground-ask")
        other.wait_for_selector("#playground-message:has-text('press Stop first')")
        other.click("#playground-stop")
        page.wait_for_selector(ANSWERED, timeout=10_000)
        assert page.inner_text("[data-side='0'] .notice-bad") == "Stopped."
        assert "Last questions (1)" in page.inner_text("#playground-history summary")

        # Its process is killed: one sentence, and the next question is answered.
        page.click("#playground-ask")
        page.wait_for_selector(BUSY)
        os.kill(find_child(app), signal.SIGKILL)
        page.wait_for_selector("[data-side='0'] .notice-bad:has-text('was killed')", timeout=10_000)
        assert page.locator(".playground-right .notice-bad:visible, #playground-message:visible").count() == 1
        page.click("#playground-ask")
        page.wait_for_selector(BUSY)

        # The app is started anew: the answer is lost, which is said, and the next question is answered.
        app.kill()
        page.wait_for_selector("#playground-message:has-text('it is asked again until it does')")
        app.start()
        page.wait_for_selector("#playground-message:has-text('started anew')", timeout=60_000)
        page.fill("#playground-tokens", "12")
        page.click("#playground-ask")
        page.wait_for_selector("[data-side='0'] [data-whole]", timeout=60_000)
        page.wait_for_selector(ANSWERED)
        answer = page.inner_text(SIDES)

        # What was answered is there after a reload, also where another tab has asked since.
        other.click("#playground-ask")
        other.wait_for_selector(ANSWERED.replace("''", "'1'"))
        page.reload()
        page.wait_for_function("words => document.querySelector('.playground-text')?.innerText === words", arg=answer)
        assert page.locator("#playground-message:visible").count() == 0
