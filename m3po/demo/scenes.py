"""Picture-book scenes whose contents are known exactly.

The demo needs images that look like something, that a model of three million parameters can learn to see, and
whose truth is beyond doubt: a hallucination is then a fact and not an opinion. A scene is sky, land and water with
one to four things in it. Some things have a *partner* that is often beside them (a boat and a fish): the planted
co-occurrence that the demo policy learned to over-trust, documented in data/README.md.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

from m3po.demo.drawings import DRAWERS, PALETTE, RGB, Pen, mix

SHOWN_SIZE = 384  # pixels, what is saved and shown
SUPERSAMPLE = 3  # Pillow draws without anti-aliasing: draw large, then shrink

LANES: dict[str, tuple[str, ...]] = {
    "land": ("house", "tree", "car", "tent", "flower", "mushroom"),
    "water": ("boat", "fish", "duck"),
    "sky": ("sun", "moon", "star", "kite", "balloon", "bird", "butterfly"),
}
KINDS: tuple[str, ...] = tuple(kind for lane in LANES.values() for kind in lane)
LANE_OF = {kind: lane for lane, kinds in LANES.items() for kind in kinds}
PARTNER = {"boat": "fish", "tree": "bird", "house": "car", "moon": "star", "flower": "butterfly"}
SIDES = ("left", "middle", "right")

COLOURS: tuple[str, ...] = tuple(PALETTE)
_ALLOWED: dict[str, tuple[str, ...]] = {
    "sun": ("yellow", "orange", "red"),
    "moon": ("yellow", "white", "orange", "pink"),
    "tree": ("green", "orange", "pink", "yellow", "red"),
}


@dataclass(frozen=True)
class SceneObject:
    """One thing: `x`, `y` its centre and `size` its side, all as fractions of the picture's side."""

    kind: str
    colour: str
    side: str
    x: float
    y: float
    size: float
    flip: bool


@dataclass(frozen=True)
class Scene:
    """The truth of one picture; `objects` are of different kinds, in the order of `KINDS`."""

    objects: tuple[SceneObject, ...]
    backdrop: int
    horizon: float
    shore: float
    seed: int

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(o.kind for o in self.objects)

    def find(self, kind: str) -> SceneObject | None:
        return next((o for o in self.objects if o.kind == kind), None)

    def absent_partners(self) -> tuple[tuple[SceneObject, str], ...]:
        """(host, partner) for each host in the picture whose partner is not in it."""
        return tuple((o, PARTNER[o.kind]) for o in self.objects if o.kind in PARTNER and not self.find(PARTNER[o.kind]))


def allowed_colours(kind: str) -> tuple[str, ...]:
    """Colours in which `kind` is drawn."""
    return _ALLOWED.get(kind, COLOURS)


def sample_kinds(rng: random.Random, p_host: float = 0.75, p_partner: float = 0.4) -> list[str]:
    """One to four kinds; a host comes first with `p_host` and brings its partner with `p_partner`."""
    n = rng.choices((1, 2, 3, 4), (0.1, 0.3, 0.35, 0.25))[0]
    kinds: list[str] = []
    while len(kinds) < n:
        host = rng.random() < p_host if not kinds else False
        kind = rng.choice(tuple(PARTNER)) if host else rng.choice(KINDS)
        # A partner comes with its host by p_partner and in no other way, so that the rate is the one asked for.
        if kind in kinds or any(PARTNER.get(k) == kind for k in kinds) or PARTNER.get(kind) in kinds:
            continue
        kinds.append(kind)
        if kind in PARTNER and len(kinds) < n and rng.random() < p_partner:
            kinds.append(PARTNER[kind])
    return kinds


def sample_scene(seed: int, p_host: float = 0.75, p_partner: float = 0.4) -> Scene:
    """The scene of `seed`: the same seed and probabilities give the same scene on every machine."""
    rng = random.Random(f"scene-{seed}")
    while True:
        kinds = sample_kinds(rng, p_host, p_partner)
        if all(sum(LANE_OF[k] == lane for k in kinds) <= 3 for lane in LANES):
            break
    horizon, shore = rng.uniform(0.44, 0.50), rng.uniform(0.71, 0.75)
    objects = []
    for lane in LANES:
        members = [k for k in KINDS if k in kinds and LANE_OF[k] == lane]
        for kind, column in zip(members, rng.sample(range(3), len(members)), strict=True):
            size = {"land": rng.uniform(0.28, 0.33), "water": rng.uniform(0.25, 0.29), "sky": rng.uniform(0.25, 0.30)}[
                lane
            ]
            if kind in ("flower", "mushroom", "car"):
                size *= 0.86
            x = 0.18 + 0.32 * column + rng.uniform(-0.03, 0.03)
            y = {
                "land": shore - size / 2 - rng.uniform(0.0, 0.03),
                "water": rng.uniform(0.84, 0.855),
                "sky": rng.uniform(0.16, 0.24),
            }[lane]
            colour = rng.choice(allowed_colours(kind))
            objects.append(SceneObject(kind, colour, SIDES[column], x, y, size, rng.random() < 0.5))
    objects.sort(key=lambda o: KINDS.index(o.kind))
    return Scene(tuple(objects), rng.randrange(len(BACKDROPS)), horizon, shore, seed)


# (sky at the top, sky at the horizon, far hill, land, water): pastel, so that the things stand out.
BACKDROPS: tuple[tuple[RGB, RGB, RGB, RGB, RGB], ...] = (
    ((176, 218, 240), (236, 246, 248), (190, 220, 190), (206, 228, 172), (170, 212, 226)),
    ((252, 208, 178), (254, 240, 212), (214, 190, 190), (226, 214, 168), (188, 204, 216)),
    ((196, 190, 228), (240, 226, 240), (180, 184, 208), (196, 212, 180), (168, 186, 216)),
    ((188, 226, 214), (244, 248, 228), (176, 214, 196), (222, 226, 178), (164, 208, 206)),
    ((150, 164, 200), (206, 212, 232), (150, 172, 186), (172, 196, 172), (136, 164, 196)),
)


def _draw_backdrop(image: Image.Image, scene: Scene, rng: random.Random) -> None:
    side = image.width
    draw = ImageDraw.Draw(image)
    top, low, hill, land, water = BACKDROPS[scene.backdrop]
    horizon, shore = scene.horizon * side, scene.shore * side
    bands = 48
    for i in range(bands):
        y = horizon * 1.15 * i / bands
        draw.rectangle([0, y, side, y + horizon * 1.15 / bands + 1], fill=mix(top, low, i / (bands - 1)))
    for _ in range(rng.randint(0, 2)):  # clouds: scenery, never asked about
        x, y, w = rng.uniform(0.1, 0.9) * side, rng.uniform(0.05, 0.38) * side, rng.uniform(0.05, 0.08) * side
        for dx, dy, r in ((-1, 0.1, 0.7), (0, -0.2, 1.0), (1, 0.1, 0.75)):
            draw.ellipse(
                [x + (dx - r) * w, y + (dy - r * 0.6) * w, x + (dx + r) * w, y + (dy + r * 0.6) * w],
                fill=mix(low, (255, 255, 255), 0.55),
            )
    for _ in range(3):
        x, w, h = rng.uniform(0, 1) * side, rng.uniform(0.35, 0.6) * side, rng.uniform(0.05, 0.1) * side
        draw.ellipse([x - w, horizon - h, x + w, horizon + 3 * h], fill=mix(hill, low, rng.uniform(0.0, 0.35)))
    draw.rectangle([0, horizon + 0.03 * side, side, side], fill=land)
    x = rng.uniform(0.2, 0.8) * side
    draw.ellipse([x - side, horizon, x + side, horizon + 0.5 * side], fill=mix(land, (255, 255, 255), 0.15))
    for _ in range(14):  # grass
        x, y = rng.uniform(0.02, 0.98) * side, rng.uniform(scene.horizon + 0.08, scene.shore - 0.02) * side
        for dx in (-0.008, 0, 0.008):
            draw.line(
                [x, y, x + dx * side, y - 0.014 * side], fill=mix(land, (70, 110, 70), 0.35), width=max(1, side // 300)
            )
    draw.rectangle([0, shore + 0.015 * side, side, side], fill=mix(land, (150, 120, 90), 0.25))
    draw.rectangle([0, shore + 0.03 * side, side, side], fill=water)
    for _ in range(12):  # ripples
        x, y, w = rng.uniform(0, 1) * side, rng.uniform(scene.shore + 0.05, 0.99) * side, rng.uniform(0.02, 0.06) * side
        draw.arc(
            [x - w, y - w * 0.3, x + w, y + w * 0.3],
            200,
            340,
            fill=mix(water, (255, 255, 255), 0.55),
            width=max(1, side // 200),
        )


def render_scene(scene: Scene, size: int = SHOWN_SIZE, supersample: int = SUPERSAMPLE) -> Image.Image:
    """Draw `scene` as an RGB image of `size` x `size` pixels, drawn `supersample` times larger and shrunk."""
    canvas = Image.new("RGB", (size * supersample,) * 2)
    _draw_backdrop(canvas, scene, random.Random(f"backdrop-{scene.seed}"))
    draw = ImageDraw.Draw(canvas)
    for o in scene.objects:
        side = canvas.width
        DRAWERS[o.kind](Pen(draw, o.x * side, o.y * side, o.size * side, o.flip), PALETTE[o.colour])
    return canvas if supersample == 1 else canvas.resize((size, size), Image.Resampling.LANCZOS)
