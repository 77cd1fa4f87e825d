"""Images, instructions and their truth: what imports bring in, and how it is read back."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from m3po.errors import BadInputError
from m3po.store.connection import Connection, among, one, registered, rows, scalar
from m3po.text import build_messages, check_typed
from m3po.types import SPLITS, ImageRef, Instruction, Turn


@dataclass(frozen=True)
class StoredImage:
    """An image file that lies in the workspace already; sizes in pixels, EXIF orientation applied."""

    sha256: str
    suffix: str
    width: int
    height: int
    n_bytes: int


def now() -> dt.datetime:
    """UTC without a zone, as DuckDB's TIMESTAMP keeps it."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


def source_name(con: Connection, path: Path, wanted: str) -> str:
    """The name under which rows of `path` are known: the same path keeps its name, another gets a fresh one."""
    known = scalar(con, "SELECT source FROM sources WHERE path = ?", [str(path)])
    if known:
        return known
    taken = {row["source"] for row in rows(con, "SELECT source FROM sources")}
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}-{number}", number + 1
    con.execute("INSERT INTO sources VALUES (?, ?, ?)", [name, str(path), now()])
    return name


def split_by_hash(sha256: str) -> str:
    """80 / 10 / 10 by the image's own hash, so that rows that share an image share its split."""
    bucket = int(hashlib.sha256(f"split:{sha256}".encode()).hexdigest()[:8], 16) % 10
    return "heldout" if bucket == 0 else "tune" if bucket == 1 else "train"


def fresh_split(instruction: str, sha256: str | None) -> str:
    """Of a row whose first image (None: it has none) is in no split yet."""
    return split_by_hash(sha256 or hashlib.sha256(instruction.encode()).hexdigest())


class Images:
    """Where the workspace's image files lie: `images/<first two>/<sha256><suffix>`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, sha256: str, suffix: str) -> Path:
        return self.root / sha256[:2] / f"{sha256}{suffix}"


def image_by_sha(con: Connection, sha256: str, images: Images) -> ImageRef | None:
    row = one(con, "SELECT * FROM images WHERE sha256 = ?", [sha256])
    return _image_ref(row, images) if row else None


def image_refs(con: Connection, image_ids: Sequence[int], images: Images) -> dict[int, ImageRef]:
    """Stored images by id."""
    found = rows(con, f"SELECT * FROM images WHERE {among('image_id', set(image_ids))}")
    return {row["image_id"]: _image_ref(row, images) for row in found}


def image_paths(con: Connection, image_ids: Sequence[int], images: Images) -> dict[int, str]:
    """Where stored images lie, by id."""
    sql = "SELECT image_id, sha256, suffix FROM images WHERE image_id IN (SELECT unnest(?::BIGINT[]))"
    found = rows(con, sql, [list(set(image_ids))])
    return {row["image_id"]: str(images.path(row["sha256"], row["suffix"])) for row in found}


def _image_ref(row: dict, images: Images) -> ImageRef:
    return ImageRef(row["sha256"], images.path(row["sha256"], row["suffix"]), row["width"], row["height"])


def read_instruction(con: Connection, instruction_id: int, images: Images) -> Instruction | None:
    """One instruction with its images, or None."""
    return read_instructions(con, [instruction_id], images).get(instruction_id)


def read_instructions(con: Connection, instruction_ids: Sequence[int], images: Images) -> dict[int, Instruction]:
    """Those that there are, with their images, by id."""
    known = rows(con, f"SELECT * FROM instructions WHERE {among('instruction_id', instruction_ids)}")
    image_ids = {image_id for row in known for image_id in row["image_ids"]}
    found = image_refs(con, sorted(image_ids), images) if image_ids else {}
    return {
        row["instruction_id"]: Instruction(
            id=row["instruction_id"],
            source=row["source"],
            external_id=row["external_id"],
            split=row["split"],
            images=tuple(found[image_id] for image_id in row["image_ids"]),
            instruction=row["instruction"],
            system=row["system"] or "",
            turns=read_turns(row["turns"]),
        )
        for row in known
    }


def read_turns(text: str | None) -> tuple[Turn, ...]:
    return tuple(Turn(role, content) for role, content in json.loads(text or "[]"))


def find_sources(con: Connection, external_id: str) -> list[tuple[int, str]]:
    """Ids and sources of the instructions that have this id of their own, oldest first."""
    found = rows(con, "SELECT instruction_id, source FROM instructions WHERE external_id = ? ORDER BY 1", [external_id])
    return [(row["instruction_id"], row["source"]) for row in found]


def find_instruction(con: Connection, text: str) -> int | None:
    """By external id first, by `source/id` where several sources have it, else by internal id.

    Raises BadInputError where the id alone names several, and for text that cannot be stored.
    """
    text = text.strip()
    check_typed(text, "The id")
    found = find_sources(con, text)
    if len(found) > 1:
        names = [f"{source}/{text}" for _, source in found]
        listed = ", ".join(names[:4]) + (" and others" if len(names) > 4 else "")
        raise BadInputError(f"{text!r:.80} is an id in {len(names)} sources: give one of {listed}.")
    if found:
        return found[0][0]
    found = scalar(
        con, "SELECT min(instruction_id) FROM instructions WHERE concat(source, '/', external_id) = ?", [text]
    )
    if found is None and text.isdecimal() and len(text) < 18:
        found = scalar(con, "SELECT instruction_id FROM instructions WHERE instruction_id = ?", [int(text)])
    return found


def next_pictured(con: Connection, split: str, after: int | None) -> int | None:
    """The first instruction of `split` behind `after` that has images, and others than that one; from the beginning
    again where there is none behind. None where the split has no image."""
    sql = """
        SELECT instruction_id FROM instructions WHERE split = $split AND len(image_ids) > 0
        AND instruction_id > $after AND image_ids IS DISTINCT FROM
            (SELECT image_ids FROM instructions WHERE instruction_id = $after)
        ORDER BY instruction_id LIMIT 1"""
    found = scalar(con, sql, {"split": split, "after": after or 0})
    return scalar(con, sql, {"split": split, "after": 0}) if found is None and after else found


def prompts(con: Connection, instruction_ids: Sequence[int], images: Images) -> pa.Table:
    """The columns that every job's input has (m3po.jobs.schemas), one row an id, in the order given."""
    wanted = pa.table({"instruction_id": pa.array(instruction_ids, pa.int64()), "n": range(len(instruction_ids))})
    with registered(con, "wanted", wanted):
        found = rows(con, "SELECT i.* FROM wanted JOIN instructions i USING (instruction_id) ORDER BY n")
    by_id = image_paths(con, [image_id for row in found for image_id in row["image_ids"]], images)
    messages = [
        json.dumps(
            build_messages(
                row["instruction"],
                len(row["image_ids"]),
                system=row["system"] or "",
                turns=read_turns(row["turns"]),
            ),
            ensure_ascii=False,
        )
        for row in found
    ]
    return pa.table(
        {
            "instruction_id": pa.array([row["instruction_id"] for row in found], pa.int64()),
            "name": pa.array([f"{row['external_id']!r:.100} of {row['source']}" for row in found], pa.string()),
            "images": pa.array([[by_id[i] for i in row["image_ids"]] for row in found], pa.list_(pa.string())),
            "messages": pa.array(messages, pa.string()),
        }
    )


def measured_images(con: Connection, images: Images) -> pa.Table:
    """`instruction_id`, `name`, `images`, `split` of the instructions outside of train that have an image."""
    found = rows(
        con,
        "SELECT instruction_id, source, external_id, split, image_ids FROM instructions"
        " WHERE split <> 'train' AND len(image_ids) > 0 ORDER BY instruction_id",
    )
    by_id = image_paths(con, [image_id for row in found for image_id in row["image_ids"]], images)
    return pa.table(
        {
            "instruction_id": pa.array([row["instruction_id"] for row in found], pa.int64()),
            "name": pa.array([f"{row['external_id']!r:.100} of {row['source']}" for row in found], pa.string()),
            "images": pa.array([[by_id[i] for i in row["image_ids"]] for row in found], pa.list_(pa.string())),
            "split": pa.array([row["split"] for row in found], pa.string()),
        }
    )


def beside_prompts(con: Connection, table: pa.Table, images: Images) -> pa.Table:
    """`prompts` of the instructions in the table's first column, `instruction_id`, with its other columns beside."""
    inputs = prompts(con, table.column("instruction_id").to_pylist(), images)
    for name in table.column_names[1:]:
        inputs = inputs.append_column(name, table.column(name))
    return inputs


def count_images(con: Connection) -> int:
    return scalar(con, "SELECT count(*) FROM images")


def exists(con: Connection, instruction_id: int) -> bool:
    return scalar(con, "SELECT count(*) FROM instructions WHERE instruction_id = ?", [instruction_id]) > 0


def state_of_split(con: Connection, split: str) -> list[int]:
    """Figures that change whenever rows or truth are added to `split` (neither is ever changed in place)."""
    [found] = con.execute(
        "SELECT count(*), coalesce(max(i.instruction_id), 0), count(t.answer), count(t.objects), count(t.category)"
        " FROM instructions i LEFT JOIN truth t USING (instruction_id) WHERE i.split = ?",
        [split],
    ).fetchall()
    return list(found)


def count_by_split(con: Connection) -> dict[str, int]:
    counts = dict.fromkeys(SPLITS, 0)
    counts.update(con.execute("SELECT split, count(*) FROM instructions GROUP BY split").fetchall())
    return counts


def heldout_rows(con: Connection, split: str, images: Images) -> pa.Table:
    """The evaluation's input: prompts of `split` with their truth. Only evaluation calls this."""
    sql = "SELECT instruction_id FROM instructions WHERE split = ? ORDER BY instruction_id"
    ids = [row[0] for row in con.execute(sql, [split]).fetchall()]
    table = prompts(con, ids, images)
    with registered(con, "wanted", table):
        truth = con.sql(
            "SELECT i.instruction, t.answer, t.objects, t.category FROM wanted"
            " JOIN instructions i USING (instruction_id) LEFT JOIN truth t USING (instruction_id)"
            " ORDER BY instruction_id"
        ).to_arrow_table()
    for name in ("instruction", "answer", "objects", "category"):
        table = table.append_column(name, truth.column(name))
    return table
