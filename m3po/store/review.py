"""One item of the review page with all that is known of it, read in a few milliseconds."""

from __future__ import annotations

import json
from collections.abc import Sequence

from m3po.store.connection import Connection
from m3po.store.decisions import as_decision, disagreeing
from m3po.store.exclusions import exclusions_of
from m3po.store.items import Item, Items
from m3po.store.pair_changes import count_measured
from m3po.store.review_index import ReviewIndex
from m3po.store.run_views import parse_runs
from m3po.store.runs import score_is_under_way
from m3po.store.standing import current_row, standing_rows
from m3po.store.tags import tags_around
from m3po.store.walks import Walk
from m3po.types import IMPORTED, Candidate, Decision, Pair, ReviewItem, ReviewView


def read_item(
    con: Connection,
    index: ReviewIndex,
    items: Items,
    view: ReviewView,
    instruction_id: int | None,
    move: int,
    client: str = "",
) -> ReviewItem | None:
    """The item `move` places after `instruction_id` in the view (None: the first); at an end, the last one that way.

    An item that has left the view (a decision took it out of "unreviewed") still knows its neighbours.
    """
    walk = index.walk(con, view, client)
    if instruction_id is None:
        instruction_id = walk.first()
    elif move:
        instruction_id = walk.step(instruction_id, move)
    if instruction_id is None:
        return None
    return next(iter(_read_at(con, index, items, walk, [instruction_id], view)), None)


def read_items(
    con: Connection, index: ReviewIndex, items: Items, view: ReviewView | None, instruction_ids: Sequence[int]
) -> list[ReviewItem]:
    """Those that there are, in their order; without a view, without a place in one."""
    walk = None if view is None else index.walk(con, view)
    return _read_at(con, index, items, walk, instruction_ids, view)


def _read_at(
    con: Connection,
    index: ReviewIndex,
    items: Items,
    walk: Walk | None,
    instruction_ids: Sequence[int],
    view: ReviewView | None,
) -> list[ReviewItem]:
    asked = parse_runs(view.run) if view and view.run else None
    known = items.read(con, instruction_ids)
    standing = standing_rows(con, index.may_be_decided(con, list(known)))
    reviewed, reviewable = index.counts(con)
    tags, excluded, measured = tags_around(con, known), exclusions_of(con, known), count_measured(con)
    found = []
    for number in instruction_ids:
        if number not in known:
            continue
        item = known[number]
        decision, pair = _stands(item, standing.get(number, ()))
        place = {"position": 0, "total": 0}
        if walk is not None:
            place = {"position": walk.position(number), "total": walk.total, "next_id": walk.neighbour(number, +1)}
        found.append(
            ReviewItem(
                instruction=item.instruction,
                candidates=item.candidates,
                pair=pair,
                machine_pair=item.machine_pair,
                no_pair_reason=item.no_pair_reason,
                decision=decision,
                selection_id=item.selection_id,
                reviewed=reviewed,
                reviewable=reviewable,
                given=item.given,
                scoring=any(c.waits_for_scores for c in item.candidates) and score_is_under_way(con),
                selected_by=item.selected_by,
                tags=tags.get(number, ()),
                changes=tuple(sorted(item.changes, key=lambda change: not (asked and change.run_id == asked.run))),
                measured=measured,
                exclusions=excluded.get(number, ()),
                **place,
            )
        )
    return found


def standing_pair(con: Connection, item: Item) -> Pair | None:
    """The human's pair, where one decided, else the machine's."""
    number = item.instruction.id
    return _stands(item, standing_rows(con, [number]).get(number, ()))[1]


def _stands(item: Item, standing: Sequence[dict]) -> tuple[Decision | None, Pair | None]:
    row = current_row(standing)
    if row is None:
        return None, item.machine_pair
    stale = _stale(row, item.machine_pair, item.candidates)
    decision = as_decision(row, stale=stale, disagreeing=disagreeing(row, standing))
    if decision.chosen is None or decision.rejected is None:
        return decision, item.machine_pair
    return decision, pair_between({c.id: c for c in item.candidates}, decision.chosen, decision.rejected)


def pair_between(by_id: dict[int, Candidate], chosen: int, rejected: int) -> Pair:
    """The pair of two candidates with whatever scores both have."""
    c, r = by_id.get(chosen), by_id.get(rejected)
    score = margin = gap = None
    if c and r:
        if c.good is not None and r.hard is not None:
            score = (c.good + r.hard) / 2.0
        if c.logp_mean is not None and r.logp_mean is not None:
            margin = c.logp_mean - r.logp_mean
        if c.mas is not None and r.mas is not None:
            gap = c.mas - r.mas
    return Pair(chosen, rejected, score, margin, gap)


def shown_state(machine: Pair | None, candidates: tuple[Candidate, ...]) -> dict:
    """What a decision was made on: the machine's pick and every scored answer. Human edits are left out, because
    they are part of deciding."""
    return {
        "machine": [machine.chosen, machine.rejected] if machine else None,
        "candidates": {str(c.id): [_rounded(c.mas), _rounded(c.logp_mean)] for c in candidates if c.origin != "human"},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _stale(decision: dict, machine: Pair | None, candidates: tuple[Candidate, ...]) -> bool:
    if decision["reason"] == IMPORTED:  # it never saw a state of this workspace
        return False
    return json.loads(decision["shown"] or "{}") != shown_state(machine, candidates)
