"""The People tab's own HTML: a row an annotator, who agrees with whom, the assignments, and what is in dispute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from m3po.evaluation.agreement import Agreement
from m3po.types import TRAINING_VERDICTS, Decision
from ui.formatting import MISSING, VERDICT_LABELS, clock, count, duration, number, percent, plural
from ui.markup import Markup, join, tag

HEADS = (
    ("Annotator", ""),
    ("Assigned", "Items in the queue, decided or not, gold items included."),
    ("Done", "Of those assigned, voted on or flagged by this annotator; skipped ones are left."),
    ("Pace", "Items an hour of the time spent on them; what lasted longer than 5 minutes counts as 5."),
    ("Median", "Seconds from an item's drawing to its decision."),
    ("Left", "Time for the rest of the queue at that pace."),
    ("Gold", "First votes that agree with the answer a curator fixed for gold items, with the 95 % interval (Wilson)."),
    ("Agreement", "Cohen's kappa with the others, weighed by the items in common: 1 is full agreement, 0 is chance."),
    ("Last", "When the newest decision was made."),
)
MAX_TEXT = 90  # characters of an instruction or answer in the list of disputes


def draw_people(found: Mapping) -> Markup:
    """The table of annotators; what to do where there is none."""
    if not found["people"]:
        return tag(
            "div",
            tag("h2", "Nobody yet"),
            tag("p", "Whoever decides on Review, or is assigned items here, has a row."),
            class_="empty-state",
        )
    rows = [_draw_person(row) for row in found["people"]]
    head = tag("tr", *[tag("th", name, title=title or None, scope="col") for name, title in HEADS])
    return tag("table", tag("thead", head), tag("tbody", *rows), class_="figures-table people-table")


def _draw_person(row: Mapping) -> Markup:
    share = percent(row["done"], row["assigned"])
    bar = tag("span", tag("span", class_="bar-fill", style=f"width:{share:.1f}%"), class_="bar", role="progressbar",
              aria_label=f"{row['done']} of {row['assigned']} decided", aria_valuenow=f"{share:.0f}")  # fmt: skip
    gold = MISSING
    if row["gold_seen"]:
        low, high = row["gold_interval"]
        of = f"{row['gold_right']} of {row['gold_seen']}"
        gold = join([f"{100 * row['gold_accuracy']:.0f} % ", _quiet(f"[{100 * low:.0f}–{100 * high:.0f}], {of}")])
    cells = [
        count(row["assigned"]),
        join([count(row["done"]), " ", bar]) if row["assigned"] else _quiet(f"{count(row['decisions'])} unassigned"),
        f"{row['per_hour']:.0f} / h" if row["per_hour"] else MISSING,
        f"{number(row['median_seconds'], 1)} s" if row["median_seconds"] is not None else MISSING,
        duration(row["seconds_left"]) if row["left"] else ("done" if row["assigned"] else MISSING),
        gold,
        number(row["agreement"]),
        clock(row["last_at"]),
    ]
    name = tag("th", tag("b", row["annotator"]), scope="row")
    return tag("tr", name, *[tag("td", cell, class_="num") for cell in cells], data_annotator=row["annotator"])


def draw_agreement(found: Mapping) -> Markup | None:
    """Alpha in words, then a matrix of kappas; nothing where no two judged the same item."""
    alpha: Agreement = found["alpha"]
    if not alpha.items:
        return tag("p", "Nobody has judged an item that another judged, so agreement cannot be told.", class_="nothing")
    kappas = {frozenset(names): value for *names, value in found["kappas"]}
    names = sorted({name for pair in kappas for name in pair})
    head = tag("tr", tag("th", ""), *[tag("th", name, scope="col") for name in names])
    rows = [
        tag("tr", tag("th", name, scope="row"), *[_draw_kappa(kappas, name, other) for other in names])
        for name in names
    ]
    line = join(["Krippendorff's alpha ", tag("b", _value(alpha)), " ", _interval(alpha),
                 f" on {plural(alpha.items, 'item')} that two or more judged."])  # fmt: skip
    return join(
        [
            tag("p", line, id="people-alpha"),
            tag("table", tag("thead", head), tag("tbody", *rows), class_="figures-table kappas", tabindex="0"),
            tag(
                "p", "Cohen's kappa of every two; in brackets the 95 % interval, bootstrap over items.", class_="quiet"
            ),
        ]
    )


def _draw_kappa(kappas: Mapping[frozenset, Agreement], one: str, other: str) -> Markup:
    found = kappas.get(frozenset((one, other)))
    if one == other or found is None:
        return tag("td", MISSING, class_="quiet")
    return tag(
        "td", _value(found), " ", _interval(found), class_="num", title=plural(found.items, "item") + " in common"
    )


def _value(found: Agreement) -> str:
    return number(found.value)


def _interval(found: Agreement) -> Markup | None:
    if found.interval is None:
        return _quiet("one answer throughout") if found.items else None
    return _quiet(f"[{number(found.interval[0])}, {number(found.interval[1])}]")


def draw_assignments(assignments: Sequence[Mapping]) -> Markup | None:
    if not assignments:
        return None
    items = []
    for row in assignments:
        words = [plural(row["items"], "item")]
        words += [f"{100 * row['overlap']:.0f} % for everybody"] if "overlap" in row else []
        words += [f"{plural(row['gold'], 'gold item')} each"] if "gold" in row else []
        by = {"m3p_score": "by M3P-Score", "source": "by source"}.get(row["stratify"])
        words += [by] if by else []
        who = ", ".join(row["annotators"])
        told = join([tag("b", f"{row['assignment_id']} · {who} "), ", ".join(words)])
        blind = tag("span", "blind", class_="chip") if row["blind"] else None
        items.append(tag("li", told, " ", blind, " ", _quiet(f"{row['created_by']}, {clock(row['created_at'])}")))
    return tag("ul", *items, class_="assignments")


def draw_disputes(found: Mapping) -> Markup:
    """Items on which voters disagree, each with who said what; a click opens it for the last word."""
    if not found["disputes"]:
        return tag("p", "Nobody disagrees with anybody.", class_="nothing")
    items = []
    for row in found["disputes"]:
        votes = [tag("div", _quiet(f"{vote.annotator}: "), *_say_vote(vote, row["texts"])) for vote in row["votes"]]
        link = tag(
            "a", row["external_id"], href=f"#review?filter=disagreements&item={row['instruction_id']}",
            data_dispute=row["instruction_id"],
        )  # fmt: skip
        items.append(tag("li", link, " ", _shorten(row["instruction"]), *votes))
    more = found["disputed"] - len(items)
    return join([tag("ul", *items, class_="disputes"), _quiet(f"and {count(more)} more") if more > 0 else None])


def _say_vote(vote: Decision, texts: Mapping[int, str]) -> list:
    """The pair that somebody took, or the verdict."""
    if vote.verdict not in TRAINING_VERDICTS:
        return [VERDICT_LABELS.get(vote.verdict, vote.verdict)]
    sides = (("✓ ", vote.chosen), (" ✗ ", vote.rejected))
    return [part for mark, side in sides for part in (mark, _shorten(texts.get(side, MISSING)))]


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"


def _quiet(text: str) -> Markup:
    return tag("span", text, class_="quiet")
