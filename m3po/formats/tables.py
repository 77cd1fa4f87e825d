"""Records from CSV and TSV files: a header, then a row a line; cells may hold line breaks where they are quoted.

A quote that is never closed would swallow the rest of the file: it costs its own line alone.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from m3po.errors import BadInputError
from m3po.formats.lines import MAX_LINE_BYTES

DELIMITERS = ",\t;|"
MAX_LINES = 200  # of one row
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
    waiting: list[tuple[int, str]] = []  # read already, as part of a row that was none

    def take() -> tuple[int, str] | None:
        return waiting.pop(0) if waiting else next(lines, None)

    while (first := take()) is not None:
        if not first[1].strip("\r\n"):
            continue
        row = [first]
        while True:
            cells = _split([text for _, text in row], delimiter)
            more = take() if cells is None and len(row) < MAX_LINES else None
            if more is None:
                break
            row.append(more)
        if cells is None or (isinstance(cells, BadInputError) and len(row) > 1):  # never closed, or by another row's
            waiting = row[1:] + waiting
            cells = BadInputError("a quote is opened in it and never closed; close it, or double it within a cell")
        yield first[0], cells


def _split(lines: list[str], delimiter: str) -> list[str] | BadInputError | None:
    """The cells of one row; None when its last quote is still open."""
    try:
        cells = next(csv.reader(lines, delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        if "unexpected end" in str(error):
            return None
        return BadInputError(f"it is not valid CSV ({error}); quote the cell and double the quotes in it")
    if any("\udc80" <= character <= "\udcff" for line in lines if not line.isascii() for character in line):
        return BadInputError("it is not valid UTF-8; save the file as UTF-8")
    return cells
