"""The Calibrate tab's charts, as plain SVG in the page: override rates by score, agreement over a weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ui.formatting import count, number
from ui.markup import Markup, tag

WIDTH, HEIGHT = 660, 210
LEFT, RIGHT, TOP, BOTTOM = 42, 12, 10, 34
SIDES = (("rate", "pair"), ("chosen", "chosen"), ("rejected", "rejected"))  # of a curve: its key, the line's class


def draw_bins(bins: Sequence[dict], target: float, threshold: float | None) -> Markup:
    """Override rate and 95 % interval of each bin; behind it, as bars, how many pairs lie there."""
    y_high = max([target * 2, 0.1, *(row["high"] for row in bins if row["high"] is not None)])
    y_high = min(1.0, y_high * 1.05)
    most = max(row["pairs"] for row in bins)
    low, high = bins[0]["from"], bins[-1]["to"]
    x_of, y_of = _scales(low, high, y_high, WIDTH)
    marks = []
    for row in bins:
        left, right = x_of(row["from"]), x_of(row["to"])
        height = (HEIGHT - TOP - BOTTOM) * row["pairs"] / most
        bar = tag("rect", x=_r(left + 1), width=_r(right - left - 2), y=_r(HEIGHT - BOTTOM - height),
                  height=_r(height), class_="chart-bar")  # fmt: skip
        told = f"M3P-Score {number(row['from'])} to {number(row['to'])}: {count(row['pairs'])} pairs"
        if row["rate"] is None:
            marks.append(tag("g", tag("title", f"{told}, none decided"), bar))
            continue
        told += f", {row['overridden']} of {row['decided']} overridden, {_span(row)}"
        centre = (left + right) / 2
        whisker = tag("path", d=_whisker(centre, y_of(row["low"]), y_of(row["high"])), class_="chart-whisker")
        point = tag("circle", cx=_r(centre), cy=_r(y_of(row["rate"])), r=4.5, class_="chart-point")
        marks.append(tag("g", tag("title", told), bar, whisker, point))
    lines = [
        tag("path", d=f"M{LEFT} {_r(y_of(target))}H{WIDTH - RIGHT}", class_="chart-target"),
        tag(
            "text",
            f"target {100 * target:.3g} %",
            x=WIDTH - RIGHT - 3,
            y=_r(y_of(target) - 4),
            text_anchor="end",
            class_="chart-note",
        ),
    ]
    if threshold is not None:
        at = x_of(min(max(threshold, low), high))
        near = at > WIDTH - 150
        lines += [
            tag("path", d=f"M{_r(at)} {TOP}V{HEIGHT - BOTTOM}", class_="chart-now"),
            tag("text", f"no eyes from {number(threshold, 3)}", x=_r(at + (-5 if near else 5)), y=TOP + 11,
                text_anchor="end" if near else "start", class_="chart-note"),
        ]  # fmt: skip
    ticks = [row["from"] for row in bins] + [high]
    axes = _axes(x_of, y_of, ticks[:: max(1, len(ticks) // 10)], y_high, "M3P-Score of the pair", WIDTH)
    label = f"Override rate by M3P-Score, {len(bins)} bins"
    return tag("svg", *axes, *marks, *lines, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", class_="chart",
               aria_label=label)  # fmt: skip


def draw_curve(curve: dict, label: str) -> Markup:
    """Agreement of the rule m3po over one weight: both answers, and each alone; the best point with its interval."""
    width = WIDTH // 2
    x_of, y_of = _scales(0.0, 1.0, 1.0, width)
    points, best = curve["points"], curve["best"]
    band_left, band_right = x_of(curve["point_low"]), x_of(curve["point_high"])
    shapes = [
        tag("rect", x=_r(band_left - 1), width=_r(band_right - band_left + 2), y=TOP, height=HEIGHT - TOP - BOTTOM,
            class_="chart-band"),
        tag("path", d=f"M{_r(x_of(curve['now']))} {TOP}V{HEIGHT - BOTTOM}", class_="chart-now"),
    ]  # fmt: skip
    for key, name in reversed(SIDES):
        path = " ".join(f"{_r(x_of(x))},{_r(y_of(y))}" for x, y in zip(points, curve[key], strict=True))
        shapes.append(tag("polyline", points=path, class_=f"chart-line chart-line-{name}"))
    x, y = x_of(points[best]), y_of(curve["rate"][best])
    told = f"best at {number(points[best])}: {curve['rate'][best]:.1%}, {_span(curve)}"
    shapes.append(
        tag("g", tag("title", told), tag("path", d=_whisker(x, y_of(curve["low"]), y_of(curve["high"])),
            class_="chart-whisker"), tag("circle", cx=_r(x), cy=_r(y), r=5, class_="chart-point"))
    )  # fmt: skip
    axes = _axes(x_of, y_of, [0, 0.25, 0.5, 0.75, 1], 1.0, label, width)
    return tag("svg", *axes, *shapes, viewBox=f"0 0 {width} {HEIGHT}", role="img", class_="chart",
               aria_label=f"Agreement over {label}: {told}; now {number(curve['now'])}")  # fmt: skip


def _scales(
    low: float, high: float, y_high: float, width: int
) -> tuple[Callable[[float], float], Callable[[float], float]]:
    def x_of(value: float) -> float:
        return LEFT + (width - LEFT - RIGHT) * (value - low) / (high - low)

    def y_of(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(value, y_high) / y_high)

    return x_of, y_of


def _axes(x_of: Callable, y_of: Callable, ticks: Sequence[float], y_high: float, label: str, width: int) -> list:
    drawn = []
    step = next(step for step in (0.02, 0.05, 0.1, 0.25) if y_high / step <= 5.5)
    for i in range(int(y_high / step + 1e-9) + 1):
        y = _r(y_of(i * step))
        drawn.append(tag("path", d=f"M{LEFT} {y}H{width - RIGHT}", class_="chart-grid"))
        drawn.append(tag("text", f"{i * step:.0%}", x=LEFT - 6, y=y + 4, text_anchor="end", class_="chart-tick"))
    for value in ticks:
        drawn.append(
            tag("text", number(value), x=_r(x_of(value)), y=HEIGHT - 19, text_anchor="middle", class_="chart-tick")
        )
    drawn.append(
        tag("text", label, x=(LEFT + width - RIGHT) / 2, y=HEIGHT - 4, text_anchor="middle", class_="chart-axis")
    )
    return drawn


def _whisker(x: float, low: float, high: float) -> str:
    x, low, high = _r(x), _r(low), _r(high)
    return f"M{x} {low}V{high}M{x - 4} {low}h8M{x - 4} {high}h8"


def _span(row: dict) -> str:
    return f"95 % interval {row['low']:.1%} to {row['high']:.1%}"


def _r(value: float) -> float:
    return round(value, 1)
