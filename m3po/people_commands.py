"""The commands about people: who may come in, who decides what, and what everybody said."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer

from m3po.assigning import STRATA
from m3po.bridge import connect
from m3po.command_options import Json, Workspace
from m3po.console import draw_guideline, draw_people, say
from m3po.errors import BadInputError, UsageError
from m3po.files import absolute
from m3po.users import ROLES, add_user, read_users, remove_user


def register(app: typer.Typer) -> None:
    """Make them commands of `app`."""
    for command in (users, assign, overlap, gold, people, history, guideline):
        app.command()(command)


def users(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="the users file, for app.py --auth")],
    action: Annotated[str, typer.Argument(metavar="ACTION", help="add, list or remove")],
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="whom to add or remove")] = "",
    role: Annotated[str, typer.Option(help=", ".join(ROLES))] = "annotator",
) -> None:
    """Add, list or remove users of the page; a password is asked for, or read from stdin, and kept as a hash."""
    if action == "list":
        for user, _ in read_users(file).values():
            print(f"{user.name}  {user.role}")
        return
    if action not in ("add", "remove"):
        raise UsageError(f"There is no action {action!r}: say add, list or remove.")
    if not name:
        raise UsageError(f"Say whom to {action}: users {file} {action} NAME.")
    if action == "remove":
        remove_user(file, name)
        print(f"{name} is removed.")
        return
    if role not in ROLES:
        raise UsageError(f"There is no role {role!r}: give --role {', '.join(ROLES)}.")
    user = add_user(file, name, _ask_password(name), role)
    print(f"{user.name} may come in as {user.role}.")


def _ask_password(name: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass(f"Password of {name}: ")
    if getpass.getpass("Once more: ") != password:
        raise BadInputError("The two passwords are not the same: try again.")
    return password


def assign(
    workspace: Workspace,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="the annotators")],
    items: Annotated[int, typer.Option(help="how many in all, of those that nobody decided or was given")] = 100,
    overlap: Annotated[float, typer.Option(help="share of them that everybody gets, 0 to 1")] = 0.0,
    gold: Annotated[int, typer.Option(help="gold items on top, in everybody's queue")] = 0,
    stratify: Annotated[
        str, typer.Option(help=f"in proportion by {', '.join(STRATA)} (M3P-Score: by tenths)")
    ] = STRATA[0],
    blind: Annotated[
        bool, typer.Option("--blind", help="no scores, picks or others' decisions before the vote")
    ] = False,
    seed: int = 0,
    as_json: Json = False,
) -> None:
    """Give annotators items to judge; each finds them in a queue of her own."""
    options = {"items": items, "overlap": overlap, "gold": gold, "stratify": stratify, "blind": blind, "seed": seed}
    with connect(workspace) as client:
        made = client.call("assign", annotators=names, **options)
    sentence = f"Assignment {made['assignment_id']}: {items} items for {', '.join(made['annotators'])}"
    say(made, f"{sentence}, {overlap:.0%} of them for everybody, and {gold} gold items each.", as_json)


def overlap(
    workspace: Workspace,
    assignment: Annotated[int, typer.Argument(metavar="ASSIGNMENT", help="its number, as `people` shows it")],
    share: Annotated[float, typer.Argument(metavar="SHARE", help="of its items that everybody judges, 0 to 1")],
    as_json: Json = False,
) -> None:
    """Change how much of an assignment everybody judges; what is decided stays."""
    with connect(workspace) as client:
        made = client.call("overlap", assignment_id=assignment, overlap=share)
    say(made, f"{share:.0%} of the items of assignment {assignment} are for everybody now.", as_json)


def gold(
    workspace: Workspace,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="instructions that are decided")],
    remove: Annotated[bool, typer.Option("--remove", help="measure nobody by them any more")] = False,
    as_json: Json = False,
) -> None:
    """Make the decisions that stand on items known right ones, by which annotators are measured."""
    with connect(workspace) as client:
        done = [client.call("gold", text=text, remove=remove) for text in ids]
    say({"gold": done}, f"{len(done)} items are gold {'no more' if remove else 'now'}.", as_json)


def people(workspace: Workspace, as_json: Json = False) -> None:
    """Progress, pace, gold accuracy and agreement of the annotators."""
    with connect(workspace) as client:
        found = client.call("people")
    say(found, draw_people(found), as_json)


def history(
    workspace: Workspace,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="a .csv or .jsonl file")],
    as_json: Json = False,
) -> None:
    """Write every decision ever made: who, when, what, on what was shown, and whether it was undone."""
    with connect(workspace) as client:
        done = client.call("history", out=str(absolute(out)))
    say(done, f"{done['rows']} decisions are in {done['path']}.", as_json)


def guideline(
    workspace: Workspace,
    set_: Annotated[
        Path | None, typer.Option("--set", metavar="FILE", help="make the text of this file the next version")
    ] = None,
    reasons: Annotated[
        str, typer.Option(help="by commas: the reasons that a decision may give, the first nine on keys")
    ] = "",
    version: Annotated[int | None, typer.Option(help="which one to print", show_default="the newest")] = None,
    as_json: Json = False,
) -> None:
    """Print what annotators go by, or write its next version: a text, a list of reasons, or both."""
    text = _read_text(set_) if set_ else None
    listed = [reason.strip() for reason in reasons.split(",")] if reasons else None
    with connect(workspace) as client:
        if text is None and listed is None:
            found = client.call("guideline", version=version)
            say(found, draw_guideline(found), as_json)
            return
        if version is not None:
            raise UsageError("--version prints one that is there: leave it out to write the next.")
        written = client.call("write_guideline", text=text, reasons=listed)
    say(written, f"Version {written['version']} holds now.", as_json)


def _read_text(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BadInputError(f"{path} is no text in UTF-8: save it as that.") from None
    except OSError as error:
        raise BadInputError(f"{path} cannot be read ({error.strerror}): correct the path.") from None
