"""What ui/static/address.js does, written a second time: its addresses are held against these."""

from __future__ import annotations

import math
from urllib.parse import quote, unquote

from hypothesis import strategies as st

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
from ui.addresses import MAX_TEXT, TEXTS, WORDS, view_of

numbers = st.floats(-1e6, 1e6).map(lambda x: round(x, 6))
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12).map(str.strip)
corners = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=6).map(tuple)
sides = st.tuples(st.none() | numbers, st.none() | numbers).filter(lambda pair: pair != (None, None))
VIEWS = st.builds(
    ReviewView,
    filter=st.sampled_from(REVIEW_FILTERS),
    order=st.sampled_from(REVIEW_ORDERS),
    search=texts,
    search_in=st.sampled_from(SEARCH_PLACES),
    source=texts,
    ranges=st.dictionaries(st.sampled_from(PAIR_MEASURES), sides).map(
        lambda found: tuple(Range(name, *found[name]) for name in PAIR_MEASURES if name in found)
    ),
    area=st.none() | st.builds(Area, st.sampled_from(["chosen", "rejected"]), corners),
    tag=texts,
    reason=texts,
    annotator=texts,
    survived=st.sampled_from(["", *IMAGE_TESTS]),
    run=st.sampled_from(["", "", "5", "5-3", "5~3"]),
    outcome=st.sampled_from(["", *VIEW_OUTCOMES]),
).map(lambda view: view_of(view_as_json(view)))  # without a run there is no outcome and no order by it


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


def view_as_json(view: ReviewView) -> dict:
    """What `view_of` reads."""
    data = {field: getattr(view, field) for field in (*WORDS, *TEXTS)}
    data["ranges"] = [{"measure": r.measure, "low": r.low, "high": r.high} for r in view.ranges]
    area = view.area
    data["area"] = {"role": area.role, "corners": [list(corner) for corner in area.corners]} if area else None
    return data


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
