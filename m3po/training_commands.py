"""The commands around a run: what is wrong with its pairs, itself, here or elsewhere, and what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from m3po.bridge import connect
from m3po.command_options import (
    Json,
    Method,
    Policy,
    Preset,
    Settings,
    TrainedAdapter,
    Workspace,
    train_options,
)
from m3po.console import draw_before_after, follow, say, watch
from m3po.errors import UsageError
from m3po.files import absolute
from m3po.jobs.planning.preflights import check_kinds
from m3po.text import counted
from m3po.training.pair_checks import KINDS

TrainingRun = Annotated[int, typer.Argument(metavar="RUN", help="its number, as status shows it")]
SHOWN = 5  # pairs of a kind


def preflight(
    workspace: Workspace,
    policy: Policy = "",
    adapter: TrainedAdapter = "",
    method: Method = "dpo",
    preset: Preset = "demo",
    set_: Settings = [],  # noqa: B006
    exclude: Annotated[
        list[str], typer.Option(metavar="KIND", help=f"leave these out of training; repeatable: {', '.join(KINDS)}")
    ] = [],  # noqa: B006
    include: Annotated[
        list[str], typer.Option(metavar="ID", help="take back what is excluded of an instruction; repeatable")
    ] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Check the pairs that `train` with the same options would take, and list what is wrong with them, pair by pair."""
    check_kinds(exclude)
    given = train_options(policy, adapter, method, preset, set_)
    with connect(workspace) as client:
        if include:
            client.call("include", ids=include)
        report = client.call("preflight_report", **given)
        if report["state"] == "working":  # perhaps of these pairs, perhaps of others
            watch(client, report["run"])
            report = client.call("preflight_report", **given)
        if report["state"] != "checked":
            follow(client, client.call("preflight", **given))
            report = client.call("preflight_report", **given)
        if exclude:
            client.call("exclude", run_id=report["checked_run"], kinds=exclude)
            report = client.call("preflight_report", **given)
        found = {
            kind: client.call("pair_findings", run_id=report["checked_run"], kinds=[kind], limit=SHOWN)["pairs"]
            for kind in report["kinds"]
        }
        shown = client.call("train_preview", **given)
        expected = {name: shown[name] for name in ("memory", "time", "refusal")}
        told = [shown["time"], shown["refusal"] or shown["memory"]]
        text = "\n".join([draw_report(report, found), *filter(None, told)])
        say(report | {"first": found, "estimate": expected}, text, as_json)


def train(
    workspace: Workspace,
    policy: Policy = "",
    adapter: TrainedAdapter = "",
    method: Method = "dpo",
    preset: Preset = "demo",
    set_: Settings = [],  # noqa: B006
    evaluate: Annotated[bool, typer.Option(help="held-out answers before and after")] = True,
    emit: Annotated[str, typer.Option(metavar="OUT", help="pack the run for another machine, and train nothing")] = "",
    absorb: Annotated[
        str, typer.Option(metavar="FOLDER", help="a pack that was trained, or an adapter of TRL or ms-swift")
    ] = "",
    as_json: Json = False,
) -> None:
    """Fine-tune a LoRA adapter on the curated pairs and measure it on the held-out split."""
    if emit and absorb:
        raise UsageError("--emit and --absorb are two steps: give one of them.")
    options = train_options(policy, adapter, method, preset, set_)
    with connect(workspace) as client:
        if emit:
            packed = client.call("emit_train", out=str(absolute(emit)), **options)
            return say(packed, packed["message"], as_json)
        if absorb:
            found = {"folder": str(absolute(absorb)), "policy": options["policy"]}
            started = client.call("absorb_train", **found, evaluate=evaluate)
        else:
            started = client.call("train", **options, evaluate=evaluate)
        run = follow(client, started)
        result = next(r for r in client.call("results") if r["run"]["id"] == run["id"])
        if result["after_run"]:
            follow(client, result["after_run"])
            result = next(r for r in client.call("results") if r["run"]["id"] == run["id"])
        say(result, draw_before_after(result, evaluate), as_json)


def next_round(
    workspace: Workspace,
    run_id: TrainingRun,
    as_json: Json = False,
) -> None:
    """Begin the next round from a finished run's adapter: sample with it, score, select; then review and train on."""
    with connect(workspace) as client:
        follow(client, last := client.call("round", run_id=run_id))
        found = client.call("run", run_id=last["id"])
    say(found, found["message"], as_json)


def export_model(
    workspace: Workspace,
    run_id: TrainingRun,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="a new folder")],
    merge: Annotated[bool, typer.Option("--merge", help="one model, the adapter merged into the policy")] = False,
    as_json: Json = False,
) -> None:
    """Write a finished run's adapter to a folder with a model card, or its policy with the adapter merged into it."""
    with connect(workspace) as client:
        given = {"run_id": run_id, "out": str(absolute(out))}
        if merge:
            result = follow(client, client.call("merge", **given))["result"]
        else:
            result = client.call("export_adapter", **given)
    say(result, result["message"], as_json)


def draw_report(report: dict, found: dict[str, list[dict]]) -> str:
    """The report as plain text, with the first pairs of each kind."""
    result = report["result"]
    words = f"{counted(result['pairs'], 'pair')} checked"
    if longest := result["longest"]:
        limit = f" of {longest['limit']:,} that the model reads" if longest["limit"] else ""
        words += f"; the longest has {counted(longest['tokens'], 'token')}{limit}"
    lines = [f"{words}."]
    for kind, counts in report["kinds"].items():
        told = KINDS[kind]
        happens = "left out of the run" if told.left_out else "trained all the same"
        excluded = f", {counts['excluded']:,} of them excluded" if counts["excluded"] else ""
        lines += ["", f"{told.title} ({kind}): {counted(counts['found'], 'pair')}{excluded}; {happens}."]
        lines.append(f"  To mend it: {told.remedy}.")
        for pair in found[kind]:
            lines.append(f"  {pair['id']}: {pair['detail']}{' (excluded)' if pair['excluded'] else ''}")
        if (rest := counts["found"] - len(found[kind])) > 0:
            lines.append(f"  ... and {rest:,} more")
    if not report["kinds"]:
        lines.append("Nothing was found.")
    if report["others"]:
        lines += ["", f"{counted(report['others'], 'more pair')} excluded, with nothing found here (--include ID)."]
    lines += ["", _draw_lengths(result["lengths"]), *report["problems"]]
    return "\n".join(lines)


def _draw_lengths(lengths: dict) -> str:
    if not lengths["unequal"]:
        return "Lengths: no pair's answers differ in length."
    low, high = lengths["interval"]
    return (
        f"Lengths: of {counted(lengths['unequal'], 'pair')} whose answers differ in tokens the chosen one is longer in "
        f"{lengths['share']:.0%} (95 % {low:.0%} to {high:.0%}); mean difference {lengths['mean_difference']:+.1f}."
    )
