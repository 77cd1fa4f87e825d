"""How rows of a file go in: a batch at a time, as a few statements over Arrow tables in one transaction.

Nothing is inserted row by row, and nothing that is there is written again: an id that is known is compared with what
is stored, an answer that is a candidate already stays that candidate, a rating or decision that is there stays once.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from m3po.categories import BENCHMARKS
from m3po.imported import ImportedRow
from m3po.store.answers import add_answers, allocate
from m3po.store.connection import Connection, registered, rows
from m3po.store.instructions import StoredImage, fresh_split, split_by_hash
from m3po.store.repeats import fold_truth, part_repeats
from m3po.text import asked_content, same_answer_key

_TEXT, _INT = pa.string(), pa.int64()
# `n` is a row's place in its batch; `images` are places in the batch's images; `content` is m3po.text.asked_content.
ROWS = pa.schema(
    {
        "n": _INT, "id": _TEXT, "images": pa.list_(pa.int32()), "instruction": _TEXT, "system": _TEXT, "turns": _TEXT,
        "split": _TEXT, "content": _TEXT, "answer": _TEXT, "objects": pa.list_(_TEXT), "category": _TEXT,
        "of_source": _TEXT, "of_id": _TEXT, "of_content": _TEXT,
    }
)  # fmt: skip
ANSWERS = pa.schema({"n": _INT, "place": _INT, "text": _TEXT, "same_key": _TEXT, "origin": _TEXT})
RATINGS = pa.schema({"n": _INT, "place": _INT, "name": _TEXT, "value": pa.float64()})
DECISIONS = pa.schema(
    {
        "n": _INT, "verdict": _TEXT, "chosen": _INT, "rejected": _INT, "annotator": _TEXT,
        "decided_at": pa.timestamp("us"), "seconds": pa.float64(), "note": _TEXT, "given": pa.bool_(), "role": _TEXT,
        "said_reason": _TEXT, "blind": pa.bool_(),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """Checked rows whose images are stored, and what they bring with them, in the columns named above."""

    rows: pa.Table
    images: Sequence[StoredImage]
    answers: pa.Table = field(default_factory=ANSWERS.empty_table)
    ratings: pa.Table = field(default_factory=RATINGS.empty_table)
    decisions: pa.Table = field(default_factory=DECISIONS.empty_table)

    def take(self, numbers: list[int]) -> Batch:
        """The rows of these places alone."""
        wanted = pa.array(numbers, _INT)
        parts = (self.answers, self.ratings, self.decisions)
        return Batch(
            self.rows.filter(pc.is_in(self.rows["n"], wanted)),
            self.images,
            *(part.filter(pc.is_in(part["n"], wanted)) for part in parts),
        )


@dataclass
class BatchResult:
    """What became of a batch: `refused` holds (place in the batch, reason), `splits` counts the rows added."""

    added: int = 0
    already_there: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)
    splits: Counter[str] = field(default_factory=Counter)
    votes: Counter[str] = field(default_factory=Counter)  # decisions that are new, by annotator
    near: int | None = None  # the last instruction of the batch that was there: the next batch's are likely behind it


def make_batch(batch: Sequence[tuple[ImportedRow, Sequence[StoredImage]]], places: Sequence[int]) -> Batch:
    """Rows one by one as a batch; `places`: the `n` of each."""
    image_places: dict[StoredImage, int] = {}
    asked, answers, ratings, decisions = [], [], [], []
    for n, (row, images) in zip(places, batch, strict=True):
        asked.append(
            {
                "n": n, "id": row.id, "images": [image_places.setdefault(i, len(image_places)) for i in images],
                "instruction": row.instruction, "system": row.system,
                "turns": json.dumps([[turn.role, turn.text] for turn in row.turns], ensure_ascii=False),
                "split": row.split, "answer": row.answer, "category": row.category,
                "objects": None if row.objects is None else list(row.objects),
                "content": asked_content(
                    [image.sha256 for image in images], row.system, row.turns, row.instruction, row.split
                ),
                **dict(zip(("of_source", "of_id", "of_content"), row.known_as or (None, None, None), strict=True)),
            }
        )  # fmt: skip
        for place, text in enumerate(row.candidates):
            origin = "human" if text in row.human else "imported"
            key = same_answer_key(text)
            answers.append({"n": n, "place": place, "text": text, "same_key": key, "origin": origin})
        for place, named in enumerate(row.ratings):
            ratings += [{"n": n, "place": place, "name": name, "value": value} for name, value in named.items()]
        for d in row.decisions:
            decisions.append(
                {"n": n, "decided_at": d.at, "role": d.role or None, "said_reason": d.reason or None}
                | {k: getattr(d, k) for k in ("verdict", "chosen", "rejected", "annotator", "seconds", "note")}
                | {k: getattr(d, k) for k in ("given", "blind")}
            )
    return Batch(
        pa.Table.from_pylist(asked, ROWS),
        list(image_places),
        pa.Table.from_pylist(answers, ANSWERS),
        pa.Table.from_pylist(ratings, RATINGS),
        pa.Table.from_pylist(decisions, DECISIONS),
    )


def has_rows(con: Connection, source: str) -> bool:
    return bool(rows(con, "SELECT 1 FROM instructions WHERE source = ? LIMIT 1", [source]))


def add_batch(
    con: Connection,
    source: str,
    batch: Batch,
    *,
    split: str | None = None,
    all_new: bool = False,
    near: int | None = None,
) -> BatchResult:
    """Insert what is new. Splits: the row's own, else `split`, else that of its image, else by image hash.

    A row is refused when its id is there with other content, or when its image already belongs to another split.
    `all_new`: the caller knows that no id of the batch is in this source yet, nor twice in the batch.
    `near`: what the result of the batch before has under that name; it spares a look at the whole table.
    """
    result = BatchResult(near=near)
    if all_new:
        _add_round(con, source, batch, split, result, all_new)
    else:
        _add_known(con, source, batch, split, result)
    result.refused.sort()
    return result


def _add_known(con: Connection, source: str, batch: Batch, split: str | None, result: BatchResult) -> None:
    """An id that stands twice must meet itself as stored: the rows that have it again wait until the first is in. They
    ask what the first asks (m3po.formats.rows.RowChecker.note_id)."""
    first, repeats = part_repeats(batch.rows)
    _add_round(con, source, batch.take(first) if repeats else batch, split, result, False)
    if not repeats:
        return
    again = batch.take(repeats)
    with registered(con, "new_rows", again.rows):
        known = _read_known(con, source, again.rows, result).select(["n", "id", "instruction_id", "other"]).to_pylist()
    others = [row for row in known if row["other"] in ("content", "workspace")]
    instruction_of = {row["n"]: row["instruction_id"] for row in known if row not in others}
    again = again.take(list(instruction_of))
    sql = "SELECT * FROM truth WHERE instruction_id IN (SELECT unnest(?::BIGINT[]))"
    stored = {row["instruction_id"]: row for row in rows(con, sql, [list(set(instruction_of.values()))])}
    folded, contradict = fold_truth(again.rows, instruction_of, stored)
    ids = {row["n"]: row["id"] for row in known}
    others += [{"n": n, "id": ids[n], "other": other} for n, other in contradict]
    result.refused += [(row["n"], _say_other(row)) for row in others]
    good = dataclasses.replace(again, rows=folded).take(list(instruction_of.keys() - {n for n, _ in contradict}))
    if len(good.rows):
        _add_round(con, source, good, split, result, False)
    lost = [n for n in repeats if n not in ids]
    if lost:  # the first of that id was refused, and so are those that ask the same once more
        reasons, id_of = dict(result.refused), dict(zip(*(batch.rows[c].to_pylist() for c in ("n", "id")), strict=True))
        refused = {id_of[n]: reasons[n] for n in first if n in reasons}
        result.refused += [(n, refused[id_of[n]]) for n in lost]


# What is stored of the batch's ids: whether it is the same, and whether the row tells truth that is not there yet.
_KNOWN = """
    SELECT r.n, r.id, i.instruction_id,
           CASE WHEN i.content_hash <> sha256(r.content) THEN 'content'
                WHEN t.answer <> r.answer THEN 'answer'
                WHEN list_sort(list_distinct(t.objects)) <> list_sort(list_distinct(r.objects)) THEN 'objects'
                WHEN t.category <> r.category THEN 'category' END AS other,
           (r.answer IS NOT NULL AND t.answer IS NULL) OR (r.objects IS NOT NULL AND t.objects IS NULL)
               OR (r.category IS NOT NULL AND t.category IS NULL) AS tells_more
    FROM new_rows r JOIN instructions i ON i.external_id = r.id AND i.source = $source
    LEFT JOIN truth t USING (instruction_id)
    WHERE i.instruction_id BETWEEN $low AND $high
"""
# Rows that a workspace wrote itself (`of_source`, `of_id`) belong to the instruction that they were; where another
# workspace wrote them, those names are another question's here.
_KNOWN_OF = f"""
    {_KNOWN} AND NOT EXISTS (SELECT 1 FROM instructions o WHERE o.source = r.of_source AND o.external_id = r.of_id)
    UNION ALL
    SELECT r.n, r.id, i.instruction_id,
           CASE WHEN i.instruction <> r.instruction OR (r.of_content <> '' AND i.content_hash <> r.of_content)
                THEN 'workspace' END, false
    FROM new_rows r JOIN instructions i ON i.source = r.of_source AND i.external_id = r.of_id
"""
_ANY_ID = {"low": 0, "high": 2**62}
_INSERT_ROWS = """
    INSERT INTO instructions
        (instruction_id, source, external_id, split, image_ids, system, turns, instruction, content_hash)
    SELECT instruction_id, $source, id, row_split, image_ids, coalesce(system, ''), coalesce(turns, '[]'), instruction,
           sha256(content)
    FROM accepted
"""
_INSERT_TRUTH = """
    INSERT INTO truth
    SELECT instruction_id, answer, list_sort(list_distinct(objects)), category FROM accepted
    WHERE answer IS NOT NULL OR objects IS NOT NULL OR category IS NOT NULL
"""
_NEW_TRUTH = """
    SELECT p.instruction_id, coalesce(t.answer, r.answer) AS answer,
           coalesce(t.objects, list_sort(list_distinct(r.objects))) AS objects,
           coalesce(t.category, r.category) AS category
    FROM placed p JOIN new_rows r USING (n) LEFT JOIN truth t USING (instruction_id) WHERE list_contains(?::BIGINT[], n)
"""

_PLACED = ["n", "instruction_id"]
_NOTHING = pa.schema(
    {"n": _INT, "id": _TEXT, "instruction_id": _INT, "other": _TEXT, "tells_more": pa.bool_()}
).empty_table()


def _add_round(
    con: Connection, source: str, batch: Batch, split: str | None, result: BatchResult, all_new: bool
) -> None:
    with registered(con, "new_rows", batch.rows):
        known = _NOTHING if all_new else _read_known(con, source, batch.rows, result)
        other = known.filter(known["other"].is_valid())
        same = known.filter(known["other"].is_null()) if len(other) else known
        for row in other.to_pylist():
            result.refused.append((row["n"], _say_other(row)))
        result.already_there += len(same)
        twins = _find_twins(con, source, batch.rows)
        result.already_there += len(twins)
        if len(known) + len(twins) < len(batch.rows):
            accepted = _accept(con, batch, {*known["n"].to_pylist(), *twins}, split, result)
            with registered(con, "accepted", accepted):
                con.execute(_INSERT_ROWS, {"source": source})
                if any(accepted[name].null_count < len(accepted) for name in ("answer", "objects", "category")):
                    con.execute(_INSERT_TRUTH)
            result.added += len(accepted)
            placed = pa.concat_tables([accepted.select(_PLACED), same.select(_PLACED)])
        else:
            placed = same.select(_PLACED)
        more = same.filter(same["tells_more"])["n"].to_pylist()
        says = len(batch.answers) or len(batch.decisions)  # a verdict may stand on a question without answers
        if not more and not says:
            return
        with registered(con, "placed", placed):
            if more:
                _add_truth(con, more)
            if says:
                result.votes += add_answers(con, batch.answers, batch.ratings, batch.decisions)


def _find_twins(con: Connection, source: str, batch: pa.Table) -> list[int]:
    """Places of a benchmark's questions that another source brought already: asked once more they would count twice."""
    asked = batch.filter(pc.is_in(batch["category"], pa.array(sorted(BENCHMARKS))))
    if not len(asked):
        return []
    sql = (
        "SELECT r.n FROM asked r JOIN instructions i ON i.content_hash = sha256(r.content) JOIN truth t"
        " ON t.instruction_id = i.instruction_id AND t.category = r.category WHERE i.source <> ?"
        " AND NOT EXISTS (SELECT 1 FROM instructions o WHERE o.source = ? AND o.external_id = r.id) GROUP BY 1"
    )
    with registered(con, "asked", asked):
        return [row[0] for row in con.execute(sql, [source, source]).fetchall()]


def _say_other(row: dict) -> str:
    if row["other"] == "workspace":
        return (
            f"what it says of id {row['id']!r} is about another question than the one of that id here: another "
            "workspace wrote it, so import it there, or take its m3po_source out"
        )
    return f"id {row['id']!r} is already there with other {row['other']}: give the row a new id"


def _read_known(con: Connection, source: str, batch: pa.Table, result: BatchResult) -> pa.Table:
    """What is stored of the batch's ids: a file that comes again comes in the order in which it was stored."""
    if batch["of_source"].null_count < len(batch):
        return con.sql(_KNOWN_OF, params={"source": source, **_ANY_ID}).to_arrow_table()
    known = _NOTHING
    if result.near is not None:
        window = {"low": result.near, "high": result.near + 2 * len(batch)}
        known = con.sql(_KNOWN, params={"source": source, **window}).to_arrow_table()
    if len(known) < len(batch):
        known = con.sql(_KNOWN, params={"source": source, **_ANY_ID}).to_arrow_table()
    result.near = pc.max(known["instruction_id"]).as_py() if len(known) else result.near
    return known


def _accept(con: Connection, batch: Batch, there: set[int], split: str | None, result: BatchResult) -> pa.Table:
    """The rows that are new, with their ids, splits and images; images that are new are inserted."""
    shas = [image.sha256 for image in batch.images]
    known = {
        row["sha256"]: row
        for row in rows(
            con,
            "SELECT image_id, sha256, split FROM images WHERE sha256 IN (SELECT unnest(?::VARCHAR[]))",
            [list(set(shas))],
        )
    }
    # By content: two files may hold the same image.
    splits = {sha: row["split"] for sha, row in known.items()}
    if there or split or batch.rows["split"].null_count < len(batch.rows) or not _one_image_each(batch.rows):
        index, row_splits = _share_out(batch, there, split, splits, result)
        taken = batch.rows.take(pa.array(index, _INT)) if len(index) < len(batch.rows) else batch.rows
    else:  # nothing can be in two splits
        taken = batch.rows
        for place in pc.unique(taken["images"].combine_chunks().flatten()).to_pylist():
            splits.setdefault(shas[place], split_by_hash(shas[place]))
        by_place = pa.array([splits.get(sha) for sha in shas], _TEXT)
        row_splits = pc.take(by_place, taken["images"].combine_chunks().flatten())
    result.splits.update({row["values"]: row["counts"] for row in pc.value_counts(row_splits).to_pylist()})
    ids = _insert_images(con, batch.images, splits, {sha: row["image_id"] for sha, row in known.items()})
    lists = taken["images"].combine_chunks()
    image_ids = pa.ListArray.from_arrays(pc.subtract(lists.offsets, lists.offsets[0]), pc.take(ids, lists.flatten()))
    first = allocate(con, "instruction_ids", len(taken))
    new_ids = pa.array(range(first, first + len(taken)), _INT)
    return (
        taken.append_column("instruction_id", new_ids)
        .append_column("row_split", row_splits)
        .append_column("image_ids", image_ids)
    )


def _one_image_each(table: pa.Table) -> bool:
    lengths = pc.min_max(pc.list_value_length(table["images"])).as_py()
    return lengths == {"min": 1, "max": 1}


def _share_out(
    batch: Batch, there: set[int], split: str | None, splits: dict[str, str], result: BatchResult
) -> tuple[list[int], pa.Array]:
    """(places of the rows that go in, their splits), in the order of the file; `splits`, by SHA-256, grows."""
    table = batch.rows
    lists = table["images"].combine_chunks()
    ends = lists.offsets.to_pylist()
    places = lists.values.to_pylist()
    index, row_splits = [], []
    columns = (table[name].to_pylist() for name in ("n", "split"))
    for i, (n, wanted) in enumerate(zip(*columns, strict=True)):
        if n in there:
            continue
        mine = [batch.images[place].sha256 for place in places[ends[i] : ends[i + 1]]]
        wanted = wanted or split
        found = {splits[sha] for sha in mine if sha in splits}
        if len(found | ({wanted} if wanted else set())) > 1:
            result.refused.append((n, _two_splits(found | {wanted} if wanted else found)))
            continue
        if wanted or found:
            row_split = wanted or found.pop()
        else:
            row_split = fresh_split(table["instruction"][i].as_py(), mine[0] if mine else None)
        splits |= dict.fromkeys(mine, row_split)
        index.append(i)
        row_splits.append(row_split)
    return index, pa.array(row_splits, _TEXT)


def _two_splits(splits: set[str]) -> str:
    return (
        f"its image would be in two splits ({' and '.join(sorted(splits))}), and held-out images must stay unseen: "
        "give every row of an image the same split"
    )


def _insert_images(
    con: Connection, images: Sequence[StoredImage], splits: Mapping[str, str], known: dict[str, int]
) -> pa.Array:
    """The id of each image; those that are new and belong to a row (they have a split) are inserted."""
    new = {
        image.sha256: {**vars(image), "split": splits[image.sha256]}
        for image in images
        if image.sha256 in splits and image.sha256 not in known
    }
    if new:
        first = allocate(con, "image_ids", len(new))
        for image_id, (sha, image) in enumerate(new.items(), first):
            known[sha] = image["image_id"] = image_id
        with registered(con, "new_images", pa.Table.from_pylist(list(new.values()))):
            con.execute(
                "INSERT INTO images (image_id, sha256, suffix, width, height, n_bytes, split)"
                " SELECT image_id, sha256, suffix, width, height, n_bytes, split FROM new_images"
            )
    return pa.array([known.get(image.sha256) for image in images], _INT)


def _add_truth(con: Connection, numbers: list[int]) -> None:
    """Truth that was not told yet joins what is stored."""
    told = con.sql(_NEW_TRUTH, params=[numbers]).to_arrow_table()
    with registered(con, "told", told):
        con.execute("DELETE FROM truth WHERE instruction_id IN (SELECT instruction_id FROM told)")
        con.execute("INSERT INTO truth SELECT * FROM told")
