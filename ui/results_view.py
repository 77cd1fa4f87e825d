"""The Results tab's own HTML: every run's figures before and after."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from m3po.evaluation.figures import OWN
from m3po.evaluation.metrics import METRICS, Metric
from m3po.evaluation.paired import LEVEL, judge_figure
from m3po.evaluation.results_table import WRITERS
from ui.data_view import open_tab
from ui.formatting import STATE_LABELS, clock, count, number, plural
from ui.markup import Markup, join, tag
from ui.train_view import state_of

# What the overview shows of each run; the rest is in the run's own table.
HEADLINES = ("chair_s", "chair_i", "object_recall", "partner_absent_accuracy", "answer_accuracy")

PAIRED = (
    "▲ better, ▼ worse: p is below 0.05 by a paired test over the images of this run's questions. A comparison's ▲ and "
    "▼ below are by intervals over images and seeds, and may say otherwise."
)
PAIRED_WHY = (
    "The same instructions were answered before and after. p: how often swapping the two sides of each image, with all "
    "questions after it, at random changes the figure as much (with one question an image, right or wrong, McNemar's "
    "exact test). Of 20 figures one is below 0.05 by chance."
)
APART = "Better and worse where the two intervals lie apart."
APART_WHY = "The rows of this run are not at hand to compare one by one."

_COLUMNS = (
    ("Run", None),
    ("State", None),
    ("Pairs", "Pairs that were trained on"),
    ("By humans", "Pairs among them that a human accepted or corrected"),
    ("Set", "Content hash of the pairs: equal hashes are equal sets"),
)


def show_value(metric: Metric, value: float | None, *, sign: bool = False) -> str:
    """Fractions in per cent with one decimal, words and MME's points with one."""
    if value is None:
        return number(None)
    if metric.unit == "fraction":
        return number(100 * value, 1, sign=sign) + (" pp" if sign else " %")
    return number(value, 1, sign=sign)


def judge(metric: Metric, result: Mapping) -> str:
    """See m3po.evaluation.paired.judge_figure."""
    values = [(result[side] or {}).get(metric.key) for side in ("before", "after")]
    intervals = [(result.get(f"intervals_{side}") or {}).get(metric.key) for side in ("before", "after")]
    return judge_figure(metric, *values, p_value(metric, result), *intervals)


def p_value(metric: Metric, result: Mapping) -> float | None:
    """Of the figure's change; None where before and after could not be compared row by row."""
    return (result.get("p_values") or {}).get(metric.key)


def common_metrics(result: Mapping) -> list[Metric]:
    """The figures that this run has, before or after, in the order of METRICS."""
    known = set(result["before"] or {}) | set(result["after"] or {})
    return [metric for key, metric in METRICS.items() if key in known]


def draw_overview(results: Sequence[Mapping], shown: int | None) -> Markup:
    """One line a run, newest first; a click on it shows its tables."""
    keys = [key for key in HEADLINES if any(key in (r["before"] or r["after"] or {}) for r in results)]
    head = tag(
        "tr",
        *[tag("th", name, scope="col", title=title) for name, title in _COLUMNS],
        *[
            tag("th", METRICS[key].label, " ", _arrow(METRICS[key]), scope="col", title=_explain(METRICS[key]))
            for key in keys
        ],
    )
    lines = []
    for r in results:
        run, state = r["run"], state_of(r)  # type: ignore[arg-type]
        cells = [
            tag(
                "td",
                tag(
                    "button",
                    f"Run {run.id}",
                    type="button",
                    class_="link",
                    data_show_run=run.id,
                    aria_pressed="true" if run.id == shown else "false",
                ),
                tag("span", f" {clock(run.created_at)}{_arm_of(run.config)}", class_="quiet"),
            ),
            tag("td", tag("span", STATE_LABELS.get(state, state), class_=f"chip state-{state}")),
            tag("td", count(r["pairs"]), class_="num"),
            tag("td", count(r["human"]), class_="num"),
            tag("td", tag("code", (r["content_hash"] or "")[:8], title=r["content_hash"])),
        ]
        for key in keys:
            before, after = (r["before"] or {}).get(key), (r["after"] or {}).get(key)
            cells.append(
                tag(
                    "td",
                    show_value(METRICS[key], before),
                    " → ",
                    tag("b", show_value(METRICS[key], after), class_=f"judged-{judge(METRICS[key], r)}"),
                    class_="num",
                )
            )
        lines.append(
            tag("tr", *cells, class_="shown" if run.id == shown else None, data_run_id=run.id, data_run_state=state)
        )
    return tag(
        "div", tag("table", tag("thead", head), tag("tbody", *lines), class_="figures-table overview"), class_="scroll"
    )


def _arm_of(config: Mapping) -> str:
    """Which arm of a comparison a run is; empty for one of its own."""
    arm = (config.get("comparison") or {}).get("arm")
    return f" · {arm}, seed {config.get('seed')}" if arm else ""


def _arrow(metric: Metric) -> Markup:
    if metric.higher_is_better is None:
        return Markup("")
    return tag("span", "↑" if metric.higher_is_better else "↓", class_="quiet", aria_hidden="true")


def _explain(metric: Metric) -> str:
    words = {True: "Higher is better.", False: "Lower is better.", None: "Neither direction is good by itself."}
    return f"{metric.description} {words[metric.higher_is_better]}"


def draw_metrics(result: Mapping) -> Markup:
    """Every figure of one run before and after, the change judged by its direction, intervals at 95 %."""
    metrics = common_metrics(result)
    if not metrics:
        return tag("p", _why_no_figures(result), class_="nothing")
    rows: list[Markup] = []
    details: list[Markup] = []
    benchmark = OWN
    for metric in metrics:
        before, after = ((result[side] or {}).get(metric.key) for side in ("before", "after"))
        judged = judge(metric, result)
        change = after - before if before is not None and after is not None else None
        if metric.benchmark != benchmark:
            benchmark = metric.benchmark
            rows.append(tag("tr", tag("th", benchmark, colspan=5, scope="colgroup"), class_="benchmark"))
        words = {"better": "▲ better", "worse": "▼ worse", "noise": "within noise", "same": ""}[judged]
        p = p_value(metric, result) if words else None
        (details if metric.detail else rows).append(
            tag(
                "tr",
                tag("th", metric.label, "\u00a0", _arrow(metric), scope="row", title=_explain(metric)),
                *[
                    tag(
                        "td",
                        show_value(metric, value),
                        _interval(metric, (result.get(f"intervals_{side}") or {}).get(metric.key)),
                        class_="num",
                    )
                    for side, value in (("before", before), ("after", after))
                ],
                tag("td", show_value(metric, change, sign=True), class_=f"num judged-{judged}"),
                tag("td", words, _write_p(p), class_=f"judged-{judged}"),
                data_metric=metric.key,
            )
        )
    head = tag("tr", *[tag("th", name, scope="col") for name in ("Held-out figure", "Before", "After", "Change", "")])
    counts = result.get("counts") or {}
    measured = counts.get("rows", 0) - counts.get("without_truth", 0)
    how, why = (PAIRED, PAIRED_WHY) if result.get("p_values") is not None else (APART, APART_WHY)
    return join(
        [
            tag("table", tag("thead", head), tag("tbody", *rows), class_="figures-table held-out"),
            tag(
                "details",
                tag("summary", "Accuracy and accuracy+ of each category"),
                tag("table", tag("thead", head), tag("tbody", *details), class_="figures-table held-out"),
            )
            if details
            else None,
            tag(
                "p",
                tag("span", f"Measured on {plural(measured, 'held-out instruction')}. ", title=_write_counts(counts)),
                tag("span", "In brackets the 95 % interval. "),
                tag("span", how, title=why),
                class_="quiet",
            )
            if counts.get("rows")
            else "",
        ]
    )


def _write_p(p: float | None) -> Markup | None:
    if p is None:
        return None
    text = " p < 0.001" if p < 0.001 else f" p = {number(p, 3 if p < LEVEL else 2)}"
    return tag("span", text, class_="quiet interval")


def _write_counts(counts: Mapping) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count(n)}" for name, n in counts.items() if n)


def _interval(metric: Metric, interval: Sequence[float] | None) -> Markup | None:
    if not interval:
        return None
    scale, digits = {"fraction": (100, 0), "points": (1, 0)}.get(metric.unit, (1, 1))
    text = f" [{number(scale * interval[0], digits)}–{number(scale * interval[1], digits)}]"
    return tag("span", text, class_="quiet interval")


def _why_no_figures(result: Mapping) -> str:
    state = state_of(result)  # type: ignore[arg-type]
    if state in ("queued", "running"):
        return "Being measured: the figures appear here when the held-out answers are there."
    if state == "finished":
        return "The held-out split is empty, or has no truth: nothing measures this run."
    return "This run did not finish; resume it on the Fine-tune tab."


# The tab is long: what is further down, and where.
SECTIONS = {
    "#compare-card": "Against the baselines",
    "#sides-root": "Judge two models blind",
}


def draw_sections() -> Markup:
    links = [tag("button", f"{name} ↓", type="button", class_="link", data_section=place)
             for place, name in SECTIONS.items()]  # fmt: skip
    return tag("nav", *links, aria_label="Sections", class_="results-sections")


def draw_no_results() -> Markup:
    return tag(
        "div",
        tag("h2", "No results yet"),
        tag("p", "Fine-tune once: the held-out answers are measured before and after, and compared here."),
        open_tab("train", "Go to Fine-tune"),
        class_="empty-state",
    )


DOWNLOADS = (("CSV", ".csv"), ("Markdown", ".md"), ("JSON", ".json"))


def draw_downloads(report: Mapping) -> Markup:
    """The run's figures as files, made from what is shown."""
    links = []
    for label, suffix in DOWNLOADS:
        content = base64.b64encode(WRITERS[suffix](report).encode()).decode()
        href = f"data:application/octet-stream;base64,{content}"
        links.append(tag("a", label, href=href, download=f"run-{report['run']}{suffix}", class_="link"))
    return tag("p", "Download: ", join(links, ", "), class_="quiet", id="results-downloads")


def draw_newer(newest: int | None, shown: int) -> Markup | None:
    """That another run was measured since: what somebody looks at does not change by itself."""
    if newest is None or newest == shown:
        return None
    button = tag("button", f"Show run {newest}", type="button", class_="link", data_show_run=newest)
    return tag("p", f"Run {newest} was measured since. ", button, class_="notice notice-good", id="results-newer")
