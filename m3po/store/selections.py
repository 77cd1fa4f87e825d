"""Frozen selections: the pick rule run over the whole workspace, and its pairs.

m3po.selection holds the same rule in plain Python; the tests hold the two against each other.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from m3po.errors import BadInputError
from m3po.settings import SelectConfig
from m3po.store.bulk import insert_table
from m3po.store.candidates import active_scorer, scorer_info
from m3po.store.connection import Connection, among, one, rows, scalar
from m3po.store.instructions import now
from m3po.store.picking import PICKED, REASONS, Picks, pick_all
from m3po.store.pools import Block, ensure_pool, map_blocks
from m3po.types import PickRule

BLOCKS_TOGETHER = 4  # of pools.BLOCK instructions each
_PAIR_COLUMNS = (
    "selection_id", "instruction_id", "chosen", "rejected", "m3p_score", "logp_margin", "mas_gap", "no_pair_reason",
    "chosen_tokens", "rejected_tokens", "chosen_mas", "rejected_mas", "chosen_logp_mean", "rejected_logp_mean",
)  # fmt: skip

# The pair that the data set came with, as it is: no score is needed, no filter laid on it.
_GIVEN_PAIRS = """
    INSERT INTO selection_pairs BY NAME
    WITH scored AS (
        SELECT c.candidate_id, m.mas, l.logp_sum / l.n_tokens AS logp_mean, l.n_tokens FROM candidates c
        LEFT JOIN logprobs l ON l.candidate_id = c.candidate_id AND l.scorer_id = $logp
        LEFT JOIN mas_scores m ON m.candidate_id = c.candidate_id AND m.scorer_id = $mas
        WHERE c.origin IN ('sampled', 'imported')),
    pool AS (
        SELECT unnest(candidate_ids) AS candidate_id, unnest(a) AS a, unnest(b) AS b FROM pool_values
        WHERE pool_id = $pool)
    SELECT $selection AS selection_id, i.instruction_id, g.chosen, g.rejected,
           (($wc::DOUBLE * cp.a + (1.0::DOUBLE - $wc::DOUBLE) * cp.b)
            + ($wr::DOUBLE * (1.0::DOUBLE - rp.a) + (1.0::DOUBLE - $wr::DOUBLE) * rp.b)) / 2.0::DOUBLE AS m3p_score,
           c.logp_mean - r.logp_mean AS logp_margin, c.mas - r.mas AS mas_gap,
           CASE WHEN i.split <> 'train' THEN 'not_train' WHEN g.chosen IS NULL THEN 'no_given' END AS no_pair_reason,
           c.n_tokens AS chosen_tokens, r.n_tokens AS rejected_tokens, c.mas AS chosen_mas, r.mas AS rejected_mas,
           c.logp_mean AS chosen_logp_mean, r.logp_mean AS rejected_logp_mean
    FROM instructions i
    LEFT JOIN given_pairs g ON g.instruction_id = i.instruction_id AND i.split = 'train'
    LEFT JOIN scored c ON c.candidate_id = g.chosen
    LEFT JOIN scored r ON r.candidate_id = g.rejected
    LEFT JOIN pool cp ON cp.candidate_id = g.chosen
    LEFT JOIN pool rp ON rp.candidate_id = g.rejected
    ORDER BY i.instruction_id
"""
_GIVEN_CONTENT = """
    SELECT md5_number_lower(i.source || '/' || i.external_id || '>' || c.text) AS chosen,
           md5_number_lower(i.source || '/' || i.external_id || '>' || r.text) AS rejected
    FROM selection_pairs p JOIN instructions i USING (instruction_id)
    JOIN candidates c ON c.candidate_id = p.chosen JOIN candidates r ON r.candidate_id = p.rejected
    WHERE p.selection_id = ?
"""


_WITHOUT_SCORES = """
    SELECT i.instruction_id FROM instructions i
    LEFT JOIN (SELECT * FROM selection_pairs WHERE selection_id = $selection) p USING (instruction_id)
    WHERE i.split = 'train'
      AND (p.selection_id IS NULL OR p.no_pair_reason IN ('no_candidates', 'no_mas', 'no_logprob'))
"""


def count_not_selected(con: Connection, selection: int | None) -> int:
    """Train instructions that the selection does not know: imported since. 0 without a selection."""
    if selection is None:
        return 0
    return scalar(
        con,
        "SELECT count(*) FROM instructions i ANTI JOIN"
        " (SELECT instruction_id FROM selection_pairs WHERE selection_id = ?) p USING (instruction_id)"
        " WHERE i.split = 'train'",
        [selection],
    )


def count_scored_since(con: Connection, selection: int | None, logp: int | None, mas: int | None) -> int:
    """Train instructions that had nothing to pick from at the selection, and have now an answer that a rule sees with
    both scores, by the scorers `logp` and `mas`. 0 without a selection."""
    if selection is None or logp is None or mas is None:
        return 0
    without = scalar(con, f"SELECT count(*) FROM ({_WITHOUT_SCORES})", {"selection": selection})
    if not without:  # as a rule: the scores need not be looked at
        return 0
    return scalar(
        con,
        f"SELECT count(DISTINCT instruction_id) FROM ({_WITHOUT_SCORES})"
        " JOIN (SELECT * FROM candidates WHERE origin IN ('sampled', 'imported')) USING (instruction_id)"
        " SEMI JOIN (SELECT candidate_id FROM logprobs WHERE scorer_id = $logp) USING (candidate_id)"
        " SEMI JOIN (SELECT candidate_id FROM mas_scores WHERE scorer_id = $mas) USING (candidate_id)",
        {"selection": selection, "logp": logp, "mas": mas},
    )


def any_pairs(con: Connection) -> bool:
    """Whether a selection ever found a pair."""
    return scalar(con, "SELECT count(*) FROM selections WHERE pairs > 0") > 0


def create_selection(con: Connection, rule: PickRule, config: SelectConfig) -> int:
    """Run `rule` over the whole workspace and freeze pairs and reasons beside the pool of values. Returns its id.

    Raises BadInputError for `raw` with a scorer whose range is not [0, 1].
    """
    logp, mas = active_scorer(con, "logp"), active_scorer(con, "mas")
    check_raw(con, mas, config)
    pool = ensure_pool(con, logp, mas, config)
    selection = scalar(con, "SELECT nextval('selection_ids')")
    if rule.given:
        weights = {"wc": float(config.weight_chosen), "wr": float(config.weight_rejected)}
        con.execute(_GIVEN_PAIRS, {"selection": selection, "logp": logp, "mas": mas, "pool": pool, **weights})
        found = con.execute(_GIVEN_CONTENT, [selection]).fetchnumpy()
        contents = [np.column_stack([found["chosen"], found["rejected"]])]
    else:
        contents = _insert_pairs(con, selection, pool, rule, config)
    text = json.dumps(dataclasses.asdict(config), sort_keys=True)
    con.execute(
        "INSERT INTO selections"
        " (selection_id, config, logp_scorer, mas_scorer, pairs, content_hash, created_at, pool_id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [selection, text, logp, mas, sum(map(len, contents)), _hash(contents, text), now(), pool],
    )
    return selection


def _insert_pairs(con: Connection, selection: int, pool: int, rule: PickRule, config: SelectConfig) -> list[np.ndarray]:
    """Pick and store; returns of all pairs what chosen and rejected are. Many rows at a time go in fastest."""
    contents, rows = [], []
    picked = map_blocks(
        con,
        pool,
        lambda _, block: _pick(selection, block, rule, config),
        seed=config.seed if rule.random_two else None,
        content=True,
    )
    for found, content in picked:
        contents.append(content)
        rows.append(found)
        if len(rows) == BLOCKS_TOGETHER:
            insert_table(con, "selection_pairs", pa.concat_tables(rows))
            rows = []
    if rows:
        insert_table(con, "selection_pairs", pa.concat_tables(rows))
    return contents


def _pick(selection: int, block: Block, rule: PickRule, config: SelectConfig) -> tuple[pa.Table, np.ndarray]:
    """The block's rows of `selection_pairs`, and what chosen and rejected of its pairs are."""
    picks = pick_all(block.candidates, rule, config)
    paired = picks.reason == PICKED
    content = np.column_stack([block.content[at[paired]] for at in (picks.chosen, picks.rejected)])
    return _as_rows(selection, block, picks), content


def _as_rows(selection: int, block: Block, picks: Picks) -> pa.Table:
    """Of every instruction of the block its pair or the reason why it has none."""
    c, paired = block.candidates, picks.reason == PICKED
    places = np.flatnonzero(block.open)

    def spread(values: np.ndarray) -> pa.Array:
        """Values of the open instructions, with nothing for those that have no pair."""
        out, empty = np.zeros(len(block.open), values.dtype), np.ones(len(block.open), bool)
        out[places], empty[places] = values, ~paired
        return pa.array(out, mask=empty)

    chosen, rejected = picks.chosen, picks.rejected
    none = pa.array(REASONS).take(pa.array(picks.reason, mask=paired))
    reason = pc.replace_with_mask(block.reason, pa.array(block.open), none) if len(places) else block.reason
    columns = [
        pa.array(np.full(len(block.open), selection)),
        pa.array(block.instruction_ids),
        *(spread(c.ids[at]) for at in (chosen, rejected)),
        spread(picks.score),
        *(spread(values[chosen] - values[rejected]) for values in (c.logp_mean, c.mas)),
        reason,
        *(spread(values[at]) for values in (c.n_tokens, c.mas, c.logp_mean) for at in (chosen, rejected)),
    ]
    return pa.table(dict(zip(_PAIR_COLUMNS, columns, strict=True)))


def _hash(contents: list[np.ndarray], config: str) -> str:
    """What the selection says, whichever ids this workspace gave: two workspaces with equal content have equal hashes.

    `contents`: of each pair what chosen and rejected are, in no order.
    """
    pairs = np.concatenate(contents) if contents else np.empty((0, 2), np.uint64)
    order = np.argsort(pairs[:, 0])  # no two are alike: the instruction is part of what an answer is
    return hashlib.sha256(np.ascontiguousarray(pairs[order], "<u8").tobytes() + config.encode()).hexdigest()


def check_raw(con: Connection, mas: int | None, config: SelectConfig) -> None:
    """Raise BadInputError for `raw` with a scorer whose range is not [0, 1]."""
    info = scorer_info(con, mas)
    if config.normalise == "raw" and info and (info["range_low"], info["range_high"]) != (0.0, 1.0):
        raise BadInputError(
            f"normalise = 'raw' needs a MAS scorer with range [0, 1], and {info['name']} has "
            f"[{info['range_low']}, {info['range_high']}]: use percentile or minmax."
        )


def latest_selection(con: Connection) -> int | None:
    return scalar(con, "SELECT max(selection_id) FROM selections")


def selection_info(con: Connection, selection: int | None) -> dict | None:
    """Config, counts and content hash of a selection, flat."""
    row = one(con, "SELECT * FROM selections WHERE selection_id = ?", [selection]) if selection else None
    if row is None:
        return None
    return {
        "id": row["selection_id"],
        **json.loads(row["config"]),
        "pairs": row["pairs"],
        "content_hash": row["content_hash"],
        "created_at": row["created_at"],
        "logp_scorer": row["logp_scorer"],
        "mas_scorer": row["mas_scorer"],
        "pool_id": row["pool_id"],
    }


def no_pair_counts(con: Connection, selection: int | None) -> dict[str, int]:
    """How many train instructions have no pair, by reason."""
    return dict(
        con.execute(
            "SELECT no_pair_reason, count(*) FROM selection_pairs WHERE selection_id = ?"
            " AND no_pair_reason IS NOT NULL AND no_pair_reason <> 'not_train' GROUP BY 1 ORDER BY 2 DESC, 1",
            [selection],
        ).fetchall()
    )


def pair_of(con: Connection, selection: int | None, instruction_id: int) -> dict | None:
    return pairs_of(con, selection, [instruction_id]).get(instruction_id)


def pairs_of(con: Connection, selection: int | None, instruction_ids: Iterable[int]) -> dict[int, dict]:
    """The rows of these instructions in the selection, by id."""
    sql = f"SELECT * FROM selection_pairs WHERE selection_id = ? AND {among('instruction_id', instruction_ids)}"
    return {row["instruction_id"]: row for row in rows(con, sql, [selection])}
