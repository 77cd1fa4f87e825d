"""What is taken out of an item before an annotator's browser gets it, and the order that she numbers its answers in."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from m3po.assigning import seed_of
from m3po.store.personal import Personal
from m3po.store.verdicts import count_reviewed
from m3po.types import Candidate, Decision, PastDecision, ReviewItem


def shuffled(item: ReviewItem, annotator: str) -> ReviewItem:
    """The candidates in an order that follows from item and annotator alone, before the vote and after; her own edits
    come last, so that a new one moves no other."""

    def key(c: Candidate) -> tuple:
        return (c.origin == "human", c.id if c.origin == "human" else seed_of(annotator, item.instruction.id, c.id))

    return dataclasses.replace(item, candidates=tuple(sorted(item.candidates, key=key)), shuffled=True)


def without_others(
    item: ReviewItem, annotator: str, own: Decision | None, writers: Mapping[int, Collection[str]]
) -> ReviewItem:
    """Nothing that another person did: no decision but her own (a skip or a flag), no answer that another wrote, no
    tag that another gave.

    `writers`: who wrote which candidate, of those that people wrote.
    """
    kept = tuple(c for c in item.candidates if annotator in writers.get(c.id, (annotator,)))
    tags = tuple(each for each in item.tags if each.annotator == annotator)
    waits = any(c.waits_for_scores for c in kept)
    return dataclasses.replace(
        item, candidates=kept, decision=own, pair=item.machine_pair, votes=(), gold=False, tags=tags, exclusions=(),
        changes=(), measured=0, scoring=item.scoring and waits,
    )  # fmt: skip


def without_names(past: Sequence[PastDecision], annotator: str) -> list[PastDecision]:
    """Her own decisions alone; who else took one back or redid it was a curator, whoever that is."""

    def named(who: str) -> str:
        return who if who in ("", annotator) else "a curator"

    own = [row for row in past if row.annotator == annotator]
    return [dataclasses.replace(row, undone_by=named(row.undone_by), redone_by=named(row.redone_by)) for row in own]


def bare_answer(candidate: Candidate) -> Candidate:
    """The text alone: no score, no votes of the samples, and of the origin only whether a person wrote it."""
    return Candidate(candidate.id, candidate.text, "human" if candidate.origin == "human" else "sampled")


def without_scores(item: ReviewItem) -> ReviewItem:
    """Nothing that a machine said but the answers' texts: no score, no votes of the samples, no pick, no origin."""
    bare = tuple(bare_answer(each) for each in item.candidates)
    return dataclasses.replace(
        item, candidates=bare, pair=None, machine_pair=None, no_pair_reason=None, given=None, selected_by="",
        scoring=False, blind=True, exclusions=(), changes=(), measured=0,
    )  # fmt: skip


def tells(item: ReviewItem, annotator: str, writers: Mapping[int, Collection[str]]) -> bool:
    """Whether it holds anything that this person is not to see when she judges blind; `writers` as for
    `without_others`."""
    said = (item.decision, item.pair, item.machine_pair, item.given)
    if item.changes or any(each is not None for each in said) or any(each.annotator != annotator for each in item.tags):
        return True
    others = any(annotator not in writers.get(c.id, (annotator,)) for c in item.candidates)
    return others or without_scores(item).candidates != item.candidates


def with_votes(item: ReviewItem, votes: tuple[Decision, ...], *, gold: bool = False) -> ReviewItem:
    return dataclasses.replace(item, votes=votes, gold=gold)


def own_progress(person: Personal, *, alone: bool) -> dict[str, int]:
    """What stands in the place of the workspace's progress: that of her queue; without one, where nothing may tell what
    others decided, how many items she reviewed herself."""
    done, assigned = person.progress
    if assigned:
        return {"reviewed": done, "reviewable": assigned}
    return {"reviewed": count_reviewed(person.counts)} if alone else {}


# Of the workspace's counts those that no decision and no answer of a person changes; any other is told empty.
_TOLD = frozenset({
    "workspace", "instructions", "images", "sampled_instructions", "samplers", "without_log_prob", "advice", "pairs",
    "no_pair", "selection", "reviewable",
})  # fmt: skip


def own_counts(status: dict, person: Personal, *, picks: bool) -> dict:
    """The workspace's counts (m3po.jobs.planning.overview) without what others decided or wrote: her own verdicts and
    her queue's progress in their place, no run, for an edit starts one, and no answer that people wrote; without
    `picks` nothing of how many pairs the machine found, either."""
    own = {name: value if name in _TOLD else type(value)() for name, value in status.items()}
    own |= own_progress(person, alone=True) | {"decisions": person.counts}
    own |= {"candidates": status["candidates"] - status["written"]}
    own |= {"given": status["given"] | {"decided": 0, "reviewers_agree": 0}}
    if not picks:
        own |= {"pairs": 0, "no_pair": {}, "selection": status["selection"] and status["selection"] | {"pairs": 0}}
        own |= {"samplers": [row | {"pair_share": None} for row in status["samplers"]]}
    return own


def own_result(result: dict) -> dict:
    """A row of m3po.jobs.results.outcomes without how many pairs of its run people decided."""
    config = result["config"] | {"human": 0}
    return result | {"human": 0, "config": config, "run": dataclasses.replace(result["run"], config=config)}
