"""What a training changed as plotly bars: base against after, figure by figure, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

import plotly.graph_objects as go
from plotly.subplots import make_subplots

COLOURS = {"before": "#8a93a0", "after": "#4a7fd4"}  # the page draws them in its own, light and dark (results.css)
GREY = "#6b7684"
MARKS = {"better": ("▲", "#2f9e63"), "worse": ("▼", "#d0503f")}  # not by colour alone
FULL = {"fraction": 100, "points": 200}
ROW, HEAD = 34, 62  # pixels: of a figure, and of a panel's title and axis


def plot_results(report: Mapping) -> go.Figure:
    """A panel a benchmark and unit; sums over categories and numbers of words, which no axis shares, are in the table
    alone, and so are details. Beside a figure ▲ is better and ▼ worse by the paired test."""
    known = [figure for figure in report["figures"] if figure["after"] is not None and _has_place(figure)]
    panels = [(name, list(found)) for name, found in groupby(known, key=lambda f: (f["benchmark"], f["unit"]))]
    sides = ("after",) if report["before_run"] is None else ("before", "after")
    heights = [ROW * len(found) for _, found in panels] or [HEAD]
    total = sum(heights)
    figure = make_subplots(
        rows=max(1, len(panels)),
        cols=1,
        row_heights=[height / total for height in heights],
        vertical_spacing=HEAD / (total + HEAD * (len(panels) - 1)) if len(panels) > 1 else 0,
        subplot_titles=[f"{name}, {'%' if unit == 'fraction' else 'points'}" for (name, unit), _ in panels],
    )
    for row, ((_, unit), found) in enumerate(panels, 1):
        scale = 100 if unit == "fraction" else 1
        for side in sides:
            _add_bars(figure, row, found, side, scale, alone=len(sides) == 1)
        _add_marks(figure, row, found, FULL[unit])
        figure.update_xaxes(range=[0, 1.09 * FULL[unit]], tickvals=[FULL[unit] * n / 4 for n in range(5)], row=row)
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_annotations(font_size=12, x=0, xanchor="left")
    figure.update_layout(
        barmode="group", bargap=0.3, bargroupgap=0.05, height=86 + total + HEAD * (len(panels) - 1),
        margin={"l": 10, "r": 12, "t": 56, "b": 30},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom", "traceorder": "normal"},
    )  # fmt: skip
    return figure


def _has_place(figure: Mapping) -> bool:
    return figure["unit"] in FULL and not figure["detail"] and figure["key"] not in ("mme_perception", "mme_cognition")


def _add_bars(figure: go.Figure, row: int, found: list[Mapping], side: str, scale: int, *, alone: bool) -> None:
    values = [figure_of[side] for figure_of in found]
    ends = [(each[f"{side}_low"], each[f"{side}_high"]) for each in found]
    spans = [(0, 0) if v is None or low is None else (high - v, v - low) for v, (low, high) in zip(values, ends)]  # noqa: B905
    figure.add_bar(
        x=[None if value is None else scale * value for value in values],
        y=[each["label"] for each in found],
        orientation="h",
        name="value" if alone else side,
        legendgroup=side,
        showlegend=row == 1 and not alone,
        marker={"color": COLOURS[side]},
        error_x={
            "type": "data", "symmetric": False, "color": GREY, "thickness": 1.4, "width": 3,
            "array": [scale * up for up, _ in spans], "arrayminus": [scale * down for _, down in spans],
        },
        customdata=[[None if end is None else scale * end for end in pair] for pair in ends],
        hovertemplate="%{y}<br>" + side + " %{x:.1f} [%{customdata[0]:.1f}, %{customdata[1]:.1f}]<extra></extra>",
        row=row, col=1,
    )  # fmt: skip


def _add_marks(figure: go.Figure, row: int, found: list[Mapping], full: int) -> None:
    judged = [each for each in found if each["judged"] in MARKS]
    if not judged:
        return
    figure.add_scatter(
        x=[1.05 * full] * len(judged),
        y=[each["label"] for each in judged],
        mode="text",
        text=[MARKS[each["judged"]][0] for each in judged],
        textfont={"size": 13, "color": [MARKS[each["judged"]][1] for each in judged]},
        hovertext=[each["judged"] for each in judged], hovertemplate="%{y}: %{hovertext}<extra></extra>",
        showlegend=False, row=row, col=1,
    )  # fmt: skip
