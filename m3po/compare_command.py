"""The command `compare`: the baselines and M3PO on the same budget, trained one after another, in one table."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from m3po.bridge import Client, Local, connect
from m3po.command_options import Json, Policy, Preset, Settings, Workspace, train_options
from m3po.console import CLEAR, say
from m3po.errors import M3poError
from m3po.evaluation.comparison_table import write_markdown
from m3po.files import absolute, storage_error
from m3po.jobs.comparing.arm_settings import split_settings
from m3po.jobs.comparing.arms import ARMS
from m3po.jobs.comparing.comparisons import ERROR_RATE, SEEDS

POLL_SECONDS = 1.0


def compare(
    workspace: Workspace,
    seeds: Annotated[int, typer.Option(help="trainings of each arm")] = SEEDS,
    arms: Annotated[str, typer.Option(metavar="NAME,NAME", help=f"of {', '.join(ARMS)}; default: all that can")] = "",
    error_rate: Annotated[float, typer.Option(help="how often the simulated annotator errs")] = ERROR_RATE,
    policy: Policy = "",
    preset: Preset = "demo",
    set_: Settings = [],  # noqa: B006
    out: Annotated[
        str, typer.Option(metavar="FOLDER", help="write comparison.csv, .md, .json and .html (the plot)")
    ] = "",
    as_json: Json = False,
) -> None:
    """Train every arm on the same number of pairs and steps with the same seeds, and measure all on the held-out split.

    Called again with the same options it goes on with what lacks. --set ARM:key=value is for one arm alone; what the
    demo preset sets so was tuned on other pictures, with as many trials for each arm.
    """
    given = train_options(policy, "", "dpo", preset, set_)
    given["overrides"].pop("method", None)
    given["overrides"], own = split_settings(given["overrides"])
    if out:  # hours later it would be too late
        try:
            absolute(out).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(absolute(out), error) from error
    names = [name.strip() for name in arms.split(",") if name.strip()]
    with connect(workspace) as client:
        options = {"seeds": seeds, "arms": names, "error_rate": error_rate, "own": own}
        report = _watch(client, client.call("compare", given=given, **options))
        if out and report["metrics"]:
            for path in client.call("write_comparison", folder=str(absolute(out)), comparison=report["id"]):
                print(path, file=sys.stderr)
        say(report, write_markdown(report), as_json)
    if report["state"] != "finished":
        raise M3poError(_what_lacks(report))


def _watch(client: Client | Local, comparison: int) -> dict:
    """Show how far it is on stderr until nothing of it waits or is at work; Ctrl-C stops it."""
    live, told = sys.stderr.isatty(), ""
    report = client.call("comparison", comparison=comparison)
    for problem in report["problems"]:
        print(f"warning: {problem}", file=sys.stderr)
    for name, why in report["left_out"].items():
        print(f"Left out: {name}, for {why}.", file=sys.stderr)
    try:
        while report["state"] == "running":
            line = _progress(report)
            if live:
                print(f"{CLEAR}{line}", end="", file=sys.stderr, flush=True)
            elif (head := line.split(":")[0]) != told:  # a log gets a line a run
                told = head
                print(line, file=sys.stderr)
            time.sleep(POLL_SECONDS)
            report = client.call("comparison", comparison=comparison)
    except KeyboardInterrupt:
        client.call("stop_comparison", comparison=comparison)
        while report["state"] == "running":
            time.sleep(POLL_SECONDS)
            report = client.call("comparison", comparison=comparison)
    if live:
        print(file=sys.stderr)
    return report


def _progress(report: dict) -> str:
    now = report["now"]
    text = f"{report['done']} of {report['total']} runs"
    if now:
        text += f", {now['kind']} {now['arm']}, seed {now['seed']}: {now['done']}/{now['total']} {now['unit']}".rstrip()
    if report["seconds_left"]:
        text += f", about {report['seconds_left'] / 60:.0f} min left"
    return text


def _what_lacks(report: dict) -> str:
    failed = [each for each in report["failed"] if each["state"] == "failed"]
    lacks = report["total"] - report["done"]
    text = f"{lacks} of {report['total']} runs are not done: call the same command again to go on"
    if failed:
        first = failed[0]
        text += f". Run {first['run']} ({first['arm']}, seed {first['seed']}) failed: {first['message'].rstrip('.')}"
    return f"{text}."
