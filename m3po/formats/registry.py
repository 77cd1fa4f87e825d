"""Which formats there are, and which one a file is in: the one door for imports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from m3po.errors import BadInputError, UsageError
from m3po.formats import imagefolder, llava, m3po
from m3po.formats.blocks import RowBlock
from m3po.formats.lines import check_file, parse_object, read_lines
from m3po.types import ImportedRow, RefusedRow

_LOOK_AT_LINES = 100  # broken ones at the top must not hide what the file is


@dataclass(frozen=True)
class Format:
    """How a format is read, and how one of its records is told from the others'."""

    read: Callable[[Path], Iterator[ImportedRow | RefusedRow]]
    recognises: Callable[[dict], bool]
    read_blocks: Callable[[Path], Iterator[RowBlock | ImportedRow | RefusedRow]] | None = (
        None  # where there is a faster way
    )


# In the order in which a record is tried on them: the most telling keys first.
FORMATS = {
    "imagefolder": Format(imagefolder.read, imagefolder.recognises, imagefolder.read_blocks),
    "llava": Format(llava.read, llava.recognises),
    "m3po": Format(m3po.read, m3po.recognises, m3po.read_blocks),
}


def read_source(path: Path, format: str = "auto") -> tuple[str, Iterator[ImportedRow | RefusedRow]]:
    """The source's short name and its rows, checked one by one as they are taken.

    Raises BadInputError when nothing of it can be read: missing, empty, another format, no JSON.
    """
    path = Path(path)
    if format != "auto" and format not in FORMATS:
        raise UsageError(f"Format {format!r} is not known: choose auto, {', '.join(FORMATS)}.")
    name = detect_format(path) if format == "auto" else format
    rows = FORMATS[name].read(path)
    whole = path.resolve()
    is_metadata = whole.name == imagefolder.METADATA
    return (whole.parent.name if is_metadata else whole.name if whole.is_dir() else whole.stem) or name, rows


def read_in_blocks(path: Path, format: str = "auto") -> tuple[str, Iterator[RowBlock | ImportedRow | RefusedRow]]:
    """The same rows as `read_source` gives, plain ones in columns where the format can: for large files."""
    name = detect_format(Path(path)) if format == "auto" else format
    source, rows = read_source(path, name)
    read_blocks = FORMATS[name].read_blocks
    return source, read_blocks(Path(path)) if read_blocks else rows


def detect_format(path: Path) -> str:
    """The format's name by the content, not by the file name. Raises BadInputError."""
    if path.is_dir():
        return "imagefolder"  # its reader says what is missing
    check_file(path)
    with path.open("rb") as file:
        head = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"["):
        return "llava"
    problem: BadInputError | None = None
    for _, line in islice(read_lines(path), _LOOK_AT_LINES):
        try:
            record = parse_object(line)
        except BadInputError as error:
            problem = problem or error
            continue
        for name, format in FORMATS.items():
            if format.recognises(record):
                return name
        keys = ", ".join(list(record)[:5])[:100] or "none"
        raise BadInputError(
            f"{path} is in no known format (its keys: {keys}): give its lines an instruction and images, "
            f"or convert it to one of {', '.join(FORMATS)}."
        )
    raise BadInputError(f"{path} is not JSON Lines, nor a JSON list: in its first line, {problem}.")
