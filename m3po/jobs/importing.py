"""Bringing files in: read and checked in one thread, stored in another in small transactions beside the annotators."""

from __future__ import annotations

import json
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from m3po.errors import BadImageError, BadInputError, UsageError
from m3po.formats.blocks import RowBlock
from m3po.formats.imagefolder import METADATA
from m3po.formats.registry import read_in_blocks
from m3po.images import ImageInfo, inspect_image
from m3po.settings import IMPORT_FORMATS
from m3po.store import imports, instructions
from m3po.store.connection import Connection
from m3po.store.imports import Batch, BatchResult
from m3po.store.instructions import StoredImage
from m3po.store.workspace import Workspace
from m3po.types import SPLITS, ImportedRow, ImportReport, RefusedRow

BATCH = 2000  # rows a transaction, where they are read one by one; a block has a megabyte (m3po.formats.blocks)
REFUSED_SHOWN = 1000
REMEMBERED_IMAGES = 100_000

T = TypeVar("T")
Progress = Callable[[int], None]  # rows seen so far


def import_source(
    workspace: Workspace,
    path: Path,
    *,
    format: str = "auto",
    split: str | None = None,
    strict: bool = False,
    progress: Progress | None = None,
    refused_path: Path | None = None,
) -> ImportReport:
    """Import a file or folder; the same import twice adds nothing.

    `strict`: one refused row refuses all, and the rows go in by one transaction after the whole file was checked.
    `refused_path`: where every refused row is written, however many. Raises BadInputError for a file that is unusable
    as a whole, and, when strict, for its first bad row.
    """
    path = Path(path).expanduser().resolve()
    check_options(format, split)
    refused = Refused(refused_path)
    if not strict:
        return _import(workspace, path, format, split, workspace.db.write, progress, refused)

    def refuse(row: RefusedRow) -> BadInputError:
        return BadInputError(f"{path}, {row.row}: {row.reason} Nothing was imported, because of --strict.")

    # Most bad rows are found here, while nobody waits for the database.
    for row in read_in_blocks(path, format)[1]:
        if isinstance(row, RefusedRow):
            raise refuse(row)
        if progress:
            progress(0)

    def all_or_nothing(con: Connection) -> ImportReport:
        report = _import(workspace, path, format, split, lambda change: change(con), progress, refused)
        if report.refused:
            raise refuse(report.refused[0])
        return report

    return workspace.db.write(all_or_nothing)


def check_options(format: str, split: str | None) -> None:
    """Raise UsageError for a format or split that does not exist."""
    if split is not None and split not in SPLITS:
        raise UsageError(f"split = {split!r} cannot be used: choose one of {', '.join(SPLITS)}.")
    if format not in ("auto", *IMPORT_FORMATS):
        raise UsageError(f"format = {format!r} is not known: choose auto, {', '.join(IMPORT_FORMATS)}.")


def count_rows(path: Path) -> int:
    """Lines of a JSON Lines file or of a folder's metadata, for the bar; 0 where a look cannot tell."""
    path = path / METADATA if path.is_dir() else path
    if path.suffix != ".jsonl" or not path.is_file():
        return 0
    with path.open("rb") as file:
        return sum(data.count(b"\n") for data in iter(lambda: file.read(1 << 20), b""))


class Refused:
    """The refused rows: the first in memory, all of them counted and in a file (`{"row", "reason"}` a line)."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.count, self.first = path, 0, []
        if path:
            path.unlink(missing_ok=True)

    def add(self, rows: list[RefusedRow]) -> None:
        if not rows:
            return
        self.count += len(rows)
        self.first += rows[: REFUSED_SHOWN - len(self.first)]
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                for row in rows:
                    file.write(json.dumps({"row": row.row, "reason": row.reason}, ensure_ascii=False) + "\n")


@dataclass
class _Ready:
    """A batch to store, the names of its rows by their `n` there, and what became of the others."""

    batch: Batch
    row_name: Callable[[int], str]
    seen: int
    repeats: bool
    refused: list[tuple[int, RefusedRow]] = field(default_factory=list)
    warnings: dict[str, None] = field(default_factory=dict)

    def all_refused(self, result: BatchResult) -> list[RefusedRow]:
        """In the order of the file."""
        stored = [(n, RefusedRow(self.row_name(n), reason)) for n, reason in result.refused]
        return [row for _, row in sorted([*self.refused, *stored], key=lambda entry: entry[0])]


def _import(
    workspace: Workspace,
    path: Path,
    format: str,
    split: str | None,
    write: Callable[[Callable[[Connection], T]], T],
    progress: Progress | None,
    refused: Refused,
) -> ImportReport:
    """Batch by batch, each handed to `write`."""
    name, rows = read_in_blocks(path, format)
    source = write(lambda con: instructions.source_name(con, path, name))
    known = write(lambda con: imports.has_rows(con, source))
    added = there = seen = 0
    warnings: dict[str, None] = {}
    splits: Counter[str] = Counter()
    for ready in _ahead(_make_ready(workspace, rows)):
        new = not known and not ready.repeats
        result = write(lambda con, r=ready, new=new: imports.add_batch(con, source, r.batch, split=split, all_new=new))
        added += result.added
        there += result.already_there
        refused.add(ready.all_refused(result))
        if len(warnings) < REFUSED_SHOWN:
            warnings |= ready.warnings
        splits.update(result.splits)
        seen += ready.seen
        if progress:
            progress(seen)
    return ImportReport(
        source, added, there, tuple(refused.first), tuple(warnings)[:REFUSED_SHOWN], dict(splits), refused.count,
        str(refused.path) if refused.path and refused.count else "",
    )  # fmt: skip


def _ahead(items: Iterator[T]) -> Iterator[T]:
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


def _make_ready(workspace: Workspace, rows: Iterator[RowBlock | ImportedRow | RefusedRow]) -> Iterator[_Ready]:
    """Rows whose images are stored: blocks as they come, single rows in batches."""
    known: dict[Path, StoredImage] = {}
    single: list[ImportedRow | RefusedRow] = []
    for row in rows:
        if not isinstance(row, RowBlock):
            single.append(row)
            if len(single) < BATCH:
                continue
        if single:
            yield _ready_rows(workspace, single, known)
            single = []
        if isinstance(row, RowBlock):
            yield from _ready_block(workspace, row, known)
    if single:
        yield _ready_rows(workspace, single, known)


def _ready_rows(workspace: Workspace, rows: list[ImportedRow | RefusedRow], known: dict[Path, StoredImage]) -> _Ready:
    good, places, refused = [], [], []
    warnings: dict[str, None] = {}
    for place, row in enumerate(rows):
        if isinstance(row, RefusedRow):
            refused.append((place, row))
            continue
        try:
            good.append((row, [_stored(workspace, image, known=known) for image in row.images]))
            places.append(place)
        except BadImageError as error:  # it changed under our hands since the reader looked
            refused.append((place, RefusedRow(row.row, str(error))))
        warnings.update(dict.fromkeys(row.warnings))
    batch = imports.make_batch(good, places)
    return _Ready(batch, lambda n: rows[n].row, len(rows), True, refused, warnings)


def _ready_block(workspace: Workspace, block: RowBlock, known: dict[Path, StoredImage]) -> Iterator[_Ready]:
    table, seen = block.table, len(block.table)
    images: list[StoredImage] = []
    bad: dict[int, str] = {}
    for place, file in enumerate(block.files):
        try:
            # An image that the reader did not take stands in a row that is not in this block.
            images.append(_stored(workspace, *file, known=known) if file else StoredImage("", "", 0, 0, 0))
        except BadImageError as error:
            images.append(StoredImage("", "", 0, 0, 0))
            bad[place] = str(error)
    refused = []
    if bad:
        keep = []
        for n, places in zip(table["number"].to_pylist(), table["images"].to_pylist(), strict=True):
            reason = next((bad[place] for place in places if place in bad), None)
            keep.append(reason is None)
            refused += [] if reason is None else [(n, RefusedRow(f"line {n}", reason))]
        table = table.filter(pa.array(keep))
    rows = table.rename_columns({"number": "n"}).append_column("turns", pa.nulls(len(table), pa.string()))
    yield _Ready(
        Batch(rows, images), lambda n: f"line {n}", seen, block.repeats, refused, dict.fromkeys(block.warnings)
    )


def _stored(
    workspace: Workspace, path: Path, info: ImageInfo | None = None, *, known: dict[Path, StoredImage]
) -> StoredImage:
    """The image in the workspace; one that comes again is not copied again."""
    if path not in known:
        if len(known) >= REMEMBERED_IMAGES:
            known.clear()
        known[path] = workspace.store_image(path, info or inspect_image(path))  # its warnings came with the row
    return known[path]


def describe(report: ImportReport) -> dict:
    """The report as the run's result: counts, and the first refused rows with their reasons."""
    return {
        "source": report.source,
        "added": report.added,
        "already_there": report.already_there,
        "refused": [[row.row, row.reason] for row in report.refused],
        "n_refused": report.n_refused,
        "refused_file": report.refused_file,
        "warnings": list(report.warnings),
        "splits": report.splits,
        "message": summary(report),
    }


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def summary(report: ImportReport) -> str:
    """One sentence: how many went in, were there already, were refused."""
    parts = ["1 row went in" if report.added == 1 else f"{report.added} rows went in"]
    if report.splits:
        parts[0] += " (" + ", ".join(f"{n} {split}" for split, n in sorted(report.splits.items())) + ")"
    if report.already_there:
        parts.append(f"{report.already_there} {_were(report.already_there)} there already")
    if report.n_refused:
        parts.append(f"{report.n_refused} {_were(report.n_refused)} refused")
    return ", ".join(parts) + "."
