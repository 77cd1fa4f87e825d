"""The Data tab's own HTML: counts of the workspace, what an import did, what was selected."""

from __future__ import annotations

from collections.abc import Sequence

from m3po.formats.registry import FORMATS
from m3po.types import Run
from ui.formatting import KIND_LABELS, clock, count, plural, reason
from ui.markup import Markup, join, tag

IMPORT_FORMATS = {"auto": "Detect", **{name: format.label for name, format in FORMATS.items()}}
STEPS = ("sample", "score", "select")
MAX_ROWS = 200  # refused rows shown; the count above them is always complete


def draw_notice(text: str, *, good: bool = False) -> Markup:
    look = "notice notice-good" if good else "notice notice-bad"
    return tag("p", text, class_=look, role="status" if good else "alert")


def draw_started(text: str) -> Markup:
    """What was set off in the background: shown while it goes on, for then its strip says how it went."""
    return tag("p", text, class_="notice notice-good notice-started", role="status")


def draw_warnings(warnings: Sequence[str]) -> Markup | None:
    """What a run left out or wants to be known, one sentence an item."""
    if not warnings:
        return None
    items = [tag("li", text) for text in warnings[:MAX_ROWS]]
    few = len(items) < 3
    return tag(
        "details", tag("summary", plural(len(warnings), "warning")), tag("ul", *items, class_="reasons"), open=few
    )


def draw_workspace(status: dict) -> Markup:
    """What is there, and the next step where something is missing."""
    splits = status["instructions"]
    total = sum(splits.values())
    if not total:
        return tag(
            "section",
            tag("h2", "Workspace"),
            tag("p", "Empty. Import images with instructions below to begin."),
            class_="panel",
        )
    reviewed, reviewable = status["reviewed"], status["reviewable"]
    without = plural(sum(status["no_pair"].values()), "instruction") + " without"
    judged = [f"{count(status['overridden'])} corrected"]
    if status["disagreeing"]:  # no majority: nothing of them is trained on
        judged.append(f"{count(status['disagreeing'])} disagree")
    figures = [
        ("Instructions", count(total), ", ".join(f"{name} {count(n)}" for name, n in splits.items() if n)),
        ("Images", count(status["images"]), ""),
        ("Candidates", count(status["candidates"]), f"of {plural(status['answered_instructions'], 'instruction')}"),
        ("Scored", count(status["scored_candidates"]), "log-prob and MAS"),
        ("Pairs", count(status["pairs"]), without if status["selection"] else "nothing selected yet"),
        ("Reviewed", f"{count(reviewed)} / {count(reviewable)}", ", ".join(judged)),
    ]
    cells = [
        tag("div", tag("dt", name), tag("dd", tag("b", value), tag("span", note, class_="quiet")))
        for name, value, note in figures
    ]
    return tag(
        "section",
        tag("h2", "Workspace"),
        tag("dl", *cells, class_="figures"),
        tag("p", *_next_step(status), class_="next-step"),
        class_="panel",
    )


def _next_step(status: dict) -> list[object]:
    if any(run["state"] in ("queued", "running") for run in status["runs"]):
        if not status["candidates"]:  # nothing could be looked at
            return ["The models are at work; the first answers come soon."]
        return ["The models are at work; what is ready can be reviewed already. ", open_tab("review", "Review")]
    last = next((run for run in status["runs"] if run["kind"] in STEPS and run["state"] != "stopped"), None)
    if last and last["state"] == "failed":
        return [f"{KIND_LABELS[last['kind']]} failed: its card says why. Resume goes on with what is done."]
    if status["advice"]:
        return [f"Next: {status['advice']}."]
    if not status["candidates"]:
        return ["Next: sample candidates, or press Run all."]
    if not status["scored_candidates"]:
        return ["Next: score the candidates."]
    if not status["selection"]:
        return ["Next: select pairs."]
    if late := status["scored_since"]:
        was = "was" if late == 1 else "were"
        return [f"Next: select again; {plural(late, 'instruction')} {was} not scored when the pairs were picked."]
    unscored = status["candidates"] - status["scored_candidates"]
    if unscored and status["selection"].get("rule") != "given":  # which asks no scorer
        words = f"{plural(unscored, 'answer')} {'lacks' if unscored == 1 else 'lack'} a MAS or a log-prob"
        return [f"Next: score and select, for {words}; or look at the pairs there are. ", open_tab("review", "Review")]
    waiting = status["reviewable"] - status["answered_train"]
    if waiting > 0:
        return [f"{plural(waiting, 'instruction')} {'has' if waiting == 1 else 'have'} no answers yet: press Run all."]
    if not status["reviewed"] and not status["disagreeing"]:
        return ["Next: look at the pairs. ", open_tab("review", "Review")]
    return ["Next: go on reviewing, or train. ", open_tab("review", "Review"), " ", open_tab("train", "Fine-tune")]


def open_tab(name: str, label: str) -> Markup:
    return tag("button", label, " →", type="button", class_="link", data_open_tab=name)


def open_playground(run_id: int) -> Markup:
    """To the playground, where curators ask the run beside what it began with."""
    address = f"#playground?right=run-{run_id}"
    return tag("a", "Try it in the playground →", href=address, class_="to-playground curator-only")


def draw_selection(done: dict) -> Markup:
    """Pairs and the reasons of those without; takes what select() returns, or a status."""
    no_pair = sorted(done["no_pair"].items(), key=lambda entry: -entry[1])
    selection = done.get("selection") or {}
    code = done.get("content_hash") or selection.get("content_hash") or ""
    head = [tag("b", plural(done["pairs"], "pair"))]
    if code:
        head.append(tag("code", code[:12], title=f"Content hash of the selection: {code}"))
    if selection:
        head.append(tag("span", f"{selection.get('rule', '')} · {_when(selection.get('created_at'))}", class_="quiet"))
    reasons = [tag("li", f"{count(n)} without: {reason(code)}") for code, n in no_pair]
    return tag("div", tag("p", join(head, " ")), tag("ul", *reasons, class_="reasons") if reasons else None)


def _when(value: object) -> str:
    return value if isinstance(value, str) else clock(value) if value is not None else ""  # type: ignore[arg-type]


def draw_import(run: Run) -> Markup | None:
    """What an ended import did: how many rows went in, each refused row with its reason, and the warnings."""
    result = run.result or {}
    if run.active or "n_refused" not in result:
        return None
    refused, left_out = result["refused"][:MAX_ROWS], result["n_refused"] - min(MAX_ROWS, len(result["refused"]))
    rows = [tag("tr", tag("th", row, scope="row"), tag("td", why)) for row, why in refused]
    if left_out > 0:
        rows.append(tag("tr", tag("td", f"and {count(left_out)} more", colspan="2")))
    warnings = [tag("li", text) for text in result["warnings"][:MAX_ROWS]]
    source = str(run.config.get("source", ""))  # the path in the form may be another by now
    return tag(
        "div",
        tag("p", "Import of ", source.rstrip("/").rpartition("/")[2] or source, class_="quiet", title=source),
        draw_notice(
            result["message"], good=bool(result["added"] or (result["already_there"] and not result["n_refused"]))
        ),
        tag("div", tag("table", *rows, class_="refused"), class_="scroll") if rows else None,
        tag("ul", *warnings, class_="reasons") if warnings else None,
    )
