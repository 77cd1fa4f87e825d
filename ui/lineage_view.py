"""Where a training run comes from, what it did to its pairs, and what is another one in a second run: as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from m3po.evaluation.metrics import METRICS
from m3po.types import PAIR_OUTCOMES
from ui.formatting import OUTCOME_LABELS, OUTCOME_TOOLTIPS, VERDICT_LABELS, clip, clock, count, number, plural
from ui.markup import Markup, join, tag
from ui.results_view import show_value

FEW = 8  # settings that are shown open
MOVED = 6  # lines of what pairs of both runs became in one and in the other
P_WHY = "Of the difference between the two after, by a paired test over the same questions, image by image."
PAIRS = {
    "changed": ("{b}~{a}", "with another chosen or rejected answer"),
    "only_a": ("{a}-{b}", "only in run {a}"),
    "only_b": ("{b}-{a}", "only in run {b}"),
}  # name in a difference -> the view of Review (m3po.store.run_views.parse_runs), words


def draw_lineage(found: Mapping, others: Sequence[Mapping], difference: Mapping | None) -> Markup:
    """`found` and `difference` as m3po.jobs.results.lineages gives them; `others`: the runs to compare with."""
    run = found["run_id"]
    return tag(
        "section",
        tag("h2", f"Run {run}: its pairs, and where it comes from"),
        _draw_changes(run, found["changes"], found["state"], found["settings"].get("method")),
        _draw_origin(found),
        _draw_choice(others, difference["a"] if difference else None),
        draw_diff(difference) if difference else None,
        class_="lineage",
    )


def _draw_changes(run: int, changes: Mapping | None, state: str, method: object) -> Markup:
    if changes is None:
        words = "What it did to each pair is known when it has finished."
        if state == "finished":
            words = "What it did to each pair was not measured."
            if method == "grpo":
                words = "It learnt from answers of its own, by their reward: what it did to the pairs is not measured."
        return tag("p", words, class_="quiet")
    shown = [_count_link(run, name, changes[name]) for name in (*PAIR_OUTCOMES, "") if name or changes[name]]
    by_margin = _link(f"run={run}&order=reward_margin", "by reward margin, low first")
    return tag("p", join(shown, " · "), " ", tag("span", "Look at them ", by_margin, ".", class_="quiet"))


def _count_link(run: int, name: str, pairs: int) -> Markup:
    words = f"{count(pairs)} {OUTCOME_LABELS[name]}"
    look = _link(f"run={run}&outcome={name}&order=reward_margin", words) if name and pairs else words
    return tag("span", look, class_=f"outcome outcome-{name or 'none'}", title=OUTCOME_TOOLTIPS[name])


def _draw_origin(found: Mapping) -> Markup:
    decided = [tag("li", _say_decisions(row)) for row in found["decisions"]]
    settings = [
        tag("tr", tag("th", name, scope="row"), tag("td", _value(value))) for name, value in found["settings"].items()
    ]
    return tag(
        "details",
        tag("summary", "Decisions that stood when its pairs were frozen, settings, code and packages"),
        tag("ul", *decided) if decided else tag("p", "Nobody had decided anything.", class_="quiet"),
        tag("table", tag("tbody", *settings[:FEW]), class_="figures-table settings-table"),
        _fold(settings[FEW:], "more settings, code and packages"),
    )


def _fold(rows: Sequence[Markup], words: str) -> Markup | None:
    """What few people look for, behind a click."""
    if not rows:
        return None
    table = tag("table", tag("tbody", *rows), class_="figures-table settings-table")
    return tag("details", tag("summary", f"{count(len(rows))} {words}"), table)


def _say_decisions(row: Mapping) -> str:
    words = VERDICT_LABELS.get(row["verdict"], row["verdict"])
    first, last = clock(row["first"]), clock(row["last"])
    when = first if first == last else f"{first} to {last}"
    gave = f"; {plural(row['pairs'], 'pair')} by them" if row["pairs"] else ""
    return f"{row['annotator'] or 'nobody named'}: {count(row['decisions'])} {words}, {when}{gave}"


def _draw_choice(others: Sequence[Mapping], chosen: int | None) -> Markup | None:
    if not others:
        return None
    options = [tag("option", "no other run", value="")]
    for other in others:
        words = f"run {other['id']}: {plural(other['pairs'], 'pair')}, {other['state']}"
        options.append(tag("option", words, value=other["id"], selected=other["id"] == chosen))
    return tag("label", "Compare with ", tag("select", *options, id="lineage-other"), class_="compare-with")


def draw_diff(found: Mapping) -> Markup:
    """Settings, pairs, what became of them, and held-out figures: run `a` on the left, `b` on the right."""
    heads = tuple(f"Run {found[name]}" for name in ("a", "b"))
    config = [
        tag("tr", tag("th", name, scope="row"), tag("td", _value(was)), tag("td", _value(now)))
        for name, was, now in found["config"]
    ]
    outcomes = [
        tag(
            "tr",
            tag("th", OUTCOME_LABELS[name], scope="row", title=OUTCOME_TOOLTIPS[name]),
            *[tag("td", _of(side, name), class_="num") for side in found["changes"].values()],
        )
        for name in PAIR_OUTCOMES
    ]
    return tag(
        "div",
        tag("h3", "Settings"),
        _table(("", *heads), config[:FEW]) if config else tag("p", "The same.", class_="quiet"),
        _fold(config[FEW:], "more settings differ"),
        *[
            tag("p", f"Not noted of run {found[name]}: {', '.join(names)}.", class_="quiet")
            for name, names in found["unknown"].items()
            if names
        ],
        tag("h3", "Pairs"),
        _draw_pairs(found),
        tag("h3", "What became of the pairs"),
        _table(("", *heads), outcomes),
        _draw_moved(found),
        tag("h3", "Held-out figures"),
        _draw_figures(found, heads),
        class_="run-diff",
    )


def _of(changes: Mapping | None, name: str) -> str:
    return number(None) if changes is None else count(changes[name])


def _draw_pairs(found: Mapping) -> Markup:
    lines = [tag("li", f"{count(found['pairs']['same'])} the same")]
    for name, (view, words) in PAIRS.items():
        view, words = (text.format(a=found["a"], b=found["b"]) for text in (view, words))
        number_of, named = found["pairs"][name], found["named"][name]
        head = f"{count(number_of)} {words}"
        if not named:
            lines.append(tag("li", head))
            continue
        links = [
            _link(f"run={view}&item={row['instruction_id']}", row["id"], title=_say_pair(found, row)) for row in named
        ]  # fmt: skip
        rest = number_of - len(named)
        more = f" and {count(rest)} more" if rest else None
        lines.append(
            tag("li", _link(f"run={view}", head), ": ", tag("span", join(links, ", "), more, class_="quiet names"))
        )
    return tag("ul", *lines, class_="pair-differences")


def _say_pair(found: Mapping, row: Mapping) -> str:
    lines = [f"{row['source']}/{row['id']}"]
    if row["other_chosen"]:
        lines.append(f"Run {found['a']}: {clip(row['chosen'])} > {clip(row['rejected'])}")
        lines.append(f"Run {found['b']}: {clip(row['other_chosen'])} > {clip(row['other_rejected'])}")
    else:
        lines.append(f"{clip(row['chosen'])} > {clip(row['rejected'])}")
    return "\n".join(lines)


def _draw_moved(found: Mapping) -> Markup | None:
    a, b = found["a"], found["b"]
    lines = [
        tag("li", f"{count(pairs)}: {OUTCOME_LABELS[was]} in run {a}, {OUTCOME_LABELS[now]} in run {b}")
        for was, now, pairs in found["moved"]
        if was != now
    ]
    return join([tag("p", "Of the pairs that both had:", class_="quiet"), tag("ul", *lines[:MOVED])]) if lines else None


def _draw_figures(found: Mapping, heads: tuple[str, str]) -> Markup:
    if not found["figures"]:
        return tag("p", "Not both runs were measured.", class_="quiet")
    rows = []
    for key, row in found["figures"].items():
        metric = METRICS.get(key)
        if metric is None:
            continue
        cells = [
            tag("td", show_value(metric, row[name]["before"]), " → ", tag("b", show_value(metric, row[name]["after"])),
                class_="num")
            for name in ("a", "b")
        ]  # fmt: skip
        p = tag("td", number(row["p"], 3) if row["p"] is None or row["p"] >= 0.001 else "< 0.001", class_="num")
        rows.append(tag("tr", tag("th", metric.label, scope="row", title=metric.description), *cells, p))
    return _table(("", *heads, "p"), rows, {"p": P_WHY})


def _table(heads: Sequence[str], rows: Sequence[Markup], titles: Mapping[str, str] | None = None) -> Markup:
    head = tag("tr", *[tag("th", name, scope="col", title=(titles or {}).get(name)) for name in heads])
    return tag("table", tag("thead", head), tag("tbody", *rows), class_="figures-table")


def _link(view: str, words: str, title: str | None = None) -> Markup:
    return tag("a", words, href=f"#review?{view}", title=title)


def _value(value: object) -> str:
    return "none" if value == "" else str(value)
