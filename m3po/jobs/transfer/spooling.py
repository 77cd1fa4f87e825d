"""Batches that wait on disk until all of them are there: what goes in by one transaction is read before it begins."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from m3po.files import storage_error
from m3po.jobs.transfer.reading import Ready
from m3po.store.imports import Batch

IN_MEMORY = 32_000_000  # bytes; more goes to a nameless file, which ends with the process


class Spool:
    """Takes batches, then gives them back in their order; in `folder`, which has room for them as they go in later."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=folder)  # noqa: SIM115
        self._count = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def put(self, ready: Ready) -> None:
        """Raises StorageError on a full disk."""
        batch = ready.batch
        # As Arrow streams: a pickled slice would bring all of the table that it is a slice of.
        tables = [_pack(table) for table in (batch.rows, batch.answers, batch.ratings, batch.decisions)]
        try:
            pickle.dump((tables, batch.images, ready.names, ready.seen, ready.repeats, ready.warnings), self._file)
        except OSError as error:
            raise storage_error(self._folder, error) from error
        self._count += 1

    def __iter__(self) -> Iterator[Ready]:
        self._file.seek(0)
        for _ in range(self._count):
            tables, images, names, seen, repeats, warnings = pickle.load(self._file)
            rows, *others = map(_unpack, tables)
            yield Ready(Batch(rows, images, *others), names, seen, repeats, warnings=warnings)


def _pack(table: pa.Table) -> bytes:
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    return out.getvalue().to_pybytes()


def _unpack(data: bytes) -> pa.Table:
    with pa.ipc.open_stream(data) as stream:
        return stream.read_all()
