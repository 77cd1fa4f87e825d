"""The figure of a training's curves: of one run, or of several laid over each other, smoothed, by step or by time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ui.plots import AMBER, BLUE, GREEN, GREY, RED, axis, look

Curve = Sequence[tuple[int, float | None]]
COLUMNS = 3
STEP, TIME = "step", "time"
RUN_COLOURS = (BLUE, AMBER, "#8a5fc7", "#1f9aa8", "#b0568a", "#6f8f2f")  # neither green nor red: those are answers


@dataclass(frozen=True)
class Line:
    """One metric of a panel. `colour` where it is one run's alone; of several the run has the colour."""

    metric: str
    name: str
    colour: str
    dash: str = "solid"


def _sides(metric: str) -> tuple[Line, Line]:
    return Line(f"{metric}/chosen", "chosen", GREEN), Line(f"{metric}/rejected", "rejected", RED, "dash")


ACCURACY = "Reward accuracy (higher is better)"
PANELS: tuple[tuple[str, tuple[Line, ...]], ...] = (
    ("Loss (lower is better)", (Line("loss", "loss", BLUE),)),
    ("Implicit rewards (apart is better)", _sides("rewards")),
    ("Reward margin (higher is better)", (Line("rewards/margins", "margin", AMBER),)),
    (ACCURACY, (Line("rewards/accuracies", "accuracy", BLUE),)),
    ("Log-probs, nats (dashed: rejected)", _sides("logps")),
    ("Gradient norm", (Line("grad_norm", "gradient norm", BLUE),)),
    ("Learning rate", (Line("learning_rate", "learning rate", GREY),)),
    ("Tokens a second", (Line("tokens_per_second", "tokens/s", GREY),)),
    ("Memory at its peak, GiB", (Line("memory_gib", "GiB", GREY),)),
)


def smooth(values: Sequence[float | None], weight: float) -> list[float | None]:
    """Exponential moving average with `weight` (0 to below 1) on what came before, freed of the bias of its beginning
    as TensorBoard does it; what is no number stays none and changes nothing after it."""
    mean, share, smoothed = 0.0, 0.0, []
    for value in values:
        if value is None:
            smoothed.append(None)
            continue
        mean = weight * mean + (1 - weight) * value
        share = weight * share + (1 - weight)
        smoothed.append(mean / share)
    return smoothed


def plot_curves(
    runs: Mapping[int, Mapping[str, Curve]], smoothing: float = 0.0, by: str = STEP, revision: object = "run"
) -> go.Figure:
    """A panel for each of PANELS that has a number to show; `runs`: number -> metric -> points. `by` TIME shows runs
    alone that measured their seconds."""
    places = {run: _places(curves, by) for run, curves in runs.items()}
    longest = max((place for of_run in places.values() for place in of_run.values()), default=0)
    in_minutes = by == TIME and longest > 180
    scale = 60 if in_minutes else 1
    colours = dict(zip(runs, itertools.cycle(RUN_COLOURS if len(runs) > 1 else ("",)), strict=False))
    panels = {}
    for title, lines in PANELS:
        curves = [(run, line, _points(runs[run], line, places[run], scale)) for run in runs for line in lines]
        # A curve without a number would be drawn as a path through NaN.
        if drawn := [curve for curve in curves if any(_is_number(y) for _, y in curve[2])]:
            panels[title] = drawn
    rows = max(1, -(-len(panels) // COLUMNS))
    figure = make_subplots(rows=rows, cols=COLUMNS, subplot_titles=list(panels), vertical_spacing=0.36 / max(rows, 2),
                           horizontal_spacing=0.075)  # fmt: skip
    unit = "step" if by == STEP else "minutes of training" if in_minutes else "seconds of training"
    figure.update_layout(height=150 + 150 * rows, **look(f"{revision} {by} {in_minutes}"))
    figure.update_layout(margin={"t": 66}, legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.12})
    figure.update_xaxes(**axis(), title_font_size=12)
    figure.update_yaxes(**axis(), exponentformat="e")
    figure.update_annotations(font_size=12)
    for at, (title, drawn) in enumerate(panels.items()):
        place = {"row": at // COLUMNS + 1, "col": at % COLUMNS + 1}
        for run, line, points in drawn:
            _draw(figure, line, points, smoothing, place, run=run, colour=colours[run])
        if at + COLUMNS >= len(panels):  # the lowest of its column
            figure.update_xaxes(title_text=unit, **place)
        if title == ACCURACY:
            figure.update_yaxes(range=[0, 1.02], **place)
    return figure


def _points(curves: Mapping[str, Curve], line: Line, places: Mapping[int, float], scale: float) -> list:
    return [(places[step] / scale, value) for step, value in curves.get(line.metric) or [] if step in places]


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _places(curves: Mapping[str, Curve], by: str) -> dict[int, float]:
    """Where each step lies on the x axis."""
    if by == TIME:
        return {step: seconds for step, seconds in curves.get("seconds") or [] if seconds is not None}
    return {step: step for points in curves.values() for step, _ in points}


def _draw(
    figure: go.Figure, line: Line, points: list, smoothing: float, place: dict[str, int], *, run: int, colour: str
) -> None:
    """One curve at `place`, and behind a smoothed one of a single run what it was, pale. The legend tells runs where
    there are several, else the sides of an answer, once."""
    x, y = [x for x, _ in points], [value for _, value in points]
    style = {"color": colour or line.colour, "dash": line.dash, "width": 2}
    if smoothing and not colour:
        figure.add_scatter(x=x, y=y, mode="lines", line={**style, "width": 1}, opacity=0.3, hoverinfo="skip",
                           showlegend=False, **place)  # fmt: skip
    named = f"run {run} {line.name}" if colour else line.name
    shown = smooth(y, smoothing) if smoothing else y
    group = f"{run}" if colour else line.name
    told = any(trace.legendgroup == group and trace.showlegend for trace in figure.data)
    figure.add_scatter(
        x=x, y=shown, name=f"Run {run}" if colour else line.name, legendgroup=group,
        mode="lines+markers" if len(points) < 40 and not smoothing else "lines", line=style, marker={"size": 4},
        hovertemplate=f"%{{x:.4g}}<br>{named} %{{y:.4g}}<extra></extra>",
        showlegend=not told and (bool(colour) or line.name in ("chosen", "rejected")),
        **place,
    )  # fmt: skip
