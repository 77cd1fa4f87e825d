"""JSON Lines and JSON lists as files really bring them: BOM, CRLF, broken lines, wrong encodings, endless ones."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from m3po.errors import BadInputError

MAX_LINE_BYTES = 64_000_000
CHUNK = 1_000_000  # bytes of a JSON list read at a time
BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


def check_file(path: Path) -> None:
    """Raise BadInputError, one sentence, unless `path` is a readable regular file with something in it."""
    try:
        if "\0" in str(path):  # Path.exists() would call it missing and the message could not show it
            raise ValueError("a NUL character in its name")
        if not path.exists():
            raise BadInputError(f"{path} does not exist: correct the path.")
        if path.is_dir():
            raise BadInputError(f"{path} is a folder where a file is expected: name the file in it.")
        if not path.is_file():
            raise BadInputError(f"{path} is not a regular file: copy its content into one.")
        with path.open("rb") as file:
            head = file.read(4096)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInputError(f"{str(path)!r} cannot be read ({reason}): check its path and permissions.") from error
    if head.startswith(_UTF16_BOMS):
        raise BadInputError(f"{path} is UTF-16: save it as UTF-8 and import it again.")
    if not head.removeprefix(BOM).strip() and path.stat().st_size <= len(head):
        raise BadInputError(f"{path} is empty: there is nothing to import, choose another file.")


def read_lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Yield (line number from 1, bytes without line end) of lines that are not blank; None if over 64 MB.

    One line is in memory at a time, whatever the file's size.
    """
    with path.open("rb") as file:
        yield from iter_lines(file)


def iter_lines(file: BinaryIO, number: int = 1) -> Iterator[tuple[int, bytes | None]]:
    """The same for what is left of an open file, whose next line has that number."""
    while line := file.readline(MAX_LINE_BYTES):
        if number == 1:
            line = line.removeprefix(BOM)
        if len(line) >= MAX_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield number, None
        elif line := line.strip(b" \t\r\n"):
            yield number, line
        number += 1


def read_records(path: Path) -> Iterator[tuple[str, dict | BadInputError]]:
    """Yield (row name, JSON object) of each line, or the BadInputError that says why it is none."""
    return parse_lines(read_lines(path))


def parse_lines(lines: Iterable[tuple[int, bytes | None]]) -> Iterator[tuple[str, dict | BadInputError]]:
    """The same for numbered lines."""
    for number, line in lines:
        try:
            yield f"line {number}", parse_object(line)
        except BadInputError as error:
            yield f"line {number}", error


def read_list(path: Path) -> Iterator[tuple[str, object]]:
    """Yield (entry name, value) of a JSON list, one by one, whatever the file's size.

    What is no JSON ends it with a BadInputError as its last value: where the next entry begins cannot be known.
    """
    with path.open("rb") as file:
        yield from _ListReader(file).entries()


class _ListReader:
    """A window on the text of a JSON list that grows to one entry and moves on."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._text, self._at, self._line = "", 0, 1
        self._ended, self._lost = False, False

    def entries(self) -> Iterator[tuple[str, object]]:
        number, decoder = 0, json.JSONDecoder()
        self._skip("[")
        while not self._lost and (following := self._skip(",")) not in ("]", ""):
            number += 1
            yield f"entry {number}", self._entry(decoder)
        if not self._lost and not following:
            yield f"entry {number + 1}", BadInputError("the list breaks off before it; copy the file again")
        elif not self._lost and self._skip("]"):
            line = self._line + self._text.count("\n", 0, self._at)
            problem = f"the list has ended and something else follows in line {line}, which is not read"
            yield f"entry {number + 1}", BadInputError(f"{problem}; write one list")

    def _entry(self, decoder: json.JSONDecoder) -> object:
        """The next value, or why there is none; `_lost` when the one after it cannot be found."""
        size = CHUNK
        while True:
            try:
                value, end = decoder.raw_decode(self._text, self._at)
                if isinstance(value, int | float) and _NUMBER.fullmatch(self._text, end) and self._grow(size):
                    continue  # 12 may go on as 123
            except json.JSONDecodeError as error:
                place = error.pos - self._at
                if len(self._text) - self._at < MAX_LINE_BYTES and self._grow(size):
                    size *= 2
                    continue
                line = self._line + self._text.count("\n", 0, self._at + place)
                return self._lose(
                    f"it is not valid JSON ({error.msg.removesuffix(' starting at')} in line {line})", "correct it"
                )
            except RecursionError:
                return self._lose("it is nested too deeply", "write a flat object")
            except ValueError:
                return self._lose("it holds a number with too many digits", "correct it")
            raw, self._at = self._text[self._at : end], end
            if not raw.isascii() and _ESCAPED.search(raw):
                return BadInputError("it is not valid UTF-8; save the file as UTF-8")
            return value

    def _lose(self, problem: str, remedy: str) -> BadInputError:
        self._lost = True
        return BadInputError(f"{problem}, and the rest of the file cannot be read; {remedy}")

    def _skip(self, mark: str) -> str:
        """Go over white space and one `mark`; the character that follows, empty at the end of the file."""
        while True:
            self._at = _BLANKS.match(self._text, self._at).end()
            if self._at < len(self._text):
                if not mark or self._text[self._at] != mark:
                    return self._text[self._at]
                self._at, mark = self._at + 1, ""
            elif not self._grow(CHUNK):
                return ""

    def _grow(self, size: int) -> bool:
        """Read on; False at the end of the file."""
        if self._ended:
            return False
        data = self._file.read(size)
        self._ended = not data
        self._line += self._text.count("\n", 0, self._at)
        self._text, self._at = self._text[self._at :] + self._decode(data, not data), 0
        if self._text.startswith("\ufeff"):
            self._text = self._text[1:]
        return not self._ended


_BLANKS = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"[0-9.eE+-]*")
_ESCAPED = re.compile("[\udc80-\udcff]")  # what surrogateescape makes of bytes that are no UTF-8


def parse_object(line: bytes | None) -> dict:
    """One JSON object. Raises BadInputError."""
    if line is None:
        raise BadInputError(f"it is longer than {MAX_LINE_BYTES // 1_000_000} MB; put one object on each line")
    value = parse_json(line)
    if not isinstance(value, dict):
        raise BadInputError(f"it holds {type_name(value)} where a JSON object is expected; write {{...}} on each line")
    return value


def parse_json(data: bytes) -> object:
    """Any JSON value from UTF-8 bytes. Raises BadInputError with what is wrong and where."""
    if b"\0" in data:
        raise BadInputError("it holds NUL bytes; save the file as UTF-8 text")
    try:
        return json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadInputError(f"it is not valid UTF-8 (at byte {error.start + 1}); save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise BadInputError(f"it is not valid JSON ({error.msg.removesuffix(' at')} at {where}); correct it") from error
    except ValueError as error:  # a number of more digits than Python converts
        raise BadInputError("it holds a number with too many digits; correct it") from error
    except RecursionError as error:
        raise BadInputError("it is nested too deeply; write a flat object") from error


def type_name(value: object) -> str:
    """A JSON value's type as people call it, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = {str: "text", int: "a number", float: "a number", list: "a list", dict: "an object", bytes: "bytes"}
    return names.get(type(value), type(value).__name__)
