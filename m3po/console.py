"""What the command line shows: a run while it is watched, its end, figures as tables, and previews."""

from __future__ import annotations

import json
import sys
import time

from m3po.bridge import Client, Local
from m3po.errors import M3poError
from m3po.jobs.transfer.previewing import describe_fields

POLL_SECONDS = 0.3
CLEAR = "\r\x1b[K"  # the terminal's current line


def fail(sentence: str, code: int = 1) -> None:
    print(sentence, file=sys.stderr)
    sys.exit(code)


def say(result: dict, sentence: str, as_json: bool) -> None:
    print(json.dumps(result, ensure_ascii=False) if as_json else sentence)


def follow(client: Client | Local, run: dict) -> dict:
    """`watch` it. Raises M3poError unless it finished."""
    run = watch(client, run)
    if run["state"] != "finished":
        raise M3poError(run["message"] or f"Run {run['id']} was {run['state']}.")
    return run


def watch(client: Client | Local, run: dict) -> dict:
    """Show a run's progress and warnings on stderr until it ends; Ctrl-C stops it. Returns it as it is then."""
    live = sys.stderr.isatty()
    told, estimate, waited = 0, "", False

    def tell_warnings() -> None:
        nonlocal told
        for warning in client.call("warnings", run_id=run["id"])[told:]:
            print(f"{CLEAR if live else ''}warning: {warning}", file=sys.stderr)
            told += 1

    try:
        while run["state"] in ("queued", "running"):
            time.sleep(POLL_SECONDS)
            run = client.call("run", run_id=run["id"])
            tell_warnings()
            if run["state"] == "queued" and not waited:
                waited = _tell_wait(client, run, CLEAR if live else "")
            if not estimate and run["message"].startswith("Memory: "):
                estimate = run["message"]
                print(f"{CLEAR if live else ''}{estimate}", file=sys.stderr)
            if live:
                print(f"{CLEAR}{_progress(run)}", end="", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        client.call("stop", run_id=run["id"])
        while run["state"] in ("queued", "running"):
            time.sleep(POLL_SECONDS)
            run = client.call("run", run_id=run["id"])
    if live:
        print(file=sys.stderr)
    if not estimate and (run.get("result") or {}).get("memory"):  # the run was over between two looks
        print(run["result"]["memory"], file=sys.stderr)
    tell_warnings()
    return run


def _tell_wait(client: Client | Local, run: dict, clear: str) -> bool:
    """Say behind which run it waits; whether there is one."""
    before = next((each for each in client.call("status")["runs"] if each["state"] == "running"), None)
    if before is not None:
        print(
            f"{clear}run {run['id']} waits: run {before['id']} ({before['kind']}) is at work; Ctrl-C stops this one.",
            file=sys.stderr,
        )
    return before is not None


def _progress(run: dict) -> str:
    text = f"{run['kind']}: {run['state']}"
    if run["total"]:
        text += f" {run['done']}/{run['total']} {run['unit']}"
    if run["rate"]:
        text += f", {run['rate']:.1f}/s"
    if run["eta"]:
        text += f", {run['eta']:.0f} s left"
    return f"{text} {run['message']}".rstrip()


def draw_before_after(result: dict, measured: bool = True) -> str:
    """Held-out figures; `measured`: whether the run was to be measured at all."""
    before, after = result["before"] or {}, result["after"] or {}
    p_values = result.get("p_values") or {}
    lines = [f"{'':36}{'before':>10}{'after':>10}" + f"{'paired p':>10}" * bool(p_values)]
    for key in before | after:
        values = [f"{side[key]:10.3f}" if side.get(key) is not None else f"{'-':>10}" for side in (before, after)]
        values += [f"{p_values[key]:10.3f}"] if key in p_values else []
        lines.append(f"{key:36}{''.join(values)}")
    if before or after:
        return "\n".join(lines)
    why = "the held-out split is empty, so nothing was measured" if measured else "not measured, as asked for"
    return f"Trained; {why}."


def draw_given(given: dict) -> str:
    """How far the scorer and the reviewers agree with the preferences that the data came with."""
    parts = [f"{given['preferences']} given preferences"]
    for who, agree, of in (("MAS", "mas_agrees", "scored"), ("reviewers", "reviewers_agree", "decided")):
        if given[of]:
            parts.append(f"{who} agrees with {100 * given[agree] / given[of]:.0f} % of {given[of]}")
    return ", ".join(parts).replace("reviewers agrees", "reviewers agree")


def draw_dependence(report: dict) -> str:
    """How often the chosen answer stays the better one with another image, and the first pairs where it does."""
    lines = []
    for test in report["tests"]:
        words = f"by {'MAS' if test['signal'] == 'mas' else 'log-prob'}, image {test['image']:<5}"
        if not test["preferred"]:
            lines.append(f"{words}: no pair was scored both ways")
            continue
        low, high = test["interval"]
        lines.append(
            f"{words}: {test['survived']} of {test['preferred']} preferences survive, {test['rate']:.0%} "
            f"(95 % {low:.0%} to {high:.0%})"
        )
    lines += [report["left_out"]] * bool(report.get("left_out"))
    shown = report["pairs"][:5]
    lines += [f"  {pair['id']}: {_shorten(pair['chosen'])} > {_shorten(pair['rejected'])}" for pair in shown]
    rest = report["surviving"] - len(shown)
    return "\n".join(lines + [f"  and {rest:,} more"] * (rest > 0))


def draw_preview(shown: dict) -> str:
    """The preview as plain text for a terminal."""
    lines = [f"{shown['source']}: {shown['container']}, {shown['label']} ({shown['format']})"]
    lines += [text for text in (shown["problem"], shown["doubt"]) if text]
    if shown["problem"] and shown["mapping"]:
        lines.append("Guessed by the columns' names:")
    lines += [f"  {field:<12} <- {column}" for field, column in shown["mapping"].items()]
    if shown["ignored"]:
        lines.append(f"  not read     : {', '.join(shown['ignored'])}")
    if shown.get("values"):
        lines += ["", "A value of each column:"]
        lines += [f"  {_shorten(name):<12} {_shorten(text)}" for name, text in shown["values"].items()]
    for row in shown["rows"]:
        lines += ["", f"{row['row']}:" + (f" refused: {row['refused']}" if "refused" in row else "")]
        lines += [f"  {name:<12} {_shorten(text)}" for name, text in describe_fields(row)]
    return "\n".join(lines)


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    text = text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)
    return text if len(text) <= 160 else f"{text[:160]}... ({len(text):,} characters)"


def draw_people(found: dict) -> str:
    """Annotators with their figures, who agrees with whom, and the assignments."""
    lines = [f"{'annotator':20}{'assigned':>9}{'done':>7}{'per hour':>10}{'gold':>14}{'kappa':>7}"]
    for row in found["people"]:
        pace = f"{row['per_hour']:.0f}" if row["per_hour"] else "-"
        gold = f"{row['gold_right']} of {row['gold_seen']}" if row["gold_seen"] else "-"
        kappa = "-" if row["agreement"] is None else f"{row['agreement']:.2f}"
        lines.append(f"{row['annotator']:20}{row['assigned']:9}{row['done']:7}{pace:>10}{gold:>14}{kappa:>7}")
    if found["alpha"]["items"]:
        lines.append(f"Krippendorff's alpha {_interval(found['alpha'])}")
    lines += [f"Cohen's kappa of {one} and {other} {_interval(kappa)}" for one, other, kappa in found["kappas"]]
    lines.append(f"{found['disputed']} items in dispute, {found['gold']} gold items")
    for row in found["assignments"]:
        told = (
            f"{row['items']} items, {row['overlap']:.0%} shared, {row['gold']} gold{', blind' if row['blind'] else ''}"
        )
        lines.append(f"assignment {row['assignment_id']} to {', '.join(row['annotators'])}: {told}")
    return "\n".join(lines)


def _interval(agreement: dict) -> str:
    on = f"on {agreement['items']} items"
    if agreement["value"] is None:
        return f"cannot be told {on}"
    low, high = agreement["interval"]
    return f"{agreement['value']:.2f} [{low:.2f}, {high:.2f}] {on}"


def draw_guideline(found: dict) -> str:
    """One version: its text, its reasons, who wrote it, and which others there are."""
    head = f"Version {found['version']} by {found['author']}, {found['at']}" if found["version"] else "No text yet"
    others = [str(row["version"]) for row in found["versions"] if row["version"] != found["version"]]
    lines = [head + (f" (others: {', '.join(others)})" if others else ""), ""]
    lines += [*found["text"].splitlines(), ""] if found["text"] else []
    return "\n".join([*lines, f"Reasons: {', '.join(found['reasons'])}"])
