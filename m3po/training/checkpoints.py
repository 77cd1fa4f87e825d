"""The checkpoints that a training left in its run's folder, and what they mean for whoever resumes it. No torch."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

from safetensors import SafetensorError, safe_open

STATE = "trainer_state.json"  # written last of a checkpoint, so one that parses closes it


def find_checkpoint(folder: Path, before: int | None = None) -> Path | None:
    """The latest checkpoint that is whole, of those of fewer than `before` steps."""
    whole = {step: path for step, path in _whole_checkpoints(folder).items() if before is None or step < before}
    return whole[max(whole)] if whole else None


def _whole_checkpoints(folder: Path) -> dict[int, Path]:
    """By step."""
    steps = {}
    for path in folder.glob("checkpoint-*"):
        with contextlib.suppress(OSError, ValueError, SafetensorError):
            json.loads((path / STATE).read_text(encoding="utf-8"))
            for weights in path.glob("*.safetensors"):
                with safe_open(weights, "np"):  # its header says how long it is: a file that was cut off is told
                    pass
            steps[int(path.name.rpartition("-")[2])] = path
    return steps


def count_done(checkpoint: Path | None) -> int:
    """Steps that are behind a whole checkpoint."""
    return json.loads((checkpoint / STATE).read_text(encoding="utf-8"))["global_step"] if checkpoint else 0


def remove_torn(folder: Path) -> None:
    """Checkpoints that are not whole go: none of them would be gone on from."""
    whole = set(_whole_checkpoints(folder).values())
    for path in folder.glob("checkpoint-*"):
        if path not in whole:
            shutil.rmtree(path, ignore_errors=True)


def say_kept(folder: Path) -> str:
    """What a run has left that it can go on from, or that can be used, named within the workspace."""
    found = find_checkpoint(folder / "checkpoints")
    if found is None:
        return "nothing of the training is kept yet"
    return f"it goes on from its checkpoint of step {count_done(found)}"
