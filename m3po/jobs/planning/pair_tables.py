"""Pairs as a training worker reads them, and the hash of what is trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import pyarrow as pa

from m3po.store import instructions
from m3po.store.connection import Connection
from m3po.store.instructions import Images


def pair_table(con: Connection, pairs: Sequence[dict], images: Images) -> pa.Table:
    """The columns of TRAIN_INPUT (m3po.jobs.schemas), one row a pair: a dict with `instruction_id`, `chosen` and
    `rejected` (ids), `human`, and of both answers `_text` and `_truncated`."""
    table = instructions.prompts(con, [pair["instruction_id"] for pair in pairs], images)
    for name, key in (("chosen_id", "chosen"), ("rejected_id", "rejected"), ("human", "human")):
        table = table.append_column(name, pa.array([pair[key] for pair in pairs]))
    for name in ("chosen", "rejected"):
        table = table.append_column(name, pa.array([pair[f"{name}_text"] for pair in pairs], pa.string()))
        table = table.append_column(f"{name}_truncated", pa.array([pair[f"{name}_truncated"] for pair in pairs]))
    return table


def content_hash(table: pa.Table) -> str:
    """SHA-256 of what is trained on: images (by content address), prompt, chosen and rejected, whatever the ids."""
    lines = sorted(
        json.dumps(
            [
                [path.rsplit("/", 1)[-1] for path in row["images"]],
                row["messages"],
                row["chosen"],
                row["rejected"],
            ]
        )
        for row in table.select(["images", "messages", "chosen", "rejected"]).to_pylist()
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
