"""What the Calibrate tab shows, as HTML parts: pure functions from what m3po.calibration tells to what is drawn."""

from __future__ import annotations

from m3po.calibration import FLIPS
from m3po.evaluation.annotator import NAME as SIMULATED
from ui.calibrate.charts import draw_bins, draw_curve
from ui.formatting import RULE_LABELS, clip, count, number, plural
from ui.markup import Markup, join, tag

FLIP_LABELS = {
    "all": "All changes",
    "against": "Against the human",
    "to": "To the human's pair",
    "lost": "Pair lost",
    "new": "New pair",
}
WORDS = {
    "against": ("against the human", "chip chip-bad", "The human decided for the pair that would go."),
    "to": ("to the human's pair", "chip verdict-accept", "The new pair is what the human decided for."),
    "neither": ("the human has a third", "chip", "The human decided for a pair that is neither of the two."),
    "": ("nobody decided", "quiet", "No human pair stands on this item."),
}
REVIEW = "#review?order=id&item={}"
AUDIT = "#review?filter=audit"


def draw_counts(found: dict) -> Markup:
    """What would change, in numbers; each is a button that lists it."""
    changed = found["flips"] + found["lost"] + found["new"]
    shown = {
        "all": (changed, f"{count(found['flips'])} to another pair"),
        "lost": (found["lost"], "pairs fewer"),
        "new": (found["new"], "pairs more"),
        "against": (found["against"], f"of {count(found['decided'])} decided that change"),
        "to": (found["to"], f"of {count(found['decided'])} decided that change"),
    }
    buttons = [
        tag("button", tag("b", count(value)), tag("span", FLIP_LABELS[name]), tag("i", note), type="button",
            data_which=name, aria_pressed="true" if name == found["which"] else "false",
            class_=f"count count-{name}" + (" count-some" if value else ""))
        for name, (value, note) in shown.items()
    ]  # fmt: skip
    assert set(shown) == set(FLIPS)
    before, after = found["pairs_before"], found["pairs"]
    words = f" {'pair' if after == 1 else 'pairs'} with this, {count(before)} as it stands"
    pairs = tag("p", tag("b", count(after)), words, class_="now")
    stale = None
    if not found["fresh"]:
        words = "Candidates or scores were added since the selection: a new one will pick from those, too."
        stale = tag("p", words, class_="quiet")
    return join([pairs, tag("div", *buttons, class_="counts"), stale])


def draw_flips(found: dict) -> Markup:
    """One page of the list."""
    if not found["items"]:
        words = "No pair changes with these settings." if found["which"] == "all" else "None of this sort."
        return tag("p", words, class_="quiet flips-none")
    rows = [_draw_flip(item) for item in found["items"]]
    start, listed = found["offset"], found["listed"]
    last = start + len(rows)
    pager = None
    if listed > len(rows):
        pager = tag(
            "div",
            tag("button", "‹", type="button", data_page="-1", class_="plain", title="Previous", disabled=not start),
            tag("span", f"{count(start + 1)}–{count(last)} of {count(listed)}"),
            tag("button", "›", type="button", data_page="1", class_="plain", title="Next", disabled=last >= listed),
            class_="pager",
        )  # fmt: skip
    return join([tag("ul", *rows, class_="flips"), pager])


def _draw_flip(item: dict) -> Markup:
    word, css, title = WORDS[item["word"]]
    image = None
    if item["sha256"]:
        image = tag("img", src=f"m3po/image/{item['sha256']}", alt="", loading="lazy", decoding="async")
    head = tag(
        "p",
        tag("a", f"{item['source']} · {item['external_id']}", href=REVIEW.format(item["instruction_id"]),
            title="Open in Review"),
        tag("span", word, class_=css, title=title),
        class_="flip-head",
    )  # fmt: skip
    sides = [_draw_side("now", item["before"], item), _draw_side("would be", item["after"], item)]
    text = tag("p", clip(item["instruction"]), class_="instruction-text")
    body = tag("div", head, text, tag("div", *sides, class_="flip-sides"), class_="flip-body")
    return tag("li", tag("div", image, class_="flip-image"), body, class_="flip", data_item=item["instruction_id"])


def _draw_side(name: str, pair: dict | None, item: dict) -> Markup:
    if pair is None:
        return tag("div", tag("h4", name), tag("p", "no pair", class_="quiet"))
    human = item["human"]
    said = bool(human) and (human["chosen"], human["rejected"]) == (pair["chosen"], pair["rejected"])
    other = item["after"] if pair is item["before"] else item["before"]
    lines = []
    for role, mark in (("chosen", "▲"), ("rejected", "▼")):
        stays = other is not None and other[role] == pair[role]
        lines.append(
            tag("p", tag("b", f"{mark} {role}"), " ", clip(pair[f"{role}_text"]),
                class_=f"flip-{role}" + (" flip-stays" if stays else ""))
        )  # fmt: skip
    return tag("div", tag("h4", name, tag("i", " · the human's") if said else None), *lines)


def draw_empty(report: dict) -> Markup | None:
    """What to do first, where there is nothing to calibrate on."""
    if report["selection_id"] is None:
        words = "Sample, score and select on the Data tab; then try other settings here."
        return _empty("There are no pairs yet", words, "data", "Go to Data")
    return None


def draw_evidence(report: dict) -> Markup:
    """Override rates and agreement, or what to do while nobody decided."""
    rates, agreement = report["rates"], report["agreement"]
    if not rates["all"]["decided"] and not agreement["decisions"]:
        words = (
            f"Accept or correct some pairs: each decision is evidence. {report['needed']} pairs that are accepted as "
            f"they are allow a first threshold at {report['target']:.0%}; a dozen show which weight agrees with you."
        )
        return _empty("No decisions on these pairs yet", words, "review", "Go to Review")
    return join([_draw_rates(report), _draw_agreement(agreement)])


def _empty(title: str, words: str, tab: str, label: str) -> Markup:
    button = tag("button", label, type="button", class_="action action-main", data_open_tab=tab)
    return tag("div", tag("h2", title), tag("p", words), button, class_="empty-state")


def _draw_rates(report: dict) -> Markup:
    rates, auto = report["rates"], report["auto"]
    everything = rates["all"]
    who = [tag("span", f"{name} {count(n)}", class_="chip chip-warn" if name == SIMULATED else "chip",
               title="No person: made from the truth, with errors" if name == SIMULATED else None)
           for name, n in rates["annotators"].items()]  # fmt: skip
    head = tag("p", tag("b", plural(everything["decided"], "decided pair")), ": ", _rate(everything), " ", *who)
    left_out = rates["left_out"]
    notes = [
        f"{plural(left_out['another_pair'], 'decision')} on another pair than the one picked now"
        if left_out["another_pair"]
        else "",
        f"{plural(left_out['blind'], 'blind vote')}, which did not see the pick" if left_out["blind"] else "",
        f"{count(left_out['no_verdict'])} skipped or flagged" if left_out["no_verdict"] else "",
        f"{count(left_out['disagreement'])} where reviewers disagree" if left_out["disagreement"] else "",
    ]
    notes = "; ".join(filter(None, notes))
    meaning = (
        "Overridden: another pair, tie, all wrong, all right, bad question. Points with 95 % intervals (Wilson); bars: "
        "how many pairs lie there, decided or not."
    )
    threshold = auto["score"] if auto else None
    return tag(
        "section", tag("h2", "How often is the machine's pair overridden?"), head,
        draw_bins(rates["bins"], report["target"], threshold) if rates["bins"] else None,
        tag("p", meaning, f" Not counted: {notes}." if notes else "", class_="quiet"),
    )  # fmt: skip


def _rate(row: dict) -> str:
    if row["rate"] is None:
        return "none decided"
    return f"{count(row['overridden'])} overridden, {row['rate']:.1%} ({row['low']:.1%} to {row['high']:.1%})"


def _draw_agreement(agreement: dict) -> Markup:
    head = tag("h2", "Which setting agrees with the people?")
    if not agreement["compared"]:
        words = "No accepted or corrected pair to compare with yet (an answer that a human wrote no rule can pick)."
        return tag("section", head, tag("p", words, class_="quiet"))
    legend = tag("p", *(tag("span", text, class_=f"key key-{name}") for name, text in
                        (("pair", "both answers"), ("chosen", "chosen alone"), ("rejected", "rejected alone"),
                         ("now", "now"), ("best", "best, 95 % interval"))), class_="legend")  # fmt: skip
    labels = {"weight_chosen": "weight of MAS in chosen", "weight_rejected": "weight of MAS in rejected"}
    curves = agreement["curves"]
    charts = tag("div", *(draw_curve(curve, labels[name]) for name, curve in curves.items()), class_="charts")
    notes = [tag("p", *_tell_best(labels[name], curve)) for name, curve in curves.items()]
    rows = [
        tag("tr", tag("th", RULE_LABELS[row["rule"]], scope="row"), *(
            tag("td", f"{row[side]['rate']:.1%}", tag("span", f" {row[side]['low']:.0%}–{row[side]['high']:.0%}",
                class_="quiet interval"), class_="num")
            for side in ("pair", "chosen", "rejected")))
        for row in agreement["rules"]
    ]  # fmt: skip
    heads = [tag("th", name, scope="col") for name in ("rule", "both answers", "chosen", "rejected")]
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), class_="figures-table")
    total = (
        f"{count(agreement['compared'])} of {plural(agreement['decisions'], 'human pair')} can be compared. Agreement: "
        "the same chosen and the same rejected answer; no pair is no agreement. Who decides sees the present pick and "
        "tends to keep it: that favours the rule that was shown, unless it was hidden."
    )
    return tag("section", head, legend, charts, *notes, table, tag("p", total, class_="quiet"))


def _tell_best(label: str, curve: dict) -> list:
    best, (first, last) = curve["best"], curve["tied"]
    where = number(first) if first == last else f"{number(first)} to {number(last)} alike"
    told = [
        tag("b", f"{label}: best at {where}"),
        f", {curve['rate'][best]:.1%} ({curve['low']:.1%} to {curve['high']:.1%}); with other decisions it could lie "
        f"from {number(curve['point_low'])} to {number(curve['point_high'])}. ",
    ]
    if curve["left_out"] is None:
        told.append("Chosen on these very decisions, and too few to leave some out: take it as a hint.")
    else:
        told.append(f"On decisions that it was not chosen on: {curve['left_out']:.1%}.")
    return told


def draw_auto(report: dict) -> Markup:
    """The threshold that the decisions allow, the one that stands, and how its audit stands."""
    allowed, auto = report["threshold"], report["auto"]
    if allowed:
        words = (
            f"From {number(allowed['score'], 4)} on, {allowed['overridden']} of {count(allowed['decided'])} were "
            f"overridden: at most {allowed['high']:.1%}. {plural(allowed['accepts'], 'pair')} more would need no eyes. "
            "The score was chosen on these decisions; an audit tells without that."
        )
    else:
        words = (
            f"No score keeps the rate under {report['target']:.1%} for sure. It takes {count(report['needed'])} "
            "decided pairs with high scores and no override, more where some are overridden."
        )
    stands = tag("p", "Every pair needs eyes.", class_="quiet")
    if auto:
        basis = auto["basis"]
        stands = tag(
            "p", tag("b", f"From {number(auto['score'], 4)} on {plural(auto['accepts'], 'pair')} without eyes"),
            f", set by {auto['annotator']} on {plural(basis['decided'], 'decision')} ({_rate(basis)}). They are "
            "exported with “Accepted, and auto-accepted” and never written down as decisions.",
        )  # fmt: skip
    return join([tag("p", words), stands, _draw_audit(auto) if auto else None])


def _draw_audit(auto: dict) -> Markup:
    audit = auto["audit"]
    if audit is None:
        return tag("p", "No audit yet: draw some of them at random, to be looked at all the same.", class_="quiet")
    parts = [tag("b", f"Audit of {count(audit['size'])} of {count(audit['population'])}: ")]
    if audit["rate"] is not None:
        parts.append(
            f"{count(audit['overridden'])} of {count(audit['decided'])} wrong, {audit['rate']:.1%} "
            f"({audit['low']:.1%} to {audit['high']:.1%})"
        )
    if audit["waiting"]:
        parts.append("; " if audit["rate"] is not None else "")
        parts.append(tag("a", f"{count(audit['waiting'])} wait in Review", href=AUDIT))
        parts.append(". The rate is unbiased once all are decided.")
    elif audit["no_verdict"]:
        parts.append(f"; {count(audit['no_verdict'])} flagged, disputed or voted on blind are not in it.")
    else:
        parts.append(". All are decided: this is an unbiased estimate of what nobody looks at.")
    return tag("p", *parts)
