"""What is taken out of an item before an annotator's browser gets it, and the order that she numbers its answers in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from m3po.assigning import seed_of
from m3po.types import Candidate, Decision, PastDecision, ReviewItem


def shuffled(item: ReviewItem, annotator: str) -> ReviewItem:
    """The candidates in an order that follows from item and annotator alone, before the vote and after; her own edits
    come last, so that a new one moves no other."""

    def key(c: Candidate) -> tuple:
        return (c.origin == "human", c.id if c.origin == "human" else seed_of(annotator, item.instruction.id, c.id))

    return dataclasses.replace(item, candidates=tuple(sorted(item.candidates, key=key)), shuffled=True)


def without_others(item: ReviewItem, annotator: str, own: Decision | None, edits: Mapping[int, str]) -> ReviewItem:
    """Nothing that another person did: no decision but her own (a skip or a flag), no answer that another wrote.

    `edits`: who wrote which candidate.
    """
    kept = tuple(c for c in item.candidates if edits.get(c.id, annotator) == annotator)
    return dataclasses.replace(item, candidates=kept, decision=own, pair=item.machine_pair, votes=(), gold=False)


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
        scoring=False, blind=True,
    )  # fmt: skip


def with_votes(item: ReviewItem, votes: tuple[Decision, ...], *, gold: bool = False) -> ReviewItem:
    return dataclasses.replace(item, votes=votes, gold=gold)


def with_progress(item: ReviewItem, done: int, assigned: int) -> ReviewItem:
    """Her own queue's progress in the place of the workspace's."""
    return dataclasses.replace(item, reviewed=done, reviewable=assigned)
