"""Images, instructions and their truth: what imports bring in, and how it is read back."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from m3po.store.connection import Connection, one, registered, rows, scalar
from m3po.text import build_messages, same_answer_key
from m3po.types import SPLITS, ImageRef, ImportedRow, Instruction, RefusedRow, Turn


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


@dataclass
class BatchResult:
    """What became of a batch of rows."""

    added: int
    already_there: int
    refused: list[RefusedRow]
    splits: dict[str, int]


def add_rows(
    con: Connection,
    source: str,
    batch: Sequence[tuple[ImportedRow, Sequence[StoredImage]]],
    *,
    split: str | None = None,
) -> BatchResult:
    """Insert checked rows whose images are stored. Splits: the row's own, else `split`, else by image hash.

    A row is refused when its id is there with other content, or when its image already belongs to another split.
    """
    shas = list({image.sha256 for _, images in batch for image in images})
    known_images = {
        r["sha256"]: r for r in rows(con, "SELECT * FROM images WHERE sha256 IN (SELECT unnest(?::VARCHAR[]))", [shas])
    }
    ids = list({row.id for row, _ in batch})
    known_rows = {
        r["external_id"]: r
        for r in rows(
            con,
            "SELECT external_id, instruction_id, content_hash, answer, objects, category FROM instructions "
            "LEFT JOIN truth USING (instruction_id) WHERE source = ? AND external_id IN (SELECT unnest(?::VARCHAR[]))",
            [source, ids],
        )
    }
    result = BatchResult(0, 0, [], {})
    for row, images in batch:
        digest, told = _content_hash(row, images), _truth_of(row)
        if row.id in known_rows:
            known = known_rows[row.id]
            other = "content" if known["content_hash"] != digest else _other_truth(known, told)
            if other:
                result.refused.append(
                    RefusedRow(row.row, f"id {row.id!r} is already there with other {other}: give the row a new id")
                )
            else:
                result.already_there += 1
                _add_truth(con, known["instruction_id"], known, told)
                add_imported_candidates(con, known["instruction_id"], row.candidates, row.human)
            continue
        wanted = row.split or split
        conflict = _split_conflict(known_images, images, wanted)
        if conflict:
            result.refused.append(RefusedRow(row.row, conflict))
            continue
        row_split = wanted or _inherited_split(known_images, images) or _fresh_split(row, images)
        for image in images:
            if image.sha256 not in known_images:
                known_images[image.sha256] = _insert_image(con, image, row_split)
        instruction_id = scalar(
            con,
            "INSERT INTO instructions (source, external_id, split, image_ids, system, turns, instruction, content_hash)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING instruction_id",
            [
                source,
                row.id,
                row_split,
                [known_images[image.sha256]["image_id"] for image in images],
                row.system,
                json.dumps([[turn.role, turn.text] for turn in row.turns], ensure_ascii=False),
                row.instruction,
                digest,
            ],
        )
        known = {"instruction_id": instruction_id, "content_hash": digest}
        known_rows[row.id] = known | dict.fromkeys(("answer", "objects", "category"))
        _add_truth(con, instruction_id, known_rows[row.id], told)
        add_imported_candidates(con, instruction_id, row.candidates, row.human)
        result.added += 1
        result.splits[row_split] = result.splits.get(row_split, 0) + 1
    return result


def _insert_image(con: Connection, image: StoredImage, split: str) -> dict:
    image_id = scalar(
        con,
        "INSERT INTO images (sha256, suffix, width, height, n_bytes, split) VALUES (?, ?, ?, ?, ?, ?)"
        " RETURNING image_id",
        [image.sha256, image.suffix, image.width, image.height, image.n_bytes, split],
    )
    return {"image_id": image_id, "sha256": image.sha256, "split": split}


def _split_conflict(known: dict[str, dict], images: Sequence[StoredImage], wanted: str | None) -> str | None:
    splits = {known[image.sha256]["split"] for image in images if image.sha256 in known}
    if wanted is not None:
        splits.add(wanted)
    if len(splits) > 1:
        return (
            f"its image would be in two splits ({' and '.join(sorted(splits))}), and held-out images must stay unseen: "
            "give every row of an image the same split"
        )
    return None


def _inherited_split(known: dict[str, dict], images: Sequence[StoredImage]) -> str | None:
    return next((known[image.sha256]["split"] for image in images if image.sha256 in known), None)


def _fresh_split(row: ImportedRow, images: Sequence[StoredImage]) -> str:
    text = hashlib.sha256(row.instruction.encode()).hexdigest()
    return split_by_hash(images[0].sha256 if images else text)


def _content_hash(row: ImportedRow, images: Sequence[StoredImage]) -> str:
    """Of what the row asks; its candidates may grow, and its truth is compared on its own (_other_truth)."""
    turns = [[turn.role, turn.text] for turn in row.turns]
    content = [[image.sha256 for image in images], row.system, turns, row.instruction, row.split]
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


def _truth_of(row: ImportedRow) -> dict[str, object]:
    """The truth that the row tells, by column; objects in the order of their names, for it means nothing."""
    objects = None if row.objects is None else sorted(set(row.objects))
    told = {"answer": row.answer, "objects": objects, "category": row.category}
    return {name: value for name, value in told.items() if value is not None}


def _other_truth(known: dict, told: dict[str, object]) -> str | None:
    """The first truth field that is stored otherwise than it is told; one that is not stored yet may be added."""
    stored = known | {"objects": known["objects"] and sorted(set(known["objects"]))}
    return next((name for name, value in told.items() if stored[name] is not None and stored[name] != value), None)


def _add_truth(con: Connection, instruction_id: int, known: dict, told: dict[str, object]) -> None:
    if all(known[name] == value for name, value in told.items()):
        return
    known.update(told)
    con.execute("DELETE FROM truth WHERE instruction_id = ?", [instruction_id])
    values = [known[name] for name in ("answer", "objects", "category")]
    con.execute("INSERT INTO truth VALUES (?, ?, ?, ?)", [instruction_id, *values])


def add_imported_candidates(
    con: Connection, instruction_id: int, texts: Sequence[str], human: Sequence[str] = ()
) -> int:
    """Append answers of a file; one that is a candidate already stays as it is. Returns how many were new.

    Those among `human` were written by a person: no rule picks them.
    """
    if not texts:
        return 0
    have = {
        r["same_key"] for r in rows(con, "SELECT same_key FROM candidates WHERE instruction_id = ?", [instruction_id])
    }
    added = 0
    for text in texts:
        key = same_answer_key(text)
        if key in have:
            continue
        have.add(key)
        con.execute(
            "INSERT INTO candidates (instruction_id, text, same_key, origin, created_at) VALUES (?, ?, ?, ?, ?)",
            [instruction_id, text, key, "human" if text in human else "imported", now()],
        )
        added += 1
    return added


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
    sql = "SELECT * FROM images WHERE image_id IN (SELECT unnest(?::BIGINT[]))"
    return {row["image_id"]: _image_ref(row, images) for row in rows(con, sql, [list(set(image_ids))])}


def _image_ref(row: dict, images: Images) -> ImageRef:
    return ImageRef(row["sha256"], images.path(row["sha256"], row["suffix"]), row["width"], row["height"])


def read_instruction(con: Connection, instruction_id: int, images: Images) -> Instruction | None:
    """One instruction with its images, or None."""
    row = one(con, "SELECT * FROM instructions WHERE instruction_id = ?", [instruction_id])
    if row is None:
        return None
    found = rows(
        con,
        "SELECT images.* FROM (SELECT unnest(?::BIGINT[]) AS image_id, generate_subscripts(?::BIGINT[], 1) AS position)"
        " JOIN images USING (image_id) ORDER BY position",
        [row["image_ids"], row["image_ids"]],
    )
    return Instruction(
        id=row["instruction_id"],
        source=row["source"],
        external_id=row["external_id"],
        split=row["split"],
        images=tuple(_image_ref(image, images) for image in found),
        instruction=row["instruction"],
        system=row["system"] or "",
        turns=read_turns(row["turns"]),
    )


def read_turns(text: str | None) -> tuple[Turn, ...]:
    return tuple(Turn(role, content) for role, content in json.loads(text or "[]"))


def find_instruction(con: Connection, text: str) -> int | None:
    """By external id first, else by internal id."""
    text = text.strip()
    found = scalar(con, "SELECT min(instruction_id) FROM instructions WHERE external_id = ?", [text])
    if found is None and text.isdecimal() and len(text) < 18:
        found = scalar(con, "SELECT instruction_id FROM instructions WHERE instruction_id = ?", [int(text)])
    return found


def prompts(con: Connection, instruction_ids: Sequence[int], images: Images) -> pa.Table:
    """The columns that every job's input has (m3po.jobs.schemas), one row an id, in the order given."""
    wanted = pa.table({"instruction_id": pa.array(instruction_ids, pa.int64()), "n": range(len(instruction_ids))})
    with registered(con, "wanted", wanted):
        found = rows(con, "SELECT i.* FROM wanted JOIN instructions i USING (instruction_id) ORDER BY n")
    image_ids = list({image_id for row in found for image_id in row["image_ids"]})
    by_id = {
        row["image_id"]: str(images.path(row["sha256"], row["suffix"]))
        for row in rows(
            con,
            "SELECT image_id, sha256, suffix FROM images WHERE image_id IN (SELECT unnest(?::BIGINT[]))",
            [image_ids],
        )
    }
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
