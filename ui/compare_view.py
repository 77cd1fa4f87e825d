"""The Results tab's comparison of training methods as HTML: how far it is, the table, and what the pairs are worth."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from m3po.evaluation.comparison import judge_change
from m3po.evaluation.comparison_table import (
    RATES,
    headline_metrics,
    name_bin,
    name_metric,
    name_settings,
    write_csv,
    write_json,
    write_markdown,
)
from ui.formatting import count, duration, number, percent, plural
from ui.markup import Markup, join, tag

SIGNS = {"better": "▲", "worse": "▼"}
LEGEND = (
    "▲ better, ▼ worse; b: than the base, m: than M3PO. By the interval of the difference over images and seeds, which "
    "leaves out 0; a single run's p above is of another test, over its images alone, and may say otherwise."
)
STATES = {"running": "at work", "finished": "finished", "stopped": "stopped"}
DOWNLOADS = (("CSV", "csv", write_csv), ("Markdown", "md", write_markdown), ("JSON", "json", write_json))


def draw_none() -> Markup:
    return tag(
        "p",
        "Nothing was compared yet. Each arm is trained with each seed, one run after another, and measured on the "
        "held-out split; the selection and all decisions stay as they are.",
        class_="quiet",
    )


def draw_progress(report: Mapping) -> Markup:
    """State, bar, the run at work, what failed, and the command that does the same."""
    state = report["state"]
    share = percent(report["done"], report["total"])
    facts = [f"{report['done']} of {report['total']} runs", plural(report["seeds"], "seed")]
    facts += [f"{count(report['pairs'])} pairs and {plural(report['steps'], 'step')} a run"]
    if report["seconds_left"]:
        facts.append(f"about {duration(report['seconds_left'])} left")
    head = tag(
        "div",
        tag("b", f"Comparison {report['id']}"),
        tag("span", STATES[state], class_=f"chip state-{state}"),
        tag("span", " · ".join(facts), class_="quiet"),
        class_="run-head",
    )
    bar = None
    if state != "finished":
        fill = tag("div", class_="bar-fill", style=f"width:{share:.1f}%")
        bar = tag(
            "div", fill, class_="bar bar-run", role="progressbar", aria_label="Comparison", aria_valuemin="0",
            aria_valuemax="100", aria_valuenow=f"{share:.0f}",
        )  # fmt: skip
    return tag(
        "div",
        head,
        bar,
        _draw_now(report),
        *[tag("p", text, class_="problem") for text in _problems(report)],
        _draw_settings(report),
        tag("details", tag("summary", "Exact command"), tag("pre", report["command"], class_="command")),
        class_=f"run run-{state}",
        data_comparison=report["id"],
        data_comparison_state=state,
    )


def _draw_now(report: Mapping) -> Markup | None:
    now = report["now"]
    if not now:
        words = "Press Resume to go on with what lacks." if report["state"] == "stopped" else None
        return tag("p", words, class_="quiet") if words else None
    label = next((arm["label"] for arm in report["arms"] if arm["arm"] == now["arm"]), now["arm"])
    doing = "trains" if now["kind"] == "train" else "is measured"
    text = f"{label}, seed {now['seed']}, {doing}"
    if now["total"]:
        text += f": {count(now['done'])} / {count(now['total'])} {now['unit']}"
    return tag("p", text, class_="quiet")


def _draw_settings(report: Mapping) -> Markup | None:
    """What single arms were trained with that the others were not."""
    told = name_settings(report)
    items = [tag("li", tag("b", label), f": {settings}") for label, settings in told.items()]
    return tag("details", tag("summary", "Settings of single arms"), tag("ul", *items)) if told else None


def _problems(report: Mapping) -> list[str]:
    labels = {arm["arm"]: arm["label"] for arm in report["arms"]}
    found = [
        f"{labels.get(each['arm'], each['arm'])}, seed {each['seed']} (run {each['run']}): {each['message']}"
        for each in report["failed"]
        if each["state"] == "failed"
    ]
    return [*found, *report["problems"], *(f"Left out: {name}, for {why}." for name, why in report["left_out"].items())]


def draw_tables(report: Mapping) -> Markup:
    """Figures of every arm with intervals, what the pairs are worth, gains by the first margin, and downloads."""
    if not report["metrics"]:
        return tag("p", "The figures appear here when the base was measured.", class_="quiet")
    parts = [_draw_figures(report), tag("p", LEGEND, class_="quiet legend"), tag("p", report["how"], class_="quiet")]
    parts += [_draw_pairs(report), _draw_gains(report)]
    return tag("div", *parts, _draw_downloads(report), class_="compare-tables")


def _draw_figures(report: Mapping) -> Markup:
    metrics = headline_metrics(report)
    heads = [tag("th", "Arm", scope="col"), tag("th", "Seeds", scope="col", title="Trained and measured")]
    heads += [
        tag("th", name_metric(metric), ", %" * (metric["unit"] == "fraction"), scope="col", title=metric["description"])
        for metric in metrics
    ]
    heads.append(tag("th", "Seconds", scope="col", title="Of one training, the mean over seeds"))
    rows = []
    for arm in report["arms"]:
        cells = [tag("td", _draw_cell(arm["figures"].get(metric["key"]), metric), class_="num") for metric in metrics]
        seconds = "" if arm["seconds"] is None else number(arm["seconds"], 0)
        done = "" if arm["arm"] == "base" else f"{arm['seeds_done']} / {report['seeds']}"
        rows.append(
            tag(
                "tr",
                tag("th", arm["label"], scope="row", title=arm["says"]),
                tag("td", done, class_="num"),
                *cells,
                tag("td", seconds, class_="num"),
                data_arm=arm["arm"],
            )
        )
    return _table(heads, rows)


def _draw_cell(found: Mapping | None, metric: Mapping) -> Markup | str:
    if not found or found["mean"] is None:
        return number(None)
    scale, digits = (100, 1) if metric["unit"] == "fraction" else (1, 1)
    parts: list[object] = [number(scale * found["mean"], digits)]
    parts.append(tag("span", f" [{number(scale * found['low'], 0)}–{number(scale * found['high'], 0)}]",
                     class_="quiet interval"))  # fmt: skip
    for other, change in found["change"].items():
        judged = judge_change(change, metric["higher_is_better"])
        if judged in SIGNS:
            than = "the base" if other == "base" else "M3PO"
            span = f"{number(scale * change['mean'], 1, sign=True)} " + (
                f"[{number(scale * change['low'], 1, sign=True)}, {number(scale * change['high'], 1, sign=True)}]"
            )
            parts.append(
                tag(
                    "span",
                    f" {SIGNS[judged]}{other[0]}",
                    class_=f"judged-{judged}",
                    title=f"{judged} than {than}: {span}",
                )
            )
    return join(parts)


def _draw_pairs(report: Mapping) -> Markup | None:
    judged = [arm for arm in report["arms"] if arm["pair_rates"]]
    if not judged:
        return None
    names = ("Pairs by the truth", "Judged", *(f"{name}, %" for name in RATES.values()), "Picked, by seed")
    rows = []
    for arm in judged:
        rates = [arm["pair_rates"][name] for name in RATES]
        cells = [
            tag("td", number(100 * rate["mean"], 1), tag("span", f" [{number(100 * rate['low'], 0)}–"
                f"{number(100 * rate['high'], 0)}]", class_="quiet interval"), class_="num")
            for rate in rates
        ]  # fmt: skip
        rows.append(
            tag(
                "tr",
                tag("th", arm["label"], scope="row", title=arm["says"]),
                tag("td", count(arm["pair_counts"]["judged"]), class_="num"),
                *cells,
                tag("td", ", ".join(count(n) for n in arm["available"]), class_="num"),
            )
        )
    return _table([tag("th", name, scope="col") for name in names], rows)


def _draw_gains(report: Mapping) -> Markup | None:
    trained = [arm for arm in report["arms"] if arm["gains"]]
    if not trained:
        return None
    bins = {(bin["low"], bin["high"]): name_bin(bin) for arm in trained for bin in arm["gains"]}
    order = sorted(bins, key=lambda bounds: float("-inf") if bounds[0] is None else bounds[0])
    why = "Log-prob of the chosen answer less that of the rejected one before the training; below 0: it preferred that"
    heads = [tag("th", "Margin gained, nats", scope="col", title="Mean change of a pair's log-prob margin, and pairs")]
    heads += [tag("th", f"before: {bins[bounds]}", scope="col", title=why) for bounds in order]
    rows = []
    for arm in trained:
        known = {(bin["low"], bin["high"]): bin for bin in arm["gains"]}
        cells = [
            tag("td", number(bin["gain"], 2, sign=True), tag("span", f" ({count(bin['pairs'])})", class_="quiet"),
                class_="num") if (bin := known.get(bounds)) else tag("td")
            for bounds in order
        ]  # fmt: skip
        rows.append(tag("tr", tag("th", arm["label"], scope="row"), *cells))
    return _table(heads, rows)


def _table(heads: list, rows: list) -> Markup:
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), class_="figures-table")
    return tag("div", table, class_="scroll")


def _draw_downloads(report: Mapping) -> Markup:
    links = []
    for label, suffix, write in DOWNLOADS:
        content = base64.b64encode(write(report).encode()).decode()
        href = f"data:application/octet-stream;base64,{content}"
        links.append(tag("a", label, href=href, download=f"comparison-{report['id']}.{suffix}", class_="link"))
    return tag("p", "Download: ", join(links, ", "), class_="quiet")
