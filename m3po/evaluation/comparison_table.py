"""A comparison's report (m3po.jobs.comparing.comparison_reports) as CSV, Markdown, JSON and a plot."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence

from m3po.categories import POPE_CATEGORIES
from m3po.evaluation.comparison import judge_change
from m3po.text import counted

# What the table shows of each arm; CSV and JSON have every figure.
OFFICIAL = (*(f"{category}_f1" for category in POPE_CATEGORIES), "mme_perception", "mme_cognition")
HEADLINES = (
    "yes_no_partner_f1",
    "yes_no_popular_f1",
    "yes_no_random_f1",
    *OFFICIAL,
    "chair_s",
    "chair_i",
    "object_recall",
)
SIGNS = {"better": "+", "worse": "-"}  # beside a change whose interval leaves out 0
RATES = {"precision": "Chosen truly better", "rejected_wrong": "Rejected truly wrong"}


def headline_metrics(report: Mapping) -> list[dict]:
    """Those of HEADLINES that were measured, in that order; where none was, whatever was."""
    known = {metric["key"]: metric for metric in report["metrics"]}
    return [known[key] for key in HEADLINES if key in known] or report["metrics"]


def name_metric(metric: Mapping) -> str:
    """With an arrow that says where better lies."""
    return metric["label"] + {True: " ↑", False: " ↓", None: ""}[metric["higher_is_better"]]


def name_bin(bin: Mapping) -> str:
    """The bounds of a bin of margins, in nats."""
    if bin["low"] is None:
        return f"below {bin['high']:.1f}"
    return f"from {bin['low']:.1f}" if bin["high"] is None else f"{bin['low']:.1f} to {bin['high']:.1f}"


def write_csv(report: Mapping) -> str:
    """One row an arm and figure: value and interval, its difference to base and m3po likewise, each seed's value."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    against = ("base", "m3po")
    spans = [f"minus_{other}{end}" for other in against for end in ("", "_low", "_high")]
    lines.writerow(["arm", "figure", "mean", "low", "high", *spans, "by_seed"])
    for arm in report["arms"]:
        for key, found in arm["figures"].items():
            changes = [(found["change"].get(other) or {}).get(end) for other in against for end in ENDS]
            each = " ".join(f"{seed}:{_plain(value)}" for seed, value in found["each"].items())
            lines.writerow([arm["arm"], key, *(_plain(found[end]) for end in ENDS), *map(_plain, changes), each])
        for name, rate in arm["pair_rates"].items():
            blank = [""] * len(spans)
            lines.writerow([arm["arm"], f"pairs_{name}", *(_plain(rate[end]) for end in ENDS), *blank, ""])
        for bin in arm["gains"]:
            name = f"margin_gain ({name_bin(bin)} nats, {bin['pairs']} pairs)"
            lines.writerow([arm["arm"], name, _plain(bin["gain"]), *[""] * (3 + len(spans))])
        if arm["seconds"] is not None:
            lines.writerow([arm["arm"], "seconds", _plain(arm["seconds"]), *[""] * (3 + len(spans))])
    return out.getvalue()


ENDS = ("mean", "low", "high")


def write_markdown(report: Mapping) -> str:
    """The table, what the pairs are worth, gains by initial margin, and how it was measured."""
    metrics = headline_metrics(report)
    lines = [_line(["Arm", *map(name_metric, metrics), "seconds"]), _line(["---"] * (2 + len(metrics)))]
    for arm in report["arms"]:
        cells = [_cell(arm["figures"].get(metric["key"]), metric) for metric in metrics]
        lines.append(_line([arm["label"], *cells, "" if arm["seconds"] is None else f"{arm['seconds']:.0f}"]))
    lines += ["", report["how"], "`+` better, `-` worse than the base (`b`) or than M3PO (`m`).", ""]
    lines += _pair_lines(report) + _gain_lines(report)
    budget = f"{counted(report['seeds'], 'seed')}; {report['pairs']} pairs and {report['steps']} optimiser steps a run"
    lines += [f"{budget}. Arms: " + "; ".join(f"{arm['label']}: {arm['says']}" for arm in report["arms"]) + "."]
    lines += _own_lines(report)
    if any(arm["arm"] == "m3po_corrected" for arm in report["arms"]):
        lines.append(f"The simulated annotator errs at a rate of {report['options']['error_rate']:.0%}.")
    lines += [f"Left out: {name}, for {why}." for name, why in report["left_out"].items()]
    return "\n".join(lines) + "\n"


def name_settings(report: Mapping) -> dict[str, str]:
    """By an arm's label what it alone was trained with, as `key = value`; of arms that have such settings."""
    labels = {arm["arm"]: arm["label"] for arm in report["arms"]}
    return {
        labels.get(arm, arm): ", ".join(f"{key} = {value}" for key, value in values.items())
        for arm, values in report["options"].get("own", {}).items()
    }


def _own_lines(report: Mapping) -> list[str]:
    told = [f"{label}: {settings}" for label, settings in name_settings(report).items()]
    return [f"Settings of single arms: {'; '.join(told)}."] if told else []


def _pair_lines(report: Mapping) -> list[str]:
    judged = [arm for arm in report["arms"] if arm["pair_rates"]]
    if not judged:
        return []
    lines = [_line(["Pairs by the truth", "judged", *RATES.values(), "picked"]), _line(["---"] * (3 + len(RATES)))]
    for arm in judged:
        rates = [_span(arm["pair_rates"][name]) for name in RATES]
        picked = ", ".join(str(n) for n in arm["available"])
        lines.append(_line([arm["label"], str(arm["pair_counts"]["judged"]), *rates, picked]))
    return [*lines, ""]


def _gain_lines(report: Mapping) -> list[str]:
    trained = [arm for arm in report["arms"] if arm["gains"]]
    if not trained:
        return []
    bins = {(bin["low"], bin["high"]): name_bin(bin) for arm in trained for bin in arm["gains"]}
    order = sorted(bins, key=lambda bounds: float("-inf") if bounds[0] is None else bounds[0])
    head = ["Margin gained, nats (pairs)", *(f"before: {bins[bounds]}" for bounds in order)]
    lines = [_line(head), _line(["---"] * len(head))]
    for arm in trained:
        by_bounds = {(bin["low"], bin["high"]): bin for bin in arm["gains"]}
        cells = [f"{b['gain']:+.2f} ({b['pairs']})" if (b := by_bounds.get(bounds)) else "" for bounds in order]
        lines.append(_line([arm["label"], *cells]))
    return [*lines, ""]


def _cell(found: Mapping | None, metric: Mapping) -> str:
    if not found or found["mean"] is None:
        return ""
    better = metric["higher_is_better"]
    signs = [f"{SIGNS[j]}{o[0]}" for o, c in found["change"].items() if (j := judge_change(c, better)) in SIGNS]
    return " ".join([_span(found), *signs])


def _span(found: Mapping) -> str:
    return f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def write_json(report: Mapping) -> str:
    return json.dumps(report, ensure_ascii=False, indent=1) + "\n"


def write_plot(report: Mapping) -> str:
    """A page of its own, with plotly inside: it opens without a network."""
    from m3po.evaluation.comparison_plot import plot_comparison  # plotly takes a second to import

    return plot_comparison(report).to_html(include_plotlyjs=True, full_html=True)
