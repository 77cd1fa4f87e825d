"""What comes back from another machine, looked at before anything of it is taken: regular files of the folder itself,
an adapter that is a whole LoRA, and events of the forms that a worker writes."""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from m3po.errors import BadInputError, ModelError

AGAIN = "bring it back again"
_MOST = 2**53  # of a step or a second: what JSON's numbers hold exactly


def check_files(folder: Path, names: Iterable[str]) -> None:
    """Raise BadInputError for a link, a pipe or a device among those of `names` that are in `folder`: what they lead to
    is not what was trained."""
    for name in names:
        place = folder
        for part in Path(name).parts:
            place = place / part
            try:
                mode = place.lstat().st_mode
            except OSError:
                break  # whether it may be absent is for others to say
            if not (stat.S_ISREG(mode) or (stat.S_ISDIR(mode) and place != folder / name)):
                raise BadInputError(f"{place} is no regular file: {AGAIN}, without links.")


def read_object(path: Path) -> dict:
    """A JSON object. Raises BadInputError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInputError(f"{path} cannot be read ({error}): {AGAIN}.") from error
    if not isinstance(found, dict):
        raise BadInputError(f"{path} holds no object: {AGAIN}.")
    return found


def check_lora(folder: Path) -> dict:
    """The adapter's config. Raises ModelError for one that is no LoRA, or whose weights are cut off."""
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} has no {name}: it is not an adapter folder that peft saved.")
    config = read_object(folder / "adapter_config.json")
    kind, rank, alpha = config.get("peft_type"), config.get("r"), config.get("lora_alpha")
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in (rank, alpha))
    if kind != "LORA" or not whole or not 1 <= rank <= 65_536 or not 1 <= alpha <= 10**9:
        raise ModelError(f"{folder / 'adapter_config.json'} is no LoRA adapter's: only LoRA is taken.")
    weights = folder / "adapter_model.safetensors"
    if not _is_whole(weights):
        raise ModelError(f"{weights} is damaged or cut off: copy it again.")
    if broken := find_not_finite(weights):
        raise ModelError(f"{weights} holds what is no number ({broken}): train it again with a lower learning rate.")
    return config


_EXPONENTS = {"F32": ("<u4", 0x7F800000), "BF16": ("<u2", 0x7F80), "F16": ("<u2", 0x7C00)}  # all ones: inf or nan


def find_not_finite(path: Path) -> str:
    """The first tensor of a whole safetensors file with an inf or nan in it; empty where there is none. Read without
    torch, one tensor at a time."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        for name, entry in header.items():
            if name == "__metadata__" or entry.get("dtype") not in _EXPONENTS:
                continue
            kind, exponent = _EXPONENTS[entry["dtype"]]
            begin, end = entry["data_offsets"]
            file.seek(8 + length + begin)
            bits = np.frombuffer(file.read(end - begin), kind)
            if ((bits & exponent) == exponent).any():
                return name
    return ""


def _is_whole(path: Path) -> bool:
    """Whether the header of a safetensors file parses, names a LoRA, and ends where the file does."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= size - 8:
                return False
            header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return any(".lora_" in name for name in header) and max(ends) == size - 8 - length
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return False


def check_events(events: Iterable[object], path: Path) -> list[dict]:
    """Those of a run's events that tell of its training, each of the form that m3po.jobs.worker writes. Raises
    BadInputError for one that is not."""
    kept = []
    for event in events:
        if not (isinstance(event, dict) and _is_time(event.get("t")) and event.get("event") in _FORMS):
            if isinstance(event, dict) and event.get("event") not in _FORMS:
                continue  # a shard, a scorer: no training tells them
            raise BadInputError(f"{path} has a line that no worker wrote: {AGAIN}.")
        if not _FORMS[event["event"]](event) or not _is_text(event):
            raise BadInputError(f"{path} has a line {event['event']!r} that no worker wrote: {AGAIN}.")
        kept.append(event)
    return kept


def _is_time(value: object) -> bool:
    return _is_number(value) and 0 < value < 4e9  # seconds since the epoch, to the year 2096


def _is_number(value: object) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST and math.isfinite(value)
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST


def _is_text(event: dict) -> bool:
    """Whether all its text can be stored: no NUL, no half of a surrogate pair."""
    text = json.dumps(event, ensure_ascii=False)
    return "\\u0000" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _is_figures(values: object) -> bool:
    return isinstance(values, dict) and all(value is None or _is_number(value) for value in values.values())


def _is_result(result: object) -> bool:
    if not isinstance(result, dict) or result.get("adapter") != "adapter":
        return False
    packages = result.get("packages", {})
    named = isinstance(packages, dict) and all(isinstance(number, str) for number in packages.values())
    counts = ("pairs", "human_pairs", "left_out", "steps", "trainable_parameters")
    return named and _is_figures(result.get("final", {})) and all(_is_count(result.get(name, 0)) for name in counts)


_FORMS = {
    "started": lambda event: True,
    "progress": lambda event: _is_count(event.get("done")) and _is_count(event.get("total"))
    and isinstance(event.get("unit"), str) and isinstance(event.get("message", ""), str),
    "metrics": lambda event: _is_count(event.get("step")) and _is_figures(event.get("values")),
    "warning": lambda event: isinstance(event.get("message"), str),
    "stopped": lambda event: isinstance(event.get("message", ""), str),
    "failed": lambda event: isinstance(event.get("message", ""), str),
    "finished": lambda event: _is_result(event.get("result")),
}  # fmt: skip
