"""Runs in a real Chromium: the curves of finished ones laid over each other; one that is started, watched, stopped,
resumed and outlives the server; and a comparison that waits behind it, is stopped, resumed and told."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from browser import App
from runs_here import finish_here, open_quietly

from m3po.settings import EvaluateConfig
from m3po.store import runs
from m3po.store.instructions import now

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]
WARNING = "Step 14: the loss is stuck at 0.6931 (ln 2) since 10 steps <b>"
STEPS = 200
SECONDS = 120_000
# The first panel is that of the loss.
LOSS = "(() => document.querySelector('#train-plot .js-plotly-plot')?.data?.[0] || {x: []})()"


@pytest.fixture(scope="module")
def app(scored_workspace: Path, tiny_policy: Path, tmp_path_factory) -> Iterator[App]:
    """With held-out pictures of known truth that the policy was measured on already, so that no run waits for that,
    and two trainings that were, as their workers told them."""
    folder = tmp_path_factory.mktemp("app")
    workspace = shutil.copytree(scored_workspace, folder / "workspace")
    lines = []
    for n in range(2):
        tiny.build_image(n).save(folder / f"{n}.png")
        truth = {"objects": ["boat"], "category": "describe", "split": "heldout"}
        row = {"id": f"h{n}", "images": [f"{n}.png"], "instruction": "Describe the picture.", **truth}
        lines.append(json.dumps(row) + "\n")
    (folder / "held.jsonl").write_text("".join(lines))
    studio = open_quietly(workspace)

    def add(con) -> None:
        for rate in (0.02, 0.05):
            run_id = runs.add_run(con, "train", {"preset": "demo", "method": "dpo"}, "")
            points = [
                (step, name, value)
                for step in range(1, 61)
                for name, value in (("loss", math.exp(-rate * step)), ("seconds", 2.0 * step), ("grad_norm", 1.0))
            ]
            runs.add_metrics(con, run_id, points)
            runs.update_run(con, run_id, state="finished", started_at=now(), ended_at=now())
        runs.add_warnings(con, run_id, [WARNING])

    try:
        assert studio.import_source(folder / "held.jsonl").added == 2
        config = EvaluateConfig(str(tiny_policy))
        assert finish_here(studio, studio.start_evaluate(config)).state == "finished"
        studio.db.write(add)
    finally:
        studio.close()
    running = App(workspace)
    yield running
    running.stop()


def test_runs_are_compared_smoothed_and_against_time(app, open_page):
    page = open_page(f"{app.url}/#train")
    drawn_wrong = []
    page.on("console", lambda said: drawn_wrong.append(said.text) if said.type == "error" else None)
    page.wait_for_selector("#train-plot .scatterlayer path.js-line")
    assert page.inner_text("#train-warnings li") == WARNING
    lines = page.locator("#train-plot .scatterlayer path.js-line")
    alone = lines.count()
    newest = int(re.search(r"Run (\d+)", page.inner_text("#train-status")).group(1))
    older = newest - 1

    page.click("#train-others input")
    page.get_by_role("option", name=f"Run {older} ").click()
    page.wait_for_function(f"document.querySelectorAll('#train-plot .scatterlayer path.js-line').length == {2 * alone}")
    legend = page.locator("#train-plot .legendtext").all_text_contents()
    assert legend == [f"Run {newest}", f"Run {older}"]

    page.click("#train-axis input")
    page.get_by_role("option", name="Time").click()
    page.get_by_text("seconds of training").first.wait_for()
    before = lines.first.get_attribute("d")
    page.fill("#train-smoothing input[type=number]", "0.9")
    page.keyboard.press("Tab")
    page.wait_for_function(
        "before => document.querySelector('#train-plot .scatterlayer path.js-line').getAttribute('d') != before",
        arg=before,
    )
    assert drawn_wrong == []  # SVG of what is no number


def start_training(page) -> str:
    """A run of STEPS steps by button; its number, once it is at work."""
    page.click("#train-advanced button")
    page.fill("#train-max-steps input", str(STEPS))
    page.keyboard.press("Tab")
    page.wait_for_function(f"document.querySelector('#train-command').innerText.includes('max_steps={STEPS}')")
    page.click("#train-start")
    page.wait_for_selector("#train-status .train-run[data-run-state=running]", timeout=SECONDS)
    assert page.inner_text("#train-no-curves") == "The curves come with the first step."
    return page.get_attribute("#train-status .train-run", "data-run-id")


def test_a_training_is_stopped_resumed_and_outlives_the_server_and_a_comparison_waits_for_it(app, open_page):
    page = open_page(f"{app.url}/#train")
    page.wait_for_selector("#train-command")
    page.wait_for_selector("#train-status .train-run")
    number = start_training(page)

    # Stopped in its midst: it is saved, says so once, and what was said while it ended is gone.
    page.wait_for_function(f"{LOSS}.x.length > 1", timeout=SECONDS)
    page.click("#train-stop")
    page.wait_for_selector("#train-status .train-run[data-run-state=stopped]", timeout=SECONDS)
    assert 1 < page.evaluate(f"{LOSS}.x.length") < STEPS
    page.wait_for_function("!document.querySelector('#train-message').innerText.trim()")
    assert page.locator("#train-status [data-run-op]").all_inner_texts() == ["Resume"]
    assert page.is_disabled("#train-stop")
    page.click("#train-status [data-run-op=resume]")
    page.wait_for_selector("#train-status .train-run[data-run-state=running]")

    # A comparison waits behind it; stopped, it waits for nothing, and the training goes on.
    page.get_by_role("tab", name="Results").click()
    page.fill("#compare-seeds input", "1")
    page.fill("#compare-settings :is(input, textarea)", "max_steps=2")
    page.locator("#compare-arms").get_by_label("M3PO", exact=True).check()
    page.click("#compare-start")
    page.wait_for_selector("#compare-progress [data-comparison-state=running]")
    page.click("#compare-stop")
    page.wait_for_selector("#compare-progress [data-comparison-state=stopped]")
    page.context.close()

    # The server dies, the worker does not: found again, its losses go on where they were left, every step once.
    app.kill()
    app.start()
    page = open_page(f"{app.url}/#train")
    page.wait_for_function(f"{LOSS}.x.length == {STEPS}", timeout=SECONDS)
    assert page.get_attribute("#train-status .train-run", "data-run-id") == number
    assert page.evaluate(f"{LOSS}.x") == list(range(1, STEPS + 1))
    assert all(math.isfinite(loss) for loss in page.evaluate(f"{LOSS}.y"))

    page.get_by_role("tab", name="Results").click()
    page.wait_for_selector("#compare-progress [data-comparison-state=stopped]")
    page.click("#compare-resume")
    page.wait_for_selector("#compare-progress [data-comparison-state=finished]", timeout=SECONDS)
    assert "3 of 3 runs" in page.inner_text("#compare-progress")
    page.wait_for_selector("#compare-tables tr[data-arm=m3po]")
    page.wait_for_function("!document.querySelector('#compare-message').innerText.trim()")
    for arm in ("base", "m3po"):
        figures = page.locator(f"#compare-tables tr[data-arm={arm}] .interval").all_inner_texts()
        assert figures and all(re.search(r"\d", figure) for figure in figures)
