"""Where a run's curves go beside the page: TensorBoard's files always, trackio or Weights & Biases where the
workspace's config.toml names one (`track = "wandb"`). None of them can end a run."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from m3po.settings import TrainConfig
from m3po.training.event_files import EventFile
from m3po.training.reporting import Reporter
from m3po.workspace_config import WorkspaceConfig

FOLDER = "tensorboard"  # in the run's folder
# What they would send besides the figures: the worker's output, the checkout, their own failures.
_QUIET = {
    "WANDB_CONSOLE": "off", "WANDB_DISABLE_CODE": "true", "WANDB_DISABLE_GIT": "true", "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true", "WANDB_INIT_TIMEOUT": "30",
}  # fmt: skip


class Tracker(Protocol):
    def log(self, step: int, values: Mapping[str, float]) -> None: ...
    def close(self) -> None: ...


class Trackers:
    """Whoever keeps the curves of one run; one that fails is told as a warning and left out from then on."""

    def __init__(
        self, folder: Path, config: TrainConfig, workspace: WorkspaceConfig, reporter: Reporter, *, after: int = 0
    ) -> None:
        self._reporter = reporter
        self._trackers: dict[str, Tracker] = {}
        self._start("TensorBoard files", lambda: EventFile(folder / FOLDER, after))
        if not workspace.track:
            return
        if not workspace.remote:
            self._warn(
                f"The curves are not sent to {workspace.track}: remote = false in the workspace's config.toml forbids "
                f"it. They are in the run's folder {FOLDER}, for TensorBoard."
            )
            return
        self._start(workspace.track, lambda: Service(workspace.track, folder, config))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, tracker in list(self._trackers.items()):
            self._try(name, lambda tracker=tracker: tracker.log(step, values))

    def close(self) -> None:
        for name, tracker in list(self._trackers.items()):
            self._try(name, tracker.close)
        self._trackers.clear()

    def _start(self, name: str, build: Callable[[], Tracker]) -> None:
        def start() -> None:
            self._trackers[name] = build()

        self._try(name, start)

    def _try(self, name: str, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:
            self._trackers.pop(name, None)
            if isinstance(error, ModuleNotFoundError) and error.name == name:
                self._warn(f"The curves are not sent to {name}: it is not installed here (pip install {name}).")
                return
            first = str(error).strip().split("\n")[0][:200] or type(error).__name__
            self._warn(f"The curves go to {name} no longer ({first}); the run goes on, and the page shows them.")

    def _warn(self, sentence: str) -> None:
        self._reporter.emit("warning", message=sentence)


class Service:
    """A run in trackio or Weights & Biases, whose calls are alike: the workspace is the project, a resumed run goes on
    where it was. Models are named by the last part of their name: no place of this machine is sent."""

    def __init__(self, name: str, folder: Path, config: TrainConfig) -> None:
        for variable, value in _QUIET.items():
            os.environ.setdefault(variable, value)
        module = importlib.import_module(name)
        settings = dataclasses.asdict(config)
        settings |= {key: Path(settings[key]).name for key in ("policy", "adapter") if settings[key]}
        options: dict[str, object] = {"embed": False}  # trackio's: opens no page
        if name == "wandb":
            made = (folder / "config.json").stat().st_mtime_ns
            known = hashlib.sha256(f"{folder} {made}".encode()).hexdigest()[:12]
            options = {"id": f"{folder.name}-{known}", "dir": str(folder)}
        self._run = module.init(
            project=folder.parent.parent.name, name=f"run {int(folder.name)}" if folder.name.isdigit() else folder.name,
            config=settings, resume="allow", **options,
        )  # fmt: skip

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()
