"""A comparison as one plotly figure: a panel a figure, an arm a line, with its interval; the base as a dashed line."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from m3po.evaluation.comparison import judge_change
from m3po.evaluation.comparison_table import headline_metrics, name_metric

COLOURS = {"better": "#2f9e63", "worse": "#d0503f"}
GREY = "#8a93a0"
SYMBOLS = {"better": "triangle-up", "worse": "triangle-down"}  # not by colour alone
COLUMNS = 3


def plot_comparison(report: Mapping) -> go.Figure:
    """Green and up where better than the base, red and down where worse, grey where the interval of the difference
    holds 0."""
    metrics = headline_metrics(report)
    arms = report["arms"]
    columns = min(COLUMNS, max(1, len(metrics)))
    n_rows = -(-len(metrics) // columns) or 1
    figure = make_subplots(
        rows=n_rows,
        cols=columns,
        subplot_titles=[name_metric(metric) + (", %" if metric["unit"] == "fraction" else "") for metric in metrics],
        shared_yaxes=True,
        horizontal_spacing=0.04,
        vertical_spacing=0.3 / n_rows,
    )
    for place, metric in enumerate(metrics):
        row, column = place // columns + 1, place % columns + 1
        known = [arm for arm in arms if (arm["figures"].get(metric["key"]) or {}).get("mean") is not None]
        found = [arm["figures"][metric["key"]] for arm in known]
        judged = [judge_change(each["change"].get("base"), metric["higher_is_better"]) for each in found]
        scale = 100 if metric["unit"] == "fraction" else 1
        figure.add_scatter(
            x=[scale * each["mean"] for each in found],
            y=[arm["label"] for arm in known],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [scale * (each["high"] - each["mean"]) for each in found],
                "arrayminus": [scale * (each["mean"] - each["low"]) for each in found],
                "color": GREY,
                "thickness": 1.5,
            },
            mode="markers",
            marker={
                "size": 10,
                "color": [COLOURS.get(judge, GREY) for judge in judged],
                "symbol": [SYMBOLS.get(judge, "circle") for judge in judged],
            },
            hovertemplate="%{y}<br>%{x:.1f}<extra></extra>",
            showlegend=False,
            row=row,
            col=column,
        )
        if found:
            low, high = scale * min(each["low"] for each in found), scale * max(each["high"] for each in found)
            pad = max(0.005 * scale, 0.08 * (high - low))
            figure.update_xaxes(range=[low - pad, high + pad], row=row, col=column)
        base = next((each for arm, each in zip(known, found, strict=True) if arm["arm"] == "base"), None)
        if base:
            figure.add_vline(
                x=scale * base["mean"], line={"color": GREY, "dash": "dash", "width": 1}, row=row, col=column
            )
    figure.update_yaxes(  # every arm has its line before it has its figures
        type="category", categoryorder="array", categoryarray=[arm["label"] for arm in arms],
        range=[len(arms) - 0.5, -0.5], automargin=True,
    )  # fmt: skip
    figure.update_layout(height=120 + n_rows * (60 + 26 * len(arms)), margin={"l": 10, "r": 12, "t": 48, "b": 36})
    figure.update_annotations(font_size=12)
    return figure
