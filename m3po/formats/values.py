"""Our values as JSON can hold them, for every writer."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from pathlib import Path


def plain(value: object) -> object:
    """What JSON can hold: no nan, times as ISO 8601, paths and dataclasses spelled out."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    return value
