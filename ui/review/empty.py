"""A review page without an item: why, and what to do next."""

from __future__ import annotations

import dataclasses

from m3po.studio import Studio
from m3po.types import ReviewView


def why_empty(studio: Studio, view: ReviewView) -> dict:
    """Why nothing is shown, and what to do next; `waiting`: it may fill by itself."""
    status = studio.status()
    active = [run for run in status["runs"] if run["state"] in ("queued", "running")]
    narrowed = dataclasses.replace(view, filter="all", order=ReviewView().order) != ReviewView()
    if view.filter == "unreviewed" and not narrowed and status["reviewable"]:
        return {
            "title": "All reviewed",
            "text": "Every pair has a decision. Fine-tune on them, or look at them again.",
            "action": "train",
            "waiting": bool(active),
        }
    if view.filter == "mine":
        return {
            "title": "Your queue is empty",
            "text": "All that was assigned to you is decided, or nothing was.",
            "action": "all",
            "waiting": False,
        }
    if (narrowed or view.filter != "all") and status["candidates"]:
        return {
            "title": "Nothing here",
            "text": "No instruction matches these filters.",
            "action": "all",
            "waiting": bool(active),
        }
    if active:
        return {
            "title": "The models are at work",
            "text": "The first items appear here as soon as they are ready.",
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
