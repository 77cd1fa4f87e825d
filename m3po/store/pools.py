"""What the pick rules see of every candidate, made once and kept: a slider moves a million instructions in a second.

A pool is of two scorers, one normalisation, and the candidates and scores that there were (`state`): another weight,
margin or rule selects from the same pool. Everything goes by blocks of instructions, so that memory stays bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa

from m3po.settings import SelectConfig
from m3po.store.bulk import insert_table
from m3po.store.connection import Connection, registered, rows, scalar
from m3po.store.instructions import now
from m3po.store.picking import Candidates

R = TypeVar("R")
BLOCK = 65_536  # instructions
FILLED = 32_768  # instructions at a time while a pool is made: their answers' texts are looked at, too
STORED = 4  # of those blocks together: DuckDB writes whole row groups (122,880) to the disk at once, others at the end
READERS = 2  # threads

# The candidates of a block of train instructions; `picked` where a rule may pick it. Human edits can be chosen by
# humans, never by a rule. The bounds on candidates spare a look at all scores.
_SCORED = """
    WITH c AS (
        SELECT c.candidate_id, instruction_id, i.source, i.external_id, c.text, c.finish_reason
        FROM candidates c JOIN instructions i USING (instruction_id)
        WHERE instruction_id BETWEEN $low AND $high AND i.split = 'train' AND c.origin IN ('sampled', 'imported')),
    l AS (SELECT candidate_id, logp_sum, n_tokens FROM logprobs
          WHERE scorer_id = $logp AND candidate_id BETWEEN $first AND $last),
    m AS (SELECT candidate_id, mas FROM mas_scores WHERE scorer_id = $mas AND candidate_id BETWEEN $first AND $last)
    SELECT {columns} FROM (
        SELECT c.*, m.mas, l.logp_sum / l.n_tokens AS logp_mean, exp(l.logp_sum / l.n_tokens) AS confidence, l.n_tokens,
               m.mas IS NOT NULL AND l.logp_sum IS NOT NULL
                   AND ($allow_truncated OR c.finish_reason IS DISTINCT FROM 'length') AS picked
        FROM c LEFT JOIN l USING (candidate_id) LEFT JOIN m USING (candidate_id))
    {where} ORDER BY instruction_id, candidate_id
"""
_SIGNALS = _SCORED.format(columns="mas, confidence", where="WHERE picked")
# `content` names an answer by what it is, whichever ids this workspace gave.
_POOLED = _SCORED.format(
    columns="instruction_id, candidate_id, mas, logp_mean, n_tokens, confidence, picked,"
    " md5_number_lower(source || '/' || external_id || '>' || text) AS content",
    where="",
)
_REASONS = ("not_train", "no_candidates", "no_mas", "no_logprob", "truncated", None)
_LISTS = ("candidate_ids", "mas", "logp_mean", "n_tokens", "a", "b", "content")
# Two candidates an instruction are drawn by a hash that Python computes alike (m3po.selection.random_key).
_DRAWN = "('0x' || substr(md5('{seed}:' || instruction_id || ':' || candidate_id), 1, 15))::BIGINT AS drawn"


@dataclass(frozen=True)
class Block:
    """Some instructions of a pool, by rising id. `reason` says why nothing of one can be picked (None: it can);
    `candidates` are those of the others, in their order; `content` names each answer by what it is."""

    instruction_ids: np.ndarray
    reason: pa.Array
    candidates: Candidates
    content: np.ndarray | None

    @property
    def open(self) -> np.ndarray:
        """Which of the instructions have candidates to pick from."""
        return self.reason.is_null().to_numpy(zero_copy_only=False)


def find_pool(con: Connection, logp: int | None, mas: int | None, config: SelectConfig) -> int | None:
    """The pool of these scorers as the candidates are now; None when it was not made yet."""
    return scalar(
        con,
        "SELECT max(pool_id) FROM pools WHERE logp_scorer IS NOT DISTINCT FROM ? AND mas_scorer IS NOT DISTINCT FROM ?"
        " AND normalise = ? AND allow_truncated = ? AND state = ?",
        [logp, mas, config.normalise, config.allow_truncated, _state(con, logp, mas)],
    )


def ensure_pool(con: Connection, logp: int | None, mas: int | None, config: SelectConfig) -> int:
    """The pool of these scorers as the candidates are now; made when there is none yet."""
    found = find_pool(con, logp, mas, config)
    if found is not None:
        return found
    pool = scalar(
        con,
        "INSERT INTO pools (logp_scorer, mas_scorer, normalise, allow_truncated, state, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?) RETURNING pool_id",
        [logp, mas, config.normalise, config.allow_truncated, _state(con, logp, mas), now()],
    )
    _fill(con, pool, {"logp": logp, "mas": mas, "allow_truncated": config.allow_truncated}, config.normalise)
    return pool


def _state(con: Connection, logp: int | None, mas: int | None) -> str:
    """Equal as long as no instruction, candidate or score was added that a rule may see: nothing of it ever changes."""
    humans = "SELECT candidate_id FROM candidates WHERE origin = 'human'"
    counted = [
        ("instructions", scalar(con, "SELECT count(*) FROM instructions")),
        ("candidates", scalar(con, f"SELECT (SELECT count(*) FROM candidates) - count(*) FROM ({humans})")),
    ]
    for table, scorer in (("logprobs", logp), ("mas_scores", mas)):
        of_all = f"SELECT count(*) FROM {table} WHERE scorer_id = $scorer"
        of_humans = f"{of_all} AND candidate_id IN ({humans})"
        counted.append((table, scalar(con, f"SELECT ({of_all}) - ({of_humans})", {"scorer": scorer})))
    return ", ".join(f"{count} {name}" for name, count in counted)


def _fill(con: Connection, pool: int, scorers: dict, normalise: str) -> None:
    bounds = _bounds(con, "SELECT instruction_id FROM instructions ORDER BY 1", size=FILLED)
    blocks = [scorers | each | _candidates_between(con, each) for each in bounds]
    ranks = _ranks(con, blocks) if normalise == "percentile" else None
    done, made = 0, []
    for number, block in enumerate(blocks, start=1):
        scored = con.sql(_POOLED, params=block).to_arrow_table()
        found = scored.filter(scored["picked"])
        owners, counts = np.unique(found["instruction_id"].to_numpy(), return_counts=True)
        mas, belief = found["mas"].to_numpy(), found["confidence"].to_numpy()
        if ranks is not None:
            a, b = (values[done : done + len(found)] / (2 * len(values)) for values in ranks)
        elif normalise == "minmax":
            a, b = _min_max(mas, counts), _min_max(belief, counts)
        else:
            a, b = mas, belief
        done += len(found)
        ids, reason = _reasons(con, block, scored)
        sizes = np.zeros(len(ids), np.int64)
        sizes[np.searchsorted(ids, owners)] = counts
        ends = pa.array(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32))
        flat = {"candidate_ids": found["candidate_id"].to_numpy(), "a": a, "b": b}
        flat |= {name: found[name].to_numpy() for name in _LISTS if name not in flat}
        lists = {name: pa.ListArray.from_arrays(ends, pa.array(values)) for name, values in flat.items()}
        columns = {"pool_id": pa.array(np.full(len(ids), pool)), "instruction_id": ids, "reason": reason}
        made.append(pa.table(columns | lists))
        if len(made) == STORED or number == len(blocks):
            insert_table(con, "pool_values", pa.concat_tables(made))
            made = []


def _candidates_between(con: Connection, block: dict[str, int]) -> dict[str, int | None]:
    sql = "SELECT min(candidate_id) AS first, max(candidate_id) AS last FROM candidates"
    return rows(con, f"{sql} WHERE instruction_id BETWEEN $low AND $high", block)[0]


def _reasons(con: Connection, block: dict, scored: pa.Table) -> tuple[np.ndarray, pa.Array]:
    """Every instruction of the block and why nothing of it can be picked (None: something can)."""
    sql = (
        "SELECT instruction_id, split = 'train' AS train FROM instructions WHERE instruction_id BETWEEN ? AND ?"
        " ORDER BY instruction_id"
    )
    there = con.execute(sql, [block["low"], block["high"]]).fetchnumpy()
    ids = there["instruction_id"]
    at = np.searchsorted(ids, scored["instruction_id"].to_numpy())
    has_mas = scored["mas"].is_valid().to_numpy()
    steps = (None, has_mas, has_mas & scored["logp_mean"].is_valid().to_numpy(), scored["picked"].to_numpy())
    # The first step that no candidate has come to is the reason.
    reason = np.where(there["train"], 1, 0)
    for number, step in enumerate(steps, start=2):
        reached = np.zeros(len(ids), bool)
        reached[at if step is None else at[step]] = True
        reason[reached] = number
    return ids, pa.array(_REASONS).take(pa.array(reason))


def _bounds(con: Connection, sql: str, parameters: object = None, *, size: int) -> list[dict[str, int]]:
    """The first and last id of each block of `size` instructions."""
    result = con.execute(sql, parameters) if parameters is not None else con.execute(sql)
    ids = result.fetchnumpy()["instruction_id"]
    return [
        {"low": int(ids[start]), "high": int(ids[min(start + size, len(ids)) - 1])}
        for start in range(0, len(ids), size)
    ]


def _ranks(con: Connection, blocks: list[dict]) -> list[np.ndarray]:
    """`double_ranks` of the MAS and of the confidence of all candidates that may be picked."""
    count, done = scalar(con, "SELECT count(*) FROM candidates"), 0
    signals = [np.empty(count), np.empty(count)]
    for block in blocks:
        found = con.sql(_SIGNALS, params=block).to_arrow_table()
        for values, name in zip(signals, ("mas", "confidence"), strict=True):
            values[done : done + len(found)] = found[name].to_numpy()
        done += len(found)
    # each is let go of when its ranks are there: eight million values are 64 MB
    return [double_ranks(signals.pop(0)[:done]) for _ in range(2)]


def double_ranks(values: np.ndarray) -> np.ndarray:
    """Twice the mid-rank of each value, a whole number in 32 bits: halved and divided by their number it is
    m3po.scoring.percentile."""
    order = np.argsort(values).astype(np.uint32)
    ordered = values[order]
    del values
    begins = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
    del ordered
    firsts = np.flatnonzero(begins).astype(np.uint32)
    sizes = np.diff(firsts, append=np.uint32(len(order)))
    ranks = np.empty(len(order), np.uint32)
    ranks[order] = np.repeat(2 * firsts + sizes, sizes)
    return ranks


def _min_max(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """As m3po.scoring.minmax, in each instruction by itself."""
    if not len(values):
        return values
    starts = np.cumsum(sizes) - sizes
    low, high = (np.repeat(f.reduceat(values, starts), sizes) for f in (np.minimum, np.maximum))
    return np.where(high == low, 0.5, (values - low) / np.where(high == low, 1.0, high - low))


def map_blocks(
    con: Connection,
    pool: int,
    work: Callable[[Connection, Block], R],
    *,
    selection: int | None = None,
    seed: int | None = None,
    content: bool = False,
) -> Iterator[R]:
    """`work` on each block of the pool, in the order in which they were stored: sorting it again would take longer than
    all the rest. `seed`: with `Candidates.drawn`; `content`: with what the answers are.

    Several threads read and work, each with a connection of its own, which does not see what the transaction of `con`
    has not committed yet: where that is the pool, or the `selection` that `work` looks at, this thread does it all.
    """
    names = [name for name in _LISTS if content or name != "content"]

    def do(bounds: dict[str, int], own: Connection) -> R:
        table = own.sql(
            f"SELECT instruction_id, reason, {', '.join(names)} FROM pool_values"
            " WHERE pool_id = $pool AND instruction_id BETWEEN $low AND $high",
            params={"pool": pool, **bounds},
        ).to_arrow_table()
        return work(own, _as_block(own, table, seed))

    def do_beside(bounds: dict[str, int]) -> R:
        with con.cursor() as own:
            return do(bounds, own)

    sql = "SELECT instruction_id FROM pool_values WHERE pool_id = ? ORDER BY 1"
    all_bounds = _bounds(con, sql, [pool], size=BLOCK)
    if not _is_committed(con, pool, selection):
        yield from (do(bounds, con) for bounds in all_bounds)
        return
    with ThreadPoolExecutor(READERS) as readers:
        under_way: deque[Future[R]] = deque()
        try:
            for bounds in all_bounds:
                under_way.append(readers.submit(do_beside, bounds))
                if len(under_way) > READERS + 1:  # so many blocks at a time lie in memory
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for waiting in under_way:
                waiting.cancel()


def _is_committed(con: Connection, pool: int, selection: int | None) -> bool:
    with con.cursor() as own:
        sql = "SELECT count(*) FROM selections WHERE selection_id = ?"
        if selection is not None and not scalar(own, sql, [selection]):
            return False
        return scalar(own, "SELECT count(*) FROM pools WHERE pool_id = ?", [pool]) > 0


def read_some(con: Connection, pool: int, instruction_ids: np.ndarray, *, seed: int | None = None) -> Block:
    """Those of these instructions that the pool knows, by rising id."""
    names = [name for name in _LISTS if name != "content"]
    with registered(con, "wanted", pa.table({"instruction_id": instruction_ids})):
        table = con.sql(
            f"SELECT instruction_id, reason, {', '.join(names)} FROM pool_values"
            " SEMI JOIN wanted USING (instruction_id) WHERE pool_id = $pool ORDER BY instruction_id",
            params={"pool": pool},
        ).to_arrow_table()
    return _as_block(con, table, seed)


def _as_block(con: Connection, table: pa.Table, seed: int | None) -> Block:
    ids, reason = table["instruction_id"].to_numpy(), _whole(table["reason"])
    columns = {name: _whole(table[name]) for name in _LISTS if name in table.column_names}
    offsets = columns["candidate_ids"].offsets.to_numpy()
    flat = {name: lists.flatten().to_numpy() for name, lists in columns.items()}
    open_to = reason.is_null().to_numpy(zero_copy_only=False)  # the others have no candidates: their lists are empty
    starts = np.append(offsets[:-1][open_to], offsets[-1]) - offsets[0]
    drawn = None
    if seed is not None:
        owners = np.repeat(ids[open_to], np.diff(starts))
        # not registered, for the reason that bulk.insert_table gives
        asked = pa.table({"n": np.arange(len(owners)), "instruction_id": owners, "candidate_id": flat["candidate_ids"]})
        drawn = con.from_arrow(asked).order("n").project(_DRAWN.format(seed=int(seed))).fetchnumpy()["drawn"]
    found = Candidates(
        starts,
        flat["candidate_ids"],
        *(flat[name] for name in ("mas", "logp_mean", "n_tokens", "a", "b")),
        drawn=drawn,
    )
    return Block(ids, reason, found, flat.get("content"))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """In one piece, without a copy where it is one."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
