"""Twenty people decide at once for a minute: is a decision lost, stored twice, or under another's name?

    PYTHONPATH=. .venv/bin/python benchmarks/twenty_reviewers.py [SECONDS] [--browsers]

Over HTTP, or with --browsers as twenty pages of a real Chromium, by key presses (_browsers.py). Each logs in,
works through a queue of her own (the same items for all) and keeps a note of what the server acknowledged; at the end
the notes are held against the database, row by row. Now and then one undoes. Prints decisions a second, how long a
decision took until the next item was there, and what it cost the server in CPU time, which says more than the others
where something else computes beside.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from benchmarks._notes import Notes
from m3po.settings import SelectConfig
from m3po.studio import Studio
from m3po.users import add_user
from m3po.workspace_config import WorkspaceConfig

PEOPLE = 20
ITEMS = 1500
PASSWORD = "a password of theirs"


@dataclass
class Reviewer(Notes):
    """One person at one browser: sends the review page's commands and notes what was acknowledged."""

    http: httpx.Client
    component: int

    def send(self, **command: object) -> dict:
        body = {"component_id": self.component, "fn_name": "review", "session_hash": self.name}
        body["data"] = {"view": {"filter": "mine", "order": "m3p_score"}, "seconds": 1.0, **command}
        answer = self.http.post("/gradio_api/component_server", json=body)
        answer.raise_for_status()
        return answer.json()

    def work(self, until: float) -> None:
        """Decide item after item until the clock says so."""
        try:
            item = self.send(op="open")["item"]
            while item is not None and self.goes_on(until):
                item = self.decide(item)
        except Exception as error:
            self.fail(error)

    def decide(self, item: dict) -> dict | None:
        op = self.choose(has_pair=item["chosen"] is not None)
        known = {name: item[name] for name in ("instruction_id", "selection_id", "chosen", "rejected", "decision_id")}
        begun = time.perf_counter()
        answer = self.send(op=op, **known)
        self.seconds.append(time.perf_counter() - begun)
        if "error" in answer:
            self.fail(answer["error"])
            return None
        self.note(op, item["instruction_id"], item["chosen"], item["rejected"])
        return self.send(op="open")["item"] if op == "undo" else answer["item"]


def work_together(reviewers: list[Reviewer], seconds: float) -> None:
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=reviewer.work, args=(until,)) for reviewer in reviewers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def compare(reviewers: list[Reviewer], rows: list[dict]) -> dict:
    """What was acknowledged against what is stored: `decisions`, `lost`, `twice` (or by nobody), from the history."""
    acknowledged = Counter((r.name, *note) for r in reviewers for note in [*r.stored, *r.undone])
    stored = Counter(
        (row["annotator"], row["instruction_id"], row["verdict"], row["chosen_id"], row["rejected_id"])
        for row in rows if row["verdict"] != "undo"
    )  # fmt: skip
    undone = Counter(row["annotator"] for row in rows if row["revoked"])
    wrong = sum(abs(undone[r.name] - len(r.undone)) for r in reviewers)
    return {
        "decisions": sum(stored.values()),
        "lost": sum((acknowledged - stored).values()) + wrong,
        "twice": sum((stored - acknowledged).values()),
    }


def review_component(client: httpx.Client) -> int:
    """The id of the review page's component, as a browser learns it."""
    components = client.get("/config").json()["components"]
    return next(c["id"] for c in components if c["props"].get("elem_id") == "review")


def write_rows(folder: Path, items: int) -> Path:
    """Items whose pair the data set came with, so that the rule `given` picks it without a model."""
    Image.new("RGB", (320, 240), (70, 110, 150)).save(folder / "picture.png")
    path = folder / "items.jsonl"
    with path.open("w") as file:
        for i in range(items):
            candidates = [{"id": k, "text": f"answer {k} to question {i}"} for k in range(8)]
            row = {"id": f"item-{i}", "images": ["picture.png"], "instruction": f"question {i}", "split": "train"}
            row |= {"candidates": candidates, "given": [{"verdict": "accept", "chosen": 0, "rejected": 1}]}
            file.write(json.dumps(row) + "\n")
    return path


def main(seconds: float, *, browsers: bool = False) -> int:
    folder = Path(tempfile.mkdtemp(prefix="m3po-twenty-"))
    names = [f"person{n:02}" for n in range(PEOPLE)]
    for name in names:
        add_user(folder / "users", name, PASSWORD)
    path = Studio.create(folder / "workspace", WorkspaceConfig())
    studio = Studio.open(path)
    print(studio.import_source(write_rows(folder, ITEMS)).added, "items imported")
    studio.select(SelectConfig(rule="given"))
    studio.people.assign(names, items=ITEMS, overlap=1.0, stratify="none")
    studio.close()
    app = subprocess.Popen(
        [sys.executable, "app.py", "--workspace", str(path), "--auth", str(folder / "users"), "--port", "0",
         "--no-browser"], stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        url = next(word for word in app.stdout.readline().split() if word.startswith("http"))
        cost = Cost(app.pid)
        if browsers:
            from benchmarks._browsers import work_in_browsers  # Playwright is a development tool

            reviewers = work_in_browsers(url, names, PASSWORD, seconds, cost.begin)
        else:
            reviewers = [log_in(url, name) for name in names]
            cost.begin()
            work_together(reviewers, seconds)
        took, spent = cost.read()
    finally:
        app.terminate()
        app.wait(30)
    studio = Studio.open(path)
    found = compare(reviewers, read_history(studio, folder))
    studio.close()
    errors = [error for reviewer in reviewers for error in reviewer.errors]
    latencies = np.array([value for reviewer in reviewers for value in reviewer.seconds]) * 1000
    presses = sum(len(reviewer.seconds) for reviewer in reviewers)
    print(f"{PEOPLE} people{' in browsers' * browsers}, {took:.0f} s: {presses} commands acknowledged, "
          f"{found['decisions']} decisions stored, {found['decisions'] / took:.0f} a second")  # fmt: skip
    print(f"lost {found['lost']}, twice {found['twice']}, errors {len(errors)}", *errors[:3], sep="\n")
    what = "key to next item drawn" if browsers else "a decision, answered with the next item"
    print(f"{what}: p50 {np.median(latencies):.0f} ms, "
          f"p95 {np.quantile(latencies, 0.95):.0f} ms, max {latencies.max():.0f} ms")  # fmt: skip
    print(f"server CPU a decision: {spent / max(found['decisions'], 1) * 1000:.0f} ms")
    return 1 if found["lost"] or found["twice"] or errors else 0


class Cost:
    """What it took since everybody was at work: seconds, and CPU seconds of the server, in user and kernel mode."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def begin(self) -> None:
        self.begun, self.spent = time.monotonic(), self._cpu_seconds()

    def read(self) -> tuple[float, float]:
        return time.monotonic() - self.begun, self._cpu_seconds() - self.spent

    def _cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def log_in(url: str, name: str) -> Reviewer:
    client = httpx.Client(base_url=url, timeout=60, trust_env=False)
    answer = client.post("/login", data={"username": name, "password": PASSWORD})
    answer.raise_for_status()
    return Reviewer(name, client, review_component(client))


def read_history(studio: Studio, folder: Path) -> list[dict]:
    studio.people.write_history(folder / "history.jsonl")
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    given = [word for word in sys.argv[1:] if word != "--browsers"]
    sys.exit(main(float(given[0]) if given else 60.0, browsers="--browsers" in sys.argv))
