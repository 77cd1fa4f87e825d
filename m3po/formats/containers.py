"""What a file or folder is made of, whatever its rows mean: every record format may come in every container.

JSON Lines, a JSON list, CSV or TSV, Parquet, an image folder with its metadata file, a data set saved on disk by
`datasets`, a folder of Parquet files, a data set of the hub. Found out by content; rows are read one after another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from m3po.errors import BadInputError
from m3po.formats import arrow, hub, lines, mme, tables
from m3po.formats.lines import check_file

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")  # as Hugging Face ImageFolder names it

EXPORTED = ("data.jsonl", "data.json", "data.csv")  # in a folder that an export wrote, with its selection.json

PARQUET = ("*.parquet", "*/*.parquet", "*/*/*.parquet")  # as deep as the hub lays out a data set


@dataclass(frozen=True)
class Container:
    """`kind` for people; `name` of the source; `root`: the folder that image paths start from, None for the hub.

    `records()` yields (row name, record), a BadInputError in the place of a record that cannot be read.
    """

    kind: str
    name: str
    root: Path | None
    records: Callable[[], Iterator[tuple[str, object]]]
    is_image_folder: bool = False
    lines: Path | None = None  # the file, where it is JSON Lines: its rows can be read in blocks


def open_container(source: Path | str) -> Container:
    """Look at what `source` is. Raises BadInputError when nothing of it can be read: missing, empty, no container."""
    named = hub.parse_hub(source)
    if named is not None:
        files = hub.list_files(named)
        return Container("Hugging Face hub", named.name.split("/")[-1], None, lambda: arrow.read_parquet(files))
    path = Path(source)
    if "\0" not in str(path) and path.is_dir():
        return _open_folder(path)
    check_file(path)
    container = _open_file(path)
    if path.name in METADATA:
        return Container(container.kind, _name(path.parent), path.parent, container.records, True, container.lines)
    return container


def _open_folder(folder: Path) -> Container:
    for name in METADATA:
        if (folder / name).exists():
            return open_container(folder / name)
    for name in EXPORTED if (folder / "selection.json").is_file() else ():
        if (folder / name).is_file():
            return dataclasses.replace(open_container(folder / name), name=_name(folder))
    saved = arrow.saved_files(folder)
    if saved is not None:
        return Container("data set saved on disk", _name(folder), folder, lambda: arrow.read_saved(saved))
    files = [(path.name, lambda path=path: path) for pattern in PARQUET for path in sorted(folder.glob(pattern))]
    if files:
        return Container("Parquet files", _name(folder), folder, lambda: arrow.read_parquet(files))
    if mme.category_folders(folder):
        return Container("MME folder", _name(folder), folder, lambda: mme.read_folder(folder))
    raise BadInputError(
        f"The folder {folder} has no {METADATA[0]}: write one, a line "
        '{"file_name": "0.png", "instruction": "..."} for each row, and import it again.'
    )


def _open_file(path: Path) -> Container:
    with path.open("rb") as file:
        head = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    name, root = _name(path, stem=True), path.parent
    if head.startswith(b"PAR1"):
        return Container("Parquet", name, root, lambda: arrow.read_parquet([(str(path), lambda: path)]))
    if head.startswith(b"["):
        return Container("JSON list", name, root, lambda: lines.read_list(path))
    if not head.startswith(b"{") and tables.looks_like_table(path):
        return Container("CSV", name, root, lambda: tables.read_table(path))
    return Container("JSON Lines", name, root, lambda: lines.read_records(path), lines=path)


def _name(path: Path, *, stem: bool = False) -> str:
    path = path.resolve()
    return path.stem if stem else path.name
