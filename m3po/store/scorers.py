"""The MAS scorers of a workspace side by side: which there are, and those that need no model of their own.

Several stay stored and one is active. A rating from an imported file (`column:`) and a weighted mean of other
scorers are computed here, from what is stored.
"""

from __future__ import annotations

import json

from m3po.errors import BadInputError
from m3po.store.candidates import active_scorer, scorer_id, scorer_info, set_scorer_range
from m3po.store.connection import Connection, rows, scalar
from m3po.store.instructions import now


def list_scorers(con: Connection) -> list[dict]:
    """Every MAS scorer: `number, id, name, range_low, range_high, candidates` (scored by it) and `active`.

    People know them by number: 1, 2, 3, in the order in which they first scored something, so that a number stays.
    One that never did, as its model could not be loaded, is left out unless it is the active one, and comes last then.
    """
    active = active_scorer(con, "mas")
    found = rows(
        con,
        """
        SELECT row_number() OVER (ORDER BY min(m.run_id), s.scorer_id) AS number, s.scorer_id AS id, s.name,
               s.range_low, s.range_high, count(m.candidate_id) AS candidates
        FROM scorers s LEFT JOIN mas_scores m ON m.scorer_id = s.scorer_id
        WHERE s.kind = 'mas' GROUP BY s.scorer_id, s.name, s.range_low, s.range_high
        HAVING count(m.candidate_id) > 0 OR s.scorer_id = ? ORDER BY number
        """,
        [active],
    )
    return [row | {"active": row["id"] == active} for row in found]


def last_run(con: Connection, scorer: int | None) -> int | None:
    """The newest run that stored a value of this MAS scorer; None where none did."""
    return scalar(con, "SELECT max(run_id) FROM mas_scores WHERE scorer_id = ?", [scorer])


def rating_names(con: Connection) -> list[str]:
    """The ratings that imported files brought, by name."""
    return [row[0] for row in con.execute("SELECT DISTINCT name FROM ratings ORDER BY name").fetchall()]


def check_rating(con: Connection, name: str) -> None:
    """Raise BadInputError when no file brought a rating of this name; those there are, are listed."""
    known = rating_names(con)
    if name not in known:
        there = f"there are {', '.join(known)}" if known else "no imported file brought any"
        raise BadInputError(f"There is no rating {name!r} in this workspace: {there}.")


def fill_from_ratings(con: Connection, scorer: int, name: str, run_id: int) -> int:
    """Take the rating `name` as the MAS of every candidate that has one and no value by `scorer` yet; how many.

    The range is that of the ratings themselves. A candidate that was rated twice gets the mean. Raises BadInputError
    when there is no such rating.
    """
    check_rating(con, name)
    before = _count(con, scorer)
    con.execute(
        """
        INSERT INTO mas_scores (candidate_id, scorer_id, run_id, mas, created_at)
        SELECT candidate_id, $scorer, $run, avg(value), $now FROM ratings
        WHERE name = $name AND isfinite(value)
          AND candidate_id NOT IN (SELECT candidate_id FROM mas_scores WHERE scorer_id = $scorer)
        GROUP BY candidate_id
        """,
        {"scorer": scorer, "run": run_id, "name": name, "now": now()},
    )
    low, high = con.execute(
        "SELECT min(value), max(value) FROM ratings WHERE name = ? AND isfinite(value)", [name]
    ).fetchall()[0]
    set_scorer_range(con, scorer, low, high)
    return _count(con, scorer) - before


def mean_scorer(con: Connection, name: str, parts: list[tuple[float, int]]) -> int:
    """The scorer that is the mean of `parts` (weight, scorer), made when there is none yet.

    Each part's values are scaled to [0, 1] by its own range, value by value: a percentile would move whenever another
    candidate came, and a stored score never changes. The ranges are part of what the mean is, so a rating whose
    range grew by a later import makes another mean. Raises BadInputError for a part without a closed range.
    """
    made = []
    for weight, part in parts:
        info = scorer_info(con, part)
        low, high = info["range_low"], info["range_high"]
        if not _count(con, part):
            raise BadInputError(f"{info['name']} has scored no candidate, so there is no mean: sample or import first.")
        if low is None or high is None or not low < high:
            raise BadInputError(f"{info['name']} gives no range of scores, or only one score: it cannot be in a mean.")
        made.append((weight, part, low, high))
    scorer = scorer_id(con, "mas", name, "mean:" + json.dumps([[round(w, 9), *rest] for w, *rest in made]))
    if not scalar(con, "SELECT count(*) FROM scorer_parts WHERE scorer_id = ?", [scorer]):
        con.executemany("INSERT INTO scorer_parts VALUES (?, ?, ?, ?, ?)", [[scorer, p, w, *r] for w, p, *r in made])
        set_scorer_range(con, scorer, 0.0, 1.0)
    return scorer


def parts_of(con: Connection, scorer: int | None) -> list[int]:
    """The scorers that this one is the mean of; none of any other."""
    return [row[0] for row in con.execute("SELECT part FROM scorer_parts WHERE scorer_id = ?", [scorer]).fetchall()]


def fill_mean(con: Connection, scorer: int, run_id: int, *, only_edits: bool = False) -> int:
    """The weighted mean of every candidate (`only_edits`: that a human wrote) that all parts have scored and that has
    no mean yet; how many."""
    before = _count(con, scorer)
    con.execute(
        """
        INSERT INTO mas_scores (candidate_id, scorer_id, run_id, mas, created_at)
        SELECT candidate_id, $scorer, $run,
               sum(p.weight * (m.mas - p.range_low) / (p.range_high - p.range_low)), $now
        FROM mas_scores m JOIN scorer_parts p ON p.part = m.scorer_id AND p.scorer_id = $scorer
        WHERE candidate_id NOT IN (SELECT candidate_id FROM mas_scores WHERE scorer_id = $scorer)
          AND (NOT $only_edits OR candidate_id IN (SELECT candidate_id FROM candidates WHERE origin = 'human'))
        GROUP BY candidate_id
        HAVING count(*) = (SELECT count(*) FROM scorer_parts WHERE scorer_id = $scorer)
        """,
        {"scorer": scorer, "run": run_id, "now": now(), "only_edits": only_edits},
    )
    return _count(con, scorer) - before


def _count(con: Connection, scorer: int) -> int:
    return scalar(con, "SELECT count(*) FROM mas_scores WHERE scorer_id = ?", [scorer])
