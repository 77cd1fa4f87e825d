"""Which of two models people prefer, from blind votes on their answers to the same questions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from m3po.evaluation.intervals import wilson_interval

VERDICTS = ("first", "second", "tie", "both_bad")  # of the two models, whichever side each stood on


def summarise_votes(votes: Iterable[tuple[int, str]]) -> dict:
    """`votes` are (item, one of VERDICTS), one a person and item. An item goes to the model that more people preferred.

    Returns `items`, `wins` (of the second over the first), `losses`, `ties` and `both_bad` (items), `win_rate` = wins /
    (wins + losses) with Wilson's 95 % interval `low`, `high`, and `p`, of the two-sided exact sign test (Conover 1999,
    section 3.4) that neither is preferred; None where nothing is decided.
    """
    of_items: dict[int, Counter] = {}
    for item, verdict in votes:
        of_items.setdefault(item, Counter())[verdict] += 1
    ends = Counter(_outcome(counts) for counts in of_items.values())
    wins, losses = ends["second"], ends["first"]
    interval = wilson_interval(wins, wins + losses)
    return {
        "items": len(of_items),
        "wins": wins,
        "losses": losses,
        "ties": ends["tie"],
        "both_bad": ends["both_bad"],
        "win_rate": wins / (wins + losses) if interval else None,
        "low": interval and interval[0],
        "high": interval and interval[1],
        "p": sign_test(wins, losses) if interval else None,
    }


def _outcome(counts: Counter) -> str:
    if counts["second"] != counts["first"]:
        return "second" if counts["second"] > counts["first"] else "first"
    return "both_bad" if counts["both_bad"] > counts["tie"] + counts["first"] + counts["second"] else "tie"


def sign_test(wins: int, losses: int) -> float:
    """The chance of a split at least as uneven where each is as likely; 1 without a trial."""
    n, least = wins + losses, min(wins, losses)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(least + 1)) / 2**n)
