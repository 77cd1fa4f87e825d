"""Label Studio on the same images: a project of choices, from submit to the next task's image drawn.

Started from an environment of its own (`pip install label-studio` there), with the two variables without which it asks
other machines for news and hangs.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page

USER, PASSWORD = "bench@example.org", "bench-password-1"
CONFIG = """<View><Image name="image" value="$image"/>
<Choices name="verdict" toName="image"><Choice value="accept"/><Choice value="reject"/></Choices></View>"""
WAITS = """([before]) => new Promise((resolve) => {
    const look = () => {
        const image = [...document.querySelectorAll("img")].find((i) => i.naturalWidth > 40 && i.clientWidth > 40);
        const there = image && image.complete && image.src !== before;
        if (there) image.decode().catch(() => {}).then(() => requestAnimationFrame(() => resolve([image.src, performance.now()])));
        else requestAnimationFrame(look);
    };
    look();
})"""  # noqa: E501


@contextmanager
def label_studio(python: str, folder: str) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = str(Path(python).with_name("label-studio"))
    place = ["--port", str(port), "--internal-host", "127.0.0.1", "--data-dir", folder]
    command = [program, "start", "--no-browser", *place, "--username", USER, "--password", PASSWORD]
    quiet = {"LATEST_VERSION_CHECK": "0", "COLLECT_ANALYTICS": "false", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": ""}
    with (Path(folder) / "label-studio.log").open("w") as log:
        process = subprocess.Popen(command, env={**os.environ, **quiet}, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 600
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).read()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit((Path(folder) / "label-studio.log").read_text()[-3000:]) from None
                time.sleep(1)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def make_project(page: Page, url: str, images: list[Path]) -> int:
    page.goto(f"{url}/user/login/")
    page.fill("input[name=email]", USER)
    page.fill("input[name=password]", PASSWORD)
    page.click("[type=submit]")
    page.wait_for_url(lambda address: "/user/login" not in address)
    token = next(cookie["value"] for cookie in page.context.cookies() if cookie["name"] == "csrftoken")
    headers = {"X-CSRFToken": token, "Referer": url}
    made = page.request.post(f"{url}/api/projects", headers=headers, data={"title": "bench", "label_config": CONFIG})
    project = made.json()["id"]
    for image in images:
        file = {"name": image.name, "mimeType": "image/png", "buffer": image.read_bytes()}
        sent = page.request.post(f"{url}/api/projects/{project}/import", headers=headers, multipart={"file": file})
        assert sent.ok, sent.text()
    return project


def measure_submits(browser: Browser, python: str, images: list[Path]) -> list[float]:
    """Milliseconds from the submit key to the next task's image, decoded and drawn."""
    with tempfile.TemporaryDirectory() as folder, label_studio(python, folder) as url:
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.set_default_timeout(60_000)
        project = make_project(page, url, images)
        page.goto(f"{url}/projects/{project}/data?labeling=1")
        shown, _ = page.evaluate(WAITS, [""])
        times = []
        for _ in range(len(images) - 1):
            page.keyboard.press("1")
            page.wait_for_timeout(250)
            begun = page.evaluate("performance.now()")
            page.keyboard.press("Control+Enter")
            shown, drawn = page.evaluate(WAITS, [shown])
            times.append(drawn - begun)
            page.wait_for_timeout(250)
        page.context.close()
    return times
