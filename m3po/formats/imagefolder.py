"""Hugging Face ImageFolder: a folder of images with a `metadata.jsonl` beside them.

Each line: `file_name` (or `file_names` / `images`, a list), `instruction`, and optionally `id`, `system`,
`answer`, `objects`, `category`, `split`. Other keys are ignored. The id defaults to the line number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from m3po.errors import BadInputError
from m3po.formats import blocks
from m3po.formats.blocks import Plain, RowBlock
from m3po.formats.lines import check_file, read_records
from m3po.formats.rows import RowChecker, image_list, read_rows
from m3po.types import ImportedRow, RefusedRow

METADATA = "metadata.jsonl"
IMAGE_KEYS = ("file_name", "file_names", "images")
PLAIN = Plain(IMAGE_KEYS, other_keys=(), needs_image=True)


def read(path: Path) -> Iterator[ImportedRow | RefusedRow]:
    """Rows of the folder (or of its metadata.jsonl). Raises BadInputError when there is nothing to read."""
    metadata = _find_metadata(path)
    return read_rows(read_records(metadata), _build_parser(RowChecker(metadata.parent)))


def read_blocks(path: Path) -> Iterator[RowBlock | ImportedRow | RefusedRow]:
    """The same rows, the plain ones among them in columns."""
    metadata = _find_metadata(path)
    checker = RowChecker(metadata.parent)
    return blocks.read_blocks(metadata, checker, _build_parser(checker), PLAIN)


def _find_metadata(path: Path) -> Path:
    if path.is_dir():
        metadata = path / METADATA
        if not metadata.exists():
            raise BadInputError(
                f"The folder {path} has no {METADATA}: write one, a line "
                '{"file_name": "0.png", "instruction": "..."} for each row, and import it again.'
            )
    else:
        metadata = path
    check_file(metadata)
    return metadata


def _build_parser(checker: RowChecker) -> Callable[[dict, str], ImportedRow]:
    def parse(record: dict, row: str) -> ImportedRow:
        images = image_list(record, IMAGE_KEYS)
        if not images:
            raise BadInputError("it names no image; add file_name")
        if "instruction" not in record:
            raise BadInputError("it has no instruction; add the question or task under that key")
        id = record.get("id")
        return checker.build(
            row,
            id=row.removeprefix("line ") if id is None else id,
            images=images,
            instruction=record["instruction"],
            system=record.get("system"),
            split=record.get("split"),
            answer=record.get("answer"),
            objects=record.get("objects"),
            category=record.get("category"),
        )

    return parse


def recognises(record: dict) -> bool:
    """Whether a JSON line looks like this format's."""
    return "file_name" in record or "file_names" in record
