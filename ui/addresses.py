"""A view of the review as the page sends it, checked: it comes over the network.

ui/static/address.js makes an address of it, so that it can be shared and opened again. That is the page's fragment:
`review?filter=unreviewed&q=cat&in=answers&m3p_score=0.5..&item=1`. It names the tab, then what differs from the
default; a range is `low..high` with an open side left out, an area `role:x,y;x,y;...`.
"""

from __future__ import annotations

import math

from m3po.errors import UsageError
from m3po.types import (
    IMAGE_TESTS,
    PAIR_MEASURES,
    REVIEW_FILTERS,
    REVIEW_ORDERS,
    SEARCH_PLACES,
    VIEW_OUTCOMES,
    Area,
    Range,
    ReviewView,
)

MAX_TEXT = 1_000  # characters of a search, a tag, a name
MAX_CORNERS = 1_000
# Field of ReviewView -> its key in an address, where the value is a word (which words, if only some) or free text.
WORDS = {
    "filter": ("filter", REVIEW_FILTERS), "order": ("order", REVIEW_ORDERS), "search_in": ("in", SEARCH_PLACES),
    "survived": ("survived", ("", *IMAGE_TESTS)), "outcome": ("outcome", ("", *VIEW_OUTCOMES)),
}  # fmt: skip
TEXTS = {"search": "q", "source": "source", "tag": "tag", "reason": "reason", "annotator": "by", "run": "run"}


def view_of(data: object) -> ReviewView:
    """The view that the page sends as JSON. Raises UsageError for what is none: it comes over the network."""
    if not isinstance(data, dict):
        raise UsageError("That is no view; reload the page.")
    fields: dict = {}
    for field, (_, words) in WORDS.items():
        value = data.get(field, getattr(ReviewView(), field))
        if value not in words:
            raise UsageError("That filter or order does not exist; reload the page.")
        fields[field] = value
    for field in TEXTS:
        value = data.get(field) or ""
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise UsageError(f"A {field} is a text of at most {MAX_TEXT:,} characters.")
        fields[field] = value.strip()
    if not fields["run"]:  # an outcome and a reward margin are of a run
        fields["outcome"] = ""
        fields["order"] = ReviewView().order if fields["order"] == "reward_margin" else fields["order"]
    ranges = data.get("ranges") or []
    if not isinstance(ranges, list) or len(ranges) > len(PAIR_MEASURES):
        raise UsageError("Those ranges do not exist; reload the page.")
    return ReviewView(**fields, ranges=tuple(_range(r) for r in ranges), area=_area(data.get("area")))


def _range(data: object) -> Range:
    if not isinstance(data, dict) or data.get("measure") not in PAIR_MEASURES:
        raise UsageError("There is no such measure to lay a range on; reload the page.")
    low, high = (_number(data.get(side), f"The {side} end of a range") for side in ("low", "high"))
    return Range(data["measure"], low, high)


def _area(data: object) -> Area | None:
    if data is None:
        return None
    corners = data.get("corners") if isinstance(data, dict) else None
    if not isinstance(corners, list) or not 3 <= len(corners) <= MAX_CORNERS:
        raise UsageError(f"An area has from 3 to {MAX_CORNERS:,} corners.")
    if data.get("role") not in ("chosen", "rejected"):
        raise UsageError("An area is about the chosen or the rejected answer.")
    points = []
    for corner in corners:
        if not isinstance(corner, list) or len(corner) != 2 or None in corner:
            raise UsageError("A corner of an area is a confidence and a MAS.")
        points.append(tuple(_number(value, "A corner of an area") for value in corner))
    return Area(data["role"], tuple(points))


def _number(value: object, what: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{what} is a number.")
    return float(value)
