"""What a training run did to its pairs comes from its folder into the store: with its end, or when the app starts."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from m3po.errors import BadInputError, M3poError
from m3po.jobs.folder import RunFolder
from m3po.store import pair_changes
from m3po.store.connection import Connection, Database

log = logging.getLogger("m3po.jobs")

# Column of margins.parquet (m3po.training.logps.MARGINS) -> of the store.
_COLUMNS = {
    "instruction_id": "instruction_id", "chosen_id": "chosen", "rejected_id": "rejected",
    "logp_margin_before": "margin_before", "logp_margin_after": "margin_after", "reward_margin": "reward_margin",
}  # fmt: skip
_FIGURES = ("margin_before", "margin_after", "reward_margin")


def ingest_margins(con: Connection, run_id: int, folder: RunFolder) -> bool:
    """Store what the run did to each pair, once however often it is told; False where it left nothing, or all is there.

    Raises BadInputError for a file that cannot be read.
    """
    path = folder.path / "margins.parquet"
    if not path.exists() or pair_changes.is_measured(con, run_id):
        return False
    try:
        table = pq.read_table(path, columns=list(_COLUMNS)).rename_columns(list(_COLUMNS.values()))
    except (OSError, pa.ArrowException, ValueError) as error:
        raise BadInputError(
            f"What run {run_id} did to each pair cannot be read: restore {path.name} in its folder from a copy and "
            "start the app again."
        ) from error
    for name in _FIGURES:
        values = table[name].cast(pa.float64())
        finite = pc.if_else(pc.fill_null(pc.is_finite(values), False), values, pa.scalar(None, pa.float64()))
        table = table.set_column(table.column_names.index(name), name, finite)
    return pair_changes.add_changes(con, run_id, table)


def ingest_missing(db: Database, folder_of: Callable[[int], RunFolder]) -> None:
    """The same for finished runs of which nothing is stored: an older version did not. What cannot be read or stored is
    in the log; the app starts all the same."""
    for run_id in db.read(pair_changes.unmeasured_runs):
        try:
            if (folder_of(run_id).path / "margins.parquet").exists():
                db.write(lambda con, run_id=run_id: ingest_margins(con, run_id, folder_of(run_id)))
        except M3poError as error:
            log.warning("%s", error)
