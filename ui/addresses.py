"""A view of the review and its address, so that it can be shared and opened again; ui/static/address.js does the same.

An address is the page's fragment: `review?filter=unreviewed&q=cat&in=answers&m3p_score=0.5..&item=1`. It names the tab,
then what differs from the default; a range is `low..high` with an open side left out, an area `role:x,y;x,y;...`.
"""

from __future__ import annotations

import math
from urllib.parse import quote, unquote

from m3po.errors import UsageError
from m3po.types import (
    IMAGE_TESTS,
    PAIR_MEASURES,
    REVIEW_FILTERS,
    REVIEW_ORDERS,
    SEARCH_PLACES,
    Area,
    Range,
    ReviewView,
)

MAX_TEXT = 1_000  # characters of a search, a tag, a name
MAX_CORNERS = 1_000
# Field of ReviewView -> its key in an address, where the value is a word (which words, if only some) or free text.
WORDS = {
    "filter": ("filter", REVIEW_FILTERS), "order": ("order", REVIEW_ORDERS), "search_in": ("in", SEARCH_PLACES),
    "survived": ("survived", ("", *IMAGE_TESTS)),
}  # fmt: skip
TEXTS = {"search": "q", "source": "source", "tag": "tag", "reason": "reason", "annotator": "by"}


def write_address(tab: str, view: ReviewView, item: int | None = None) -> str:
    """The fragment without its `#`."""
    default, parts = ReviewView(), []
    for field, key in {**{field: key for field, (key, _) in WORDS.items()}, **TEXTS}.items():
        if getattr(view, field) != getattr(default, field):
            parts.append((key, getattr(view, field)))
    parts += [(r.measure, f"{_write(r.low)}..{_write(r.high)}") for r in view.ranges]
    if view.area:
        parts.append(
            ("area", f"{view.area.role}:" + ";".join(f"{_write(x)},{_write(y)}" for x, y in view.area.corners))
        )
    if item is not None:
        parts.append(("item", str(item)))
    query = "&".join(f"{key}={quote(value, safe='.,:;-_')}" for key, value in parts)
    return f"{tab}?{query}" if query else tab


def read_address(fragment: str) -> tuple[str, ReviewView, int | None]:
    """Tab, view and item of a fragment. What it says that does not exist is left out: somebody may have typed it."""
    tab, _, query = fragment.removeprefix("#").partition("?")
    found = {}
    for part in query.split("&"):
        key, _, value = part.partition("=")
        found[key] = unquote(value)
    data: dict = {"ranges": []}
    for field, (key, words) in WORDS.items():
        if found.get(key) in words:
            data[field] = found[key]
    for field, key in TEXTS.items():
        data[field] = found.get(key, "")[:MAX_TEXT]
    for measure in PAIR_MEASURES:
        low, dots, high = found.get(measure, "").partition("..")
        if dots and (_read(low), _read(high)) != (None, None):
            data["ranges"].append({"measure": measure, "low": _read(low), "high": _read(high)})
    role, _, corners = found.get("area", "").partition(":")
    points = [[_read(value) for value in corner.split(",")] for corner in corners.split(";")]
    data["area"] = {"role": role, "corners": points}
    try:
        view = view_of(data)
    except UsageError:
        view = view_of({**data, "area": None})
    item = found.get("item", "")
    return tab, view, int(item) if item.isascii() and item.isdecimal() and len(item) < 18 else None


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
    ranges = data.get("ranges") or []
    if not isinstance(ranges, list) or len(ranges) > len(PAIR_MEASURES):
        raise UsageError("Those ranges do not exist; reload the page.")
    return ReviewView(**fields, ranges=tuple(_range(r) for r in ranges), area=_area(data.get("area")))


def view_as_json(view: ReviewView) -> dict:
    """What `view_of` reads."""
    data = {field: getattr(view, field) for field in (*WORDS, *TEXTS)}
    data["ranges"] = [{"measure": r.measure, "low": r.low, "high": r.high} for r in view.ranges]
    area = view.area
    data["area"] = {"role": area.role, "corners": [list(corner) for corner in area.corners]} if area else None
    return data


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


def _write(value: float | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _read(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
