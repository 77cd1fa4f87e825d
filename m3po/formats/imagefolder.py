"""Hugging Face ImageFolder: a folder of images with a metadata file (JSON Lines, CSV or Parquet) beside them.

Each row: `file_name` (or `file_names` / `images`, a list), `instruction`, and optionally `id`, `system`,
`answer`, `objects`, `category`, `split`. Other keys are ignored.
"""

from __future__ import annotations

from m3po.errors import BadInputError
from m3po.formats.blocks import Plain
from m3po.formats.pictures import image_list
from m3po.formats.rows import Fields

IMAGE_KEYS = ("file_name", "file_names", "images")
PLAIN = Plain(IMAGE_KEYS, other_keys=(), needs_image=True)
COLUMNS = {"id": ("id",), "image": IMAGE_KEYS, "instruction": ("instruction",), "system": ("system",)}
COLUMNS |= {"answer": ("answer",), "objects": ("objects",), "category": ("category",), "split": ("split",)}


def parse(record: dict, source: str) -> Fields:
    images = image_list(record, IMAGE_KEYS)
    if not images:
        raise BadInputError("it names no image; add file_name")
    if "instruction" not in record:
        raise BadInputError("it has no instruction; add the question or task under that key")
    optional = {name: record.get(name) for name in ("id", "system", "split", "answer", "objects", "category")}
    return {"images": images, "instruction": record["instruction"], **optional}


def recognises(record: dict) -> bool:
    """Whether a record looks like this format's."""
    return "file_name" in record or "file_names" in record
