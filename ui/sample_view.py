"""What the Sample card shows beside its run: the samplers there are, and a pilot's report."""

from __future__ import annotations

from collections.abc import Sequence

from m3po.jobs.planning.pilot import name_scorers, write_time
from m3po.types import Run
from ui.formatting import MISSING, count
from ui.markup import Markup, tag

_HEADS = (
    ("K", "answers an instruction"),
    ("pairs", "instructions that would have a usable pair, with its 95 % interval"),
    ("of the whole", "pairs to expect when every train instruction is sampled"),
    ("distinct", "distinct answers an instruction"),
)
_HOURS = ("device time", "sampling alone; the time grows with K, but less than in proportion: least and most")
_TOKENS = (("prompt tokens", "as the server counts them"), ("answer tokens", "as the server counts them"))

_SAMPLER_HEADS = (
    ("sampler", "policy and settings"),
    ("instructions", "that it answered"),
    ("answers", "all of its samples"),
    ("distinct", "answers that differ"),
    ("pairs", "of its instructions those whose selected pair it gave both sides of"),
)


def draw_samplers(samplers: list[dict]) -> Markup | None:
    """The samplers that gave something, and what; nothing while there is none."""
    given = [row for row in samplers if row["instructions"]]
    if not given:
        return None
    lines = []
    for row in given:
        share = MISSING if row["pair_share"] is None else f"{row['pair_share']:.0%}"
        cells = [count(row["instructions"]), count(row["answers"]), count(row["distinct"]), share]
        settings = ", ".join(f"{name} = {value}" for name, value in row["settings"].items() if value is not None)
        lines.append(
            tag(
                "tr",
                tag("td", row["name"], title=f"{row['policy'] or 'unknown policy'}; {settings}", class_="sampler-name"),
                *[tag("td", cell, class_="num") for cell in cells],
            )
        )
    heads = [tag("th", name, scope="col", title=title) for name, title in _SAMPLER_HEADS]
    return tag(
        "div",
        tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *lines), class_="figures-table", id="samplers"),
        class_="scroll",
    )


def draw_pilot(runs: Sequence[Run]) -> Markup | None:
    """The newest report of a pilot, or why the newest pilot gave none; nothing while there is none. Newest first."""
    pilots = [run for run in runs if run.kind == "pilot"]
    if pilots and pilots[0].state == "failed":
        return tag("p", tag("b", "Pilot. "), pilots[0].message, class_="problem")
    report = next((run.result for run in pilots if run.state == "finished"), None)
    if not report:
        return None
    remote = "prompt_tokens" in report["rows"][0]
    heads = [*_HEADS, *(_TOKENS if remote else (_HOURS,))]
    lines = [tag("tr", *[tag("td", cell, class_="num") for cell in _cells(row, remote)]) for row in report["rows"]]
    total = f"all {count(report['of'])} train instructions"
    return tag(
        "div",
        tag("p", tag("b", "Pilot. "), report["message"]),
        tag(
            "table",
            tag("thead", tag("tr", *[tag("th", name, scope="col", title=title) for name, title in heads])),
            tag("tbody", *lines),
            class_="figures-table",
        ),
        tag(
            "p",
            f"{report['policy']}, rule {report['rule']}{name_scorers(report)}; costs of {total}, sampling alone.",
            class_="quiet",
        ),
        class_="pilot",
    )


def _cells(row: dict, remote: bool) -> list[str]:
    share = MISSING
    if row["pairs"] is not None:
        share = f"{row['pairs']:.0%} ({row['low']:.0%} to {row['high']:.0%})"
    cells = [str(row["k"]), share, _count(row["expected_pairs"])]
    cells.append(MISSING if row["distinct"] is None else f"{row['distinct']:.1f}")
    if remote:
        return [*cells, _count(row["prompt_tokens"]), _count(row["completion_tokens"])]
    return [*cells, write_time(row["device_hours"]).replace("-", MISSING)]


def _count(value: int | None) -> str:
    return MISSING if value is None else count(value)
