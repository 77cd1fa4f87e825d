"""A data set of the Hugging Face hub by its id, read while it is fetched: its Parquet files, row group by row group.

`hub:owner/name` or `hf://owner/name`, perhaps with a folder in it and a split: `hub:owner/name/folder:train`. A data
set that is kept in another shape has a Parquet copy on the hub's own branch `refs/convert/parquet`; that is taken then.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from m3po.errors import BadInputError
from m3po.formats.arrow import Opener, UnreachableError, words_of

_ID = re.compile(r"(?:hub:|hf:/{1,2}(?:datasets/)?)([\w.-]+/[\w.-]+(?:@[\w.%/-]+?)?)((?:/[\w.-]+)*)(?::([\w.-]+))?")
_CONVERTED = "@refs%2Fconvert%2Fparquet"


@dataclass(frozen=True)
class HubSource:
    """`name` is owner/name; `folder` within it or empty; `split` or empty: all splits."""

    name: str
    folder: str = ""
    split: str = ""

    def __str__(self) -> str:
        folder = f"/{self.folder}" if self.folder else ""
        return f"hub:{self.name}{folder}" + (f":{self.split}" if self.split else "")


def parse_hub(source: object) -> HubSource | None:
    """The data set that `source` names, or None for a path. Raises BadInputError for a broken id."""
    text = str(source)
    if not text.startswith(("hub:", "hf:/")):
        return None
    match = _ID.fullmatch(text.rstrip("/"))
    if match is None or ".." in text:
        raise BadInputError(f"{text!r:.200} is no data set of the hub: write hub:owner/name or hub:owner/name:split.")
    return HubSource(match[1], match[2].strip("/"), match[3] or "")


def list_files(source: HubSource) -> list[Opener]:
    """The Parquet files of the data set in order, each with how to open it. Raises BadInputError."""
    try:
        hub = filesystem()
        places = [f"datasets/{source.name}"]
        if "@" not in source.name:
            places.append(f"datasets/{source.name}{_CONVERTED}")
        found: list[str] = []
        for place in places:
            found = found or _find(hub, f"{place}/{source.folder}".rstrip("/"))
    except Exception as error:  # the network, the hub's answers, a file that is private
        raise BadInputError(
            f"{source} cannot be read from the hub ({words_of(error)}): check its name and the network; "
            "for a private one set HF_TOKEN."
        ) from error
    if not found:
        raise BadInputError(f"{source} is not on the hub or has no Parquet files: download it and import the folder.")
    wanted = [path for path in found if is_of_split(path, source.split)] if source.split else found
    if not wanted:
        raise BadInputError(f"{source} has no split {source.split!r}: its files are {', '.join(found[:5])}.")
    return [(path.split("/")[-1], lambda path=path: _HubFile(hub, path)) for path in wanted]


class _HubFile(io.RawIOBase):
    """A file of the hub for reading. Whatever the network throws becomes an UnreachableError: HTTP clients have errors
    of their own, which are no OSError."""

    def __init__(self, hub: Any, path: str) -> None:
        super().__init__()
        self._path, self._file = path, None
        with _answering(path):
            self._file = hub.open(path, "rb")

    def read(self, size: int = -1) -> bytes:
        with _answering(self._path):
            return self._file.read(size)

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()


@contextmanager
def _answering(path: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise UnreachableError(
            f"{path.split('/')[-1]} cannot be fetched from the hub ({words_of(error)}): what went in stays, import "
            "again to add the rest."
        ) from error


def filesystem() -> Any:
    """The hub as an fsspec file system; imported here, since only this needs it."""
    from huggingface_hub import HfFileSystem

    return HfFileSystem()


def _find(hub: Any, place: str) -> list[str]:
    try:
        return sorted(path for path in hub.find(place) if path.endswith(".parquet"))
    except FileNotFoundError:
        return []


def is_of_split(path: str, split: str) -> bool:
    """`data/train-00000-of-00002.parquet`, `config/train/0000.parquet` and `train.parquet` are of `train`."""
    return re.search(rf"(^|/)({re.escape(split)}|partial-{re.escape(split)})([-_./]|$)", path) is not None
