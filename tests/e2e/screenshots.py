"""Screenshots of every view, from a real demo workspace: `make screenshots` (some minutes).

Writes build/screenshots/<view>-<light|dark>.png to look at, and the README's picture data/screenshots/review.png.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from browser import FLAGS, VIEWPORT, App, find_browser  # noqa: E402
from PIL import Image  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402

from m3po.demo.models import demo_models  # noqa: E402
from m3po.demo.workspace import write_demo_source  # noqa: E402
from m3po.studio import Studio  # noqa: E402
from m3po.types import ReviewView  # noqa: E402
from m3po.workspace_config import WorkspaceConfig  # noqa: E402

OUT = ROOT / "build" / "screenshots"
PICTURE = ROOT / "data" / "screenshots" / "review.png"
TABS = ("data", "browse", "review", "calibrate", "people", "train", "results", "playground")
MAX_BYTES = 300_000


def make_workspace(folder: Path, *, demo: bool, policy: str | None = None) -> Path:
    """A demo workspace that samples by itself when opened, or an empty one."""
    own, mas = demo_models()
    path = Studio.create(folder, WorkspaceConfig(policy or str(own), str(mas), demo=demo))
    if demo:
        studio = Studio.open(path)
        studio.import_source(
            write_demo_source(folder.with_name(f"{folder.name}-source"), n_train=60, n_tune=0, n_heldout=24)
        )
        studio.close()
    return path


def shoot(browser, url: str, name: str, prepare=None) -> None:
    """One view, light and dark."""
    for scheme in ("light", "dark"):
        page = open_page(browser, url, scheme)
        if prepare:
            prepare(page)
        page.wait_for_timeout(800)
        page.screenshot(path=OUT / f"{name}-{scheme}.png")
        page.context.close()
    print(f"{name}: {OUT / name}-light.png", flush=True)


def open_page(browser, url: str, scheme: str = "light") -> Page:
    page = browser.new_context(viewport=VIEWPORT, color_scheme=scheme).new_page()
    page.set_default_timeout(300_000)
    page.goto(url)
    page.wait_for_selector("#tabs")
    page.wait_for_timeout(1500)
    return page


def open_row(page: Page) -> None:
    """An item with many candidates, one of them open."""
    page.wait_for_selector("[data-role=chosen]")
    for _ in range(40):
        if page.locator("[data-candidate-id]").count() >= 7:
            break
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(250)
    for _ in range(4):
        page.keyboard.press("ArrowDown")


def decide_by_several(path: Path) -> None:
    """Two people decide on the same pairs and do not always agree: Calibrate and People have something to show."""
    studio = Studio.open(path)
    studio.people.assign(["ann", "bob"], items=30, overlap=0.4)
    item = studio.review_item(ReviewView())
    for n in range(45):
        if pair := item.machine_pair:
            for name in ("ann", "bob")[: 1 + (n % 3 == 0)]:
                swaps = n % (7 if name == "ann" else 6) == 3
                roles = (pair.rejected, pair.chosen) if swaps else (pair.chosen, pair.rejected)
                verdict = "override" if swaps else "accept"
                studio.decide(item.instruction.id, verdict, chosen=roles[0], rejected=roles[1], annotator=name,
                              seconds=5.0 + n % 4)  # fmt: skip
        if item.next_id is None:
            break
        item = studio.review_item(ReviewView(), item.next_id)
    studio.close()


def take_picture(source: Path) -> None:
    """The README's picture, as a palette image small enough to be tracked."""
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    for colours in (256, 128, 64):
        Image.open(source).convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
        if PICTURE.stat().st_size <= MAX_BYTES:
            return


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="m3po-screenshots-"))
    apps: list[App] = []
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
            empty = App(make_workspace(folder / "empty", demo=False))
            apps.append(empty)
            for tab in TABS:
                shoot(browser, f"{empty.url}/#{tab}", f"empty-{tab}")
            broken = App(make_workspace(folder / "broken", demo=True, policy=str(folder / "no-model-here")))
            apps.append(broken)
            shoot(browser, f"{broken.url}/#data", "broken-data", lambda page: page.wait_for_selector(".run-failed"))

            demo = App(make_workspace(folder / "demo-workspace", demo=True))
            apps.append(demo)
            shoot(browser, f"{demo.url}/#data", "busy-data", lambda page: page.wait_for_selector(".run-running"))
            page = open_page(browser, f"{demo.url}/#data")
            page.wait_for_function(
                "!document.querySelector('#data-page .run-running, #data-page .run-queued') && "
                "document.querySelector('#data-page .reasons, #data-page code')"
            )
            page.get_by_role("tab", name="Review").click()
            page.wait_for_selector("[data-role=chosen]")
            for key in ("Enter", "Enter", "x", "Enter", "t", "Enter"):
                page.keyboard.press(key)
                page.wait_for_timeout(400)
            page.get_by_role("tab", name="Fine-tune").click()
            page.wait_for_selector("#train-command")
            page.click("#train-start")
            page.wait_for_selector("#train-plot .scatterlayer path.js-line")
            shoot(browser, f"{demo.url}/#train", "busy-train")
            page.wait_for_selector("#train-status .train-run[data-run-state=finished]")
            for tab in TABS:
                shoot(browser, f"{demo.url}/#{tab}", f"full-{tab}", open_row if tab == "review" else None)
            take_picture(OUT / "full-review-light.png")
            demo.stop()
            decide_by_several(demo.workspace)
            demo.start()
            shoot(browser, f"{demo.url}/#calibrate", "several-calibrate",
                  lambda page: page.wait_for_selector("#calibrate-evidence .chart"))  # fmt: skip
            shoot(browser, f"{demo.url}/#people", "several-people",
                  lambda page: page.get_by_text("bob").first.wait_for())  # fmt: skip
            browser.close()
    finally:
        for app in apps:
            app.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
