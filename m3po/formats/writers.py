"""Which formats can be written, and the files that they lie in: the one door for exports.

A format is a function from a row to a record (m3po.formats.records); here are the containers (JSON Lines, a JSON list,
CSV, Parquet), written one record at a time, and how a record names its images.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import mimetypes
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from m3po.errors import BadInputError, CannotHoldError
from m3po.files import replace_file
from m3po.formats import argilla, label_studio, records, trl
from m3po.formats.values import plain
from m3po.images import encode_rgb

IMAGE_WAYS = ("files", "bytes", "paths")
REMEMBERED_BYTES = 64_000_000
GROUP_ROWS, GROUP_BYTES = 256, 32_000_000
_TEXT = pa.string()
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", _TEXT)])


@dataclass(frozen=True)
class Writer:
    """How a format is written. `rows`: `all` instructions, `pairs` that train, or `truth` of what is measured on;
    `images`: what is done with images unless it is asked otherwise, of the `ways` that it can."""

    label: str
    rows: str
    suffix: str
    record: Callable[[Mapping, list], dict]
    ways: tuple[str, ...] = ("files", "paths")
    schema: pa.Schema | None = None  # of a Parquet file
    originals: bool = False  # images as they came, not as RGB: our own reader turns them itself
    # Files that its readers want in the same folder: name -> the text, given the name of the data file.
    beside: Mapping[str, Callable[[str], str]] = field(default_factory=dict)


def _schema(columns: Mapping[str, pa.DataType]) -> pa.Schema:
    """With the note by which `datasets` knows that the struct of bytes is an image."""
    features = {name: {"_type": "Image"} if kind == _IMAGE else {"dtype": "string", "_type": "Value"}
                for name, kind in columns.items()}  # fmt: skip
    return pa.schema(columns.items(), metadata={"huggingface": json.dumps({"info": {"features": features}})})


_ORIGIN = dict.fromkeys(("ds_name", "origin_dataset", "origin_split", "idx", "split", "image_path"), _TEXT)
_RLHF_V = _schema({**_ORIGIN, "image": _IMAGE, "text": _TEXT})
_RLAIF_V = _schema({**_ORIGIN, "image": _IMAGE, "question": _TEXT, "chosen": _TEXT, "rejected": _TEXT})


def _to_m3po(row: Mapping, images: list) -> dict:
    return {name: value for name, value in row.items() if name != "content_hash"} | {"images": images}


WRITERS = {
    "m3po": Writer("M3PO (everything)", "all", ".jsonl", _to_m3po,
                   ("paths", "files"), originals=True),
    "trl": Writer("TRL preference", "pairs", ".parquet", trl.to_record, ("bytes",), trl.SCHEMA),
    "rlhf_v": Writer("RLHF-V", "pairs", ".parquet", records.to_rlhf_v, ("bytes", "files"), _RLHF_V),
    "rlaif_v": Writer("RLAIF-V", "pairs", ".parquet", records.to_rlaif_v, ("bytes", "files"), _RLAIF_V),
    "mmpr": Writer("MMPR", "pairs", ".jsonl", records.to_mmpr),
    "llamafactory": Writer("LLaMA-Factory ranking", "pairs", ".json", records.to_llamafactory,
                           beside={"dataset_info.json": records.write_dataset_info}),
    "ms_swift": Writer("ms-swift", "pairs", ".jsonl", records.to_ms_swift),
    "csv": Writer("CSV (question, chosen, rejected)", "pairs", ".csv", records.to_csv),
    "vlfeedback": Writer("VLFeedback", "all", ".jsonl", records.to_vlfeedback),
    "llava": Writer("LLaVA-instruct", "all", ".json", records.to_llava),
    "sharegpt": Writer("ShareGPT", "all", ".json", records.to_sharegpt),
    "pope": Writer("POPE (truth of yes/no questions)", "truth", ".jsonl", records.to_pope),
    "label_studio": Writer("Label Studio tasks", "all", ".json", label_studio.to_task, ("bytes", "files"),
                           beside={"labeling_config.xml": lambda _: label_studio.CONFIG}),
    "argilla": Writer("Argilla records", "all", ".json", argilla.to_record, ("bytes", "files")),
}  # fmt: skip


def write(
    format: str,
    rows: Iterable[dict],
    out: Path,
    images: str,
    named: set[str] | None = None,
    wrote: Callable[[str, bytes], None] | None = None,
) -> tuple[int, Counter[str]]:
    """Write the file `out` (its place is taken when it is whole), with `images` as in `Writer.ways`; images that are
    files go to `images/` beside it, `named` is told their names, and `wrote` which were not there. Returns how many
    records it has, and how many rows were left out, by reason.

    Raises StorageError, BadImageError for an image that has gone bad, and BadInputError where another file has the
    name of an image.
    """
    writer = WRITERS[format]
    files = _Files(out.parent, writer.originals, named if named is not None else set(), wrote)
    name_image = _namer(writer, images, files)
    left_out: Counter[str] = Counter()

    def make() -> Iterator[dict]:
        for row in rows:
            try:
                yield writer.record(row, [name_image(path) for path in row["images"]])
            except CannotHoldError as reason:
                left_out[str(reason)] += 1

    containers = {".jsonl": _write_lines, ".json": _write_list, ".csv": _write_csv}
    with replace_file(out) as part:
        if writer.schema is not None:
            count = _write_parquet(make(), part, writer.schema)
        else:
            count = containers[writer.suffix](make(), part)
    return count, left_out


def _write_lines(found: Iterator[dict], part: Path) -> int:
    count = 0
    with part.open("w", encoding="utf-8", newline="\n") as file:
        for record in found:
            file.write(_dump(record) + "\n")
            count += 1
    return count


def _write_list(found: Iterator[dict], part: Path) -> int:
    count = 0
    with part.open("w", encoding="utf-8", newline="\n") as file:
        file.write("[")
        for record in found:
            file.write((",\n" if count else "\n") + _dump(record))
            count += 1
        file.write("\n]\n")
    return count


def _write_csv(found: Iterator[dict], part: Path) -> int:
    count = 0
    with part.open("w", encoding="utf-8", newline="") as file:
        columns = ("id", "split", "image", "question", "chosen", "rejected")
        table = csv.DictWriter(file, columns, lineterminator="\n", quoting=csv.QUOTE_ALL)
        table.writeheader()
        for record in found:
            table.writerow(record)
            count += 1
    return count


def _write_parquet(found: Iterator[dict], part: Path, schema: pa.Schema) -> int:
    """By row group: memory does not grow with the number of rows."""
    count = size = 0
    group: list[dict] = []
    with pq.ParquetWriter(part, schema, compression="zstd") as file:
        for record in found:
            group.append(_as_structs(record, schema))
            size += sum(len(image["bytes"] or b"") for image in _images_of(group[-1]))
            count += 1
            if len(group) >= GROUP_ROWS or size >= GROUP_BYTES:
                file.write_table(pa.Table.from_pylist(group, schema=schema))
                group, size = [], 0
        if group:
            file.write_table(pa.Table.from_pylist(group, schema=schema))
    return count


def _as_structs(record: dict, schema: pa.Schema) -> dict:
    image = record.get("image")
    if "image" in schema.names and isinstance(image, str):  # a file beside
        return record | {"image": {"bytes": None, "path": image}}
    return record


def _images_of(record: dict) -> list[dict]:
    return record.get("images") or ([record["image"]] if record.get("image") else [])


def _dump(record: dict) -> str:
    return json.dumps(plain(record), ensure_ascii=False, allow_nan=False)


def _namer(writer: Writer, images: str, files: _Files) -> Callable[[str], str | dict]:
    """What a record says of an image of the workspace, and whatever must be written for it."""
    if images == "paths":
        return str
    if images == "files":
        return files
    encode = _Encoded()
    if writer.schema is not None:
        return encode
    return lambda path: _data_uri(encode(path))


class _Files:
    """Copies each image once into `images/`. A link would let who edits the export change the workspace."""

    def __init__(
        self, folder: Path, originals: bool, named: set[str], wrote: Callable[[str, bytes], None] | None
    ) -> None:
        self._folder, self._originals, self._named, self._wrote = folder, originals, named, wrote
        self._names: dict[str, str] = {}

    def __call__(self, path: str) -> str:
        if path not in self._names:
            data, name = (Path(path).read_bytes(), Path(path).name) if self._originals else encode_rgb(path)
            name = hashlib.sha256(data).hexdigest() + Path(name).suffix  # another encoding must not replace the first
            target = self._folder / "images" / name
            if not (target.is_file() and target.read_bytes() == data):
                if target.exists() or target.is_symlink():
                    raise BadInputError(f"{target} is another image: move it away, or name another place.")
                with replace_file(target) as part:
                    part.write_bytes(data)
                if self._wrote:
                    self._wrote(name, data)
            self._names[path] = f"images/{name}"
            self._named.add(name)
        return self._names[path]


class _Encoded:
    """The bytes of an image as models see it; those of the last ones are kept, for rows share images."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, dict] = OrderedDict()
        self._size = 0

    def __call__(self, path: str) -> dict:
        if path in self._known:
            self._known.move_to_end(path)
            return self._known[path]
        data, name = encode_rgb(path)
        self._known[path] = {"bytes": data, "path": name}
        self._size += len(data)
        while self._size > REMEMBERED_BYTES and len(self._known) > 1:
            self._size -= len(self._known.popitem(last=False)[1]["bytes"])
        return {"bytes": data, "path": name}


def _data_uri(image: dict) -> str:
    kind = mimetypes.guess_type(image["path"])[0] or "image/png"
    return f"data:{kind};base64,{base64.b64encode(image['bytes']).decode()}"
