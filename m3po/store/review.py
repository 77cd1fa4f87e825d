"""One item of the review page with all that is known of it, read in a few milliseconds."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from m3po.store.candidates import active_scorer, candidates_of, scorer_info
from m3po.store.connection import Connection, one
from m3po.store.decisions import as_decision, current_decision, disagreeing, given_pair
from m3po.store.instructions import Images, read_instruction
from m3po.store.review_index import ReviewIndex
from m3po.store.runs import score_is_under_way
from m3po.store.samplers import name_sampler, samplers_of
from m3po.store.selections import latest_selection, pair_of, selection_info
from m3po.store.tags import tags_of
from m3po.types import Candidate, Claim, Decision, Pair, ReviewItem, ReviewView


@dataclass(frozen=True)
class BareItem:
    """An item's candidates and what stands: the machine's pair and the human's."""

    split: str
    selection_id: int | None
    candidates: tuple[Candidate, ...]
    machine_pair: Pair | None
    machine_row: dict | None
    decision: Decision | None
    pair: Pair | None


def read_item(
    con: Connection,
    index: ReviewIndex,
    view: ReviewView,
    instruction_id: int | None,
    move: int,
    images: Images,
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
    instruction = read_instruction(con, instruction_id, images)
    if instruction is None:
        return None
    bare = read_bare_item(con, instruction_id)
    reviewed, reviewable = index.counts(con)
    return ReviewItem(
        instruction=instruction,
        candidates=_with_samplers(con, bare.candidates),
        pair=bare.pair,
        machine_pair=bare.machine_pair,
        no_pair_reason=None
        if bare.machine_pair
        else _reason(bare.machine_row, bare.candidates, instruction.split, bare.selection_id),
        decision=bare.decision,
        selection_id=bare.selection_id,
        position=walk.position(instruction_id),
        total=walk.total,
        reviewed=reviewed,
        reviewable=reviewable,
        previous_id=walk.neighbour(instruction_id, -1),
        next_id=walk.neighbour(instruction_id, +1),
        given=given_pair(con, instruction_id),
        scoring=_waits_for_scores(bare.candidates) and score_is_under_way(con),
        selected_by=_selected_by(con, bare),
        tags=tags_of(con, instruction_id),
    )


def _with_samplers(con: Connection, candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    told = samplers_of(con, [c.id for c in candidates])
    return tuple(
        dataclasses.replace(
            c, samplers=tuple((name_sampler(s["policy"], s["settings"]), s["votes"]) for s in told.get(c.id, ()))
        )
        for c in candidates
    )


def _waits_for_scores(candidates: tuple[Candidate, ...]) -> bool:
    return any(c.origin == "human" and c.mas is None and c.logp_sum is None for c in candidates)


def _selected_by(con: Connection, bare: BareItem) -> str:
    """The MAS scorer that the item's frozen values are by, where another one is active now; else empty."""
    if bare.machine_pair is None and all(c.good is None for c in bare.candidates):
        return ""  # the selection froze nothing of it
    scorer = selection_info(con, bare.selection_id)["mas_scorer"]
    if scorer is None or scorer == active_scorer(con, "mas"):
        return ""
    return scorer_info(con, scorer)["name"]


def read_bare_item(con: Connection, instruction_id: int) -> BareItem | None:
    """What a decision needs to know of an item: no view, no neighbours."""
    selection = latest_selection(con)
    found = candidates_of(con, [instruction_id], selection)[instruction_id]
    owner = one(con, "SELECT split FROM instructions WHERE instruction_id = ?", [instruction_id])
    if owner is None:
        return None
    candidates = tuple(as_candidate(row) for row in found)
    machine_row = pair_of(con, selection, instruction_id)
    machine = _machine_pair(machine_row)
    decision_row = current_decision(con, instruction_id)
    decision, pair = None, machine
    if decision_row:
        stale = _stale(decision_row, machine, candidates)
        decision = as_decision(decision_row, stale=stale, disagreeing=disagreeing(con, decision_row))
        if decision.chosen is not None and decision.rejected is not None:
            pair = pair_between({c.id: c for c in candidates}, decision.chosen, decision.rejected)
    return BareItem(owner["split"], selection, candidates, machine, machine_row, decision, pair)


def as_candidate(row: dict) -> Candidate:
    return Candidate(
        id=row["candidate_id"],
        **{name: row[name] for name in ("text", "origin", "votes", "finish_reason", "mas", "mas_minimum")},
        **{
            name: row[name]
            for name in (
                "logp_sum",
                "n_tokens",
                "logp_mean",
                "confidence",
                "a",
                "b",
                "good",
                "hard",
                "group_votes",
                "same_as",
            )
        },
        claims=tuple(Claim(**claim) for claim in row["claims"]),
    )


def _machine_pair(row: dict | None) -> Pair | None:
    if row is None or row["chosen"] is None:
        return None
    return Pair(row["chosen"], row["rejected"], row["m3p_score"], row["logp_margin"], row["mas_gap"])


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


def _reason(row: dict | None, candidates: tuple[Candidate, ...], split: str, selection: int | None) -> str:
    if row is not None and row["no_pair_reason"] not in ("no_candidates", "no_mas", "no_logprob"):
        return row["no_pair_reason"]
    # Sampled or scored since the last selection, or never selected: say what is missing now.
    if split != "train":
        return "not_train"
    if not candidates:
        return "no_candidates"
    if all(c.mas is None for c in candidates):
        return "no_mas"
    if all(c.logp_sum is None for c in candidates):
        return "no_logprob"
    return "not_selected" if selection is None else "not_scored_then"


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
    if decision["reason"] == "imported":  # it never saw a state of this workspace
        return False
    return json.loads(decision["shown"] or "{}") != shown_state(machine, candidates)
