"""The curves that another trainer kept beside its adapter: transformers' trainer_state.json, which TRL and ms-swift
write into every checkpoint, or ms-swift's logging.jsonl. Imports no torch."""

from __future__ import annotations

import json
import math
from pathlib import Path

KEPT = (  # by TRL's trainers and those built on them
    "loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen",
    "logps/rejected", "learning_rate", "grad_norm", "entropy", "mean_token_accuracy", "epoch",
)  # fmt: skip
LONGEST_STEP = 15  # digits
FILES = ("trainer_state.json", "logging.jsonl")


def read_curves(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """(step, values by name) in step order, from the adapter's folder, its newest checkpoint or the folder above; empty
    where no trainer kept any, or none that can be read."""
    newest = sorted(folder.glob("checkpoint-*"), key=_step_of)[-1:]
    for place in (folder, *newest, folder.parent):
        for name in FILES:
            if points := _read(place / name):
                return sorted(points.items())
    return []


def _step_of(checkpoint: Path) -> int:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def _read(path: Path) -> dict[int, dict[str, float]]:
    if path.is_symlink() or not path.is_file():  # a pipe would be waited for
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        entries = json.loads(text)["log_history"] if path.suffix == ".json" else _lines(text)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    points: dict[int, dict[str, float]] = {}
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or (step := _step(entry)) is None:
            continue
        values = {name: float(entry[name]) for name in KEPT if _is_number(entry.get(name))}
        if "loss" in values:  # an evaluation's entry, and the summary at the end, have none
            points[step] = points.get(step, {}) | values
    return points


def _lines(text: str) -> list[object]:
    found = []
    for line in text.splitlines():
        try:
            found.append(json.loads(line))
        except (ValueError, RecursionError):  # the last one of a trainer that was killed
            continue
    return found


def _step(entry: dict) -> int | None:
    """`step`, or what ms-swift writes as "12/300"."""
    told = entry.get("step", str(entry.get("global_step/max_steps", "")).partition("/")[0])
    text = str(told)[:20]
    return int(text) if text.isdecimal() and len(text) <= LONGEST_STEP else None


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) < 1e300 and math.isfinite(value)  # a whole number of hundreds of digits is none
