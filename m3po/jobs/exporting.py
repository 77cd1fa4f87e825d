"""Writing files out: what a workspace knows, or its curated pairs, never into a workspace."""

from __future__ import annotations

from pathlib import Path

from m3po.errors import BadInputError, UsageError
from m3po.formats.m3po import write_m3po
from m3po.formats.trl import write_trl
from m3po.settings import EXPORT_FORMATS, EXPORT_ONLY
from m3po.store import exports, selections
from m3po.store.workspace import Workspace, is_workspace


def export(workspace: Workspace, out: Path | str, *, format: str, only: str) -> dict:
    """Write to `out` in one step; returns `{"rows", "path", "format", "only"}`.

    Raises UsageError for a `format` or `only` that does not exist, BadInputError for a place inside a workspace (this
    or another: its database may be open), StorageError where nothing can be written.
    """
    if format not in EXPORT_FORMATS:
        raise UsageError(f"format = {format!r} is not known: choose one of {', '.join(EXPORT_FORMATS)}.")
    if only not in EXPORT_ONLY:
        raise UsageError(f"only = {only!r} is not known: choose one of {', '.join(EXPORT_ONLY)}.")
    out = Path(out).expanduser().resolve()
    inside = next(filter(is_workspace, out.parents), None)
    if inside:
        raise BadInputError(
            f"{out} lies inside the workspace {inside}, which an export must not touch: name another place."
        )
    read, images = workspace.db.read, workspace.images
    selection = read(selections.latest_selection)
    if format == "m3po":
        ids = read(lambda con: exports.instruction_ids(con, only))
        rows = write_m3po(exports.iter_rows(read, ids, selection, images), out)
    else:
        rows = write_trl(exports.iter_pairs(read, selection, only, images), out)
    return {"rows": rows, "path": str(out), "format": format, "only": only}
