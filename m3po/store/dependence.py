"""Which answers to score again with another image, and which pairs are preferred all the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from m3po.errors import BadInputError
from m3po.store.beliefs import SWAP, variant_fingerprint, variant_kind, variant_scorer
from m3po.store.candidates import active_scorer, scorer_id, scorer_info, unscored
from m3po.store.connection import Connection, rows_among, scalar
from m3po.store.instructions import Images
from m3po.store.selections import latest_selection
from m3po.types import IMAGE_TESTS

# What is asked of every pair, as (signal, image): is it still preferred?
TESTS = tuple(tuple(name.split("_")) for name in IMAGE_TESTS)
_TABLES = {
    "mas": "SELECT candidate_id, mas AS value FROM mas_scores WHERE scorer_id = {}",
    "logp": "SELECT candidate_id, logp_sum / n_tokens AS value FROM logprobs WHERE scorer_id = {}",
}


@dataclass(frozen=True)
class Gaps:
    """Chosen less rejected of every pair that was scored both ways, by rising id: `own` with its image, `other` with
    the other one; MAS in the scorer's units, log-probs in nats a token."""

    ids: np.ndarray
    own: np.ndarray
    other: np.ndarray

    @property
    def preferred(self) -> np.ndarray:
        """Pairs whose chosen answer is the better one with the image."""
        return self.own > 0

    @property
    def survived(self) -> np.ndarray:
        """Those of them for which it still is, with the other image."""
        return self.preferred & (self.other > 0)


def read_gaps(con: Connection) -> dict[tuple[str, str], Gaps]:
    """By test, for the pairs of the latest selection, by the scorers that are active now."""
    return {(kind, image): _read_gap(con, kind, image) for kind, image in TESTS}


def _read_gap(con: Connection, kind: str, image: str) -> Gaps:
    sql = f"""
        WITH own AS ({_TABLES[kind].format("$own")}), other AS ({_TABLES[kind].format("$other")})
        SELECT p.instruction_id AS ids, c.value - r.value AS own, oc.value - orr.value AS other
        FROM selection_pairs p
        JOIN other oc ON oc.candidate_id = p.chosen JOIN other orr ON orr.candidate_id = p.rejected
        JOIN own c ON c.candidate_id = p.chosen JOIN own r ON r.candidate_id = p.rejected
        WHERE p.selection_id = $selection ORDER BY 1
    """
    scorers = {"own": active_scorer(con, kind), "other": variant_scorer(con, kind, image)}
    values = con.execute(sql, scorers | {"selection": latest_selection(con)}).fetchnumpy()
    return Gaps(**{name: np.ma.filled(value, np.nan) for name, value in values.items()})


def state_of_gaps(con: Connection) -> tuple:
    """Changes whenever `read_gaps` may."""
    return tuple(_state_of_gap(con, kind, image) for kind, image in TESTS)


def _state_of_gap(con: Connection, kind: str, image: str) -> tuple:
    """With the scores of either side."""
    scorers = (active_scorer(con, kind), variant_scorer(con, kind, image))
    sql = f"SELECT count(*) FROM ({_TABLES[kind].format('?')})"
    return latest_selection(con), *scorers, *(scalar(con, sql, [scorer]) for scorer in scorers)


class Survivors:
    """Whose preference survived a test, along the review index; read again only when something was stored."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple, np.ndarray, np.ndarray]] = {}  # test -> of which state, `ids`, mask

    def mask(self, con: Connection, test: str, ids: np.ndarray) -> np.ndarray:
        """Bool along `ids`, the index's rising ids, for one of IMAGE_TESTS. Call it under the index's lock."""
        state = _state_of_gap(con, *test.split("_"))
        known = self._known.get(test)
        if known is None or known[0] != state or known[1] is not ids:
            gap = _read_gap(con, *test.split("_"))
            known = self._known[test] = (state, ids, np.isin(ids, gap.ids[gap.survived]))
        return known[2]


def name_pairs(con: Connection, instruction_ids: list[int]) -> list[dict]:
    """Pairs of the latest selection as people know them, in the order given: `instruction_id, source, id, instruction,
    image_ids, chosen, rejected` (texts)."""
    sql = "SELECT instruction_id, source, external_id AS id, instruction, image_ids FROM instructions WHERE"
    named = {row["instruction_id"]: row for row in rows_among(con, sql, "instruction_id", instruction_ids)}
    sql = "SELECT instruction_id, chosen, rejected FROM selection_pairs WHERE chosen IS NOT NULL AND selection_id ="
    sql = f"{sql} {latest_selection(con) or 0} AND"
    pairs = {row["instruction_id"]: row for row in rows_among(con, sql, "instruction_id", instruction_ids)}
    ids = [pair[role] for pair in pairs.values() for role in ("chosen", "rejected")]
    found = rows_among(con, "SELECT candidate_id, text FROM candidates WHERE", "candidate_id", ids)
    texts = {row["candidate_id"]: row["text"] for row in found}
    return [
        named[number] | {role: texts[pairs[number][role]] for role in ("chosen", "rejected")}
        for number in instruction_ids
        if number in pairs
    ]


def drawn_instructions(con: Connection, limit: int, seed: int) -> list[int] | None:
    """`limit` instructions with a pair (where nothing is selected: with an answer) drawn by `seed`, so that a rate over
    them stands for all; None for a limit of 0: every instruction."""
    if not limit:
        return None
    pairs = "SELECT instruction_id FROM selection_pairs WHERE selection_id = ? AND chosen IS NOT NULL"
    ids = [row[0] for row in con.execute(pairs, [latest_selection(con)]).fetchall()]
    if not ids:
        ids = [row[0] for row in con.execute("SELECT DISTINCT instruction_id FROM candidates").fetchall()]
    return sorted(sorted(ids, key=lambda number: draw(seed, number))[:limit])


def draw(seed: int, *names: int) -> int:
    """A number by hash, the same wherever it is computed."""
    return int(hashlib.md5(":".join(map(str, (seed, *names))).encode()).hexdigest()[:15], 16)


def changed_scorer(con: Connection, kind: str, name: str, fingerprint: str, image: str, seed: int) -> int:
    """The scorer that is `name` with the image blanked or swapped; made when there is none yet.

    A swap remembers which images there were: what is scored later in an instruction gets the same other image. One by
    which nothing was scored yet gives way to one that knows the images of today.
    """
    own_kind, known = variant_kind(kind, image), variant_fingerprint(fingerprint, image, seed)
    if image == SWAP:
        sql = (
            "SELECT max(scorer_id) FROM scorers WHERE kind = ? AND starts_with(fingerprint, ?)"
            f" AND scorer_id IN (SELECT DISTINCT scorer_id FROM {'mas_scores' if kind == 'mas' else 'logprobs'})"
        )
        found = scalar(con, sql, [own_kind, f"{known}<"])
        if found is not None:
            return found
        known = f"{known}<{scalar(con, 'SELECT coalesce(max(image_id), 0) FROM images')}"
    return scorer_id(con, own_kind, name, known)


def changed_input(
    con: Connection, logp: int | None, mas: int | None, image: str, seed: int, limit: int, images: Images
):
    """As candidates.unscored, for scorers with another image: of instructions with an image, which are exchanged for
    others where they are to be swapped. Raises BadInputError where there is no other image."""
    table = unscored(con, logp, mas, images, among=drawn_instructions(con, limit, seed))
    paths = table.column("images").to_pylist()
    table = table.filter(pa.array([bool(row) for row in paths], pa.bool_()))
    paths = [row for row in paths if row]
    if image != SWAP or not paths:
        return table
    # One signal a run: each has its own bound.
    newest = int(scorer_info(con, logp if mas is None else mas)["fingerprint"].rpartition("<")[2])
    others = _train_images(con, newest, images)
    ids = table.column("instruction_id").to_pylist()
    swapped = [_swap(row, number, others, seed) for number, row in zip(ids, paths, strict=True)]
    place = table.column_names.index("images")
    return table.set_column(place, table.schema.field(place), [swapped])


def _train_images(con: Connection, newest: int, images: Images) -> list[str]:
    sql = "SELECT sha256, suffix FROM images WHERE split = 'train' AND image_id <= ? ORDER BY image_id"
    return list(dict.fromkeys(str(images.path(*row)) for row in con.execute(sql, [newest]).fetchall()))


def _swap(own: list[str], instruction_id: int, others: list[str], seed: int) -> list[str]:
    """For each image one of `others`, by hash, never one of the instruction's own."""
    swapped = []
    for place in range(len(own)):
        start = draw(seed, instruction_id, place)
        found = next((o for n in range(len(others)) if (o := others[(start + n) % len(others)]) not in own), None)
        if found is None:
            raise BadInputError("There is no other image to swap with: import instructions with other images first.")
        swapped.append(found)
    return swapped
