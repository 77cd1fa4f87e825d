"""Key to next item fully drawn, in a real Chromium: image decoded, cards, scatter, the frame after that.

python benchmarks/review_browser.py [--workspace DIR] [--decisions 200] [--pause 0.25] [--label-studio PYTHON]

Without --workspace a demo workspace is made (some minutes); with it the decisions are added to that workspace. In the
same run, beside it: a Gradio event that does nothing; the decisions again with 80 ms of added round trip; and, where
the Python of an environment with label-studio is named, Label Studio's submit to next task drawn, on the same images.
Every decision must be in the database afterwards: exit 1 when one is missing or twice, or when a figure is worse than
twice its goal.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "e2e"), str(Path(__file__).parent)]

from browser import FLAGS, find_browser  # noqa: E402
from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

from m3po.studio import Studio  # noqa: E402
from m3po.types import ReviewView  # noqa: E402

ROUND_TRIP = 80  # ms
NOOP_PAGE = """
import socket, time
import gradio as gr
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
with gr.Blocks(analytics_enabled=False) as page:
    button = gr.Button("nothing", elem_id="noop")
    button.click(lambda: None, None, None, queue=False, show_progress="hidden").then(
        None, None, None, js="() => { window.noopDone && window.noopDone(); }")
page.launch(server_port=port, server_name="127.0.0.1", css="#noop { display: none }", prevent_thread_lock=True)
print(page.local_url, flush=True)
time.sleep(3600)
"""


@dataclass(frozen=True)
class Figure:
    """Milliseconds of one measure; `goal` bounds the 95th percentile."""

    name: str
    times: list[float]
    goal: float | None = None

    @property
    def p50(self) -> float:
        return statistics.median(self.times)

    @property
    def p95(self) -> float:
        return sorted(self.times)[max(0, round(0.95 * len(self.times)) - 1)]


def decide(browser: Browser, url: str, decisions: int, pause: float) -> list[float]:
    """`decisions` times accept (where there is no pair, skip) on what is undecided, each when the last one is drawn."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(f"{url}/#review?filter=unreviewed")
    page.wait_for_selector("#review-root[data-ahead='5']", timeout=60_000)  # somebody looks at the first one
    times = []
    for _ in range(decisions):
        draws = page.get_attribute("#review-root", "data-draws") or "0"
        page.keyboard.press("Enter" if page.query_selector("[data-role=chosen]") else "s")
        page.wait_for_function("n => document.querySelector('#review-root').dataset.draws > n", arg=int(draws))
        times.append(float(page.get_attribute("#review-root", "data-latency")))
        page.wait_for_timeout(1000 * pause)
    page.wait_for_function("!document.querySelector('#review-root').dataset.busy", timeout=60_000)
    page.context.close()
    return times


def press_nothing(browser: Browser, url: str, times: int) -> list[float]:
    """A hidden button's event that does nothing, from the click to the frame after its answer."""
    page: Page = browser.new_context().new_page()
    page.goto(url)
    page.wait_for_selector("#noop", state="attached")
    page.wait_for_timeout(2000)
    once = """() => new Promise((resolve) => {
        const begun = performance.now();
        window.noopDone = () => requestAnimationFrame(() => resolve(performance.now() - begun));
        document.querySelector("#noop").click();
    })"""
    found = [page.evaluate(once) for _ in range(times + 5)][5:]
    page.context.close()
    return found


@contextlib.contextmanager
def serving(command: list[str], pattern: str, log: Path) -> Iterator[re.Match]:
    """A server as a process of its own; yields what it says when it is ready."""
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 180
        while not (found := re.search(pattern, log.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{command[:3]} did not start:\n{log.read_text()}")
            time.sleep(0.2)
        yield found
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def slow_line(port: int, round_trip: float) -> Iterator[int]:
    """A TCP proxy to `port` of this machine that holds every byte for half of `round_trip` milliseconds each way."""
    loop = asyncio.new_event_loop()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        queue: asyncio.Queue = asyncio.Queue()

        async def write() -> None:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if not data:
                    return writer.close()
                writer.write(data)

        writing = asyncio.ensure_future(write())
        try:
            while data := await reader.read(65536):
                queue.put_nowait((loop.time() + round_trip / 2000, data))
        except (ConnectionError, asyncio.CancelledError):
            pass  # one side hung up, or all is over
        queue.put_nowait((loop.time() + round_trip / 2000, b""))
        await writing

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(asyncio.CancelledError):  # asyncio would print the streams' end as an error
            await asyncio.gather(copy(reader, back), copy(there, writer), return_exceptions=True)

    async def hang_up() -> None:
        server.close()
        others = asyncio.all_tasks(loop) - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()  # a loop of its own: the browser's driver has one in this thread
    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(connect, "127.0.0.1", 0), loop).result(10)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(hang_up(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


def count_decisions(path: Path) -> tuple[int, int]:
    """(instructions that are decided, decisions that are stored): both grow by one a key."""
    studio = Studio.open(path)
    try:
        rows = studio.db.read(lambda con: con.execute("SELECT count(*) FROM decisions").fetchall()[0][0])
        return studio.status()["reviewed"], rows
    finally:
        studio.close()


def count_undecided(path: Path) -> int:
    studio = Studio.open(path)
    try:
        first = studio.review_item(ReviewView("unreviewed"))
        return first.total if first else 0
    finally:
        studio.close()


def make_demo(folder: Path) -> Path:
    """A demo workspace with pairs, made by the demo's models."""
    path = folder / "demo"
    commands = (["init", path, "--demo"], ["sample", path, "--k", "6"], ["score", path], ["select", path])
    for command in commands:
        print("python -m m3po", *map(str, command), flush=True)
        subprocess.run([sys.executable, "-m", "m3po", *map(str, command)], cwd=ROOT, check=True)
    return path


def measure(
    workspace: Path, decisions: int, pause: float, label_studio: str, scratch: Path
) -> tuple[list[Figure], int]:
    """The figures, and how many decisions were made."""
    figures = []
    app = [sys.executable, "app.py", "--workspace", str(workspace), "--no-browser", "--port", "0"]
    noop = [sys.executable, "-c", NOOP_PAGE]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        with (
            serving(app, r"http://[\d.]+:(\d+)", scratch / "app.log") as found,
            serving(noop, r"http://[\d.]+:\d+", scratch / "noop.log") as other,
        ):
            url, port = found.group(0), int(found.group(1))
            nothing = press_nothing(browser, other.group(0), 50)
            figures.append(Figure("Key to next item drawn", decide(browser, url, decisions, pause), 120))
            nothing += press_nothing(browser, other.group(0), 50)
            figures.append(Figure("Gradio event that does nothing", nothing))
            with slow_line(port, ROUND_TRIP) as slow:
                times = decide(browser, f"http://127.0.0.1:{slow}", decisions, pause)
            figures.append(Figure(f"The same with {ROUND_TRIP} ms of added round trip", times, 250))
        if label_studio:
            from _label_studio import measure_submits  # beside this file

            images = sorted((workspace / "images").rglob("*.*"))[:decisions]
            figures.append(Figure("Label Studio, submit to next drawn", measure_submits(browser, label_studio, images)))
        browser.close()
    return figures, 2 * decisions


def print_table(figures: list[Figure]) -> bool:
    """The table; False when a figure is worse than twice its goal."""
    print("\n| | p50 ms | p95 ms | n | goal |\n|---|---|---|---|---|")
    for f in figures:
        goal = f"p95 < {f.goal:.0f}" if f.goal else ""
        print(f"| {f.name} | {f.p50:.1f} | {f.p95:.1f} | {len(f.times)} | {goal} |")
    key, nothing = figures[0].p50, figures[1].p50
    print(f"\np50 against the Gradio event: {key / nothing:.2f} (goal: at most 2)")
    fine = key <= 4 * nothing and all(f.p95 <= 2 * f.goal for f in figures if f.goal)
    if len(figures) > 3:
        print(f"p50 against Label Studio: {key / figures[3].p50:.3f} (goal: at most 0.2)")
        fine = fine and key <= 0.4 * figures[3].p50
    return fine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--decisions", type=int, default=200)
    parser.add_argument("--pause", type=float, default=0.25, help="seconds that somebody looks at an item")
    parser.add_argument("--label-studio", default="", metavar="PYTHON", help="of an environment with label-studio")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="m3po-review-") as folder:
        workspace = (given.workspace or make_demo(Path(folder))).resolve()
        before = count_decisions(workspace)
        if (left := count_undecided(workspace)) < 2 * given.decisions:
            sys.exit(
                f"{workspace} has {left} undecided items and {2 * given.decisions} are needed: --decisions {left // 2}."
            )
        figures, made = measure(workspace, given.decisions, given.pause, given.label_studio, Path(folder))
        after = count_decisions(workspace)
    items, rows = after[0] - before[0], after[1] - before[1]
    fine = print_table(figures)
    print(f"Decisions made {made}, items decided in the database {items}, rows there {rows}.")
    if given.json:
        print(
            json.dumps(
                {f.name: {"p50": f.p50, "p95": f.p95, "n": len(f.times)} for f in figures}
                | {"made": made, "stored": rows}
            )
        )
    sys.exit(0 if fine and made == items == rows else 1)


if __name__ == "__main__":
    main()
