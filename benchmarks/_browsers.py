"""The people of twenty_reviewers.py as real pages in one Chromium: each logs in and decides by key presses.

A key is pressed when the eye has the item, as a person would; what it was pressed on is noted then. A press counts as
acknowledged when the page has nothing under way any more and has not said that something was not stored.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "e2e")]

from browser import FLAGS, find_browser  # noqa: E402
from playwright.async_api import Browser, Page, async_playwright  # noqa: E402

from benchmarks._notes import Notes  # noqa: E402

SMALL = {"width": 800, "height": 600}
PATIENCE = 180_000  # ms; twenty pages on two cores take their time
KEYS = {"accept": "Enter", "tie": "t", "all_wrong": "n", "skip": "s", "undo": "u"}

STATE = """() => {
    const { item, painted, busy, draws } = document.querySelector("#review-root").dataset;
    const id = (role) => Number(document.querySelector(`[data-role=${role}]`)?.dataset.candidateId) || null;
    return { item: Number(item), painted: Number(painted), busy: Boolean(busy), draws: Number(draws || 0),
        chosen: id("chosen"), rejected: id("rejected"), said: document.querySelector("#review-message").textContent };
}"""
READY = """draws => {
    const { item, painted, busy, draws: now } = document.querySelector("#review-root")?.dataset || {};
    return item && item === painted && Number(now || 0) >= draws;
}"""


@dataclass
class Person(Notes):
    """One person at one page: presses keys and notes what they were pressed on. `seconds`: from a press until the eye
    has what comes next."""

    page: Page

    async def work(self, until: float) -> None:
        """Decide until the clock says so, then wait until all is stored."""
        try:
            while self.goes_on(until):
                await self.press()
            await self.page.wait_for_selector("#review-root:not([data-busy])", timeout=PATIENCE)
            said = (await self.page.evaluate(STATE))["said"]
            if "Not stored" in said or "not answer" in said:
                self.fail(said)
        except Exception as error:
            self.fail(error)

    async def press(self) -> None:
        before = await self.page.evaluate(STATE)
        op = self.choose(has_pair=before["rejected"] is not None)
        begun = time.perf_counter()
        await self.page.keyboard.press(KEYS[op])
        await self.page.wait_for_function(READY, arg=before["draws"] + 1, timeout=PATIENCE)
        self.seconds.append(time.perf_counter() - begun)
        self.note(op, before["item"], before["chosen"], before["rejected"])


async def open_page(browser: Browser, url: str, name: str, password: str) -> Person:
    """A context of her own, logged in; her queue is on the page."""
    context = await browser.new_context(viewport=SMALL)
    answer = await context.request.post(f"{url}/login", form={"username": name, "password": password})
    assert answer.ok, f"{name} could not log in: {answer.status}"
    page = await context.new_page()
    await page.goto(f"{url}/#review?filter=mine", timeout=PATIENCE)
    await page.wait_for_function(READY, arg=0, timeout=PATIENCE)
    return Person(name, page)


async def _work(
    url: str, names: list[str], password: str, seconds: float, on_begin: Callable[[], None]
) -> list[Person]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        people = [await open_page(browser, url, name, password) for name in names]  # one after another: two cores
        on_begin()
        until = time.monotonic() + seconds
        await asyncio.gather(*(person.work(until) for person in people))
        await browser.close()
    return people


def work_in_browsers(
    url: str, names: list[str], password: str, seconds: float, on_begin: Callable[[], None]
) -> list[Person]:
    """Everybody decides at once for `seconds`, from `on_begin()` on; returns what each pressed, when all is stored."""
    return asyncio.run(_work(url, names, password, seconds, on_begin))
