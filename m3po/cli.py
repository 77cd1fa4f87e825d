"""Everything the page does by button, headless and with the same code: `python -m m3po COMMAND WORKSPACE`.

Exit code 0 done, 1 failed with one sentence on stderr, 2 wrong usage.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from m3po import lineage_commands, people_commands, results_commands
from m3po.ask_command import ask
from m3po.bridge import connect
from m3po.calibration_commands import calibrate, whatif
from m3po.command_options import (
    MODEL_OPTIONS,
    BatchSize,
    Json,
    Policy,
    Workspace,
    resolve_model,
    resolve_scorer,
    resolve_scorer_name,
    resolve_source,
    takes_model_options,
)
from m3po.compare_command import compare
from m3po.console import draw_before_after, draw_dependence, draw_given, draw_preview, fail, follow, say, watch
from m3po.demo.models import demo_models
from m3po.demo.workspace import write_demo_source
from m3po.errors import M3poError, UsageError
from m3po.files import absolute
from m3po.formats.mapping import FIELDS, parse_mapping
from m3po.formats.registry import FORMATS
from m3po.formats.writers import IMAGE_WAYS, WRITERS
from m3po.jobs.planning.pilot import PILOT_K, write_table
from m3po.jobs.worker import sentence_for
from m3po.models.checks import check_folders
from m3po.scorer_spec import map_grouper
from m3po.settings import RULES, SampleConfig, SelectConfig
from m3po.store.workspace import is_workspace
from m3po.studio import Studio
from m3po.text import counted
from m3po.training.presets import describe_settings
from m3po.training_commands import export_model, next_round, preflight, train
from m3po.workspace_config import WorkspaceConfig

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__.split("\n")[0])

people_commands.register(app)
lineage_commands.register(app)
results_commands.register(app)

SETTINGS_HELP = "\n\n".join(
    ["Keys of --set (presets' values):", *describe_settings(MODEL_OPTIONS | {"dtype": "auto, float32 or bfloat16"})]
)
MAP_HELP = f"a column by hand, repeatable; fields: {', '.join(FIELDS)}"


def main() -> None:
    """Run the command line; a user's mistake gives one sentence, never a traceback."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    logging.basicConfig(level=logging.ERROR)
    try:
        app(standalone_mode=True)
    except UsageError as error:
        fail(str(error), code=2)
    except M3poError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("Interrupted.")
    except BrokenPipeError:  # `... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        log_path = Path(tempfile.gettempdir()) / f"m3po-error-{os.getpid()}.log"
        logging.basicConfig(filename=log_path, force=True)
        logging.exception("unexpected error of the command line")
        fail(f"{sentence_for(error).removesuffix('; the log has the details.')}; the details are in {log_path}.")


@app.command()
def init(
    workspace: Annotated[Path, typer.Argument(metavar="DIR", help="a new or empty folder")],
    demo: Annotated[bool, typer.Option("--demo", help="with the demo's images, instructions and models")] = False,
    policy: Annotated[str, typer.Option(help="the model that answers, hub id or folder")] = "",
    mas: Annotated[str, typer.Option(help="the alignment scorer, hub id or folder")] = "",
) -> None:
    """Make a workspace."""
    check_folders(policy, mas)
    if demo:
        own_policy, own_mas = demo_models()
        target = absolute(workspace)
        policy = policy or os.path.relpath(own_policy, target)  # the checkout may be moved as a whole
        mas = mas or os.path.relpath(own_mas, target)
    policy, mas = resolve_model(policy) or policy, resolve_scorer(mas) or mas  # config.toml is read from any folder
    kept = is_workspace(absolute(workspace)) and bool(policy or mas) and not demo
    path = Studio.create(workspace, WorkspaceConfig(policy or None, mas or None, demo))
    if demo:
        with connect(path) as client:
            source = path / "demo"  # a fixed place: an interrupted init goes on instead of importing twice
            if source.exists() or not any(client.call("status")["instructions"].values()):
                print("Drawing the demo's pictures (some seconds, once) ...", file=sys.stderr)
                client.call("import", source=str(write_demo_source(source)))
                shutil.rmtree(source)
    print(f"Workspace {path} is ready." + (" It was there: its config.toml stays as it is." if kept else ""))


@app.command(name="import")
def import_(
    workspace: Workspace,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="a file, a folder, or hub:owner/name[:split]")],
    format: Annotated[str, typer.Option(help=f"auto, {', '.join(FORMATS)}")] = "auto",
    map_: Annotated[list[str], typer.Option("--map", metavar="FIELD=COLUMN", help=MAP_HELP)] = [],  # noqa: B006
    images: Annotated[str, typer.Option(help="the folder that image paths start from; default: the file's own")] = "",
    split: Annotated[str, typer.Option(help="train, tune or heldout for rows that name none; default: by image")] = "",
    strict: Annotated[bool, typer.Option("--strict", help="one refused row refuses all")] = False,
    preview: Annotated[bool, typer.Option("--preview", help="show the first rows and import nothing")] = False,
    as_json: Json = False,
) -> None:
    """Import images and instructions; says how many rows went in and why each other was refused."""
    options = {"source": resolve_source(source), "format": format, "mapping": parse_mapping(map_)}
    options["images"] = str(absolute(images)) if images else None
    with connect(workspace) as client:
        if preview:
            shown = client.call("preview", **options, thumbnails=False)
            print(json.dumps(shown, ensure_ascii=False) if as_json else draw_preview(shown))
            return
        run = watch(client, client.call("start_import", **options, split=split or None, strict=strict))
    result = run["result"]
    if result is None:
        raise M3poError(run["message"])
    for row, reason in result["refused"]:
        print(f"{row}: {reason}", file=sys.stderr)
    if result["n_refused"] > len(result["refused"]):
        left_out = result["n_refused"] - len(result["refused"])
        print(f"... and {left_out} more: all are in {result['refused_file']}", file=sys.stderr)
    for warning in result["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    say(result, result["message"], as_json)
    if not result["added"] and not result["already_there"]:
        remedy = "mend the rows named above and import it again" if result["n_refused"] else "it holds no rows"
        fail(f"Nothing of {source} went in: {remedy}.")


@app.command()
@takes_model_options
def sample(
    workspace: Workspace,
    model: dict,
    policy: Policy = "",
    adapter: Annotated[str, typer.Option(help="folder of a LoRA adapter")] = "",
    k: Annotated[
        int | None,
        typer.Option(help="answers an instruction; another K is another sampler", show_default=str(SampleConfig.k)),
    ] = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int = 128,
    limit: Annotated[int, typer.Option(help="the first N instructions; 0 = all")] = 0,
    seed: int = 0,
    batch_size: BatchSize = 0,
    concurrency: Annotated[int, typer.Option(help="requests in flight, for a remote policy")] = 8,
    pilot: Annotated[int, typer.Option(help="only N instructions, 16 answers each: yield and cost at each K")] = 0,
    system: Annotated[str, typer.Option(help="a system text in place of the instruction's own")] = "",
    prompt: Annotated[str, typer.Option(help="a template with {instruction} once in it")] = "",
    as_json: Json = False,
) -> None:
    """Sample K candidate answers for every instruction of the train split."""
    if pilot and k not in (None, PILOT_K):
        raise UsageError(
            f"A pilot samples {PILOT_K} answers an instruction and tells the yield at each K: leave out --k."
        )
    with connect(workspace) as client:
        options = {
            "policy": resolve_model(policy),
            "adapter": resolve_model(adapter),
            "k": k,
            "temperature": temperature,
        }
        options |= {"top_p": top_p, "max_new_tokens": max_new_tokens, "limit": limit, "seed": seed}
        options |= {"batch_size": batch_size, "concurrency": concurrency, "pilot": pilot}
        options |= {"system": system or None, "prompt": prompt or None} | model
        if pilot:
            for run in client.call("pilot", **options):
                run = follow(client, run)
            say(run["result"], write_table(run["result"]), as_json)
            return
        run = follow(client, client.call("sample", **options))
        say(run, run["message"] or f"{counted(run['done'], 'instruction')} sampled.", as_json)


@app.command()
@takes_model_options
def score(
    workspace: Workspace,
    model: dict,
    policy: Policy = "",
    mas: Annotated[str, typer.Option(help="KIND:MODEL or a weighted mean; default: the workspace's own")] = "",
    adapter: Annotated[str, typer.Option(help="folder of a LoRA adapter")] = "",
    batch_size: BatchSize = 0,
    group: Annotated[str, typer.Option(help="embed:MODEL or judge:MODEL groups answers by meaning; off")] = "",
    as_json: Json = False,
) -> None:
    """Compute log-probs by the policy and MAS by the scorer for every candidate that lacks them."""
    with connect(workspace) as client:
        options = {"policy": resolve_model(policy), "mas": resolve_scorer(mas), "adapter": resolve_model(adapter)}
        options["group"] = map_grouper(group, lambda model: resolve_model(model) or model) if group else None
        for started in client.call("score", **options, **model, batch_size=batch_size):
            run = follow(client, started)
        say(run, run["message"] or f"The candidates of {counted(run['done'], 'instruction')} are scored.", as_json)


@app.command()
def scorers(
    workspace: Workspace,
    use: Annotated[str, typer.Option(help="the number or name of the one to show and select by")] = "",
    as_json: Json = False,
) -> None:
    """List the MAS scorers whose values are stored, or switch to another one."""
    with connect(workspace) as client:
        if use:
            used = client.call("use_scorer", scorer=resolve_scorer_name(use))
            say(used, f"{used['name']} is active now: select again for other pairs.", as_json)
            return
        found = client.call("scorers")
    lines = [
        f"{'*' if row['active'] else ' '} {row['number']}  {row['name']}  {counted(row['candidates'], 'candidate')}"
        for row in found
    ]
    say({"scorers": found}, "\n".join(lines) or "No candidate has a MAS yet: score first.", as_json)


@app.command()
def dependence(
    workspace: Workspace,
    limit: Annotated[int, typer.Option(help="so many pairs, drawn by seed; 0 = every answer")] = 0,
    seed: int = 0,
    as_json: Json = False,
) -> None:
    """Score again with the image blanked and swapped; list the pairs whose preference survives: they are suspect."""
    with connect(workspace) as client:
        for started in client.call("dependence", limit=limit, seed=seed):
            follow(client, started)
        report = client.call("dependence_report")
    say(report, draw_dependence(report), as_json)


@app.command()
def select(
    workspace: Workspace,
    rule: Annotated[str, typer.Option(help=", ".join(RULES))] = "m3po",
    weight_chosen: float = SelectConfig.weight_chosen,
    weight_rejected: float = SelectConfig.weight_rejected,
    delta: Annotated[float, typer.Option(help="least gap of normalised MAS; 0 = off")] = SelectConfig.delta,
    length_ratio: Annotated[float, typer.Option(help="longest token-length ratio; 0 = off")] = 3.0,
    normalise: Annotated[str, typer.Option(help="percentile, raw or minmax")] = "percentile",
    allow_truncated: Annotated[bool, typer.Option("--allow-truncated")] = False,
    seed: int = 0,
    as_json: Json = False,
) -> None:
    """Pick chosen and hard negative for every instruction, with a reason where there is no pair."""
    options = {"rule": rule, "weight_chosen": weight_chosen, "weight_rejected": weight_rejected, "delta": delta}
    options |= {"length_ratio": length_ratio, "normalise": normalise, "allow_truncated": allow_truncated, "seed": seed}
    with connect(workspace) as client:
        result = client.call("select", **options)
    reasons = ", ".join(f"{count} {reason}" for reason, count in result["no_pair"].items())
    say(result, f"{result['message']}" + (f"; without a pair: {reasons}" if reasons else "") + ".", as_json)


app.command()(whatif)
app.command()(calibrate)


@app.command()
def export(
    workspace: Workspace,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="a folder, or the file to write (with a suffix)")],
    format: Annotated[str, typer.Option(help=", ".join(WRITERS))] = "m3po",
    only: Annotated[str, typer.Option(help="all, reviewed, accepted or auto")] = "all",
    images: Annotated[str, typer.Option(help=f"{', '.join(IMAGE_WAYS)}; default: what the format is best with")] = "",
    push: Annotated[str, typer.Option(metavar="OWNER/NAME", help="upload to the hub; the token is HF_TOKEN")] = "",
    as_json: Json = False,
) -> None:
    """Write the workspace or its curated pairs to a file, human decisions applied."""
    with connect(workspace) as client:
        options = {"format": format, "only": only, "images": images, "push": push}
        result = follow(client, client.call("export", out=str(absolute(out)), **options))["result"]
    say(result, result["message"], as_json)
    if not result["rows"]:
        raise typer.Exit(1)


app.command(epilog=SETTINGS_HELP)(preflight)
app.command(epilog=SETTINGS_HELP)(train)
app.command(name="round")(next_round)
app.command()(export_model)


@app.command()
@takes_model_options
def evaluate(
    workspace: Workspace,
    model: dict,
    policy: Policy = "",
    adapter: Annotated[str, typer.Option(help="folder of a LoRA adapter")] = "",
    split: Annotated[str, typer.Option(help="heldout or tune")] = "heldout",
    max_new_tokens: int = 128,
    batch_size: BatchSize = 0,
    limit: int = 0,
    as_json: Json = False,
) -> None:
    """Answer the held-out split greedily and print its figures."""
    with connect(workspace) as client:
        options = {"policy": resolve_model(policy), "adapter": resolve_model(adapter), "split": split, **model}
        options |= {"max_new_tokens": max_new_tokens, "batch_size": batch_size, "limit": limit}
        run = follow(client, client.call("evaluate", **options))
        figures = {"before": run["result"]["metrics"], "after": None}
        say(run, draw_before_after(figures), as_json)


app.command(epilog=SETTINGS_HELP)(compare)
app.command()(ask)


@app.command()
def resume(
    workspace: Workspace,
    run_id: Annotated[int, typer.Argument(metavar="RUN", help="its number, as status shows it")],
    as_json: Json = False,
) -> None:
    """Go on with a run that was stopped, interrupted or failed, where it was."""
    with connect(workspace) as client:
        run = follow(client, client.call("resume", run_id=run_id))
        say(run, run["message"] or f"Run {run_id} is finished.", as_json)


@app.command()
def stop(
    workspace: Workspace,
    run_id: Annotated[int | None, typer.Argument(metavar="[RUN]", help="its number, as status shows it")] = None,
    everything: Annotated[bool, typer.Option("--all", help="whatever waits or is at work")] = False,
    as_json: Json = False,
) -> None:
    """Stop a run, a training with the evaluations before and after it; what it finished is kept and can be resumed."""
    if everything == (run_id is not None):
        raise UsageError("Name the run to stop, or give --all.")
    with connect(workspace) as client:
        if everything:
            stopped = client.call("stop_everything")
        elif client.call("run", run_id=run_id)["kind"] == "train":
            stopped = client.call("stop_training", run_id=run_id)
        else:
            stopped = int(client.call("run", run_id=run_id)["state"] in ("queued", "running"))
            client.call("stop", run_id=run_id)
    words = f"{counted(stopped, 'run')} asked to stop." if stopped else "Nothing of it waits or is at work."
    say({"stopped": stopped}, words, as_json)


@app.command()
def status(workspace: Workspace, as_json: Json = False) -> None:
    """What the workspace holds and what is running."""
    with connect(workspace) as client:
        found = client.call("status")
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    splits = ", ".join(f"{count} {split}" for split, count in found["instructions"].items())
    print(f"{found['workspace']}: {splits} instructions, {counted(found['images'], 'image')}")
    answers = f"{counted(found['candidates'], 'candidate')}, {found['scored_candidates']:,} scored"
    print(
        f"{answers}; {counted(found['pairs'], 'pair')}" + f", {found['excluded']:,} excluded" * bool(found["excluded"])
    )
    for reason, count in found["no_pair"].items():
        print(f"  {count} without a pair: {reason}")
    if found["advice"]:
        print(f"{found['advice']}.")
    print(
        f"{found['reviewed']} of {found['reviewable']} reviewed, {found['overridden']} corrected"
        + f", {found['disagreeing']} where reviewers disagree" * bool(found["disagreeing"])
    )
    for row in found["samplers"]:
        share = "" if row["pair_share"] is None else f", pairs for {row['pair_share']:.0%}"
        given = f"{counted(row['instructions'], 'instruction')}, {counted(row['answers'], 'answer')}"
        given += f", {row['distinct']:,} distinct"
        print(f"  sampler {row['sampler']} {row['name']}: {given}{share}")
    if found["given"]["preferences"]:
        print(draw_given(found["given"]))
    for run in found["runs"]:
        models = f" ({run['models']})" * bool(run["models"])
        print(f"  run {run['id']} {run['kind']}{models}: {run['state']} {run['done']}/{run['total']} {run['message']}")
