"""Fine-tune in a real Chromium: the curves of finished runs, laid over each other, smoothed, against time."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import App

from m3po.store import runs
from m3po.store.instructions import now
from m3po.studio import Studio

pytestmark = [pytest.mark.browser, pytest.mark.slow]
WARNING = "Step 14: the loss is stuck at 0.6931 (ln 2) since 10 steps <b>"


@pytest.fixture(scope="module")
def app(scored_workspace: Path, tmp_path_factory) -> Iterator[App]:
    """With two trainings that were, as their workers told them."""
    workspace = shutil.copytree(scored_workspace, tmp_path_factory.mktemp("app") / "workspace")
    studio = Studio.open(workspace)

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

    studio.db.write(add)
    studio.close()
    running = App(workspace)
    yield running
    running.stop()


def test_runs_are_compared_smoothed_and_against_time(app, open_page):
    page = open_page(f"{app.url}/#train")
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
