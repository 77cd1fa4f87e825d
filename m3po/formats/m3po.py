"""Our own JSON Lines: one object a line, everything known of an instruction; the contract for scripts.

    {"id", "images": [path], "instruction", "split",
     "candidates": [{"id", "text", "source", "votes", "mas", "logp_sum", "n_tokens", "logp_mean",
                     "confidence", "good", "hard"}],
     "pair": {"chosen", "rejected", "m3p_score", "logp_margin"} or null, "no_pair_reason",
     "decision": {"verdict", "chosen", "rejected", "annotator", "note", "at"} or null}

with `system` and `turns` ([{"role", "text"}]) where an instruction has them. Read back, `instruction` alone
is required and candidates need only `text`; scores, pairs and decisions are not taken over, since they belong
to the models, the selection and the people of the workspace that wrote them. Optional truth: `answer`,
`objects`, `category`. Image paths are taken from the file's folder; an absolute path may also name an image
in a workspace, known by its file name being its SHA-256.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
from collections.abc import Iterable
from pathlib import Path

from m3po.errors import BadInputError
from m3po.files import replace_file
from m3po.formats.blocks import Plain
from m3po.formats.lines import type_name
from m3po.formats.pictures import image_list
from m3po.formats.rows import Fields
from m3po.images import ImageInfo
from m3po.types import Turn

_OF_A_WORKSPACE = ("votes", "mas", "logp_sum", "good", "hard")
PLAIN = Plain(image_keys=("images", "image"), other_keys=("turns", "candidates", "pair", "decision"))
NOT_TAKEN_OVER = "Votes, scores, pairs and decisions of the file are not taken over: score and select here."


COLUMNS = {
    name: (name,)
    for name in ("id", "instruction", "system", "turns", "answer", "objects", "category", "candidates", "split")
} | {"image": ("images", "image")}


def parse(record: dict, source: str) -> Fields:
    if "instruction" not in record:
        raise BadInputError("it has no instruction; add the question or task under that key")
    return {
        "id": record.get("id"),
        "images": image_list(record, ("images", "image")),
        "instruction": record["instruction"],
        "system": record.get("system"),
        "turns": _read_turns(record.get("turns")),
        "split": record.get("split"),
        "answer": record.get("answer"),
        "objects": record.get("objects"),
        "category": record.get("category"),
        "candidates": _read_candidates(record.get("candidates")),
        "human": [c["text"] for c in record.get("candidates") or () if c.get("source") == "human"],
        "warnings": (NOT_TAKEN_OVER,) if _says_more(record) else (),
    }


def _says_more(record: dict) -> bool:
    """Whether the row holds what belongs to the workspace that wrote it."""
    if record.get("pair") or record.get("decision"):
        return True
    return any(
        candidate.get(name) is not None for candidate in record.get("candidates") or () for name in _OF_A_WORKSPACE
    )


def recognises(record: dict) -> bool:
    """Whether a JSON line looks like this format's."""
    return "instruction" in record


def write_m3po(rows: Iterable[dict], out: Path) -> int:
    """Write rows of the shape above, one JSON object a line, and return how many.

    The file takes `out`'s place only when it is whole. nan and inf are written as null. Raises StorageError.
    """
    count = 0
    with replace_file(out) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(_plain(row), ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def is_workspace_image(path: Path, info: ImageInfo) -> bool:
    """An image of a workspace is named by its own hash, so naming it shows that one has seen it already."""
    return path.stem == info.sha256 and any((folder / "m3po.duckdb").is_file() for folder in path.parents[:4])


def _read_turns(value: object) -> list[Turn]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadInputError(f"turns must be a list, not {type_name(value)}; correct it")
    turns = []
    for number, turn in enumerate(value, 1):
        if not isinstance(turn, dict) or not isinstance(turn.get("role"), str):
            raise BadInputError(f"turn {number} must be an object with role and text; correct it")
        turns.append(Turn(turn["role"], turn.get("text")))  # the text is checked with the row
    return turns


def _read_candidates(value: object) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadInputError(f"candidates must be a list, not {type_name(value)}; correct it")
    texts = []
    for number, candidate in enumerate(value, 1):
        if not isinstance(candidate, dict) or "text" not in candidate:
            raise BadInputError(f"candidate {number} must be an object with text; correct it")
        texts.append(candidate["text"])
    return texts


def _plain(value: object) -> object:
    """What JSON can hold: no nan, times as ISO 8601, paths and dataclasses spelled out."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    return value
