"""Fixtures of the browser tests: one Chromium a module, one app for many modules, workspaces made for real."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from browser import FLAGS, N_INSTRUCTIONS, VIEWPORT, App, app_on_copy, find_browser, write_rows
from reviewing import idle
from runs_here import finish_here, open_quietly

from m3po.settings import ScoreConfig, SelectConfig
from m3po.studio import Studio
from m3po.workspace_config import WorkspaceConfig


@pytest.fixture(scope="module")  # not longer: Playwright's event loop runs as long, and other tests want their own
def browser() -> Iterator[object]:
    executable = find_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser) -> Iterator[Callable]:
    """Opens pages; the test fails if one of them asked another host, or threw."""
    contexts, complaints = [], []

    def on_request(request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            complaints.append(f"external request: {request.url}")

    def open_(url: str, **options):
        context = browser.new_context(viewport=VIEWPORT, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("request", on_request)
        page.on("pageerror", lambda error: complaints.append(f"page error: {error}"))
        page.goto(url)
        page.wait_for_selector("#tabs")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not complaints, complaints


@pytest.fixture(scope="session")
def scored_workspace(tmp_path_factory, tiny_policy: Path, tiny_mas: Path) -> Path:
    """A closed workspace with scored candidates and pairs, by tiny real models; copy it before use."""
    folder = tmp_path_factory.mktemp("scored")
    path = Studio.create(folder / "workspace", WorkspaceConfig(str(tiny_policy), str(tiny_mas)))
    studio = open_quietly(path)
    try:
        report = studio.import_source(write_rows(folder))
        assert report.added == N_INSTRUCTIONS, report
        scored = finish_here(studio, studio.start_score(ScoreConfig(str(tiny_policy), str(tiny_mas))))
        assert scored.state == "finished", scored.message
        done = studio.select(SelectConfig(delta=0.0, length_ratio=0.0))
        assert done["pairs"] >= N_INSTRUCTIONS - 2, done
    finally:
        studio.close()
    return path


@pytest.fixture(scope="session")
def app(scored_workspace: Path, tmp_path_factory) -> Iterator[App]:
    """The app on a copy of the scored workspace, for all modules that take back what they decide; one that leaves
    more behind, or stops its app, has one of its own."""
    with app_on_copy(scored_workspace, tmp_path_factory.mktemp("app")) as running:
        yield running


@pytest.fixture
def review(app, open_page):
    page = open_page(f"{app.url}/#review")
    page.wait_for_selector("#review-root[data-item]:not([data-item=''])")
    idle(page)
    return page
