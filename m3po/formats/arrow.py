"""Records from Arrow tables: Parquet files here or on the hub, and data sets that `datasets` saved on disk.

`datasets` itself would bring torch into the page's process; what it writes is plain Arrow, which pyarrow reads. Rows
are taken a few at a time: of a Parquet file one row group at most is in memory, and only what its pages ask for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from m3po.errors import BadInputError

ROWS = 32  # taken at a time; with an image in each they are some megabytes
BUFFER = 1_000_000  # bytes of a column read at a time: where a row group has several pages, it is not read whole


class UnreachableError(BadInputError):
    """What an opener's file raises when the place that it is read from does not answer."""


Records = Iterator[tuple[str, dict | BadInputError]]
Opener = tuple[str, Callable[[], Any]]  # a file's name, and how it is opened for reading bytes


def read_parquet(files: Sequence[Opener]) -> Records:
    """Yield ("row 1", record) counting through all files; rows that cannot be decoded come as BadInputError.

    Raises BadInputError for a first file that is no Parquet at all.
    """
    first = _open_parquet(*files[0])  # now, so that the file as a whole is refused before its first row
    return _read_parquet(files, first)


def _read_parquet(files: Sequence[Opener], first: pq.ParquetFile) -> Records:
    number = 0
    for place, (name, opener) in enumerate(files):
        try:
            file = first if place == 0 else _open_parquet(name, opener)
        except BadInputError as error:
            yield f"row {number + 1}", BadInputError(f"{str(error).rstrip('.')}; the rows of that file are left out")
            continue
        before = number
        try:
            for group in range(file.num_row_groups):
                end = number + file.metadata.row_group(group).num_rows
                try:
                    for batch in file.iter_batches(batch_size=ROWS, row_groups=[group], use_threads=False):
                        yield from _records(batch, number)
                        number += batch.num_rows
                except UnreachableError as error:  # whoever does not answer now is not asked for every group
                    rows = f"rows {number + 1:,} to {before + file.metadata.num_rows:,} are not read"
                    yield f"row {number + 1}", BadInputError(f"{rows}: {error}")
                    break
                except (pa.ArrowException, OSError, ValueError) as error:
                    yield f"row {number + 1}", _damaged(name, number + 1, end, error)
                    number = end
            number = before + file.metadata.num_rows
        finally:
            file.close(force=True)  # what an opener opened, too


def _open_parquet(name: str, opener: Callable[[], Any]) -> pq.ParquetFile:
    handle = opener()
    try:
        file = pq.ParquetFile(handle, buffer_size=BUFFER, pre_buffer=False)
        names = file.schema_arrow.names
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadInputError(f"{name} cannot be read as Parquet ({words_of(error)}): write it again.") from error
    twice = next((column for column in names if names.count(column) > 1), None)
    if twice is not None:
        file.close(force=True)
        raise BadInputError(f"{name} has the column {twice!r:.80} twice: give each column a name of its own.")
    return file


def saved_files(folder: Path) -> list[Path] | None:
    """The Arrow files of a data set saved by `save_to_disk` (of one or of several splits); None for another folder.

    Raises BadInputError where it says that it is one and is not whole.
    """
    if (folder / "dataset_dict.json").is_file():
        splits = _read_json(folder / "dataset_dict.json").get("splits")
        if not isinstance(splits, list) or not all(isinstance(name, str) for name in splits):
            raise BadInputError(f"{folder / 'dataset_dict.json'} names no splits: save the data set again.")
        return [path for name in splits for path in _files_of_split(folder, name)]
    if not ((folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()):
        return None
    state = _read_json(folder / "state.json")
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise BadInputError(f"{folder} was saved by an old version of datasets: load it and save it again.")
    try:
        files = [folder / Path(entry["filename"]).name for entry in state["_data_files"]]
    except (KeyError, TypeError) as error:
        raise BadInputError(f"{folder / 'state.json'} names no data files: save the data set again.") from error
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise BadInputError(f"{folder} lacks its file {missing[0]}: copy the whole folder.")
    return files


def _files_of_split(folder: Path, name: str) -> list[Path]:
    if name in ("", ".", "..") or {"/", "\\", "\0"} & set(name):
        raise BadInputError(
            f"{folder / 'dataset_dict.json'} names the split {name[:100]!r}, which is no folder in it: name its own "
            "folders there, or save the data set again."
        )
    # A split that names splits in turn would never end where one is a link to the folder that it lies in.
    files = None if (folder / name / "dataset_dict.json").is_file() else saved_files(folder / name)
    if files is None:
        raise BadInputError(f"{folder} lacks its split {name[:100]!r}: copy the whole folder.")
    return files


def read_saved(files: Sequence[Path]) -> Records:
    """Yield ("row 1", record) of Arrow stream files, counting through all of them."""
    number = 0
    for path in files:
        try:
            with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
                for batch in reader:
                    for start in range(0, batch.num_rows, ROWS):
                        yield from _records(batch.slice(start, ROWS), number + start)
                    number += batch.num_rows
        except (pa.ArrowException, OSError, ValueError) as error:
            yield (
                f"row {number + 1}",
                BadInputError(f"{path.name} is damaged from here on ({words_of(error)}); save the data set again"),
            )


def _records(batch: pa.RecordBatch, before: int) -> Records:
    try:
        values: list = batch.to_pylist()
    except ValueError:  # one row's text is no UTF-8: the others are good
        values = [_one(batch.slice(place, 1)) for place in range(batch.num_rows)]
    for number, value in enumerate(values, before + 1):
        yield f"row {number}", value


def _one(row: pa.RecordBatch) -> dict | BadInputError:
    try:
        return row.to_pylist()[0]
    except ValueError as error:
        return BadInputError(f"it cannot be decoded ({words_of(error)}); write its text as UTF-8")


def _read_json(path: Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInputError(f"{path} cannot be read ({words_of(error)}): save the data set again.") from error
    return value if isinstance(value, dict) else {}


def _damaged(name: str, start: int, end: int, error: Exception) -> BadInputError:
    rows = f"rows {start:,} to {end:,}" if end > start else f"row {start:,}"
    return BadInputError(f"{rows} of {name} cannot be read ({words_of(error)}); write the file again")


def words_of(error: Exception) -> str:
    """The first line of another library's message, short."""
    return (str(error).strip().split("\n")[0] or type(error).__name__)[:150].rstrip(".")
