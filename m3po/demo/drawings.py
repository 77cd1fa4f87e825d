"""How each thing in a picture-book scene is drawn.

Kept apart from `scenes` because drawing is long and dull, and what a scene *means* is short. A drawing lives in its
own unit box, x to the right and y downwards, both in [-0.5, 0.5]; `Pen` puts that box on the canvas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from PIL import ImageDraw

RGB = tuple[int, int, int]

# Saturated on purpose: the backgrounds are pastel, so that a 96-pixel view still tells the things from them.
PALETTE: dict[str, RGB] = {
    "red": (222, 52, 56),
    "orange": (245, 138, 36),
    "yellow": (250, 205, 48),
    "green": (42, 140, 74),
    "blue": (40, 98, 205),
    "purple": (134, 66, 176),
    "pink": (240, 118, 172),
    "white": (252, 250, 245),
}
INK: RGB = (58, 48, 62)
WOOD: RGB = (140, 98, 66)
CREAM: RGB = (255, 243, 220)


def mix(a: RGB, b: RGB, t: float) -> RGB:
    """Colour between `a` (t = 0) and `b` (t = 1)."""
    return tuple(round(x + (y - x) * t) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


class Pen:
    """Draws in the unit box of one object: centre (cx, cy) and side `size`, in canvas pixels."""

    def __init__(self, draw: ImageDraw.ImageDraw, cx: float, cy: float, size: float, flip: bool = False):
        self.draw, self.cx, self.cy, self.size = draw, cx, cy, size
        self.sign = -1 if flip else 1
        self.width = max(1, round(size * 0.03))

    def point(self, x: float, y: float) -> tuple[float, float]:
        return self.cx + self.sign * x * self.size, self.cy + y * self.size

    def poly(self, points: Sequence[tuple[float, float]], fill: RGB, edge: RGB | None = INK) -> None:
        corners = [self.point(x, y) for x, y in points]
        self.draw.polygon(corners, fill=fill)
        if edge is not None:
            self.draw.line([*corners, corners[0], corners[1]], fill=edge, width=self.width, joint="curve")

    def oval(self, x: float, y: float, rx: float, ry: float, fill: RGB, edge: RGB | None = INK) -> None:
        (ax, ay), (bx, by) = self.point(x - rx, y - ry), self.point(x + rx, y + ry)
        box = [min(ax, bx), ay, max(ax, bx), by]
        self.draw.ellipse(box, fill=fill, outline=edge, width=self.width if edge is not None else 0)

    def rect(self, x0: float, y0: float, x1: float, y1: float, fill: RGB, edge: RGB | None = INK) -> None:
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill, edge)

    def line(self, points: Sequence[tuple[float, float]], fill: RGB = INK, thick: float = 1.0) -> None:
        corners = [self.point(x, y) for x, y in points]
        self.draw.line(corners, fill=fill, width=max(1, round(self.width * thick)), joint="curve")


def arc(x: float, y: float, rx: float, ry: float, start: float, stop: float, n: int = 20) -> list[tuple[float, float]]:
    """Points on an ellipse arc, in degrees, 0 pointing right and 90 down."""
    steps = [math.radians(start + (stop - start) * i / n) for i in range(n + 1)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in steps]


def draw_sun(pen: Pen, c: RGB) -> None:
    for i in range(12):
        a, w = math.radians(30 * i), 0.13
        pen.poly(
            [
                (0.33 * math.cos(a - w), 0.33 * math.sin(a - w)),
                (0.5 * math.cos(a), 0.5 * math.sin(a)),
                (0.33 * math.cos(a + w), 0.33 * math.sin(a + w)),
            ],
            c,
            mix(c, INK, 0.35),
        )
    pen.oval(0, 0, 0.31, 0.31, c)
    for x in (-0.1, 0.1):
        pen.oval(x, -0.05, 0.025, 0.035, INK, None)
    pen.line(arc(0, 0.02, 0.13, 0.12, 25, 155), thick=0.9)


def draw_moon(pen: Pen, c: RGB) -> None:
    outer = arc(0.05, 0, 0.45, 0.47, 60, 300)
    inner = arc(0.24, 0, 0.33, 0.40, 285, 75)
    pen.poly(outer + inner, c)
    pen.oval(-0.17, -0.1, 0.03, 0.04, INK, None)
    pen.line(arc(-0.16, 0.08, 0.1, 0.08, 10, 120), thick=0.9)


def draw_star(pen: Pen, c: RGB) -> None:
    spikes = [
        (r * math.sin(math.radians(36 * i)), 0.03 - r * math.cos(math.radians(36 * i)))
        for i, r in enumerate([0.5, 0.22] * 5)
    ]
    pen.poly(spikes, c)
    for x in (-0.07, 0.07):
        pen.oval(x, 0.0, 0.025, 0.035, INK, None)


def draw_kite(pen: Pen, c: RGB) -> None:
    pen.line([(0, 0.22), (0.08, 0.32), (-0.04, 0.4), (0.06, 0.5)], mix(c, INK, 0.4), 1.2)
    pen.poly([(0, -0.5), (0.33, -0.12), (0, 0.26), (-0.33, -0.12)], c)
    pen.poly([(0, -0.5), (0.33, -0.12), (0, -0.12)], mix(c, (255, 255, 255), 0.45))
    pen.poly([(0, -0.12), (-0.33, -0.12), (0, 0.26)], mix(c, (255, 255, 255), 0.45))
    for x, y in ((0.06, 0.34), (-0.02, 0.42)):
        pen.poly([(x - 0.09, y - 0.04), (x + 0.09, y + 0.04), (x + 0.09, y - 0.04), (x - 0.09, y + 0.04)], c)


def draw_balloon(pen: Pen, c: RGB) -> None:
    """A hot-air balloon: the basket tells it from a ball at 96 pixels."""
    pen.line([(-0.22, 0.1), (-0.09, 0.34)])
    pen.line([(0.22, 0.1), (0.09, 0.34)])
    pen.oval(0, -0.13, 0.36, 0.36, c)
    pen.poly(arc(0, -0.13, 0.15, 0.36, -90, 90) + arc(0, -0.13, 0.15, 0.36, 90, 270), mix(c, (255, 255, 255), 0.5))
    pen.rect(-0.11, 0.32, 0.11, 0.5, WOOD)


def draw_bird(pen: Pen, c: RGB) -> None:
    pen.poly([(-0.2, 0.02), (-0.5, -0.06), (-0.48, 0.12), (-0.2, 0.14)], mix(c, INK, 0.25))
    pen.poly([(0.36, -0.12), (0.5, -0.06), (0.36, 0.0)], PALETTE["orange"])
    pen.oval(0.0, 0.08, 0.29, 0.19, c)
    pen.oval(0.25, -0.08, 0.16, 0.15, c)
    pen.poly([(0.08, 0.06), (-0.12, -0.46), (-0.24, 0.04)], mix(c, (255, 255, 255), 0.4))
    pen.oval(0.28, -0.1, 0.03, 0.035, INK, None)


def draw_butterfly(pen: Pen, c: RGB) -> None:
    light = mix(c, (255, 255, 255), 0.5)
    for s in (-1, 1):
        pen.oval(s * 0.25, -0.16, 0.23, 0.25, c)
        pen.oval(s * 0.19, 0.21, 0.16, 0.19, c)
        pen.oval(s * 0.26, -0.16, 0.1, 0.11, light, None)
        pen.line([(0, -0.25), (s * 0.12, -0.47)])
    pen.oval(0, 0.02, 0.055, 0.32, INK, None)


def draw_house(pen: Pen, c: RGB) -> None:
    pen.rect(0.16, -0.45, 0.28, -0.15, mix(c, INK, 0.45))
    pen.rect(-0.37, -0.1, 0.37, 0.5, c)
    pen.poly([(-0.5, -0.08), (0, -0.5), (0.5, -0.08)], mix(c, INK, 0.45))
    pen.rect(-0.08, 0.18, 0.12, 0.5, WOOD)
    for x in (-0.3, 0.19):
        pen.rect(x, 0.02, x + 0.13, 0.17, CREAM)


def draw_tree(pen: Pen, c: RGB) -> None:
    pen.rect(-0.08, 0.1, 0.08, 0.5, WOOD)
    for x, y, r in ((-0.2, 0.0, 0.21), (0.2, 0.0, 0.21), (0, -0.24, 0.25)):
        pen.oval(x, y, r, r, c)
    pen.oval(0, -0.06, 0.22, 0.2, c, None)
    for x, y in ((-0.12, -0.22), (0.1, -0.08), (-0.14, 0.02)):
        pen.oval(x, y, 0.05, 0.04, mix(c, (255, 255, 255), 0.35), None)


def draw_car(pen: Pen, c: RGB) -> None:
    pen.poly([(-0.26, 0.08), (-0.16, -0.2), (0.16, -0.2), (0.29, 0.08)], mix(c, (255, 255, 255), 0.15))
    pen.poly([(-0.18, 0.06), (-0.12, -0.13), (-0.02, -0.13), (-0.02, 0.06)], (205, 232, 245))
    pen.poly([(0.03, 0.06), (0.03, -0.13), (0.12, -0.13), (0.2, 0.06)], (205, 232, 245))
    pen.poly([(-0.5, 0.32), (-0.48, 0.08), (0.42, 0.06), (0.5, 0.16), (0.5, 0.32)], c)
    for x in (-0.27, 0.27):
        pen.oval(x, 0.35, 0.13, 0.13, INK)
        pen.oval(x, 0.35, 0.055, 0.055, (220, 220, 220), None)


def draw_flower(pen: Pen, c: RGB) -> None:
    stem = (84, 130, 70)
    pen.line([(0, 0), (0, 0.5)], stem, 2.6)
    pen.poly([(0, 0.4), (0.22, 0.22), (0.2, 0.38)], stem)
    pen.poly([(0, 0.44), (-0.22, 0.26), (-0.2, 0.42)], stem)
    for i in range(6):
        a = math.radians(60 * i + 30)
        pen.oval(0.2 * math.cos(a), -0.2 + 0.2 * math.sin(a), 0.13, 0.13, c)
    pen.oval(0, -0.2, 0.12, 0.12, PALETTE["yellow"] if c != PALETTE["yellow"] else WOOD)


def draw_mushroom(pen: Pen, c: RGB) -> None:
    pen.poly([(-0.13, 0.0), (0.13, 0.0), (0.17, 0.5), (-0.17, 0.5)], CREAM)
    pen.poly(arc(0, 0.06, 0.48, 0.52, 180, 360), c)
    dot = CREAM if c != PALETTE["white"] else PALETTE["pink"]
    for x, y, r in ((-0.2, -0.1, 0.08), (0.05, -0.26, 0.09), (0.24, -0.06, 0.07)):
        pen.oval(x, y, r, r, dot, None)


def draw_tent(pen: Pen, c: RGB) -> None:
    light = mix(c, (255, 255, 255), 0.5)
    pen.poly([(0, -0.36), (0.5, 0.46), (-0.5, 0.46)], c)
    pen.poly([(0, -0.36), (0.27, 0.46), (0.4, 0.3)], light, None)
    pen.poly([(0, -0.36), (-0.27, 0.46), (-0.4, 0.3)], light, None)
    pen.poly([(0, -0.1), (0.15, 0.46), (-0.15, 0.46)], INK)
    pen.line([(0, -0.34), (0, -0.5)])
    pen.poly([(0, -0.5), (0.16, -0.44), (0, -0.38)], c)


def draw_boat(pen: Pen, c: RGB) -> None:
    pen.line([(0, -0.5), (0, 0.2)], WOOD, 1.8)
    pen.poly([(0.04, -0.46), (0.38, 0.08), (0.04, 0.08)], CREAM)
    pen.poly([(-0.05, -0.34), (-0.05, 0.08), (-0.3, 0.08)], mix(c, (255, 255, 255), 0.4))
    pen.poly([(-0.5, 0.16), (0.5, 0.16), (0.34, 0.46), (-0.32, 0.46)], c)
    pen.line([(-0.44, 0.27), (0.43, 0.27)], CREAM if c != PALETTE["white"] else INK, 1.2)


def draw_fish(pen: Pen, c: RGB) -> None:
    pen.poly([(-0.2, 0), (-0.5, -0.24), (-0.42, 0), (-0.5, 0.24)], mix(c, INK, 0.2))
    pen.poly([(-0.1, -0.2), (0.08, -0.36), (0.16, -0.18)], mix(c, INK, 0.2))
    pen.oval(0.08, 0, 0.36, 0.24, c)
    pen.line(arc(0.1, 0, 0.1, 0.17, -70, 70), mix(c, INK, 0.45))
    pen.oval(0.27, -0.06, 0.06, 0.06, (255, 255, 255), None)
    pen.oval(0.28, -0.06, 0.032, 0.032, INK, None)


def draw_duck(pen: Pen, c: RGB) -> None:
    pen.poly([(0.34, -0.24), (0.5, -0.17), (0.34, -0.1)], PALETTE["orange"])
    pen.poly(
        [(-0.46, -0.08), (-0.2, 0.06), (0.1, 0.02), (0.36, 0.1), (0.32, 0.32), (0.1, 0.4), (-0.22, 0.4), (-0.42, 0.22)],
        c,
    )
    pen.oval(0.2, -0.2, 0.19, 0.19, c)
    pen.poly(arc(-0.04, 0.14, 0.2, 0.14, 0, 180), mix(c, INK, 0.2))
    pen.oval(0.25, -0.24, 0.03, 0.035, INK, None)


DRAWERS: dict[str, Callable[[Pen, RGB], None]] = {
    name.removeprefix("draw_"): fn for name, fn in list(globals().items()) if name.startswith("draw_")
}
