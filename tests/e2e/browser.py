"""What the browser tests share: a real Chromium, and the app as a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
VIEWPORT = {"width": 1280, "height": 800}


def find_browser() -> str:
    """The Chromium of this machine. Without one: a loud skip, in CI a failure."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    words = f"NO BROWSER: none of {', '.join(NAMES)} is installed, so the page is NOT tested. Install Chromium."
    if os.environ.get("CI", "").lower() == "true":
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
