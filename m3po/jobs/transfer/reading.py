"""Rows on their way from the reader into the store: their images stored, in batches, ahead of the database."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from m3po.errors import BadImageError
from m3po.formats.blocks import RowBlock
from m3po.images import ImageInfo, inspect_image
from m3po.imported import ImportedRow, RefusedRow
from m3po.store import imports
from m3po.store.imports import Batch, BatchResult
from m3po.store.instructions import StoredImage
from m3po.store.workspace import Workspace

BATCH = 2000  # rows a transaction, where they are read one by one; a block has its own size (m3po.formats.blocks)
REMEMBERED_IMAGES = 100_000

T = TypeVar("T")
Warnings = dict[str, tuple[str, int]]


class StoredPictures:
    """Puts images into the workspace; one that comes again is not copied again."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._known: dict[Path, StoredImage] = {}

    def keep(self, data: bytes, info: ImageInfo) -> Path:
        """Bytes of a data set (m3po.formats.pictures.KeepImage)."""
        place = self._workspace.store_image_bytes(data, info)
        self._remember(place, StoredImage(info.sha256, info.suffix, info.width, info.height, info.n_bytes))
        return place

    def store(self, path: Path, info: ImageInfo | None = None) -> StoredImage:
        """A file. Raises BadImageError when it changed under our hands since the reader looked."""
        if path not in self._known:
            self._remember(path, self._workspace.store_image(path, info or inspect_image(path)))
        return self._known[path]

    def _remember(self, path: Path, image: StoredImage) -> None:
        if len(self._known) >= REMEMBERED_IMAGES:
            self._known.clear()  # bounded; an image that comes again is only looked at again
        self._known[path] = image


@dataclass
class Ready:
    """A batch to store, its rows' names by their `n` there (None: `n` is the line), and what became of the others.

    `warnings`: each with the first row that it is about, and how many there are.
    """

    batch: Batch
    names: Sequence[str] | None
    seen: int
    repeats: bool
    refused: list[tuple[int, RefusedRow]] = field(default_factory=list)
    warnings: Warnings = field(default_factory=dict)

    def row_name(self, n: int) -> str:
        return f"line {n}" if self.names is None else self.names[n]

    def all_refused(self, result: BatchResult) -> list[RefusedRow]:
        """In the order of the file."""
        stored = [(n, RefusedRow(self.row_name(n), f"{reason.rstrip('.')}.")) for n, reason in result.refused]
        return [row for _, row in sorted([*self.refused, *stored], key=lambda entry: entry[0])]


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, made by a thread of its own while the one before is stored."""
    made: queue.Queue = queue.Queue(maxsize=2)
    given_up = threading.Event()

    def put(item: object) -> None:
        while not given_up.is_set():
            try:
                return made.put(item, timeout=0.2)
            except queue.Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put((item, None))
                if given_up.is_set():
                    return
            put((None, StopIteration()))
        except BaseException as error:
            put((None, error))

    thread = threading.Thread(target=make, name="import-reader", daemon=True)
    thread.start()
    try:
        while True:
            item, error = made.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        given_up.set()
        thread.join()


def make_ready(pictures: StoredPictures, rows: Iterator[RowBlock | ImportedRow | RefusedRow]) -> Iterator[Ready]:
    """Rows whose images are stored, in the order of the file: blocks as they come, single rows in batches.

    What refused rows alone cut apart goes in as one again: a broken row must not cost a transaction of its own.
    """
    single: list[ImportedRow | RefusedRow] = []
    blocks: list[RowBlock] = []  # while there are some, there is nothing in `single`
    between: list[RefusedRow] = []  # among them
    for row in rows:
        if blocks and isinstance(row, RefusedRow) and len(between) < BATCH:
            between.append(row)
            continue
        if blocks and isinstance(row, RowBlock) and row.files is blocks[0].files:
            blocks.append(row)
            continue
        if blocks:
            yield _ready_blocks(pictures, blocks, between)
            blocks, between = [], []
        if single and (isinstance(row, RowBlock) or len(single) >= BATCH):
            yield _ready_rows(pictures, single)
            single = []
        if isinstance(row, RowBlock):
            blocks.append(row)
        else:
            single.append(row)
    if blocks:
        yield _ready_blocks(pictures, blocks, between)
    if single:
        yield _ready_rows(pictures, single)


def _ready_rows(pictures: StoredPictures, rows: list[ImportedRow | RefusedRow]) -> Ready:
    good, places, refused = [], [], []
    warnings: Warnings = {}
    for place, row in enumerate(rows):
        if isinstance(row, RefusedRow):
            refused.append((place, row))
            continue
        try:
            good.append((row, [pictures.store(image) for image in row.images]))
            places.append(place)
        except BadImageError as error:
            refused.append((place, RefusedRow(row.row, str(error))))
        for text in row.warnings:
            first, count = warnings.get(text, (row.row, 0))
            warnings[text] = first, count + 1
    batch = imports.make_batch(good, places)
    return Ready(batch, [row.row for row in rows], len(rows), True, refused, warnings)


def _ready_blocks(pictures: StoredPictures, blocks: list[RowBlock], between: list[RefusedRow]) -> Ready:
    """Blocks of the same files, and the refused rows among them."""
    block = blocks[0]
    table = pa.concat_tables([each.table for each in blocks])
    seen, repeats = len(table) + len(between), any(each.repeats for each in blocks)
    images: list[StoredImage] = []
    bad: dict[int, str] = {}
    for place, file in enumerate(block.files):
        try:
            # An image that the reader did not take stands in a row that is not in this block.
            images.append(pictures.store(*file) if file else StoredImage("", "", 0, 0, 0))
        except BadImageError as error:
            images.append(StoredImage("", "", 0, 0, 0))
            bad[place] = str(error)
    refused = [(int(row.row.removeprefix("line ")), row) for row in between]
    if bad:
        keep = []
        for n, places in zip(table["number"].to_pylist(), table["images"].to_pylist(), strict=True):
            reason = next((bad[place] for place in places if place in bad), None)
            keep.append(reason is None)
            refused += [] if reason is None else [(n, RefusedRow(f"line {n}", reason))]
        table = table.filter(pa.array(keep))
    rows = table.rename_columns({"number": "n"})
    for name in ("turns", "of_source", "of_id", "of_content"):
        rows = rows.append_column(name, pa.nulls(len(table), pa.string()))
    return Ready(Batch(rows, images), None, seen, repeats, refused, _together(each.warnings for each in blocks))


def _together(parts: Iterable[Warnings]) -> Warnings:
    """Each warning with its first row, and how many there are in all parts."""
    warnings: Warnings = {}
    for part in parts:
        for text, (first, count) in part.items():
            before = warnings.get(text, (first, 0))
            warnings[text] = before[0], before[1] + count
    return warnings
