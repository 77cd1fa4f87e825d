"""Frozen selections: the pick rule run over the whole workspace as DuckDB statements.

m3po.selection holds the same rule in plain Python; the tests hold the two against each other.
"""

from __future__ import annotations

import dataclasses
import json

from m3po.errors import BadInputError
from m3po.settings import SelectConfig
from m3po.store.candidates import SCORED_CANDIDATES, active_scorer, scorer_info
from m3po.store.connection import Connection, one, scalar
from m3po.store.instructions import now
from m3po.types import PickRule

# The keys that a rule may maximise, over the columns of `pool` below.
_KEYS = {
    "good": "good",
    "hard": "hard",
    "mas": "mas",
    "low_mas": "-mas",
    "confidence": "confidence",
    # rounded: a tie in exact arithmetic must be a tie here and in the twin alike
    "near_mean_2sd": "-round(abs(mas - (mean_mas - 2.0::DOUBLE * sd_mas)), 9)",
}

# Mid-rank: (number below + half of the equal ones) / n. rank() - 1 counts those below.
_MID_RANK = """((rank() OVER (ORDER BY {0}) - 1) + 0.5::DOUBLE * count(*) OVER (PARTITION BY {0}))
               / (count(*) OVER ())::DOUBLE"""
_MIN_MAX = """CASE WHEN max({0}) OVER i = min({0}) OVER i THEN 0.5::DOUBLE
                   ELSE ({0} - min({0}) OVER i) / (max({0}) OVER i - min({0}) OVER i) END"""
_NORMALISED = {"percentile": _MID_RANK, "minmax": _MIN_MAX, "raw": "{0}"}

_VALUES = """
CREATE OR REPLACE TEMP TABLE scored AS
    SELECT c.* EXCLUDE (text), i.split FROM ({scored}) c JOIN instructions i USING (instruction_id)
    WHERE i.split = 'train' AND c.origin IN ('sampled', 'imported');
CREATE OR REPLACE TEMP TABLE pool AS
    WITH eligible AS (
        SELECT * FROM scored
        WHERE mas IS NOT NULL AND logp_sum IS NOT NULL
          AND ($allow_truncated OR finish_reason IS DISTINCT FROM 'length')),
    normalised AS (
        SELECT *, {a} AS a, {b} AS b FROM eligible WINDOW i AS (PARTITION BY instruction_id))
    SELECT *, $wc::DOUBLE * a + (1.0::DOUBLE - $wc::DOUBLE) * b AS good,
           $wr::DOUBLE * (1.0::DOUBLE - a) + (1.0::DOUBLE - $wr::DOUBLE) * b AS hard
    FROM normalised;
"""

_PAIRS = """
CREATE OR REPLACE TEMP TABLE picked AS
    WITH drawn AS (
        SELECT *, avg(mas) OVER i AS mean_mas, stddev_pop(mas) OVER i AS sd_mas, count(*) OVER i AS n FROM {pool}
        WINDOW i AS (PARTITION BY instruction_id)),
    chosen AS (
        SELECT * FROM drawn
        QUALIFY row_number() OVER (PARTITION BY instruction_id ORDER BY {chosen} DESC, mas DESC, candidate_id) = 1),
    others AS (
        SELECT y.*, c.candidate_id AS chosen, c.good AS chosen_good, c.logp_mean AS chosen_logp, c.mas AS chosen_mas,
               c.a - y.a >= $delta::DOUBLE AS far,
               $ratio = 0 OR greatest(c.n_tokens, y.n_tokens)::DOUBLE / least(c.n_tokens, y.n_tokens) <= $ratio AS near
        FROM chosen c JOIN drawn y ON y.instruction_id = c.instruction_id AND y.candidate_id <> c.candidate_id),
    rejected AS (
        SELECT * FROM others WHERE far AND near
        QUALIFY row_number() OVER (PARTITION BY instruction_id ORDER BY {rejected} DESC, mas DESC, candidate_id) = 1),
    reasons AS (
        SELECT instruction_id, CASE WHEN NOT bool_or(far) THEN 'delta' ELSE 'length_ratio' END AS reason
        FROM others GROUP BY instruction_id),
    ineligible AS (
        SELECT instruction_id,
               CASE WHEN bool_and(mas IS NULL) THEN 'no_mas'
                    WHEN NOT bool_or(mas IS NOT NULL AND logp_sum IS NOT NULL) THEN 'no_logprob'
                    ELSE 'truncated' END AS reason
        FROM scored GROUP BY instruction_id)
    SELECT i.instruction_id, r.chosen, r.candidate_id AS rejected, (r.chosen_good + r.hard) / 2.0::DOUBLE AS m3p_score,
           r.chosen_logp - r.logp_mean AS logp_margin, r.chosen_mas - r.mas AS mas_gap,
           CASE WHEN r.chosen IS NOT NULL THEN NULL
                WHEN i.split <> 'train' THEN 'not_train'
                WHEN c.instruction_id IS NULL THEN coalesce(e.reason, 'no_candidates')
                WHEN c.n < 2 THEN 'one_candidate'
                ELSE reasons.reason END AS no_pair_reason
    FROM instructions i
    LEFT JOIN rejected r USING (instruction_id)
    LEFT JOIN chosen c USING (instruction_id)
    LEFT JOIN reasons USING (instruction_id)
    LEFT JOIN ineligible e USING (instruction_id)
"""

# The pair that the data set came with, as it is: no score is needed, no filter laid on it.
_GIVEN_PAIRS = """
CREATE OR REPLACE TEMP TABLE picked AS
    SELECT i.instruction_id, g.chosen, g.rejected, (cp.good + rp.hard) / 2.0::DOUBLE AS m3p_score,
           c.logp_mean - r.logp_mean AS logp_margin, c.mas - r.mas AS mas_gap,
           CASE WHEN i.split <> 'train' THEN 'not_train' WHEN g.chosen IS NULL THEN 'no_given' END AS no_pair_reason
    FROM instructions i
    LEFT JOIN given_pairs g ON g.instruction_id = i.instruction_id AND i.split = 'train'
    LEFT JOIN scored c ON c.candidate_id = g.chosen
    LEFT JOIN scored r ON r.candidate_id = g.rejected
    LEFT JOIN pool cp ON cp.candidate_id = g.chosen
    LEFT JOIN pool rp ON rp.candidate_id = g.rejected
"""

# Two candidates an instruction, drawn by a hash that Python computes alike (m3po.selection.random_key).
_RANDOM_TWO = """(SELECT * FROM pool QUALIFY row_number() OVER (PARTITION BY instruction_id ORDER BY
    md5($seed || ':' || instruction_id || ':' || candidate_id)) <= 2)"""

# What the selection says, whichever ids this workspace gave: two workspaces with equal content have equal hashes.
_CONTENT = """
    SELECT string_agg(i.source || '/' || i.external_id || '>' || md5(c.text) || '>' || md5(r.text), '\n'
                      ORDER BY i.source, i.external_id)
    FROM picked p JOIN instructions i USING (instruction_id)
    JOIN candidates c ON c.candidate_id = p.chosen JOIN candidates r ON r.candidate_id = p.rejected
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


def any_pairs(con: Connection) -> bool:
    """Whether a selection ever found a pair."""
    return scalar(con, "SELECT count(*) FROM selections WHERE pairs > 0") > 0


def create_selection(con: Connection, rule: PickRule, config: SelectConfig) -> int:
    """Run `rule` over the whole workspace and freeze values, pairs and reasons. Returns the selection's id.

    Raises BadInputError for `raw` with a scorer whose range is not [0, 1].
    """
    logp, mas = active_scorer(con, "logp"), active_scorer(con, "mas")
    _check_raw(con, mas, config)
    norm = _NORMALISED[config.normalise]
    run_values = _VALUES.format(scored=SCORED_CANDIDATES, a=norm.format("mas"), b=norm.format("confidence"))
    _execute(
        con,
        run_values,
        {
            "logp": logp,
            "mas": mas,
            "allow_truncated": config.allow_truncated,
            "wc": float(config.weight_chosen),
            "wr": float(config.weight_rejected),
        },
    )
    run_pairs = _GIVEN_PAIRS
    if not rule.given:
        run_pairs = _PAIRS.format(
            pool=_RANDOM_TWO if rule.random_two else "pool",
            chosen=_KEYS[rule.chosen],
            rejected=_KEYS[rule.rejected],
        )
    parameters = {"delta": float(config.delta), "ratio": float(config.length_ratio)}
    if rule.random_two:
        parameters["seed"] = str(config.seed)
    _execute(con, run_pairs, parameters)
    text = json.dumps(dataclasses.asdict(config), sort_keys=True)
    content = scalar(con, f"SELECT sha256(coalesce(({_CONTENT}), '') || ?)", [text])
    selection = scalar(
        con,
        "INSERT INTO selections (config, logp_scorer, mas_scorer, pairs, content_hash, created_at)"
        " SELECT ?, ?, ?, count(chosen), ?, ? FROM picked RETURNING selection_id",
        [text, logp, mas, content, now()],
    )
    con.execute(
        "INSERT INTO selection_values SELECT ?, instruction_id, candidate_id, a, b, good, hard FROM pool",
        [selection],
    )
    con.execute("INSERT INTO selection_pairs SELECT ?, * FROM picked", [selection])
    con.execute("DROP TABLE scored; DROP TABLE pool; DROP TABLE picked")
    return selection


def _execute(con: Connection, script: str, parameters: dict) -> None:
    """Run statements one by one, each with just the parameters it names."""
    for statement in script.split(";\n"):
        if statement.strip():
            con.execute(statement, {k: v for k, v in parameters.items() if f"${k}" in statement})


def _check_raw(con: Connection, mas: int | None, config: SelectConfig) -> None:
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
    return one(
        con,
        "SELECT * FROM selection_pairs WHERE selection_id = ? AND instruction_id = ?",
        [selection, instruction_id],
    )
