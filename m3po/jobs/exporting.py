"""Writing data sets out, in batches and bounded memory, never into a workspace.

OUT is a file (it has a suffix) or a folder; a folder gets a dataset card, selection.json, and its images beside it.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from m3po.errors import BadInputError, RunStopped, UsageError
from m3po.files import replace_file, storage_error
from m3po.formats.card import build_card
from m3po.formats.values import plain
from m3po.formats.writers import IMAGE_WAYS, WRITERS, write
from m3po.jobs.pushing import check_push, push_folder
from m3po.jobs.server_runs import Teller
from m3po.scorer_spec import short_name
from m3po.settings import EXPORT_ONLY
from m3po.store import candidates, decisions, exports, runs, selections
from m3po.store.auto_accept import least_score
from m3po.store.connection import Connection
from m3po.store.workspace import Workspace, is_workspace
from m3po.text import counted

FACTS = "selection.json"
CARD = "README.md"
MARK = ".m3po-export"  # there while an export is at work, and after one that broke off
BESIDE = {name: tuple(writer.beside) for name, writer in WRITERS.items()}
TELL_EVERY = 100  # rows
_OWN_IMAGE = re.compile(r"[0-9a-f]{64}\.[a-z0-9]{2,5}")
_ADDRESS = re.compile(r"@https?://\S+")

Progress = Callable[[int, int], None]  # rows done, of how many; may raise to stop


def check_export(
    workspace: Workspace, out: Path | str, *, format: str, only: str, images: str = "", push: str = ""
) -> Path:
    """The place that is written, absolute.

    Raises UsageError for a `format`, `only` or `images` that does not exist or does not go together, BadInputError for
    a place inside a workspace (this or another: its database may be open), a folder with other files, or a file that
    would be replaced and that no export wrote.
    """
    if format not in WRITERS:
        raise UsageError(f"format = {format!r} is not known: choose one of {', '.join(WRITERS)}.")
    if only not in EXPORT_ONLY:
        raise UsageError(f"only = {only!r} is not known: choose one of {', '.join(EXPORT_ONLY)}.")
    if WRITERS[format].rows == "truth" and only != "all":
        raise UsageError(f"only = {only!r} does not go with {format}: its rows are truth, which nobody reviews.")
    if only == "auto" and not workspace.db.read(_auto_accepts):
        raise UsageError("only = 'auto' takes pairs without eyes, and no score is set for that: see calibrate.")
    ways = WRITERS[format].ways
    if images and images not in ways:
        known = "is not known" if images not in IMAGE_WAYS else f"does not go with {format}"
        raise UsageError(f"images = {images!r} {known}: choose one of {', '.join(ways)}.")
    out = Path(out).expanduser().resolve()
    inside = next(filter(is_workspace, [out, *out.parents]), None)
    if inside:
        raise BadInputError(
            f"{out} lies inside the workspace {inside}, which an export must not touch: name another place."
        )
    if out.suffix and not is_folder(out) and out.suffix.lower() != WRITERS[format].suffix:
        suffix = WRITERS[format].suffix
        raise UsageError(f"{format} is written as {suffix}: name {out.with_suffix(suffix).name}, or a folder.")
    if is_folder(out) and out.is_dir() and any(out.iterdir()) and not _files_of_earlier(out):
        raise BadInputError(f"{out} is not empty and no export: name a new or empty folder.")
    _check_replaced(workspace, out, format)
    if push:
        check_push(workspace.read_config(), push)
        if not is_folder(out):
            raise UsageError(f"--push uploads a folder, and {out.name} is a file: name a folder.")
    return out


def _files_of_earlier(folder: Path) -> set[str]:
    """What exports into this folder wrote there, besides images, and those that broke off may have; else nothing."""
    formats = {*_formats_in(folder / FACTS, "export", "format"), *_formats_in(folder / MARK, "formats")}
    return {name for format in formats for name in _files_of(format)}


def _formats_in(path: Path, *keys: str) -> list[str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        for key in keys:
            found = found[key]
        return [name for name in WRITERS if name in ([found] if isinstance(found, str) else found)]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []


@contextmanager
def _alone_in(out: Path, format: str) -> Iterator[None]:
    """One export at a time writes into a folder; one that breaks off leaves its mark there, so that it can be done
    again. Raises BadInputError where another is at work, StorageError where nothing can be written."""
    path = out / MARK
    try:
        out.mkdir(parents=True, exist_ok=True)
        with path.open("a+", encoding="utf-8") as mark:
            try:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
                current = path.exists() and os.path.samestat(os.fstat(mark.fileno()), path.stat())
            except BlockingIOError:
                current = False
            if not current:  # held, or taken away by an export that ended at this moment
                raise BadInputError(f"Another export is writing into {out}: let it end, or name another folder.")
            formats = sorted({format, *_formats_in(path, "formats")})
            mark.truncate(0)
            mark.write(json.dumps({"formats": formats}) + "\n")
            mark.flush()
            yield
            path.unlink()
    except OSError as error:
        raise storage_error(out, error) from error


def _files_of(format: str) -> tuple[str, ...]:
    return (f"data{WRITERS[format].suffix}", FACTS, CARD, *BESIDE.get(format, ()))


def _check_replaced(workspace: Workspace, out: Path, format: str) -> None:
    if is_folder(out):
        earlier = _files_of_earlier(out)
        theirs = [out / name for name in _files_of(format) if name not in earlier and (out / name).exists()]
    else:
        ours = str(out) in workspace.written or workspace.db.read(lambda con: runs.has_written(con, str(out)))
        theirs = [out] if out.exists() and not ours else []
    if theirs:
        raise BadInputError(
            f"{theirs[0]} is there already and no export of ours wrote it: move it away, or name another place."
        )


def is_folder(out: Path) -> bool:
    """A name without a suffix is a folder; what is there already stays what it is."""
    return out.is_dir() or (not out.suffix and not out.exists())


def export(
    workspace: Workspace,
    out: Path | str,
    *,
    format: str = "m3po",
    only: str = "all",
    images: str = "",
    push: str = "",
    progress: Progress | None = None,
) -> dict:
    """Write to `out`; an existing export is replaced file by file, each in one step. `push`: OWNER/NAME on the hub.

    Returns `{"rows", "path", "format", "only", "images", "left_out": {reason: rows}, "message"}`. Raises as
    `check_export` does, and StorageError where nothing can be written.
    """
    out = check_export(workspace, out, format=format, only=only, images=images, push=push)
    folder = is_folder(out)
    images = images or _usual_images(format, folder)
    target = out / f"data{WRITERS[format].suffix}" if folder else out
    asked = {"format": format, "only": only, "images": images}
    with _alone_in(out, format) if folder else nullcontext():
        result, named = _write(workspace, out, target, asked, progress)
        if push:
            result["pushed"] = push_folder(workspace.read_config(), out, push, list(_files_of(format)), named)
            result["message"] += f" Uploaded to {result['pushed']}."
    return result


def _write(
    workspace: Workspace, out: Path, target: Path, asked: dict, progress: Progress | None
) -> tuple[dict, set[str]]:
    selection = workspace.db.read(selections.latest_selection)
    format, only = asked["format"], asked["only"]
    total, rows, counts = _rows(workspace, format, only, selection)
    earlier = _files_of_earlier(out)
    named: set[str] = set()
    count, left_out = write(format, _told(rows, total, progress), target, asked["images"], named)
    result = {"rows": count, "path": str(out), **asked, "left_out": dict(left_out.most_common()), "total": total}
    if target != out:
        _write_beside(workspace, out, target.name, result, selection, counts)
        _clear_earlier(out, earlier - set(_files_of(format)), named)
    else:
        workspace.written.add(str(out))
    return result | {"message": _sentence(result)}, named


def _usual_images(format: str, folder: bool) -> str:
    """Bytes where the format can hold them; else files in a folder, and paths beside a lone file."""
    ways = WRITERS[format].ways
    return next(way for way in ("bytes", "files" if folder else "paths", *ways) if way in ways)


def do_export(workspace: Workspace, config: dict, folder: Path, tell: Teller) -> tuple[dict, bool]:
    """A run of kind export (m3po.jobs.server_runs)."""
    options = {name: value for name, value in config.items() if name != "out"}
    try:
        return export(workspace, config["out"], **options, progress=tell), True
    except RunStopped:
        raise RunStopped(
            "Stopped by the user; nothing took the place of what was there. Resume to do it again."
        ) from None


def _auto_accepts(con: Connection) -> bool:
    return least_score(con, selections.latest_selection(con)) is not None


def _rows(
    workspace: Workspace, format: str, only: str, selection: int | None
) -> tuple[int, Iterator[dict], dict[str, int]]:
    """How many rows there are to look at, they, and the counts of the pairs at this very moment."""
    read, images = workspace.db.read, workspace.images
    kind = WRITERS[format].rows
    if kind == "pairs":
        pairs, counts = read(lambda con: exports.pairs_and_counts(con, selection, only))
        return len(pairs), exports.iter_pairs(read, pairs, images), counts
    counts = read(lambda con: decisions.pair_counts(con, selection, only))
    ids = read(exports.truth_ids) if kind == "truth" else read(lambda con: exports.instruction_ids(con, only))
    return len(ids), exports.iter_rows(read, ids, selection, images), counts


def _told(rows: Iterator[dict], total: int, progress: Progress | None) -> Iterator[dict]:
    for number, row in enumerate(rows):
        if progress and number % TELL_EVERY == 0:
            progress(number, total)
        yield row
    if progress:
        progress(total, total)


def _write_beside(
    workspace: Workspace, out: Path, data_file: str, result: dict, selection: int | None, counts: dict[str, int]
) -> None:
    facts = workspace.db.read(lambda con: _facts(con, workspace, result, selection)) | {"counts": counts}
    _write_text(out / FACTS, json.dumps(plain(facts), indent=2, ensure_ascii=False) + "\n")
    truth = WRITERS[result["format"]].rows == "truth"
    _write_text(out / CARD, build_card(facts, data_file, truth=truth))
    for name, text in WRITERS[result["format"]].beside.items():
        _write_text(out / name, text(data_file))


def _clear_earlier(out: Path, left: set[str], named: set[str]) -> None:
    """Remove what an earlier export into this folder wrote and this one did not (`left`): it would be taken for a part
    of it.

    Images are known by the names that exports give them, their own hashes; other files are left alone.
    """
    for name in left:
        (out / name).unlink(missing_ok=True)
    for path in (out / "images").glob("*"):
        if path.name not in named and _OWN_IMAGE.fullmatch(path.name):
            path.unlink()


def _facts(con: Connection, workspace: Workspace, result: dict, selection: int | None) -> dict:
    info = selections.selection_info(con, selection)
    scorers = {
        name: _public_name(candidates.scorer_info(con, info[f"{kind}_scorer"])) if info else None
        for kind, name in (("logp", "log-probs by"), ("mas", "MAS by"))
    }
    try:
        made_by = f"M3PO Studio {version('m3po-studio')}"
    except PackageNotFoundError:  # run from a checkout
        made_by = "M3PO Studio"
    made_of = {"made by": made_by, "made on": f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"}
    made_of |= {"imported from": ", ".join(exports.source_names(con)), **scorers}
    return {
        "export": {name: result[name] for name in ("format", "only", "images", "rows", "left_out")},
        "made_of": made_of,
        "verdicts": decisions.verdict_counts(con),
        "selection": info,
    }


def _public_name(scorer: dict | None) -> str | None:
    """Without what is only of this machine: the folders that a model lies in, the address of a server."""
    return _ADDRESS.sub("", short_name(scorer["name"])) if scorer else None


def _write_text(path: Path, text: str) -> None:
    with replace_file(path) as part:
        part.write_text(text, encoding="utf-8")


def _sentence(result: dict) -> str:
    rows = counted(result["rows"], "row")
    left_out = "".join(f" {n} left out: {reason}." for reason, n in result["left_out"].items())
    return f"{rows} written to {result['path']}.{left_out}"


def command_line(workspace: Path, config: dict) -> str:
    """The command that does the same headless."""
    words = ["python", "-m", "m3po", "export", str(workspace), config["out"], "--format", config["format"]]
    for name in ("only", "images", "push"):
        if config[name] and config[name] != "all":
            words += [f"--{name}", config[name]]
    return shlex.join(words)
