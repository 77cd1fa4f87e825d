"""What the browser tests share: a real Chromium, and the app as a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from m3po.bridge import connect

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
VIEWPORT = {"width": 1280, "height": 800}


HOSTILE = (
    "<img src=x onerror=\"window.hacked='img'\">",
    "</script><script>window.hacked='script'</script>",
    "\"><svg onload=window.hacked='svg'>",
    "${window.hacked='template'} {{this}} {{constructor.constructor('return 1')()}}",
)
N_INSTRUCTIONS = 10


def find_browser() -> str:
    """The Chromium of this machine. Without one: a loud skip, in CI a failure."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    words = f"NO BROWSER: none of {', '.join(NAMES)} is installed, so the page is NOT tested. Install Chromium."
    if os.environ.get("CI"):
        pytest.fail(words)
    pytest.skip(words)


class App:
    """`app.py` on a workspace, on a free port; its output goes to a file."""

    def __init__(self, workspace: Path, *arguments: str) -> None:
        self.workspace = workspace
        self.arguments = arguments
        self.log = workspace.parent / f"{workspace.name}-app.log"
        self.port = 0
        self.start()

    def start(self) -> None:
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "app.py", "--workspace", str(self.workspace), "--no-browser", "--port",
                 str(self.port), *self.arguments],
                cwd=ROOT, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            found = re.search(r"http://[\d.]+:(\d+)", self.log.read_text())
            if found:
                self.url, self.port = found.group(0), int(found.group(1))
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError(f"The app did not start:\n{self.log.read_text()}")

    def kill(self) -> None:
        """As a crash or the kernel would: no chance to say goodbye."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def history(self) -> list[dict]:
        """Every decision ever made, oldest first, as the command line asks the running app."""
        out = self.workspace.parent / "history.jsonl"
        with connect(self.workspace) as client:
            client.call("history", out=str(out))
        return [json.loads(line) for line in out.read_text().splitlines()]


@contextlib.contextmanager
def app_on_copy(workspace: Path, folder: Path, *arguments: str) -> Iterator[App]:
    """The app on a copy of a closed workspace."""
    running = App(shutil.copytree(workspace, folder / "workspace"), *arguments)
    yield running
    running.stop()


def draw_image(path: Path, number: int) -> Path:
    image = Image.new("RGB", (160, 120), (40 + 20 * number % 200, 120, 160))
    ImageDraw.Draw(image).ellipse((40, 20, 120, 100), fill=(240, 200, 20 * number % 255))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def write_rows(folder: Path) -> Path:
    """Instructions with eight candidates each, the first ones hostile; the last has none."""
    lines = []
    for i in range(N_INSTRUCTIONS):
        image = draw_image(folder / "pictures" / f"{i}.png", i)
        texts = [f"Answer {k} of question {i}: a yellow ball number {k} on blue." for k in range(8)]
        if i == 0:
            texts[: len(HOSTILE)] = HOSTILE
        lines.append(
            {
                "id": f"q{i}",
                "images": [str(image)],
                "instruction": HOSTILE[0] if i == 0 else f"What is in picture {i}?",
                "split": "train",
                "candidates": [{"text": text} for text in texts] if i < N_INSTRUCTIONS - 1 else [],
            }
        )
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
