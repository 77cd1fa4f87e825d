"""A review page without an item: why, and what to do next."""

from __future__ import annotations

import dataclasses

from m3po.door import current_user
from m3po.studio import Studio
from m3po.types import ReviewView
from m3po.users import User
from ui.formatting import KIND_LABELS

# Where a view is narrowed by its filter alone.
NONE_OF = {
    "unreviewed": ("Nothing waits", "There is no instruction of the train split to review."),
    "reviewed": ("Nothing is reviewed yet", "What you decide is listed here."),
    "flagged": (
        "Nothing is flagged",
        "What somebody flags waits here for a second look, until somebody votes on it.",
    ),
    "no_pair": ("Nothing lacks a pair", "Every instruction of the train split has one."),
    "disagreements": (
        "Nobody disagrees",
        "Items on which people voted differently are listed here, and a curator's decision on them is the last word.",
    ),
}

# What people do fills these; no run does.
BY_PEOPLE = ("reviewed", "flagged", "disagreements")


def why_empty(studio: Studio, view: ReviewView) -> dict:
    """Why nothing is shown, and what to do next; `waiting`: it may fill by itself."""
    status, user = studio.status(), current_user()
    active = [run for run in status["runs"] if run["state"] in ("queued", "running")]
    narrowed = dataclasses.replace(view, filter="all", order=ReviewView().order) != ReviewView()
    if user is not None and user.role == "annotator" and (told := _tell_annotator(view, status, narrowed)):
        return told
    if view.filter == "unreviewed" and not narrowed and status["reviewable"]:
        return {
            "title": "All reviewed",
            "text": "Every pair has a decision. Fine-tune on them, or look at them again.",
            "action": "train",
            "waiting": bool(active),
        }
    if view.filter == "audit" and not narrowed:
        return {
            "title": "The audit is done",
            "text": "Every pair of it has a decision, or none was drawn: Calibrate draws a random slice of the pairs "
            "that are accepted without eyes, to be looked at all the same.",
            "action": "all",
            "waiting": False,
        }
    if view.filter == "mine" and user is not None and _has_flagged(studio, user):
        return {
            "title": "Only what you flagged is left",
            "text": "Until you vote on what you flagged, too, what others decided stays hidden.",
            "action": "flagged",
            "waiting": False,
        }
    if view.filter == "mine":
        return {
            "title": "Your queue is empty",
            "text": "All that was assigned to you is decided, or nothing was.",
            "action": "all",
            "waiting": False,
        }
    if (narrowed or view.filter != "all") and status["candidates"]:
        title, text = ("Nothing here", "No instruction matches these filters.") if narrowed else NONE_OF[view.filter]
        return {
            "title": title,
            "text": text,
            "action": "all",
            "waiting": bool(active) and view.filter not in BY_PEOPLE,
        }
    if active:
        return {
            "title": "The models are at work",
            "text": _tell_work(active),
            "action": "data",
            "waiting": True,
        }
    if not sum(status["instructions"].values()):
        return {
            "title": "No instructions yet",
            "text": "Import a folder of images or a file on the Data tab.",
            "action": "data",
            "waiting": False,
        }
    return {
        "title": "Nothing to review yet",
        "text": "Sample, score and select on the Data tab.",
        "action": "data",
        "waiting": False,
    }


def _tell_work(active: list[dict]) -> str:
    """What is at work, what waits behind it, and what has to come before there is something to see."""
    names = [KIND_LABELS.get(run["kind"], run["kind"]) for run in sorted(active, key=lambda run: run["id"])]
    then = f", then {', '.join(names[1:])}" if names[1:] else ""
    return f"Now: {names[0]}{then}. The first items appear here by themselves as soon as some are scored and picked."


def _has_flagged(studio: Studio, user: User) -> bool:
    """Whether what she flagged of her items hides others' decisions from her still."""
    return user.role == "annotator" and studio.people.count_flagged(annotator=user.name) > 0


def _tell_annotator(view: ReviewView, status: dict, narrowed: bool) -> dict | None:
    """Where it is another thing to who only judges: she prepares nothing, and trains nothing."""
    if not status["candidates"] or (view.filter == "all" and not narrowed):
        return {
            "title": "Nothing to judge yet",
            "text": "The items appear here as soon as a curator has prepared them.",
            "action": "",
            "waiting": True,
        }
    if view.filter == "unreviewed" and not narrowed:
        return {
            "title": "All reviewed",
            "text": "Nothing here waits for a decision of yours. Look at the items again, or ask a curator for more.",
            "action": "all",
            "waiting": False,
        }
    return None
