"""JSON Lines in columns: the fast way in for files of a million rows.

A block of lines is parsed by Arrow and checked column by column. A row that is *plain* (an instruction, its images
and simple fields, nothing odd about any of them) stays in the columns; every other row, and a whole block that
Arrow does not take, goes line by line through the format's own parser, which knows every reason and its words. So
the checks are said once, in m3po.formats.rows, and what is here must only never call a row plain that they refuse;
tests/formats/test_blocks.py holds the two against each other. (What stands under a key that nobody reads is not looked
at here: a number of thousands of digits or endless nesting there refuses the row in the parser alone.)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring as quote
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from m3po.errors import BadInputError
from m3po.formats.checks import MAX_ID, MAX_TEXT
from m3po.formats.lines import BOM, MAX_LINE_BYTES, iter_lines, parse_lines, parse_object
from m3po.formats.rows import PLACEHOLDER, RowChecker, read_rows
from m3po.images import ImageInfo
from m3po.imported import ImportedRow, RefusedRow
from m3po.types import SPLITS

BLOCK_BYTES = 2_000_000
FEW = 50  # one odd row in so many, and the whole block is read line by line
_TEXTS = ("instruction", "system", "split", "answer", "category")


@dataclass(frozen=True)
class Plain:
    """Which rows of a format are plain: their images stand under the first of `image_keys` that is there, and they have
    nothing under `other_keys`, which only the format's parser reads."""

    image_keys: tuple[str, ...]
    other_keys: tuple[str, ...]
    needs_image: bool = False


@dataclass(frozen=True)
class RowBlock:
    """Checked rows in columns: `number` (of the line), `id`, `images` (list of places in `files`), `instruction`,
    `system`, `split`, `content` (m3po.text.asked_content), `answer`, `objects`, `category`. A file is None where no row
    of the block names it; blocks of the same lines share the tuple. `repeats`: an id among them came before in the
    file."""

    table: pa.Table
    files: tuple[tuple[Path, ImageInfo] | None, ...]
    repeats: bool

    @property
    def warnings(self) -> dict[str, tuple[str, int]]:
        """What is odd about an image that goes in: each with the first row that names it, and how many do."""
        odd = {place: file[1].warnings for place, file in enumerate(self.files) if file and file[1].warnings}
        found: dict[str, tuple[str, int]] = {}
        if odd:
            for number, places in zip(*(self.table[name].to_pylist() for name in ("number", "images")), strict=True):
                for text in {text for place in places for text in odd.get(place, ())}:
                    first, count = found.get(text, (f"line {number}", 0))
                    found[text] = first, count + 1
        return found


def read_blocks(
    path: Path, checker: RowChecker, parse: Callable[[Any, str], ImportedRow], plain: Plain
) -> Iterator[RowBlock | ImportedRow | RefusedRow]:
    """Every row of the file, in its order. `parse(record, row name)` is the format's own parser, on `checker`."""

    def read_slowly(number: int, lines: Sequence[bytes]) -> Iterator[ImportedRow | RefusedRow]:
        stripped = ((n, line.strip(b" \t\r")) for n, line in enumerate(lines, number))
        return read_rows(parse_lines((n, line) for n, line in stripped if line), parse)

    with path.open("rb") as file:
        schema, number = None, 1
        while data := file.read(BLOCK_BYTES):
            if not data.endswith(b"\n"):
                data += file.readline(MAX_LINE_BYTES)
                if len(data) > MAX_LINE_BYTES and not data.endswith(b"\n"):  # one line without an end
                    file.seek(-len(data), 1)
                    yield from read_rows(parse_lines(iter_lines(file, number)), parse)
                    return
            data = (data.removeprefix(BOM) if number == 1 else data).removesuffix(b"\n").replace(b"\r\n", b"\n")
            schema = schema or _guess_schema(data.partition(b"\n")[0], plain)
            columns = _Columns.read(data, schema, checker, plain) if schema else None
            lines = None if columns and columns.plain.all() else data.split(b"\n")
            if columns is None:
                yield from read_slowly(number, lines)
                number += len(lines)
                continue
            for start, stop, is_plain in columns.runs():
                if not is_plain:
                    yield from read_slowly(number + start, lines[start:stop])
                    continue
                block, repeated = columns.block(start, stop, number)
                yield block
                for n in repeated:
                    lines = lines or data.split(b"\n")
                    yield from read_slowly(number + n, lines[n : n + 1])
            number += columns.size


def _guess_schema(line: bytes, plain: Plain) -> pa.Schema | None:
    """The columns to ask for, by the types of the first row: an id is text or a number, images one or a list."""
    try:
        first = parse_object(line.strip())
    except BadInputError:
        return None
    fields = {"id": pa.int64() if isinstance(first.get("id"), int) else pa.string()}
    fields |= dict.fromkeys(_TEXTS, pa.string()) | {"objects": pa.list_(pa.string())}
    for key in plain.image_keys:
        fields[key] = pa.string() if isinstance(first.get(key), str) else pa.list_(pa.string())
    fields |= dict.fromkeys(plain.other_keys, pa.null())
    return pa.schema(fields.items())


class _Columns:
    """A block of lines as columns, and which of its rows are plain."""

    @classmethod
    def read(cls, data: bytes, schema: pa.Schema, checker: RowChecker, plain: Plain) -> _Columns | None:
        """None where the block had better be read line by line."""
        # Escaped control characters are rare, and some of them count as white space or end a text.
        if b"\0" in data or b"\\u000" in data or b"\\u001" in data:
            return None
        # One object a line: where every line starts and ends with a brace, only a line's end can part two objects.
        size = data.count(b"\n") + 1
        if not (data.startswith(b"{") and data.endswith(b"}") and data.count(b"}\n{") == size - 1):
            return None
        try:
            data.decode("utf-8")
            table = pa.json.read_json(
                pa.BufferReader(data),
                read_options=pa.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
                parse_options=pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
            )
        except (UnicodeDecodeError, pa.ArrowInvalid):
            return None
        if table.num_rows != size:
            return None
        columns = {name: table.column(name).combine_chunks() for name in table.column_names}
        used = [key for key in plain.image_keys if columns[key].null_count < size]
        if len(used) > 1 or columns["objects"].flatten().null_count:
            return None
        images = columns[used[0]] if used else pa.nulls(size, pa.list_(pa.string()))
        if pa.types.is_string(images.type):
            there = images.is_valid()
            offsets = np.concatenate([[0], np.cumsum(there.to_numpy(zero_copy_only=False))]).astype(np.int32)
            images = pa.ListArray.from_arrays(pa.array(offsets), images.drop_null())
        if images.flatten().null_count:
            return None
        found = cls(columns, images, checker, plain)
        return found if np.count_nonzero(~found.plain) * FEW <= size else None

    def __init__(self, columns: dict[str, pa.Array], images: pa.ListArray, checker: RowChecker, plain: Plain) -> None:
        self.columns, self.checker, self.size = columns, checker, len(columns["id"])
        self.counts = pc.fill_null(pc.list_value_length(images), 0).to_numpy(zero_copy_only=False)
        places = images.flatten().dictionary_encode()
        files, good = [], []
        for value in places.dictionary.to_pylist():
            try:
                if value.startswith(("data:", "[")):  # an image itself, or a list of them
                    raise BadInputError("not a path")
                files.append(checker.pictures.look_at(value))
                good.append(True)
            except BadInputError:
                files.append(None)
                good.append(False)
        self.files = tuple(files)
        self.places = places.indices.to_numpy(zero_copy_only=False)
        self.ends = np.cumsum(self.counts)
        bad = ~np.array(good, dtype=bool)[self.places] if good else np.zeros(0, dtype=bool)
        bad_counts = np.concatenate([[0], np.cumsum(bad)])
        checks = [
            columns["instruction"].is_valid(),
            self._short("instruction", MAX_TEXT),
            pc.not_equal(pc.utf8_trim_whitespace(columns["instruction"]), ""),
            pc.invert(pc.match_substring(columns["instruction"], PLACEHOLDER)),
            pc.or_(columns["split"].is_null(), pc.is_in(columns["split"], pa.array(SPLITS))),
            *(self._short(name, MAX_TEXT) for name in ("system", "answer", "category")),
            *([] if columns["id"].type == pa.int64() else [
                self._short("id", MAX_ID), pc.not_equal(pc.utf8_trim_whitespace(columns["id"]), "")
            ]),
            self._short_objects(),
        ]  # fmt: skip
        self.plain = bad_counts[self.ends] == bad_counts[self.ends - self.counts]
        for check in checks:
            self.plain &= pc.fill_null(check, True).to_numpy(zero_copy_only=False)
        if plain.needs_image:
            self.plain &= self.counts > 0

    def _short(self, name: str, most: int) -> pa.Array:
        return pc.less_equal(pc.utf8_length(self.columns[name]), most)

    def _short_objects(self) -> pa.Array:
        """True for all or for none: a name of 100,000 characters sends the block to the parser."""
        longest = pc.max(pc.utf8_length(self.columns["objects"].flatten())).as_py() or 0
        return pa.array(np.full(self.size, longest <= MAX_TEXT))

    def runs(self) -> Iterator[tuple[int, int, bool]]:
        """(start, stop, plain or not) of the stretches of rows that are alike."""
        cuts = [0, *(np.flatnonzero(np.diff(self.plain.astype(np.int8))) + 1).tolist(), self.size]
        for start, stop in itertools.pairwise(cuts):
            yield start, stop, bool(self.plain[start])

    def block(self, start: int, stop: int, number: int) -> tuple[RowBlock, list[int]]:
        """Rows `start` to `stop` as a block, and those whose id came before with other content (they are not in it).

        `number`: of the line that is row 0.
        """
        cut = slice(start, stop)
        ids = self._ids(start, stop, number)
        texts = self.columns["instruction"][cut].to_numpy(zero_copy_only=False)
        contents = [
            f"[{images}, {system}, [], {quote(text)}, {split}]"
            for images, system, text, split in zip(
                self._quoted_images(start, stop), self._quoted("system", cut, '""'), texts,
                self._quoted("split", cut, "null"), strict=True,
            )
        ]  # fmt: skip
        kept, repeats = self.checker.note_ids(ids, contents)
        first, last = self.ends[start] - self.counts[start], self.ends[stop - 1]
        offsets = np.concatenate([[0], np.cumsum(self.counts[cut])]).astype(np.int32)
        table = pa.table(
            {
                "number": pa.array(np.arange(number + start, number + stop)),
                "id": pa.array(ids, pa.string()),
                "images": pa.ListArray.from_arrays(
                    pa.array(offsets), pa.array(self.places[first:last].astype(np.int32))
                ),
                "content": pa.array(contents, pa.string()),
                **{name: self.columns[name][cut] for name in (*_TEXTS, "objects")},
            }
        )
        if all(kept):
            return RowBlock(table, self.files, repeats), []
        others = [start + n for n, is_kept in enumerate(kept) if not is_kept]
        return RowBlock(table.filter(pa.array(kept)), self.files, repeats), others

    def _ids(self, start: int, stop: int, number: int) -> list[str]:
        """As text; a row without one has its line's number."""
        column = self.columns["id"][start:stop]
        ids = column.cast(pa.string()).to_numpy(zero_copy_only=False)
        if column.null_count:
            return [str(number + start + n) if id is None else id for n, id in enumerate(ids)]
        return ids

    def _quoted(self, name: str, cut: slice, empty: str) -> list[str]:
        column = self.columns[name][cut]
        if column.null_count == len(column):
            return [empty] * len(column)
        return [empty if value is None else quote(value) for value in column.to_numpy(zero_copy_only=False)]

    def _quoted_images(self, start: int, stop: int) -> list[str]:
        """Each row's list of SHA-256 as JSON."""
        quoted = [f'"{known[1].sha256}"' if known else "" for known in self.files]
        counts = self.counts[start:stop]
        if (counts == 1).all():
            alone = [f"[{sha}]" for sha in quoted]
            first = self.ends[start] - 1
            return [alone[place] for place in self.places[first : first + stop - start].tolist()]
        ends = self.ends[start:stop].tolist()
        places = self.places.tolist()
        return [
            f"[{', '.join(quoted[place] for place in places[end - count : end])}]"
            for end, count in zip(ends, counts.tolist(), strict=True)
        ]
