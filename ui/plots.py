"""Plotly figures: the lengths of answers, and the look of them all."""

from __future__ import annotations

import plotly.graph_objects as go

GREEN, RED, BLUE, GREY, AMBER = "#2f9e63", "#d0503f", "#4a7fd4", "#8a93a0", "#c58a1c"
JUDGED = {"better": GREEN, "worse": RED}  # anything else is grey
SANS = "system-ui, -apple-system, Segoe UI, Roboto, sans-serif"


def plot_lengths(lengths: dict, revision: object = "lengths") -> go.Figure:
    """How many pairs by chosen minus rejected tokens, as m3po.evaluation.lengths counts them; 0 is where neither answer
    is longer."""
    histogram = lengths["histogram"]
    centres, width = histogram["centres"], histogram["width"]
    figure = go.Figure()
    figure.add_bar(
        x=centres,
        y=histogram["counts"],
        width=width * 0.9,
        marker={"color": [BLUE if x > 0 else AMBER if x < 0 else GREY for x in centres]},
        hovertemplate="%{x:+} tokens: %{y} pairs<extra></extra>",
    )
    figure.add_vline(x=lengths["mean_difference"], line={"color": GREY, "dash": "dash", "width": 1})
    figure.update_layout(height=170, bargap=0, showlegend=False, **look(revision))
    figure.update_layout(margin={"t": 12, "b": 40})
    figure.update_xaxes(title_text="chosen − rejected, tokens (dashed: mean)", title_font_size=12)
    figure.update_yaxes(title_text="pairs", title_font_size=12, rangemode="tozero")
    return figure


def dress(figure: go.Figure, revision: object) -> go.Figure:
    """A figure made elsewhere in the page's look, with its own margins and height."""
    own = {name: value for name, value in look(revision).items() if not name.startswith(("xaxis", "yaxis", "margin"))}
    figure.update_layout(**own)
    figure.update_xaxes(**axis())
    figure.update_yaxes(**axis())
    return figure


def look(revision: object) -> dict:
    """Transparent, so that light and dark both carry it; zoom survives an update of the same run."""
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 44, "r": 12, "t": 48, "b": 36},
        "font": {"family": SANS, "size": 12, "color": GREY},
        "uirevision": str(revision),
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": BLUE},
        "xaxis": axis(),
        "yaxis": axis(),
        "hoverlabel": {"font": {"family": SANS}},
    }


def axis() -> dict:
    return {
        "gridcolor": "rgba(138,147,160,.22)",
        "zerolinecolor": "rgba(138,147,160,.45)",
        "linecolor": "rgba(138,147,160,.45)",
    }
