"""A training run in the test's own process: pairs of TRAIN_INPUT with real images, and a reporter that remembers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch

from m3po.text import build_messages
from m3po.training.dpo import train_pairs
from m3po.training.presets import build_train_config

SETTINGS = {"loss_type": "sigmoid", "batch_size": "4", "epochs": "2", "learning_rate": "0.003", "lora_r": "4"}
MEASURED = {"seconds", "tokens_per_second", "memory_gib"}  # of the machine: never equal twice


class Recorder:
    """A reporter that keeps what it is told and asks to stop when `stop_at` steps are done; `fault` is raised when the
    step `at` is told."""

    def __init__(
        self, stop_at: int | None = None, *, at: int | None = None, fault: BaseException | None = None
    ) -> None:
        self.events: list[dict] = []
        self.points: list[tuple[int, dict]] = []
        self._stop_at, self._at, self._fault = stop_at, at, fault

    @property
    def stop_requested(self) -> bool:
        return self._stop_at is not None and len(self.points) >= self._stop_at

    @property
    def warnings(self) -> list[str]:
        return [event["message"] for event in self.events if event["event"] == "warning"]

    def emit(self, event, **values):
        self.events.append({"event": event, **values})

    def progress(self, done, total, unit, *, message=""):
        self.emit("progress", done=done, total=total, unit=unit, message=message)

    def metrics(self, step, **values):
        if step == self._at:
            raise self._fault
        self.points.append((step, values))


class Killed(BaseException):
    """What nothing in the run may catch, as it cannot catch a kill."""


def told(recorder: Recorder) -> list[tuple[int, dict]]:
    """Steps and their figures, but for those that measure the machine."""
    return [(step, {k: v for k, v in values.items() if k not in MEASURED}) for step, values in recorder.points]


@pytest.fixture(scope="module", autouse=True)
def on_one_thread() -> Iterator[None]:
    """Tiny matrices only lose by being shared out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build_rows(folder: Path) -> list[dict]:
    """Ten pairs: with one image, two images, an earlier turn, system text; answers of unlike length."""
    rows = []
    for n in range(10):
        paths = [str(folder / f"{n}-{k}.png") for k in range(2 if n == 3 else 1)]
        for k, path in enumerate(paths):
            tiny.build_image(10 * n + k).save(path)
        messages = build_messages(f"What is in picture {n}?", len(paths), system="Be brief." if n == 4 else "")
        rows.append(
            {
                "instruction_id": n,
                "name": f"'row-{n}' of tiny",
                "images": paths,
                "messages": json.dumps(messages),
                "chosen_id": 2 * n,
                "rejected_id": 2 * n + 1,
                "chosen": "There is a red boat." + " And a sun." * (n % 3),
                "rejected": f"A blue fish and {n} trees.",
                "human": n % 2 == 0,
            }
        )
    return rows


def train(policy, rows, folder, reporter=None, adapter=None, **overrides) -> dict:
    texts = {**SETTINGS, **{key: str(value) for key, value in overrides.items()}}
    config = build_train_config(str(policy), "demo", texts, adapter=adapter and str(adapter))
    return train_pairs(config, rows, Path(folder), reporter or Recorder())
