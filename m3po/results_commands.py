"""The commands `results`, `winrate` and `pope`: what a run changed, whose answers a scorer prefers, POPE built here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from m3po.bridge import connect
from m3po.command_options import Json, Workspace, resolve_scorer
from m3po.console import follow, say
from m3po.errors import JobError, UsageError
from m3po.evaluation.pope_questions import PER_IMAGE
from m3po.evaluation.results_table import WRITERS, show_rate, write_markdown
from m3po.files import absolute


def register(app: typer.Typer) -> None:
    """Make them commands of `app`."""
    for command in (results, winrate, pope):
        app.command()(command)


def results(
    workspace: Workspace,
    run_id: Annotated[
        int | None,
        typer.Argument(metavar="[RUN]", help="a training run or an evaluation; default: the newest measured"),
    ] = None,
    out: Annotated[str, typer.Option(metavar="FILE", help=f"write it, as the suffix says: {', '.join(WRITERS)}")] = "",
    as_json: Json = False,
) -> None:
    """Held-out figures before and after a run, with intervals, benchmark by benchmark."""
    if out and Path(out).suffix not in WRITERS:
        raise UsageError(f"{out} has no suffix that results are written in: give one of {', '.join(WRITERS)}.")
    with connect(workspace) as client:
        report = client.call("result_report", run_id=run_id)
        if not report["figures"]:
            raise JobError(f"Run {report['run']} was not measured: evaluate it, or train without --no-evaluate.")
        if out:
            print(client.call("write_results", out=str(absolute(out)), run_id=report["run"]), file=sys.stderr)
    say(report, write_markdown(report).rstrip(), as_json)


def winrate(
    workspace: Workspace,
    run_id: Annotated[int, typer.Argument(metavar="RUN", help="a training run that was measured")],
    mas: Annotated[str, typer.Option(help="KIND:MODEL or a weighted mean; default: the workspace's own")] = "",
    against: Annotated[int | None, typer.Option(metavar="RUN", help="another run; default: before this one")] = None,
    as_json: Json = False,
) -> None:
    """How often a scorer prefers the held-out answers after a run to those before it; judged once, then remembered."""
    with connect(workspace) as client:
        run = follow(client, client.call("win_rate", run_id=run_id, mas=resolve_scorer(mas), against=against))
        report = client.call("result_report", run_id=run_id)
    found = next((rate for rate in report["win_rates"] if rate["run"] == run["id"]), None)
    if found is None:
        raise JobError(f"Run {run['id']} judged nothing of run {run_id}: was one of the two measured anew meanwhile?")
    say(found, draw_rate(run_id, found), as_json)


def pope(
    workspace: Workspace,
    per_image: Annotated[int, typer.Option(help="questions of each label, an image and way")] = PER_IMAGE,
    as_json: Json = False,
) -> None:
    """Ask POPE's random, popular and adversarial questions about the held-out images whose objects are known."""
    with connect(workspace) as client:
        built = client.call("build_pope", per_image=per_image)
    say(built, built["message"], as_json)


def draw_rate(run_id: int, found: dict) -> str:
    """As plain text."""
    head = f"Run {run_id} against {found['against']} by {found['scorer']}: win rate {show_rate(found)}"
    counts = f"{found['wins']} won, {found['losses']} lost, {found['ties']} tied of {found['items']} instructions"
    p = "" if found["p"] is None else f", p = {found['p']:.3f} (swaps, image by image)"
    unjudged = f"; {found['unjudged']} could not be judged" * bool(found["unjudged"])
    return f"{head}\n{counts}{unjudged}{p}"
