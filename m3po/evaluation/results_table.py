"""What a training changed (a report of m3po.jobs.results.result_reports) as CSV, Markdown, JSON and a plot."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from itertools import groupby

COLUMNS = (
    "benchmark", "figure", "unit", "before", "before_low", "before_high", "after", "after_low", "after_high",
    "change", "change_low", "change_high", "p", "judged", "against",
)  # fmt: skip
WORDS = {"better": "better", "worse": "worse", "noise": "within noise", "same": ""}


def write_csv(report: Mapping) -> str:
    """One row a figure: values with their intervals, the change with its own, p; then one a scorer's win rate, and
    `against` whose answers that is."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow(COLUMNS)
    for figure in report["figures"]:
        lines.writerow([_plain(figure.get("key" if name == "figure" else name)) for name in COLUMNS])
    for rate in report["win_rates"]:
        values = {
            "benchmark": "Win rate",
            "figure": rate["scorer"],
            "against": rate["against"],
            "unit": "fraction",
            "after": rate["win_rate"],
        }
        values |= {"after_low": rate["low"], "after_high": rate["high"], "p": rate["p"]}
        lines.writerow([_plain(values.get(name)) for name in COLUMNS])
    return out.getvalue()


def write_markdown(report: Mapping) -> str:
    """A table a benchmark, then the win rates, and how it was measured."""
    lines = [f"## {report['title']}", ""]
    alone = report["before_run"] is None
    for benchmark, found in groupby(report["figures"], key=lambda figure: figure["benchmark"]):
        heads = ["Value"] if alone else ["Before", "After", "Change", "p", ""]
        lines += [_line([benchmark, *heads]), _line(["---"] * (1 + len(heads)))]
        for figure in found:
            cells = [show_span(figure, "after")]
            if not alone:
                p = "" if figure["p"] is None else "< 0.001" if figure["p"] < 0.001 else f"{figure['p']:.3f}"
                change = show_span(figure, "change", sign=True)
                cells = [show_span(figure, "before"), *cells, change, p, WORDS[figure["judged"]]]
            lines.append(_line([name_figure(figure), *cells]))
        lines.append("")
    if report["win_rates"]:
        lines += [_line(["Win rate by", "against", "rate", "won", "lost", "tied"]), _line(["---"] * 6)]
        for rate in report["win_rates"]:
            counts = [str(rate[name]) for name in ("wins", "losses", "ties")]
            lines.append(_line([rate["scorer"], rate["against"], show_rate(rate), *counts]))
        lines.append("")
    return "\n".join([*lines, *report["how"]]) + "\n"


def name_figure(figure: Mapping) -> str:
    """With an arrow that says where better lies."""
    return figure["label"] + {True: " ↑", False: " ↓", None: ""}[figure["higher_is_better"]]


def show_span(figure: Mapping, name: str, *, sign: bool = False) -> str:
    """A value with its interval: `81.2 % [78.0, 84.1]`; empty where there is none."""
    value, low, high = (figure[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return ""
    scale = 100 if figure["unit"] == "fraction" else 1
    plus = "+" if sign else ""
    unit = (" pp" if sign else " %") if figure["unit"] == "fraction" else ""
    span = "" if low is None else f" [{scale * low:{plus}.1f}, {scale * high:{plus}.1f}]"
    return f"{scale * value:{plus}.1f}{unit}{span}"


def show_rate(rate: Mapping) -> str:
    if rate["win_rate"] is None:
        return "none decided"
    return f"{100 * rate['win_rate']:.1f} % [{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]"


def write_json(report: Mapping) -> str:
    return json.dumps(report, ensure_ascii=False, indent=1) + "\n"


def write_plot(report: Mapping) -> str:
    """A page of its own, with plotly inside: it opens without a network."""
    from m3po.evaluation.results_plot import plot_results  # plotly takes a second to import

    return plot_results(report).to_html(include_plotlyjs=True, full_html=True)


WRITERS = {".csv": write_csv, ".md": write_markdown, ".json": write_json, ".html": write_plot}


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _plain(value: object) -> object:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value
