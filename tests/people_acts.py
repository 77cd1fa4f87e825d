"""What annotators and curators do in tests of people: they vote, walk their queues and make gold items."""

from __future__ import annotations

from workspaces import CORA

from m3po.types import ReviewView


def queue_of(studio, user):
    """Instruction ids in the order in which they come."""
    index = studio.review_index
    walk = studio.db.read(lambda con: index.walk(con, ReviewView("mine", annotator=user.name)))
    return [int(walk.ids[place]) for place in walk.places[walk.shown]]


def vote(studio, user, instruction_id, verdict="accept", **options):
    if verdict in ("accept", "override") and "chosen" not in options:
        pair = studio.review_item(ReviewView(), instruction_id).machine_pair
        swap = verdict == "override"
        options |= {
            "chosen": pair.rejected if swap else pair.chosen,
            "rejected": pair.chosen if swap else pair.rejected,
        }
    return studio.as_user(user).decide(instruction_id, verdict, **options)


def gold(studio, n):
    ids = list(range(1, n + 1))
    for item in ids:
        vote(studio, CORA, item)
        studio.as_user(CORA).people.mark_gold(item)
    return ids
