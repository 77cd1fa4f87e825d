"""What is taken out of an item before an annotator's browser gets it, and the order that she numbers its answers in."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from m3po.assigning import seed_of
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
    waits = any(c.origin == "human" and c.mas is None and c.logp_sum is None for c in kept)
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


def without_scores(item: ReviewItem) -> ReviewItem:
    """Nothing that a machine said but the answers' texts: no score, no votes of the samples, no pick, no origin."""
    bare = tuple(Candidate(c.id, c.text, "human" if c.origin == "human" else "sampled") for c in item.candidates)
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


def with_progress(item: ReviewItem, done: int, assigned: int) -> ReviewItem:
    """Her own queue's progress in the place of the workspace's."""
    return dataclasses.replace(item, reviewed=done, reviewable=assigned)


# Of the workspace's counts those that others' decisions change, and those that an answer of theirs does.
_BY_DECISIONS = ("disagreeing", "curated_pairs", "human_pairs", "overridden", "auto_accepted", "excluded")
_BY_EDITS = ("scored_candidates", "scored_since", "answered_instructions", "answered_train", "written")


def own_counts(status: dict, decided: Mapping[str, int], progress: tuple[int, int], *, picks: bool) -> dict:
    """The workspace's counts without what others decided or wrote: her own verdicts and her queue's progress in their
    place, no run, for an edit starts one, and no answer that people wrote; without `picks` nothing of how many pairs
    the machine found, either."""
    edits, (done, assigned) = status["written"], progress
    hidden: dict = dict.fromkeys((*_BY_DECISIONS, *_BY_EDITS), 0)
    hidden |= {"candidates": status["candidates"] - edits, "runs": []}
    own = {"reviewed": done, "reviewable": assigned} if assigned else {"reviewed": count_reviewed(decided)}
    own |= {"decisions": dict(decided), "given": status["given"] | {"decided": 0, "reviewers_agree": 0}}
    return status | hidden | own | ({} if picks else {"pairs": 0, "no_pair": {}})
