"""Bringing files in: read and checked in one thread, stored in another in small transactions beside the annotators."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from m3po.errors import BadInputError, RunStopped, UsageError
from m3po.files import absolute
from m3po.formats.blocks import RowBlock
from m3po.formats.containers import METADATA
from m3po.formats.hub import HubSource, parse_hub
from m3po.formats.registry import FORMATS, Source, open_source
from m3po.images import ImageInfo
from m3po.imported import ImportReport, RefusedRow
from m3po.jobs.server_runs import Teller
from m3po.jobs.transfer.reading import Ready, StoredPictures, Warnings, make_ready, read_ahead
from m3po.jobs.transfer.spooling import Spool
from m3po.store import imports, instructions
from m3po.store.connection import Connection
from m3po.store.imports import BatchResult
from m3po.store.workspace import Workspace
from m3po.text import counted
from m3po.types import SPLITS
from m3po.workspace_config import check_remote

REFUSED_SHOWN = 1000
REFUSED = "refused.jsonl"  # in the run's folder: every refused row
WAIT_SECONDS = 0.2  # between two looks at whether a waiting import shall stop

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
    check: Callable[[], None] | None = None,
    refused_path: Path | None = None,
) -> ImportReport:
    """Import a file, a folder or a data set of the hub (`hub:owner/name`); the same import twice adds nothing.

    One at a time in a workspace: a second one waits, and can be stopped while it does.
    `mapping`: our fields to the source's columns, by hand. `images`: the folder that image paths start from.
    `strict`: one refused row refuses all, and the rows go in by one transaction after the whole file was read.
    `progress` and `check` may raise to stop; within that transaction only `check` is called. `refused_path`: where
    every refused row is written, however many. Raises BadInputError for a file that is unusable as a whole, and, when
    strict, for its first bad row.
    """
    path = locate(workspace, source, strict=strict)
    check_options(format, split)
    folder = image_folder(images)
    progress, check = progress or (lambda done: None), check or (lambda: None)
    with _alone(workspace, progress):
        opened = open_source(path, format, mapping)
        intake = Intake(path, opened, split, Refused(refused_path))
        if strict:
            _import_strictly(workspace, folder, intake, progress, check)
        else:
            _import(workspace, folder, intake, progress)
    return intake.report()


@contextmanager
def _alone(workspace: Workspace, progress: Progress) -> Iterator[None]:
    """Taken before the database is: who has it to write never waits for another import."""
    while not workspace.importing.acquire(timeout=WAIT_SECONDS):
        progress(0)
    try:
        yield
    finally:
        workspace.importing.release()


def _import(workspace: Workspace, images: Path | None, intake: Intake, progress: Progress) -> None:
    """Batch by batch, each in a transaction of its own, read ahead while the one before is stored."""
    pictures = StoredPictures(workspace)
    workspace.db.write(intake.begin)
    for ready in read_ahead(make_ready(pictures, intake.opened.blocks(pictures.keep, images))):
        result = workspace.db.write(lambda con, r=ready: intake.add(con, r))
        intake.note(ready, result)
        progress(intake.seen)


def _import_strictly(
    workspace: Workspace, images: Path | None, intake: Intake, progress: Progress, check: Callable[[], None]
) -> None:
    """All rows in one transaction, or none: it begins when every image was looked at and every row waits."""

    def refuse(row: RefusedRow) -> BadInputError:
        return BadInputError(f"{intake.path}, {row.row}: {row.reason} Nothing was imported, because of --strict.")

    checked = 0  # first without a trace, for most files that are refused have a bad row
    for row in intake.opened.blocks(_keep_nothing, images):
        if isinstance(row, RefusedRow):
            raise refuse(row)
        checked += len(row.table) if isinstance(row, RowBlock) else 1
        progress(checked // 2)
    pictures, seen = StoredPictures(workspace), 0
    with Spool(workspace.path) as waiting:
        for ready in make_ready(pictures, intake.opened.blocks(pictures.keep, images)):
            if ready.refused:  # the file changed since
                raise refuse(ready.refused[0][1])
            waiting.put(ready)
            seen += ready.seen
            progress((checked + seen) // 2)

        def all_or_nothing(con: Connection) -> None:
            intake.begin(con)
            for ready in waiting:
                check()
                intake.note(ready, intake.add(con, ready))
                if intake.refused.count:
                    raise refuse(intake.refused.first[0])

        workspace.db.write(all_or_nothing)


def do_import(workspace: Workspace, config: dict, folder: Path, tell: Teller) -> tuple[dict, bool]:
    """A run of kind import (m3po.jobs.server_runs)."""
    options = {name: value for name, value in config.items() if name != "source"}
    total = count_rows(config["source"])
    told = {"progress": lambda done: tell(done, total), "check": tell.check}
    try:
        report = import_source(workspace, config["source"], **options, **told, refused_path=folder / REFUSED)
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
    and for a strict import, which reads everything twice."""
    named = parse_hub(source)
    if named is not None:
        if strict:
            raise UsageError(
                f"--strict does not go with {named}: download it and name the file, or leave --strict out."
            )
        check_remote(workspace.read_config(), f"Reading {named}")
        return named
    return absolute(source)


def image_folder(images: Path | str | None) -> Path | None:
    """Raises UsageError when it is none."""
    if not images:
        return None
    folder = absolute(images)
    if not folder.is_dir():
        raise UsageError(f"images = {str(images)!r} is no folder: name the one that image paths start from.")
    return folder


def freeze_options(
    workspace: Workspace,
    source: Path | str,
    *,
    format: str = "auto",
    split: str | None = None,
    strict: bool = False,
    mapping: Mapping[str, str] | None = None,
    images: Path | str | None = None,
) -> dict:
    """The config of a background import, as do_import reads it; raises as import_source does, before anything is
    read."""
    check_options(format, split)
    place = locate(workspace, source, strict=strict)
    if isinstance(place, Path) and not place.exists():
        raise BadInputError(f"{source} does not exist: correct the path.")
    folder = image_folder(images)
    config = {"source": str(place), "format": format, "split": split, "strict": strict}
    return config | {"mapping": mapping or None, "images": str(folder) if folder else None}


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


class Intake:
    """What has gone in so far, and how the next batch does."""

    def __init__(self, path: Path | HubSource, opened: Source, split: str | None, refused: Refused) -> None:
        self.path, self.opened, self.split, self.refused = path, opened, split, refused
        self.source, self.known, self.near = "", True, None
        self.added = self.there = self.seen = 0
        self.splits: Counter[str] = Counter()
        self.votes: Counter[str] = Counter()
        self.warnings: Warnings = {}

    def begin(self, con: Connection) -> None:
        self.source = instructions.source_name(con, self.path, self.opened.name)
        self.known = imports.has_rows(con, self.source)

    def add(self, con: Connection, ready: Ready) -> BatchResult:
        all_new = not self.known and not ready.repeats
        return imports.add_batch(con, self.source, ready.batch, split=self.split, all_new=all_new, near=self.near)

    def note(self, ready: Ready, result: BatchResult) -> None:
        """Count a batch that was added."""
        self.near = result.near
        self.added += result.added
        self.there += result.already_there
        self.refused.add(ready.all_refused(result))
        self.splits.update(result.splits)
        self.votes.update(result.votes)
        self.seen += ready.seen
        for text, (row, count) in ready.warnings.items():
            if text in self.warnings or len(self.warnings) < REFUSED_SHOWN:
                first, before = self.warnings.get(text, (row, 0))
                self.warnings[text] = first, before + count

    def report(self) -> ImportReport:
        warnings = [f"{_rows_named(*about)}: {text}" for text, about in self.warnings.items()]
        refused = self.refused
        return ImportReport(
            self.source, self.added, self.there, tuple(refused.first), (*self.opened.notes, *warnings),
            dict(self.splits), refused.count, str(refused.path) if refused.path and refused.count else "",
            self.votes.total(), len(self.votes),
        )  # fmt: skip


def _rows_named(first: str, count: int) -> str:
    return first if count == 1 else f"{first} and {counted(count - 1, 'more row')}"


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
        "decisions": report.decisions,
        "seen": report.added + report.already_there + report.n_refused,
        "message": summary(report),
    }


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def summary(report: ImportReport) -> str:
    """One sentence: how many went in, were there already, were refused."""
    parts = [f"{counted(report.added, 'row')} went in"]
    if report.splits:
        parts[0] += " (" + ", ".join(f"{n} {split}" for split, n in sorted(report.splits.items())) + ")"
    if report.already_there:
        parts.append(f"{report.already_there} {_were(report.already_there)} there already")
    if report.decisions:
        parts.append(f"{counted(report.decisions, 'decision')} by {counted(report.annotators, 'annotator')} came in")
    if report.n_refused:
        parts.append(f"{report.n_refused} {_were(report.n_refused)} refused")
    every = f" All of them are in {report.refused_file}." if report.n_refused > len(report.refused) else ""
    return ", ".join(parts) + "." + every
