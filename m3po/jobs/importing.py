"""Bringing files in: read and checked in one thread, stored in another in small transactions beside the annotators."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from m3po.errors import BadInputError, RunStopped, UsageError
from m3po.formats.containers import METADATA
from m3po.formats.hub import HubSource, parse_hub
from m3po.formats.registry import FORMATS, read_in_blocks
from m3po.images import ImageInfo
from m3po.jobs.reading import StoredPictures, make_ready, read_ahead
from m3po.jobs.server_runs import Teller
from m3po.settings import check_remote
from m3po.store import imports, instructions
from m3po.store.connection import Connection
from m3po.store.workspace import Workspace
from m3po.types import SPLITS, ImportReport, RefusedRow

REFUSED_SHOWN = 1000
REFUSED = "refused.jsonl"  # in the run's folder: every refused row
WAIT_SECONDS = 0.2  # between two looks at whether a waiting import shall stop

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
    refused_path: Path | None = None,
) -> ImportReport:
    """Import a file, a folder or a data set of the hub (`hub:owner/name`); the same import twice adds nothing.

    One at a time in a workspace: a second one waits, and can be stopped while it does.
    `mapping`: our fields to the source's columns, by hand. `images`: the folder that image paths start from.
    `strict`: one refused row refuses all, and the rows go in by one transaction after the whole file was checked.
    `refused_path`: where every refused row is written, however many. Raises BadInputError for a file that is unusable
    as a whole, and, when strict, for its first bad row.
    """
    path = locate(workspace, source, strict=strict)
    check_options(format, split)
    options = {"format": format, "mapping": mapping, "images": image_folder(images)}
    refused = Refused(refused_path)
    with _alone(workspace, progress):
        if strict:
            return _import_strictly(workspace, path, options, split, progress, refused)
        return _import(workspace, path, options, split, workspace.db.write, progress, refused)


@contextmanager
def _alone(workspace: Workspace, progress: Progress | None) -> Iterator[None]:
    """Taken before the database is: who has it to write never waits for another import."""
    while not workspace.importing.acquire(timeout=WAIT_SECONDS):
        if progress:
            progress(0)
    try:
        yield
    finally:
        workspace.importing.release()


def _import_strictly(
    workspace: Workspace,
    path: Path | HubSource,
    options: dict,
    split: str | None,
    progress: Progress | None,
    refused: Refused,
) -> ImportReport:
    """All rows in one transaction, or none."""

    def refuse(row: RefusedRow) -> BadInputError:
        return BadInputError(f"{path}, {row.row}: {row.reason} Nothing was imported, because of --strict.")

    # Most bad rows are found here, while nobody waits for the database.
    for row in read_in_blocks(path, **options, keep_image=_keep_nothing)[1]:
        if isinstance(row, RefusedRow):
            raise refuse(row)
        if progress:
            progress(0)

    def all_or_nothing(con: Connection) -> ImportReport:
        report = _import(workspace, path, options, split, lambda change: change(con), progress, refused)
        if report.refused:
            raise refuse(report.refused[0])
        return report

    return workspace.db.write(all_or_nothing)


def do_import(workspace: Workspace, config: dict, folder: Path, tell: Teller) -> tuple[dict, bool]:
    """A run of kind import (m3po.jobs.server_runs)."""
    options = {name: value for name, value in config.items() if name != "source"}
    total = count_rows(config["source"])

    def on_progress(done: int) -> None:
        # All or nothing is one transaction: from within it nothing can be told.
        tell.check() if config["strict"] else tell(done, total)

    try:
        report = import_source(
            workspace, config["source"], **options, progress=on_progress, refused_path=folder / REFUSED
        )
    except RunStopped:
        kept = "nothing went in" if config["strict"] else "the rows that went in are kept, resume to add the rest"
        raise RunStopped(f"Stopped by the user; {kept}.") from None
    result = describe(report)
    return result, bool(report.added or report.already_there)


def check_options(format: str, split: str | None) -> None:
    """Raise UsageError for a format or split that does not exist."""
    if split is not None and split not in SPLITS:
        raise UsageError(f"split = {split!r} cannot be used: choose one of {', '.join(SPLITS)}.")
    if format not in ("auto", *FORMATS):
        raise UsageError(f"Format {format!r} is not known: choose auto, {', '.join(FORMATS)}.")


def count_rows(source: str) -> int:
    """Lines of a JSON Lines file or of a folder's metadata, for the bar; 0 where a look cannot tell."""
    path = Path(source)
    path = path / METADATA[0] if path.is_dir() else path
    if path.suffix != ".jsonl" or not path.is_file():
        return 0
    with path.open("rb") as file:
        return sum(data.count(b"\n") for data in iter(lambda: file.read(1 << 20), b""))


def locate(workspace: Workspace, source: Path | str, *, strict: bool = False) -> Path | HubSource:
    """An absolute path, or a data set of the hub. Raises UsageError for the latter where remote calls are forbidden,
    and for a strict import, whose one transaction would wait for the network while others wait for it."""
    named = parse_hub(source)
    if named is not None:
        if strict:
            raise UsageError(
                f"--strict does not go with {named}: download it and name the file, or leave --strict out."
            )
        check_remote(workspace.read_config(), f"Reading {named}")
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


def _import(
    workspace: Workspace,
    path: Path | HubSource,
    options: dict,
    split: str | None,
    write: Callable[[Callable[[Connection], T]], T],
    progress: Progress | None,
    refused: Refused,
) -> ImportReport:
    """Batch by batch, each handed to `write`."""
    pictures = StoredPictures(workspace)
    name, rows = read_in_blocks(path, **options, keep_image=pictures.keep)
    source = write(lambda con: instructions.source_name(con, path, name))
    known = write(lambda con: imports.has_rows(con, source))
    added = there = seen = 0
    near = None
    warnings: dict[str, None] = {}
    splits: Counter[str] = Counter()
    for ready in read_ahead(make_ready(pictures, rows)):
        options = {"split": split, "all_new": not known and not ready.repeats, "near": near}
        result = write(lambda con, r=ready, o=options: imports.add_batch(con, source, r.batch, **o))
        near = result.near
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
        "refused": [[row.row, row.reason] for row in report.refused],
        "n_refused": report.n_refused,
        "refused_file": report.refused_file,
        "warnings": list(report.warnings),
        "splits": report.splits,
        "seen": report.added + report.already_there + report.n_refused,
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
    every = f" All of them are in {report.refused_file}." if report.n_refused > len(report.refused) else ""
    return ", ".join(parts) + "." + every
