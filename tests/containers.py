"""The same rows in every container that they may lie in, for the tests of imports."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sources import read_source

from m3po.imported import ImportedRow, RefusedRow


def png(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(out, "PNG")
    return out.getvalue()


def make_folder(tmp_path: Path) -> Path:
    """The images that the rows name."""
    (tmp_path / "set" / "images").mkdir(parents=True)
    (tmp_path / "set" / "a.png").write_bytes(png("red"))
    (tmp_path / "set" / "images" / "b.png").write_bytes(png("blue"))
    return tmp_path / "set"


def read(path: object, format: str = "auto", **options) -> tuple[list[ImportedRow], list[RefusedRow]]:
    found = list(read_source(path, format, **options)[1])
    return [r for r in found if isinstance(r, ImportedRow)], [r for r in found if isinstance(r, RefusedRow)]


ROWS = [
    {"idx": "q1", "image": "a.png", "question": "What colour?", "chosen": "Red.", "rejected": "Blue.", "ds_name": "d"},
    {
        "idx": "q2",
        "image": "b.png",
        "question": 'Say "hi",\nthen go.',
        "chosen": "Hi",
        "rejected": "No",
        "ds_name": "d",
    },
]


def write_csv(path: Path, delimiter: str = ",") -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(ROWS[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)
    return path


def write_saved(path: Path, splits: bool = False) -> Path:
    from datasets import Dataset, DatasetDict

    parts = [Dataset.from_list(ROWS[:1]), Dataset.from_list(ROWS[1:])]
    if splits:
        DatasetDict({"train": parts[0], "test": parts[1]}).save_to_disk(str(path))
    else:
        Dataset.from_list(ROWS).save_to_disk(str(path), num_shards=2)
    for name in ("a.png", "b.png"):
        (path / name).write_bytes(
            (path.parent / name if name == "a.png" else path.parent / "images" / name).read_bytes()
        )
    return path


def write_parquet(path: Path, rows: list[dict] = ROWS, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path
