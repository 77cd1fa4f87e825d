"""TRL's preference format: Parquet of `images, prompt, chosen, rejected` that DPOTrainer takes as it is.

`images` is a list of Hugging Face Image features with the bytes inside; the other columns are chat messages
with content parts, as m3po.text builds them. An image part's `text` is null, as a struct column must have it;
TRL and chat templates go by `type`. Written by row group: memory does not grow with the number of pairs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import pyarrow as pa

from m3po.errors import BadInputError, CannotHoldError
from m3po.text import build_messages
from m3po.types import TRAINING_VERDICTS, Turn

_PART = pa.struct([("type", pa.string()), ("text", pa.string())])
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.list_(_PART))]))
_IMAGES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def _feature_of(kind: pa.DataType) -> dict:
    if pa.types.is_list(kind):
        return {"feature": _feature_of(kind.value_type), "_type": "List"}
    if pa.types.is_struct(kind):
        return {kind.field(i).name: _feature_of(kind.field(i).type) for i in range(kind.num_fields)}
    return {"dtype": str(kind), "_type": "Value"}


def _build_schema() -> pa.Schema:
    """Arrow columns with the metadata by which `datasets` knows that the structs of bytes are images."""
    features = {"images": {"feature": {"_type": "Image"}, "_type": "List"}}
    features |= {name: _feature_of(_MESSAGES) for name in ("prompt", "chosen", "rejected")}
    columns = [("images", _IMAGES), ("prompt", _MESSAGES), ("chosen", _MESSAGES), ("rejected", _MESSAGES)]
    return pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": features}})})


SCHEMA = _build_schema()


def pair_texts(row: Mapping) -> tuple[str, str] | None:
    """(chosen, rejected) of a row as it stands after the human decision; None when not to be trained on."""
    if isinstance(row.get("chosen"), str) and isinstance(row.get("rejected"), str):
        return row["chosen"], row["rejected"]
    decision, pair = row.get("decision"), row.get("pair")
    if decision is not None:
        if decision["verdict"] not in TRAINING_VERDICTS or not decision.get("agreed", True):
            return None
        if decision.get("chosen") is not None and decision.get("rejected") is not None:
            pair = decision
    if pair is None:
        return None
    texts = {candidate["id"]: candidate["text"] for candidate in row["candidates"]}
    try:
        return texts[pair["chosen"]], texts[pair["rejected"]]
    except KeyError as error:
        raise BadInputError(f"Row {row.get('id')!r} has a pair with the unknown candidate {error}.") from error


def training_pair(row: Mapping) -> tuple[str, str]:
    """(chosen, rejected) as they stand. Raises CannotHoldError where there is none to train on; an empty answer is
    none, here as in our own training."""
    texts = pair_texts(row)
    if texts is None:
        raise CannotHoldError("no pair to train on")
    if not all(text.strip() for text in texts):
        raise CannotHoldError("a pair with an empty answer")
    return texts


def to_record(row: Mapping, images: list[dict]) -> dict:
    """The record of a row with a pair; `images` as structs of bytes and path. Raises as `training_pair` does."""
    texts = training_pair(row)
    turns = [turn if isinstance(turn, Turn) else Turn(turn["role"], turn["text"]) for turn in row.get("turns") or ()]
    prompt = build_messages(row["instruction"], len(images), system=row.get("system") or "", turns=turns)
    chosen, rejected = map(_answer, texts)
    return {"images": images, "prompt": prompt, "chosen": [chosen], "rejected": [rejected]}


def _answer(text: str) -> dict:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}
