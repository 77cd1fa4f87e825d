"""The command `ask`: any image and question, answered by one model or by two side by side, as in the playground."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Annotated

import typer

from m3po.bridge import Client, Local, connect
from m3po.command_options import Json, Workspace, resolve_model, takes_model_options
from m3po.console import CLEAR, say
from m3po.errors import BadImageError, M3poError, UsageError
from m3po.files import absolute
from m3po.jobs.playground.playground import MOST_BYTES
from m3po.settings import ModelOptions

PATIENCE = 1.0  # seconds that one look waits for something new
POLICY = "hub id, folder or remote:MODEL@URL; default: the run's, else the workspace's"
ADAPTER = "number of a finished training run, or folder of a LoRA adapter"


@takes_model_options
def ask(
    workspace: Workspace,
    model: dict,
    question: Annotated[str, typer.Argument(metavar="[QUESTION]", help="default: that of --item")] = "",
    image: Annotated[list[Path], typer.Option(metavar="FILE", help="repeatable; none: a question of text")] = [],  # noqa: B006
    item: Annotated[str, typer.Option(metavar="ID", help="images of this instruction of the workspace")] = "",
    policy: Annotated[str, typer.Option(help=POLICY)] = "",
    adapter: Annotated[str, typer.Option(metavar="RUN|FOLDER", help=ADAPTER)] = "",
    against_policy: Annotated[str, typer.Option(metavar="POLICY", help="answers too; default: --policy")] = "",
    against_adapter: Annotated[str, typer.Option(metavar="RUN|FOLDER", help="answers too")] = "",
    temperature: Annotated[float, typer.Option(help="0 = greedy")] = 0.0,
    max_new_tokens: int = 128,
    seed: int = 0,
    as_json: Json = False,
) -> None:
    """Ask a question about an image; with --adapter, what its policy says without it stands beside the answer.

    A run's number stands for its policy with its adapter, asked beside what the run began with.
    """
    if item and image:
        raise UsageError("Give --image or --item, not both.")
    options = None if model == ModelOptions().model_options() else model
    sides = _sides(policy, adapter, against_policy, against_adapter)
    with connect(workspace) as client:
        given: dict = {"temperature": temperature, "max_new_tokens": max_new_tokens, "seed": seed, "options": options}
        if item:
            found = client.call("playground_item", text=item)
            question = question or found["instruction"]
            given |= {"item": found["id"], "images": [each["sha256"] for each in found["images"]]}
        else:
            given["images"] = [_send(client, path) for path in image]
        told = _watch(client, client.call("ask", question=question, sides=sides, **given))
    say({"asked": question, **told}, draw_answers(question, told), as_json)
    if failed := [side for side in told["sides"] if side["error"]]:
        raise M3poError(" ".join(f"{side['name']}: {side['error']}" for side in failed))


def _sides(policy: str, adapter: str, against_policy: str, against_adapter: str) -> list[dict]:
    """One or two sides as m3po.jobs.playground.playground.Side has them; what is compared against stands first."""
    side = _side(policy, adapter)
    if against_policy or against_adapter:
        return [_side(against_policy or policy, against_adapter), side]
    if "run" in side:
        return [side | {"before": True}, side]
    return [_side(policy, ""), side] if adapter else [side]


def _side(policy: str, adapter: str) -> dict:
    side = {"policy": resolve_model(policy) or ""}
    if adapter.isdecimal():
        return side | {"run": int(adapter)}
    return side | {"adapter": resolve_model(adapter) or ""}


def _send(client: Client | Local, path: Path) -> str:
    """The file goes to the app, which may have no right to read it. Returns its address."""
    try:
        if not absolute(path).is_file() and absolute(path).exists():  # a device has no end
            raise BadImageError(f"Image {path} is no file: give a PNG, JPEG or another image file.")
        with absolute(path).open("rb") as file:
            data = file.read(MOST_BYTES + 1)  # the one too many is refused there
    except OSError as error:
        raise BadImageError(f"Image {path} cannot be read ({error.strerror}): check the path.") from error
    return client.call("playground_image", data=base64.b64encode(data).decode(), name=str(path))


def _watch(client: Client | Local, question: str) -> dict:
    """Show what happens on stderr until both have answered; Ctrl-C stops them."""
    live, seen = sys.stderr.isatty(), -1
    told: dict = {"done": False}
    try:
        while not told["done"]:
            told = client.call("look", question=question, seen=seen, patience=PATIENCE)
            seen = told["version"]
            if live:
                print(f"{CLEAR}{_progress(told)}", end="", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        client.call("stop_asking")
        told = client.call("look", question=question)
    if live:
        print(CLEAR, end="", file=sys.stderr, flush=True)
    for note in told["notes"]:
        print(f"warning: {note}", file=sys.stderr)
    return told


def _progress(told: dict) -> str:
    parts = [
        f"{side['name']}: {side['state']} {side['tokens'] or ''}".rstrip() for side in told["sides"] if side["state"]
    ]
    return "; ".join(parts)[:150]


def draw_answers(question: str, told: dict) -> str:
    """The question, and each answer with its figures."""
    lines = [f"Question: {question}"]
    for side in told["sides"]:
        if side["error"] and not side["text"]:
            continue
        lines += ["", f"{side['name']}:", *(f"  {line}" for line in side["text"].splitlines() or ["(nothing)"])]
        if figures := describe_figures(side, told["scorer"]):
            lines.append(f"  [{', '.join(figures)}]")
    return "\n".join(lines)


def describe_figures(side: dict, scorer: str) -> list[str]:
    figures = []
    if side["logp_mean"] is not None:
        by = " by the server" if side["by_server"] else ""
        figures.append(f"mean log-prob{by} {side['logp_mean']:.3f} nats a token")
    if side["mas"] is not None:
        figures.append(f"MAS {side['mas']:.3f} by {scorer}")
    if side["seconds"] is not None and side["tokens"]:
        rate = side["tokens"] / side["seconds"]
        figures.append(f"{side['tokens']} tokens in {side['seconds']:.1f} s, {rate:.1f} a second")
    cut = {"length": "cut off by --max-new-tokens", "stopped": "stopped"}.get(side["finish_reason"])
    return figures + ([cut] if cut else [])
