"""A small picture of one instruction's candidates: how well aligned against how strongly believed.

Plain SVG that the browser draws with the page: a plot component would cost 200 ms an item.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ui.formatting import number
from ui.markup import Markup, tag

WIDTH, HEIGHT = 540, 150
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 10, 30
INSIDE = 13  # a mark reaches so far from its point: it stays within the frame


@dataclass(frozen=True)
class ScatterPoint:
    """One candidate: `label` is its number on the page, `role` chosen, rejected or none."""

    candidate_id: int
    label: str
    mas: float
    confidence: float
    role: str


def draw_scatter(points: Sequence[ScatterPoint]) -> Markup:
    """MAS to the right, confidence upwards. Chosen is a triangle up, rejected a triangle down, others are circles."""
    if not points:
        return tag("p", "Not scored yet: MAS and confidence appear here.", class_="quiet scatter-empty")
    x_low, x_high = _extent([p.mas for p in points])
    y_low, y_high = _extent([p.confidence for p in points], floor=0.0, ceiling=1.0)
    plot_w, plot_h = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x_of(value: float) -> float:
        return LEFT + INSIDE + (plot_w - 2 * INSIDE) * (value - x_low) / (x_high - x_low)

    def y_of(value: float) -> float:
        return TOP + INSIDE + (plot_h - 2 * INSIDE) * (1 - (value - y_low) / (y_high - y_low))

    frame = [
        tag("rect", x=LEFT, y=TOP, width=plot_w, height=plot_h, class_="scatter-frame"),
        tag("text", number(x_low), x=LEFT + INSIDE, y=HEIGHT - 16, text_anchor="middle", class_="scatter-tick"),
        tag(
            "text", number(x_high), x=WIDTH - RIGHT - INSIDE, y=HEIGHT - 16, text_anchor="middle",
            class_="scatter-tick",
        ),
        tag("text", number(y_low), x=LEFT - 6, y=TOP + plot_h - INSIDE + 4, text_anchor="end", class_="scatter-tick"),
        tag("text", number(y_high), x=LEFT - 6, y=TOP + INSIDE + 4, text_anchor="end", class_="scatter-tick"),
        tag(
            "text", "MAS → better aligned", x=LEFT + plot_w / 2, y=HEIGHT - 6, text_anchor="middle",
            class_="scatter-axis",
        ),
        tag(
            "text", "confidence → believed", x=0, y=0, text_anchor="middle", class_="scatter-axis",
            transform=f"translate(11 {TOP + plot_h / 2}) rotate(-90)",
        ),
    ]  # fmt: skip
    # The pair is drawn last, so that no other candidate hides it.
    marks = [
        _draw_point(p, round(x_of(p.mas), 1), round(y_of(p.confidence), 1))
        for p in sorted(points, key=lambda p: p.role != "none")
    ]
    summary = "; ".join(
        f"{p.label}{'' if p.role == 'none' else ' ' + p.role}: MAS {number(p.mas)}, confidence {number(p.confidence)}"
        for p in points
    )
    return tag(
        "svg", *frame, *marks, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", class_="scatter",
        aria_label=f"MAS against confidence. {summary}",
    )  # fmt: skip


def _extent(values: Sequence[float], floor: float | None = None, ceiling: float | None = None) -> tuple[float, float]:
    """Range of the values with a margin, never empty."""
    low, high = min(values), max(values)
    pad = max((high - low) * 0.12, 0.04)
    low, high = low - pad, high + pad
    if floor is not None:
        low = max(low, floor)
    if ceiling is not None:
        high = min(high, ceiling)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _draw_point(p: ScatterPoint, x: float, y: float) -> Markup:
    title = tag("title", f"{p.label}: MAS {number(p.mas)}, confidence {number(p.confidence)}")
    if p.role == "none":
        shape = tag("circle", cx=x, cy=y, r=8)
    else:
        up = 1 if p.role == "chosen" else -1
        points = f"{x},{y - up * 13} {x + 11.5},{y + up * 7} {x - 11.5},{y + up * 7}"
        shape = tag("polygon", points=points)
    label = tag("text", p.label, x=x, y=y + 3.5, text_anchor="middle")
    return tag("g", title, shape, label, class_=f"point point-{p.role}", data_point=p.candidate_id)
