"""Bringing files in: read, copy the images content-addressed, store in small transactions beside the annotators."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import TypeVar

from m3po.errors import BadImageError, BadInputError, UsageError
from m3po.formats.hub import HubSource, parse_hub
from m3po.formats.registry import read_source
from m3po.images import ImageInfo, inspect_image
from m3po.settings import check_remote
from m3po.store import instructions
from m3po.store.connection import Connection
from m3po.store.instructions import StoredImage
from m3po.store.workspace import Workspace
from m3po.types import SPLITS, ImportReport, RefusedRow

BATCH = 200  # rows a transaction: a decision never waits longer than one of these
REFUSED_SHOWN = 1000

T = TypeVar("T")
Progress = Callable[[int], None]  # rows seen so far


def import_source(
    workspace: Workspace,
    source: Path | str,
    *,
    format: str = "auto",
    split: str | None = None,
    strict: bool = False,
    mapping: Mapping[str, str] | None = None,
    images: Path | str | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Import a file, a folder or a data set of the hub (`hub:owner/name`); the same import twice adds nothing.

    `mapping`: our fields to the source's columns, by hand. `images`: the folder that image paths start from.
    `strict`: one refused row refuses all, and the rows go in by one transaction after the whole file was checked.
    Raises BadInputError for a file that is unusable as a whole, and, when strict, for its first bad row.
    """
    path = locate(workspace, source)
    if split is not None and split not in SPLITS:
        raise UsageError(f"split = {split!r} cannot be used: choose one of {', '.join(SPLITS)}.")
    options = {"format": format, "mapping": mapping, "images": image_folder(images)}
    if not strict:
        return _import(workspace, path, options, split, workspace.db.write, progress)

    def refuse(row: RefusedRow) -> BadInputError:
        return BadInputError(f"{path}, {row.row}: {row.reason} Nothing was imported, because of --strict.")

    # Most bad rows are found here, while nobody waits for the database.
    for number, row in enumerate(read_source(path, **options, keep_image=_keep_nothing)[1], 1):
        if isinstance(row, RefusedRow):
            raise refuse(row)
        if progress and number % BATCH == 0:
            progress(0)

    def all_or_nothing(con: Connection) -> ImportReport:
        report = _import(workspace, path, options, split, lambda change: change(con), progress)
        if report.refused:
            raise refuse(report.refused[0])
        return report

    return workspace.db.write(all_or_nothing)


def locate(workspace: Workspace, source: Path | str) -> Path | HubSource:
    """An absolute path, or a data set of the hub. Raises UsageError for the latter where remote calls are forbidden."""
    named = parse_hub(source)
    if named is not None:
        check_remote(workspace.config, f"Reading {named}")
        return named
    return Path(source).expanduser().resolve()


def image_folder(images: Path | str | None) -> Path | None:
    """Raises UsageError when it is none."""
    if not images:
        return None
    folder = Path(images).expanduser().resolve()
    if not folder.is_dir():
        raise UsageError(f"images = {str(images)!r} is no folder: name the one that image paths start from.")
    return folder


def _keep_nothing(data: bytes, info: ImageInfo) -> Path:
    """While rows are only checked, what their images hold need not be written anywhere."""
    return Path(info.sha256)


def _import(
    workspace: Workspace,
    path: Path | HubSource,
    options: dict,
    split: str | None,
    write: Callable[[Callable[[Connection], T]], T],
    progress: Progress | None,
) -> ImportReport:
    """Batch by batch, each handed to `write`."""
    known: dict[Path, StoredImage] = {}

    def keep_image(data: bytes, info: ImageInfo) -> Path:
        place = workspace.store_image_bytes(data, info)
        _remember(known, place, StoredImage(info.sha256, info.suffix, info.width, info.height, info.n_bytes))
        return place

    name, rows = read_source(path, **options, keep_image=keep_image)
    source = write(lambda con: instructions.source_name(con, path, name))
    added = there = seen = 0
    refused: list[RefusedRow] = []
    warnings: list[str] = []
    splits: dict[str, int] = {}
    while batch := list(islice(rows, BATCH)):
        ready, bad = [], []
        for row in batch:
            if isinstance(row, RefusedRow):
                bad.append(row)
                continue
            try:
                ready.append((row, [_stored(workspace, image, known) for image in row.images]))
            except BadImageError as error:  # it changed under our hands since the reader looked
                bad.append(RefusedRow(row.row, str(error)))
            warnings += row.warnings
        result = write(lambda con, ready=ready: instructions.add_rows(con, source, ready, split=split))
        added += result.added
        there += result.already_there
        place = {row.row: number for number, row in enumerate(batch)}  # in the order of the file
        refused += sorted([*bad, *result.refused], key=lambda row: place[row.row])
        for key, count in result.splits.items():
            splits[key] = splits.get(key, 0) + count
        seen += len(batch)
        if progress:
            progress(seen)
    return ImportReport(source, added, there, tuple(refused), tuple(dict.fromkeys(warnings)), splits)


def _stored(workspace: Workspace, path: Path, known: dict[Path, StoredImage]) -> StoredImage:
    if path not in known:
        _remember(known, path, workspace.store_image(path, inspect_image(path)))  # its warnings came with the row
    return known[path]


def _remember(known: dict[Path, StoredImage], path: Path, image: StoredImage) -> None:
    if len(known) > 100_000:
        known.clear()  # bounded; an image that comes again is only looked at again
    known[path] = image


def command_line(workspace: Path, config: dict) -> str:
    """The command that does the same headless."""
    words = ["python", "-m", "m3po", "import", str(workspace), config["source"]]
    for name in ("format", "split", "images"):
        if config[name] and config[name] != "auto":
            words += [f"--{name}", config[name]]
    for field, column in (config["mapping"] or {}).items():
        words += ["--map", f"{field}={column}"]
    return shlex.join([*words, "--strict"] if config["strict"] else words)


def describe(report: ImportReport) -> dict:
    """The report as the run's result: counts, and the first refused rows with their reasons."""
    return {
        "source": report.source,
        "added": report.added,
        "already_there": report.already_there,
        "refused": [[row.row, row.reason] for row in report.refused[:REFUSED_SHOWN]],
        "n_refused": len(report.refused),
        "warnings": list(report.warnings[:REFUSED_SHOWN]),
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
    if report.refused:
        parts.append(f"{len(report.refused)} {_were(len(report.refused))} refused")
    return ", ".join(parts) + "."
