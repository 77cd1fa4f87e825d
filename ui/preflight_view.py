"""What the check of the pairs found, as HTML: its state, each kind with what can be done, and the pairs of one kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from m3po.training.pair_checks import KINDS
from ui.data_view import draw_warnings
from ui.formatting import clock, count, plural
from ui.markup import Markup, join, tag
from ui.run_view import RESUMABLE, draw_run
from ui.samples_view import draw_pager

REVIEW = "#review?order=id&item={}"
PAGE = 10  # pairs of the kind that is open
WHAT = (
    "Reads every pair as the run will, without the model's weights: what is too long, unreadable or has nothing to "
    "learn from, answers that are nearly equal, images that are also held out, and lengths."
)
CHANGED = "The pairs, the model or its options changed since this check: check again."
BIAS = "Goes to Select on Data, where the length ratio limits how unlike the lengths of a pair may be."
HAPPENS = {
    True: ("left out", "The run leaves these pairs out by itself; excluded, they are no longer counted or exported."),
    False: ("trained", "The run trains on these pairs all the same, unless they are excluded."),
}


@dataclass(frozen=True)
class Look:
    """Which kind's pairs are shown (none: ""), from which on."""

    kind: str = ""
    offset: int = 0


def draw_check(
    report: dict, look: Look, found: dict | None, log_tail: str = "", warnings: Sequence[str] = ()
) -> Markup:
    """`report` and `found` as m3po.jobs.planning.preflights gives them; `found`: the pairs of the kind that is looked
    at; `warnings`: of the check."""
    run, result, state = report["run"], report["result"], report["state"]
    parts: list[object] = []
    if state == "none" and run is None:
        parts.append(tag("p", tag("b", "Not checked yet. "), WHAT, class_="quiet"))
    if run is not None and (run.active or (run.state in RESUMABLE and state != "checked")):
        parts.append(draw_run(run, log_tail, title=False))
    if state == "changed":
        parts.append(tag("p", CHANGED, class_="notice notice-warn", role="status"))
    if result is not None and state != "working":
        parts.append(_draw_facts(result, run if state == "checked" else None))
        parts.append(_draw_kinds(report["kinds"], look, found) if report["kinds"] else _draw_nothing(report))
        if others := report["others"]:
            words = (
                f"{plural(others, 'more pair')} {'is' if others == 1 else 'are'} excluded, with nothing found here. "
            )
            parts.append(
                tag("p", words, _act("Take back", "include_others", "", "Let them train again"), class_="quiet")
            )
        parts.append(draw_warnings(warnings))
        problems = [tag("li", text) for text in report["problems"]]
        parts.append(tag("ul", *problems, class_="problems") if problems else None)
        if result["lengths"]["biased"]:
            parts.append(
                tag("p", tag("button", "Select again", " →", type="button", class_="link curator-only",
                             data_open_tab="data", data_show="data-select", title=BIAS))
            )  # fmt: skip
    return tag("div", *parts, class_="preflight", data_check_state=state)


def _draw_facts(result: dict, run: object | None) -> Markup:
    words = [f"{plural(result['pairs'], 'pair')} checked"]
    if longest := result["longest"]:
        limit = f" of {count(longest['limit'])}" if longest["limit"] else ""
        words.append(f"longest {count(longest['tokens'])}{limit} tokens")
    if run is not None:
        words.append(clock(run.ended_at))
    title = f"The longest is {longest['name']}, prompt with its images and answer together" if longest else None
    return tag("p", " · ".join(words), class_="quiet", title=title)


def _draw_nothing(report: dict) -> Markup:
    biased = report["result"]["lengths"]["biased"]
    words = "Nothing is wrong with single pairs." if biased else "Nothing was found."
    return tag("p", words, class_="notice notice-good", role="status")


def _draw_kinds(kinds: dict[str, dict], look: Look, found: dict | None) -> Markup:
    rows: list[Markup] = []
    for name, counts in kinds.items():
        kind, is_open = KINDS[name], look.kind == name
        left = counts["found"] - counts["excluded"]
        happens, title = HAPPENS[kind.left_out]
        told = f"{count(counts['excluded'])} excluded" if not left else happens
        told += f", {count(counts['excluded'])} excluded" if left and counts["excluded"] else ""
        actions = [_act("Exclude all", "exclude", name, "Leave all of these out of training and pair exports")] * bool(
            left
        )
        actions += [_act("Take back", "include", name, "Let all of these train again")] * bool(counts["excluded"])
        rows.append(
            tag(
                "tr",
                tag("td", tag("button", kind.title, type="button", class_="link", data_op="show", data_kind=name,
                              aria_expanded="true" if is_open else "false")),
                tag("td", count(counts["found"]), class_="num"),
                tag("td", told, class_="quiet", title=title),
                tag("td", *actions, class_="preflight-actions"),
                class_="shown" if is_open else None, data_kind_row=name,
            )
        )  # fmt: skip
        if is_open and found is not None:
            rows.append(tag("tr", tag("td", _draw_pairs(name, look, found), colspan="4"), class_="preflight-open"))
    return tag("table", tag("tbody", *rows), class_="figures-table preflight-kinds")


def _draw_pairs(name: str, look: Look, found: dict) -> Markup:
    kind = KINDS[name]
    remedy = kind.remedy[:1].upper() + kind.remedy[1:]
    items = []
    for pair in found["pairs"]:
        op = "include" if pair["excluded"] else "exclude"
        label = "Take back" if pair["excluded"] else "Exclude"
        items.append(
            tag(
                "li",
                tag("span", tag("b", pair["id"], title=f"{pair['source']} · {pair['id']}"), " ", pair["detail"],
                    dir="auto"),
                tag("span",
                    tag("a", "Open in Review", href=REVIEW.format(pair["instruction_id"]), class_="link")
                    if kind.fix == "review" else None,
                    _act(label, op, name, f"{label} this pair", pair["instruction_id"]), class_="preflight-actions"),
                class_="excluded" if pair["excluded"] else None, data_pair=pair["instruction_id"],
            )
        )  # fmt: skip
    return join(
        [
            tag("p", f"{remedy}.", class_="quiet"),
            tag("ul", *items, class_="preflight-pairs"),
            draw_pager(look.offset, PAGE, found["total"], "pairs") if found["total"] > PAGE else "",
        ]
    )


def _act(label: str, op: str, kind: str, title: str, item: int | None = None) -> Markup:
    return tag("button", label, type="button", class_="link curator-only", data_op=op, data_kind=kind, data_id=item,
               title=title)  # fmt: skip
