"""Records from CSV and TSV files: a header, then a row a line; cells may hold line breaks where they are quoted.

A quote that is never closed would swallow the rest of the file: it costs its own line alone, and some megabytes of
looking for its end.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from m3po.errors import BadInputError
from m3po.formats.lines import MAX_LINE_BYTES

DELIMITERS = ",\t;|"
MORE_BYTES = 8_000_000  # of a row, beyond its first line
UNCLOSED = "a quote is opened in it and never closed; close it, or double it within a cell"
_ESCAPED = re.compile("[\udc80-\udcff]")  # what surrogateescape makes of bytes that are no UTF-8
_NAME = re.compile(r"\s*\"?[\w][\w .:()/-]{0,80}\"?\s*")


def looks_like_table(path: Path) -> bool:
    """Whether the first line is a header: two names or more, or any where the file is called .csv or .tsv."""
    if path.suffix.lower() in (".csv", ".tsv"):
        return True
    with path.open("rb") as file:
        line = file.readline(10_000).removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").strip("\r\n")
    delimiter = _sniff(line)
    names = line.split(delimiter) if delimiter else []
    return len(names) > 1 and path.suffix.lower() not in (".json", ".jsonl") and all(map(_NAME.fullmatch, names))


def read_table(path: Path) -> Iterator[tuple[str, dict | BadInputError]]:
    """Yield ("line 2", {column: text}) of each row; an empty cell is None. Raises BadInputError for a bad header."""
    csv.field_size_limit(MAX_LINE_BYTES)  # an image may lie in a cell
    rows = _rows(path, _sniff(_first_line(path)) or ("\t" if path.suffix.lower() == ".tsv" else ","))
    _, header = next(rows, (1, []))
    if isinstance(header, BadInputError):
        raise BadInputError(f"{path}: the header cannot be read: {header}.")
    names = [name.strip() for name in header]
    if not all(names) or len(set(names)) < len(names):
        wrong = next((f"{name!r} twice" for name in names if name and names.count(name) > 1), "a column without a name")
        raise BadInputError(f"{path} has {wrong} in its first line: give each column a name of its own.")
    return _records(rows, names)


def _records(rows: Iterator[tuple[int, list[str] | BadInputError]], names: list[str]):
    for number, cells in rows:
        if isinstance(cells, list) and len(cells) != len(names):
            cells = BadInputError(
                f"it has {len(cells)} cells where the header has {len(names)}; quote a cell that holds the delimiter"
            )
        if isinstance(cells, BadInputError):
            yield f"line {number}", cells
        else:
            yield f"line {number}", {name: cell or None for name, cell in zip(names, cells, strict=True)}


def _sniff(header: str) -> str | None:
    # The header alone: the sniffer is misled by commas and quotes in longer texts.
    try:
        return csv.Sniffer().sniff(header, DELIMITERS).delimiter
    except csv.Error:
        return None


def _first_line(path: Path) -> str:
    return next((text for _, text in _lines(path)), "")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their ends. Bytes that are no UTF-8 become lone surrogates, refused with their row."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES):
            number += 1
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            yield number, line.decode("utf-8", "surrogateescape")


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str] | BadInputError]]:
    """(number of the first line, cells) of each row."""
    lines = _lines(path)
    waiting: deque[tuple[int, str]] = deque()  # read already, as part of a row that was none

    def take() -> tuple[int, str] | None:
        return waiting.popleft() if waiting else next(lines, None)

    def pull(row: list[tuple[int, str]]) -> Iterator[str]:
        """The texts of a row's lines, as many as the reader asks for."""
        yield row[0][1]
        size = 0
        while size < MORE_BYTES and (more := take()) is not None:
            row.append(more)
            size += len(more[1])
            yield more[1]

    while (first := take()) is not None:
        if not first[1].strip("\r\n"):
            continue
        row = [first]
        cells = _split(pull(row), delimiter)
        if isinstance(cells, BadInputError) and len(row) > 1:  # never closed, or by another row's
            waiting.extendleft(reversed(row[1:]))
            cells = BadInputError(UNCLOSED)
        elif any(map(_ESCAPED.search, (text for _, text in row if not text.isascii()))):
            cells = BadInputError("it is not valid UTF-8; save the file as UTF-8")
        yield first[0], cells


def _split(lines: Iterator[str], delimiter: str) -> list[str] | BadInputError:
    """The cells of one row, of as many lines as its quotes ask for."""
    try:
        return next(csv.reader(lines, delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        if "unexpected end" in str(error):
            return BadInputError(UNCLOSED)
        return BadInputError(f"it is not valid CSV ({error}); quote the cell and double the quotes in it")
