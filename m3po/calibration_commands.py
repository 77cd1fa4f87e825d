"""The commands `whatif` and `calibrate`: what another setting would pick, how far scores and rules can be trusted."""

from __future__ import annotations

from typing import Annotated

import typer

from m3po.bridge import connect
from m3po.calibration import AUDIT, FLIPS, KNOBS, TARGET
from m3po.command_options import Json, Workspace
from m3po.console import say
from m3po.errors import UsageError
from m3po.settings import RULES
from m3po.text import counted

_SAID = {"against": "against the human", "to": "to the human's pair", "neither": "a third pair", "": "nobody decided"}


def whatif(
    workspace: Workspace,
    rule: Annotated[str | None, typer.Option(help=", ".join(RULES), show_default="as selected")] = None,
    weight_chosen: Annotated[float | None, typer.Option(show_default="as selected")] = None,
    weight_rejected: Annotated[float | None, typer.Option(show_default="as selected")] = None,
    delta: Annotated[float | None, typer.Option(show_default="as selected")] = None,
    length_ratio: Annotated[float | None, typer.Option(show_default="as selected")] = None,
    which: Annotated[str, typer.Option(help=f"which are listed: {', '.join(FLIPS)}")] = "all",
    limit: Annotated[int, typer.Option(min=0, max=1000, help="how many are listed")] = 20,
    apply: Annotated[bool, typer.Option("--apply", help="make it the selection")] = False,
    as_json: Json = False,
) -> None:
    """What another weight, margin or rule would pick, and which changes go against human decisions."""
    knobs = dict(zip(KNOBS, (rule, weight_chosen, weight_rejected, delta, length_ratio), strict=True))
    with connect(workspace) as client:
        result = client.call("what_if", **knobs, which=which, limit=limit)
        if apply:
            result["applied"] = client.call("apply_what_if", **knobs, selection_id=result["selection_id"])
    say(result, _draw_what_if(result), as_json)


def calibrate(
    workspace: Workspace,
    target: Annotated[
        float, typer.Option(help="the override rate to stay under, at its interval's upper end")
    ] = TARGET,
    accept_above: Annotated[
        str, typer.Option(metavar="SCORE|auto|off", help="take pairs from this M3P-Score on without eyes")
    ] = "",
    audit: Annotated[int, typer.Option(help=f"draw so many of those at random for review; {AUDIT} is usual")] = 0,
    seed: Annotated[int, typer.Option(help="of the audit")] = 0,
    as_json: Json = False,
) -> None:
    """Override rates by M3P-Score, agreement of the rules with people, and what may be accepted without eyes."""
    with connect(workspace) as client:
        if accept_above == "off":
            client.call("accept_none")
        elif accept_above:
            client.call("accept_above", score=_score(accept_above), target=target)
        if audit:
            client.call("draw_audit", size=audit, seed=seed)
        report = client.call("calibration", target=target)
    say(report, draw_report(report), as_json)


def _score(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--accept-above {text} is no score: give a number from 0 to 1, auto or off.") from None


def _draw_what_if(result: dict) -> str:
    config = ", ".join(f"{name} {value}" for name, value in result["config"].items())
    lines = [
        config,
        f"{counted(result['pairs'], 'pair')} (now {result['pairs_before']:,}): {result['flips']:,} flip, "
        f"{result['lost']:,} lost, {result['new']:,} new",
        f"of {result['decided']:,} with a human decision: {result['against']:,} go against it, "
        f"{result['to']:,} go to it, {result['neither']:,} from one other pair to another",
    ]
    if not result["fresh"]:
        lines.append("Candidates or scores were added since the selection: a new one will pick from those, too.")
    for item in result["items"]:
        lines.append(f"  {item['instruction_id']} {item['source']}/{item['external_id']}: {_SAID[item['word']]}")
        for name in ("before", "after"):
            pair = item[name]
            both = f"{_cut(pair['chosen_text'])}  >  {_cut(pair['rejected_text'])}" if pair else "no pair"
            lines.append(f"    {name:7}{both}")
    if result["listed"] > len(result["items"]):
        lines.append(f"  ... and {result['listed'] - len(result['items']):,} more")
    if "applied" in result:
        lines.append(f"{result['applied']['message']}.")
    return "\n".join(lines)


def _cut(text: str, length: int = 70) -> str:
    text = " ".join(text.split())
    text = text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)
    return text if len(text) <= length else f"{text[: length - 3]}..."


def draw_report(report: dict) -> str:
    """The report as plain text."""
    if report["selection_id"] is None:
        return "There are no pairs yet: sample, score and select first."
    rates = report["rates"]
    if not rates["all"]["decided"]:
        return "Nobody decided on a pair of this selection yet: review some first."
    who = ", ".join(f"{name} {n:,}" for name, n in rates["annotators"].items())
    lines = [f"Decided pairs: {rates['all']['decided']:,} ({who})", "", f"{'M3P-Score':14}{'pairs':>9}{'decided':>9}"]
    lines[-1] += f"{'overridden':>12}{'rate':>8}   95 % interval"
    for row in [*rates["bins"], {"from": None, "pairs": report["pairs"], **rates["all"]}]:
        name = "all" if row["from"] is None else f"{row['from']:.2f} - {row['to']:.2f}"
        lines.append(f"{name:14}{row['pairs']:9,}{row['decided']:9,}{row['overridden']:12,}{_rate(row)}")
    lines += ["", _draw_threshold(report), "", *_draw_agreement(report["agreement"])]
    return "\n".join(lines)


def _rate(row: dict) -> str:
    return "       -" if row["rate"] is None else f"{row['rate']:8.3f}   {row['low']:.3f} - {row['high']:.3f}"


def _draw_threshold(report: dict) -> str:
    allowed, auto = report["threshold"], report["auto"]
    lines = [f"No score keeps the override rate under {report['target']:.1%} for sure yet."]
    if allowed:
        lines = [
            f"From M3P-Score {allowed['score']:.4f} on the override rate is under {report['target']:.1%}: "
            f"{allowed['overridden']} of {allowed['decided']}, at most {allowed['high']:.1%}. "
            f"{counted(allowed['accepts'], 'pair')} would need no eyes."
        ]
    if auto:
        lines.append(f"Accepted without eyes from {auto['score']:.4f} on: {counted(auto['accepts'], 'pair')}.")
        audit = auto["audit"]
        if audit and audit["rate"] is not None:
            share = f"{audit['overridden']} of {audit['decided']} wrong, {audit['low']:.1%} to {audit['high']:.1%}"
            lines.append(f"Audit of {audit['size']}: {share}; {audit['waiting']} wait.")
        elif audit:
            lines.append(f"Audit of {audit['size']}: {audit['waiting']} wait (review filter: audit).")
    return "\n".join(lines)


def _draw_agreement(agreement: dict) -> list[str]:
    lines = [f"Agreement with {agreement['compared']:,} of {agreement['decisions']:,} human pairs"]
    for row in agreement["rules"]:
        parts = ", ".join(f"{side} {row[side]['rate']:.3f}" for side in ("chosen", "rejected"))
        pair = row["pair"]
        lines.append(f"  {row['rule']:12} {pair['rate']:.3f} ({pair['low']:.3f} - {pair['high']:.3f}); {parts}")
    for name, curve in agreement["curves"].items():
        best = curve["best"]
        line = f"  {name}: best at {curve['points'][best]:.2f} with {curve['rate'][best]:.3f}"
        line += f" ({curve['low']:.3f} - {curve['high']:.3f}), somewhere in {curve['point_low']:.2f} -"
        line += f" {curve['point_high']:.2f}; now {curve['now']:.2f}"
        if curve["left_out"] is not None:
            line += f"; {curve['left_out']:.3f} on decisions that it was not chosen on"
        lines.append(line)
    return lines
