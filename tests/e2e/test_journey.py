"""The whole way once, in a real browser with the real demo models: review, crash, restart, fine-tune, compare."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from browser import App
from reviewing import idle, move, pair, press, shown, verdict

from m3po.demo.models import demo_models
from m3po.demo.workspace import write_demo_source
from m3po.studio import Studio
from m3po.types import Decision
from m3po.workspace_config import WorkspaceConfig

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]


def make_small_demo(folder: Path) -> Path:
    """A demo workspace like that of `make demo`, only smaller: imported, nothing sampled yet."""
    policy, mas = demo_models()
    path = Studio.create(folder / "demo", WorkspaceConfig(str(policy), str(mas), demo=True))
    studio = Studio.open(path)
    studio.import_source(write_demo_source(folder / "source", n_train=5, n_tune=0, n_heldout=2))
    studio.close()
    return path


def decisions_of(path: Path, ids: list[int]) -> dict[int, list[Decision]]:
    studio = Studio.open(path)
    try:
        return {i: studio.history(i) for i in ids}
    finally:
        studio.close()


def wait_until(page, expression: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, (expression, page.inner_text("body")[-3000:])
        time.sleep(0.3)


def test_from_a_fresh_workspace_to_before_and_after(tmp_path: Path, open_page):
    path = make_small_demo(tmp_path)
    app = App(path)
    try:
        # The app samples, scores and selects by itself, and shows it; the review fills without a reload.
        page = open_page(f"{app.url}/#data")
        page.wait_for_selector("#data-page .run-running", timeout=60_000)
        page.get_by_role("tab", name="Review").click()
        page.wait_for_selector("[data-role=chosen]", timeout=240_000)
        idle(page)

        accepted = int(shown(page))
        accepted_pair = pair(page)
        move(page, "Enter")
        idle(page)
        overridden = int(shown(page))
        before = pair(page)
        press(page, "x")
        overridden_pair = pair(page)
        assert overridden_pair == before[::-1] and verdict(page) == "override"

        app.kill()
        stored = decisions_of(path, [accepted, overridden])
        assert [(d.verdict, (str(d.chosen), str(d.rejected))) for d in stored[accepted]] == [("accept", accepted_pair)]
        assert [(d.verdict, (str(d.chosen), str(d.rejected))) for d in stored[overridden]] == [
            ("override", overridden_pair)
        ]
        app.start()

        page = open_page(f"{app.url}/#review")
        page.wait_for_selector("[data-role=chosen]")
        for instruction, name, roles in (
            (accepted, "accept", accepted_pair),
            (overridden, "override", overridden_pair),
        ):
            page.fill("#review-jump", str(instruction))
            page.keyboard.press("Enter")
            page.wait_for_selector(f"#review-root[data-item='{instruction}']")
            idle(page)
            assert (verdict(page), pair(page)) == (name, roles)

        # A short run by button, watched, then left alone with no page open.
        page.get_by_role("tab", name="Data").click()
        page.wait_for_selector("#data-workspace .figures")  # before it is drawn there is no run on it either
        wait_until(page, "!document.querySelector('#data-page .run-running, #data-page .run-queued')", 240)
        page.get_by_role("tab", name="Fine-tune").click()
        page.wait_for_selector("#train-command")
        assert "m3po train" in page.inner_text("#train-command")
        page.click("#train-advanced button")
        page.fill("#train-max-steps input", "3")
        page.keyboard.press("Tab")
        page.wait_for_function("document.querySelector('#train-command').innerText.includes('max_steps=3')")
        # What is wrong with the pairs is told first; an excluded one is counted no more.
        page.click("#preflight-start")
        page.wait_for_selector("[data-check-state=checked]", timeout=120_000)
        assert "pairs checked" in page.inner_text("#preflight-found")
        page.click("#train-start")
        page.wait_for_selector("#train-status [data-run-state=running]", timeout=60_000)
        page.context.close()

        page = open_page(f"{app.url}/#train")
        page.wait_for_selector("#train-status .train-run[data-run-state=finished]", timeout=300_000)
        page.wait_for_selector("#train-plot .scatterlayer path.js-line")
        page.get_by_role("tab", name="Results").click()
        page.wait_for_selector("#results-table [data-metric=chair_s]")
        before_after = page.locator("#results-table [data-metric=chair_s] td.num")
        assert all("%" in text for text in before_after.all_inner_texts()[:2])
        page.wait_for_selector("#results-plot .plot-container")
        page.check("#results-show input[value=all]")
        page.wait_for_selector(".sample")
        assert page.locator(".sample-before").count() == page.locator(".sample-after").count() > 0
        page.wait_for_function("document.querySelector('.sample img').naturalWidth > 0")

        # What the run did to each pair, in Review, by reward margin and by outcome, and back to the run.
        page.click(".lineage a >> text=by reward margin")
        page.wait_for_selector("#review-chips >> text=Pairs of run")
        idle(page)
        assert page.input_value("#review-order") == "reward_margin"
        trained = page.inner_text("#review-position").split("/")[1].strip()
        word = page.inner_text(".run-change .outcome")
        page.click("#review-filters summary")
        page.select_option("#review-outcome", word.replace(" ", "_"))
        page.wait_for_selector(f"#review-chips >> text={word}")
        page.keyboard.press("Escape")
        idle(page)
        assert page.inner_text(".run-change .outcome") == word
        assert int(page.inner_text("#review-position").split("/")[1]) <= int(trained)
        page.click(".run-change")
        page.wait_for_selector("#results-overview tr.shown")

        # The model goes out, the run could be done elsewhere, and both models are judged blind.
        page.fill("#run-out :is(input, textarea)", str(tmp_path / "model"))
        page.click("#run-adapter")
        page.wait_for_selector("#run-actions-message .notice-good")
        assert (tmp_path / "model" / "adapter_model.safetensors").is_file()
        page.click("#sides-root summary")
        page.wait_for_function("document.querySelector('#sides-progress').textContent.includes('judged')")
        assert not page.is_visible("#results-table")  # it says which model answered what
        judged = page.get_attribute("#sides-root", "data-item")
        if judged:  # the two models differ on something
            page.keyboard.press("3")
            page.wait_for_function("document.querySelector('#sides-progress').textContent.startsWith('1 of')")
            page.keyboard.press("u")
            page.wait_for_function(f"document.querySelector('#sides-root').dataset.item === '{judged}'")
        page.get_by_role("tab", name="Fine-tune").click()
        page.click("#train-elsewhere button")
        page.fill("#train-elsewhere-folder :is(input, textarea)", str(tmp_path / "pack"))
        page.click("#train-emit")
        page.wait_for_selector("#elsewhere-message .notice-good")
        assert (tmp_path / "pack" / "run.sh").is_file()
    finally:
        assert app.stop() == 0, app.log.read_text()
