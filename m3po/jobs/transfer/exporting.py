"""Writing data sets out, in batches and bounded memory, never into a workspace.

OUT is a file (it has a suffix) or a folder; a folder gets a dataset card, selection.json, and its images beside it.
"""

from __future__ import annotations

import datetime as dt
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from m3po.errors import BadInputError, RunStopped, UsageError
from m3po.files import absolute
from m3po.formats.card import build_card
from m3po.formats.values import plain
from m3po.formats.writers import IMAGE_WAYS, WRITERS, write
from m3po.jobs.server_runs import Teller
from m3po.jobs.transfer.pushing import check_push, push_folder
from m3po.jobs.transfer.written import (
    CARD,
    MARK,
    Ledger,
    alone_in,
    check_images_folder,
    files_of,
    hash_file,
    is_as_written,
    read_written,
    share_images,
)
from m3po.scorer_spec import short_name
from m3po.settings import EXPORT_ONLY
from m3po.store import candidates, decisions, exports, runs, selections
from m3po.store.auto_accept import NO_SCORE, least_score, say_threshold
from m3po.store.connection import Connection
from m3po.store.workspace import Workspace, is_workspace
from m3po.text import counted

TELL_EVERY = 100  # rows
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
        raise UsageError(NO_SCORE)
    ways = WRITERS[format].ways
    if images and images not in ways:
        known = "is not known" if images not in IMAGE_WAYS else f"does not go with {format}"
        raise UsageError(f"images = {images!r} {known}: choose one of {', '.join(ways)}.")
    out = absolute(out)
    inside = next(filter(is_workspace, [out, *out.parents]), None)
    if inside:
        raise BadInputError(
            f"{out} lies inside the workspace {inside}, which an export must not touch: name another place."
        )
    if out.suffix and not is_folder(out) and out.suffix.lower() != WRITERS[format].suffix:
        suffix = WRITERS[format].suffix
        raise UsageError(f"{format} is written as {suffix}: name {out.with_suffix(suffix).name}, or a folder.")
    if is_folder(out) and out.is_dir() and any(out.iterdir()) and not (read_written(out) or (out / MARK).is_file()):
        raise BadInputError(f"{out} is not empty and no export: name a new or empty folder.")
    if (images or _usual_images(format, is_folder(out))) == "files":
        check_images_folder(out if is_folder(out) else out.parent)
    _check_replaced(workspace, out, format)
    if push:
        check_push(workspace.read_config(), push)
        if not is_folder(out):
            raise UsageError(f"--push uploads a folder, and {out.name} is a file: name a folder.")
    return out


def _check_replaced(workspace: Workspace, out: Path, format: str) -> None:
    """What would be replaced must be as an export of ours left it: what a person wrote over it is that person's."""
    if is_folder(out):
        written = read_written(out)
        there = (name for name in files_of(format) if (out / name).exists() or (out / name).is_symlink())
        theirs = [out / name for name in there if not is_as_written(out, name, written)]
    else:
        ours = workspace.written.get(str(out), set()) | workspace.db.read(
            lambda con: runs.written_hashes(con, str(out))
        )
        if out.exists() and not out.is_file():
            raise BadInputError(f"{out} is not a regular file: name a file to write.")
        theirs = [out] if out.exists() and not (ours and hash_file(out) in ours) else []
    if theirs:
        raise BadInputError(
            f"{theirs[0]} is there already and no export of ours wrote what it holds: move it away, or name another "
            "place."
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
    with alone_in(out) if folder else nullcontext() as ledger:
        result, named = _write(workspace, out, target, asked, progress, ledger)
        if push:
            result["pushed"] = push_folder(workspace.read_config(), out, push, list(files_of(format)), named)
            result["message"] += f" Uploaded to {result['pushed']}."
    return result


def _write(
    workspace: Workspace, out: Path, target: Path, asked: dict, progress: Progress | None, ledger: Ledger | None
) -> tuple[dict, set[str]]:
    selection = workspace.db.read(selections.latest_selection)
    format, only = asked["format"], asked["only"]
    total, rows, counts = _rows(workspace, format, only, selection)
    named: set[str] = set()
    check = partial(_check_replaced, workspace, out, format)  # once more at the end: a person may write meanwhile
    told = _told(rows, total, progress, check)
    count, left_out = write(format, told, target, asked["images"], named, ledger.note_image if ledger else None)
    result = {"rows": count, "path": str(out), **asked, "left_out": dict(left_out.most_common()), "total": total}
    if ledger:
        ledger.note(target.name, hash_file(target))
        _write_beside(workspace, ledger, target.name, result, selection, counts, named)
        ledger.clear(named)
    else:
        result["sha256"] = hash_file(out)
        workspace.written.setdefault(str(out), set()).add(result["sha256"])
        share_images(out.parent, named)
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


def _told(rows: Iterator[dict], total: int, progress: Progress | None, check: Callable[[], None]) -> Iterator[dict]:
    for number, row in enumerate(rows):
        if progress and number % TELL_EVERY == 0:
            progress(number, total)
        yield row
    if progress:
        progress(total, total)
    check()


def _write_beside(
    workspace: Workspace,
    ledger: Ledger,
    data_file: str,
    result: dict,
    selection: int | None,
    counts: dict[str, int],
    named: set[str],
) -> None:
    facts = workspace.db.read(lambda con: _facts(con, workspace, result, selection)) | {"counts": counts}
    truth = WRITERS[result["format"]].rows == "truth"
    ledger.write(CARD, build_card(facts, data_file, truth=truth))
    for name, text in WRITERS[result["format"]].beside.items():
        ledger.write(name, text(data_file))
    ledger.write_facts(plain(facts), named)


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
    threshold = say_threshold(con, selection) if result["only"] == "auto" else None
    return {
        "export": {name: result[name] for name in ("format", "only", "images", "rows", "left_out")},
        **({"accepted_without_eyes": threshold} if threshold else {}),
        "made_of": made_of,
        "verdicts": decisions.verdict_counts(con),
        "reasons": decisions.reason_counts(con),
        "selection": info,
    }


def _public_name(scorer: dict | None) -> str | None:
    """Without what is only of this machine: the folders that a model lies in, the address of a server."""
    return _ADDRESS.sub("", short_name(scorer["name"])) if scorer else None


def _sentence(result: dict) -> str:
    if not result["total"]:
        return f"0 rows written to {result['path']}: {_why_none(result)}."
    rows = counted(result["rows"], "row")
    left_out = "".join(f" {n} left out: {reason}." for reason, n in result["left_out"].items())
    return f"{rows} written to {result['path']}.{left_out}"


def _why_none(result: dict) -> str:
    if result["only"] != "all":
        return f"nothing is {result['only']} yet; review pairs, or export all"
    return {
        "pairs": "no pair trains yet; select, or decide on pairs in Review",
        "truth": "no question of the splits tune and heldout has a known answer; import some",
        "all": "the workspace has no instruction; import some",
    }[WRITERS[result["format"]].rows]


def command_line(workspace: Path, config: dict) -> str:
    """The command that does the same headless."""
    words = ["python", "-m", "m3po", "export", str(workspace), config["out"], "--format", config["format"]]
    for name in ("only", "images", "push"):
        if config[name] and config[name] != "all":
            words += [f"--{name}", config[name]]
    return shlex.join(words)
