"""The Data tab in a real browser, as somebody uses it who brings images and models of their own."""

from __future__ import annotations

import json

import pytest
from browser import HOSTILE, App, write_rows

from m3po.studio import Studio

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def app(tmp_path):
    """An app on a workspace that is empty and names no model."""
    running = App(Studio.create(tmp_path / "workspace"))
    yield running
    running.stop()


def figure(page, name: str) -> str:
    return page.locator("#data-workspace dt", has_text=name).locator("xpath=following-sibling::dd/b").inner_text()


def figure_count(page) -> int:
    return page.locator("#data-workspace dt").count()


def test_own_images_and_models_from_import_to_the_exact_command(app, open_page, tmp_path, tiny_policy, tiny_mas):
    rows = write_rows(tmp_path / "mine")
    with rows.open("a") as file:
        file.write(json.dumps({"id": "bad", "images": ["gone.png"], "instruction": "And this?"}) + "\n")
    page = open_page(f"{app.url}/#data")
    page.fill("#import-path input, #import-path textarea", str(rows))
    page.click("#data-preview")
    page.wait_for_selector("#import-rows img")
    assert "M3PO in JSON Lines" in page.inner_text("#import-rows") and HOSTILE[0] in page.inner_text("#import-rows")
    assert page.evaluate("window.hacked") is None and page.locator("#import-rows img").count() == 5
    assert figure_count(page) == 0  # a look, and nothing more
    page.click("#data-import")
    page.wait_for_selector(".refused")
    assert "line 11" in page.inner_text(".refused") and "gone.png" in page.inner_text(".refused")
    page.wait_for_selector("#data-page .run-strip .notice-good >> text=10 rows went in")
    page.wait_for_function("document.querySelector('#data-workspace').innerText.includes('Candidates')")
    assert figure(page, "Instructions") == "10"

    page.click("#data-export")
    page.wait_for_selector("#export-message .notice-bad")  # a card speaks where its button is, and nowhere else
    assert page.locator("#data-page .message .notice").count() == 1
    page.fill("#export-path input, #export-path textarea", str(tmp_path / "written"))
    page.click("#data-export")
    page.wait_for_function("document.querySelector('#data-page').innerText.includes('10 rows written')")
    assert (tmp_path / "written" / "README.md").is_file() and (tmp_path / "written" / "data.jsonl").is_file()

    strange = rows.with_name("strange.csv")
    strange.write_text("bild,frage\npictures/0.png,Was ist das?\n")
    page.fill("#import-path input, #import-path textarea", str(strange))
    page.wait_for_selector("#import-rows", state="detached")
    page.click("#data-preview")
    page.wait_for_selector("#import-rows .notice-bad")
    for field, column in (("instruction", "frage"), ("image", "bild")):
        page.click(f"#import-{field} input")
        page.get_by_role("option", name=column).last.click()  # another list may still be closing
        page.wait_for_selector(f"#import-rows .preview-{field}")
    page.click("#data-import")
    page.wait_for_function("document.querySelector('#data-page').innerText.includes('1 row went in')")

    page.click("#data-all")  # without a model: one sentence that says what to do
    page.wait_for_selector("#data-message .notice-bad")
    page.wait_for_selector("#data-message >> text=No policy is named")

    page.fill("#data-policy input, #data-policy textarea", str(tiny_policy))
    page.fill("#data-mas input, #data-mas textarea", str(tiny_mas))
    page.fill("#sample-k input", "3")
    page.keyboard.press("Tab")
    page.click("#data-all")
    page.wait_for_selector("#data-page .run-running", timeout=60_000)
    page.wait_for_function(
        "!document.querySelector('#data-page .run-running, #data-page .run-queued') "
        "&& document.querySelector('#data-page .reasons, #data-page code')",
        timeout=180_000,
    )
    assert not page.locator("#data-page .run-failed").count(), page.inner_text("#data-page")

    page.get_by_role("tab", name="Fine-tune").click()
    page.wait_for_selector("#train-command")
    assert f"--policy {tiny_policy}" in page.inner_text("#train-command")  # the one that was sampled and scored with
    page.context.close()
    assert app.stop() == 0, app.log.read_text()
    studio = Studio.open(app.workspace)
    try:
        sampled = [run for run in studio.runs(("sample",)) if run.state == "finished"]
        assert {run.config["k"] for run in sampled} == {3}
    finally:
        studio.close()
