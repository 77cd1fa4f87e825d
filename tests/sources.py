"""Sources read without a workspace: what a test of a format looks at."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from m3po.formats.blocks import RowBlock
from m3po.formats.pictures import KeepImage
from m3po.formats.registry import Rows, open_source
from m3po.images import ImageInfo
from m3po.imported import ImportedRow, RefusedRow


def read_source(
    source: Path | str,
    format: str = "auto",
    *,
    mapping: Mapping[str, str] | None = None,
    images: Path | None = None,
    keep_image: KeepImage | None = None,
) -> tuple[str, Rows]:
    """The source's short name and its rows; images that come as bytes lie in a folder that ends with the process."""
    opened = open_source(source, format, mapping)
    return opened.name, opened.rows(keep_image or keep_for_now, images)


def read_in_blocks(source: Path | str, format: str = "auto") -> Iterator[RowBlock | ImportedRow | RefusedRow]:
    """The same rows as an import takes them, plain ones in columns."""
    return open_source(source, format).blocks(keep_for_now)


def detect_format(source: Path | str) -> str:
    """By the content, not by the file name."""
    return open_source(source).format


def keep_for_now(data: bytes, info: ImageInfo) -> Path:
    path = Path(spool().name) / f"{info.sha256}{info.suffix}"
    path.write_bytes(data)
    return path


@functools.cache
def spool() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="m3po-images-")
