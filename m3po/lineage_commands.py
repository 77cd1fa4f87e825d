"""The commands `lineage` and `diff`: what a training run came from and did, and how two of them differ."""

from __future__ import annotations

from typing import Annotated

import typer

from m3po.bridge import connect
from m3po.command_options import Json, Workspace
from m3po.console import say
from m3po.evaluation.metrics import METRICS
from m3po.text import counted
from m3po.types import PAIR_OUTCOMES

TrainingRun = Annotated[int, typer.Argument(metavar="RUN", help="number of a training run, as status lists it")]
Other = Annotated[int, typer.Argument(metavar="OTHER", help="the run to compare it with")]
Limit = Annotated[int, typer.Option(min=0, max=1000, help="how many pairs of each kind are named")]
OUTCOME_WORDS = {"learned": "learned", "unlearned": "unlearned", "kept": "kept", "still_wrong": "still wrong", "": "?"}


def register(app: typer.Typer) -> None:
    """Make them commands of `app`."""
    for command in (lineage, diff):
        app.command()(command)


def lineage(workspace: Workspace, run: TrainingRun, as_json: Json = False) -> None:
    """What a training run came from (pairs, decisions, settings, code, packages) and what it did to its pairs."""
    with connect(workspace) as client:
        found = client.call("lineage", run_id=run)
    say(found, draw_lineage(found), as_json)


def diff(workspace: Workspace, run: TrainingRun, other: Other, limit: Limit = 20, as_json: Json = False) -> None:
    """What is another one in the second of two training runs: settings, pairs, and what came of it."""
    with connect(workspace) as client:
        found = client.call("diff_runs", a=run, b=other, limit=limit)
    say(found, draw_diff(found), as_json)


def draw_lineage(found: dict) -> str:
    """As plain text."""
    lines = [
        f"Run {found['run_id']}, {found['state']}: {counted(found['pairs'], 'pair')}, {found['human']:,} by humans"
    ]
    lines += ["", "Decisions that stood then"] if found["decisions"] else []
    for row in found["decisions"]:
        lines.append(
            f"  {row['annotator'] or 'nobody named'}: {row['decisions']:,} {row['verdict'].replace('_', ' ')}, "
            f"{_day(row['first'])} to {_day(row['last'])}; {counted(row['pairs'], 'pair')} by them"
        )
    lines += ["", f"What it did to its pairs: {_outcomes(found['changes'])}", "", "Settings"]
    return "\n".join(lines + [f"  {name}: {_value(value)}" for name, value in found["settings"].items()])


def draw_diff(found: dict) -> str:
    """As plain text."""
    a, b, pairs = found["a"], found["b"], found["pairs"]
    lines = [f"From run {a} to run {b}", "", "Settings"]
    lines += [f"  {name}: {_value(was)} -> {_value(now)}" for name, was, now in found["config"]] or ["  the same"]
    lines += [
        f"  not known of run {found[side]}: {', '.join(names)}" for side, names in found["unknown"].items() if names
    ]
    lines += ["", f"Pairs: {pairs['same']:,} the same"]
    heads = {
        "changed": "with another chosen or rejected answer", "only_a": f"only in run {a}", "only_b": f"only in run {b}",
    }  # fmt: skip
    for name, head in heads.items():
        named = found["named"][name]
        lines.append(f"  {pairs[name]:,} {head}" + (":" if named else ""))
        lines += [f"    {row['source']}/{row['id']}" for row in named]
        if named and pairs[name] > len(named):
            lines.append(f"    ... and {pairs[name] - len(named):,} more")
    lines.append("")
    for name in ("a", "b"):
        lines.append(f"What run {found[name]} did to its pairs: {_outcomes(found['changes'][name])}")
    for was, now, count in found["moved"]:
        if was != now:
            lines.append(f"  of the same pairs {count:,}: {OUTCOME_WORDS[was]} in run {a}, {OUTCOME_WORDS[now]} in {b}")
    return "\n".join([*lines, "", *_figures(found)])


def _figures(found: dict) -> list[str]:
    if not found["figures"]:
        return ["Held-out figures: not both runs were measured."]
    head = "".join(f"{f'run {found[name]}: before':>18}{'after':>8}" for name in ("a", "b"))
    lines = [f"{'Held-out figure':28}{head}   p"]
    for key, row in found["figures"].items():
        values = [row[name][side] for name in ("a", "b") for side in ("before", "after")]
        texts = ["-" if value is None else f"{value:.3f}" for value in values]
        label = METRICS[key].label if key in METRICS else key
        p = "" if row["p"] is None else f"   {row['p']:.3f}"
        lines.append(f"{label:28}{texts[0]:>18}{texts[1]:>8}{texts[2]:>18}{texts[3]:>8}{p}")
    return [
        *lines,
        "p: of the difference between the two after, by a paired test over the same questions, image by image.",
    ]


def _outcomes(counts: dict | None) -> str:
    if counts is None:
        return "not measured"
    parts = [f"{counts[name]:,} {OUTCOME_WORDS[name]}" for name in PAIR_OUTCOMES]
    return ", ".join(parts) + (f", {counts['']:,} without a finite log-prob" if counts[""] else "")


def _value(value: object) -> str:
    return "none" if value == "" else str(value)


def _day(at: str | None) -> str:
    return at[:16].replace("T", " ") if at else "?"
