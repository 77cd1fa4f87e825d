"""A run as a strip of the page: what it does, how far it is, how fast, how long yet, and what went wrong."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from m3po.scorer_spec import name_models
from m3po.types import Run
from ui.formatting import KIND_LABELS, STATE_LABELS, clock, count, duration, percent, plural, rate
from ui.markup import Markup, join, tag

RESUMABLE = ("stopped", "failed", "interrupted")

# Buttons inside drawn HTML: one listener a component, which survives every redraw.
RUN_BUTTONS_JS = """
element.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-run-op]');
  if (!button || button.disabled) return;
  button.disabled = true;
  const note = element.querySelector('.run-note') || button.parentElement;
  try {
    const answer = await server.on_run_button({op: button.dataset.runOp, run_id: Number(button.dataset.runId)});
    if (!answer) throw new Error('no answer');
    if (answer.error) note.textContent = answer.error;
  } catch (error) {
    note.textContent = 'The server does not answer; is the app still running?';
  }
  button.disabled = false;
});
"""


def draw_run(run: Run, log_tail: str = "", *, title: bool = True) -> Markup:
    """One run with its bar and buttons; the log's tail where it failed."""
    state = tag("span", STATE_LABELS.get(run.state, run.state), class_=f"chip state-{run.state}")
    head = [
        tag("b", KIND_LABELS.get(run.kind, run.kind)) if title else None,
        state,
        tag("span", _figures(run), class_="run-figures"),
        tag("span", models, class_="quiet") if (models := name_models(run.kind, run.config)) else None,
    ]
    buttons = []
    if run.active:
        buttons.append(draw_button(run, "stop", "Stop"))
    if run.resumable:
        buttons.append(draw_button(run, "resume", "Resume"))
    return tag(
        "div",
        tag("div", *head, tag("span", *buttons, class_="run-buttons"), class_="run-head"),
        draw_bar(run) if run.active or (run.state in RESUMABLE and run.total) else None,
        draw_problem(run, log_tail),
        tag("p", class_="run-note", role="alert"),
        class_=f"run run-{run.state}",
        data_run_id=run.id,
        data_run_state=run.state,
    )


def draw_problem(run: Run, log_tail: str = "") -> Markup | None:
    """The sentence of a run that did not finish, and the log's last lines to open."""
    if run.state not in RESUMABLE:
        return None
    words = (
        run.message
        or {
            "failed": "It failed without a word; the log may say more.",
            "interrupted": "Its process is gone; what was finished is kept. Resume to go on.",
            "stopped": "Stopped; what was finished is kept. Resume to go on.",
        }[run.state]
    )
    log = None
    if log_tail and run.state != "stopped":
        log = tag("details", tag("summary", "Log"), tag("pre", log_tail, class_="log"), class_="run-log")
    return join([tag("p", words, class_="problem" if run.state == "failed" else "quiet"), log or ""])


def draw_bar(run: Run) -> Markup:
    """A real bar where the total is known, a moving one while a worker has not told it yet."""
    share = percent(run.done, run.total)
    unknown = run.state == "running" and not run.total
    label = f"{KIND_LABELS.get(run.kind, run.kind)}: {share:.0f} %"
    return tag(
        "div",
        tag("div", class_="bar-fill", style=None if unknown else f"width:{share:.1f}%"),
        class_="bar bar-run" + (" bar-unknown" if unknown else ""),
        role="progressbar", aria_label=label, aria_valuemin="0", aria_valuemax="100",
        aria_valuenow=None if unknown else f"{share:.0f}",
    )  # fmt: skip


def draw_button(run: Run, op: str, label: str) -> Markup:
    """`op`: stop or resume."""
    return tag("button", label, type="button", class_="plain", data_run_op=op, data_run_id=run.id,
               aria_label=f"{label} {KIND_LABELS.get(run.kind, run.kind)}")  # fmt: skip


def _figures(run: Run) -> str:
    """`120 / 400 instructions · 12.5 instructions/s · 23 s left`; for an ended run, how long it took."""
    parts = []
    if run.total and (run.active or run.state in RESUMABLE):
        parts.append(f"{count(run.done)} / {count(run.total)} {run.unit}".strip())
    if run.state == "running":
        if text := rate(run.rate, run.unit):
            parts.append(text)
        if run.eta is not None:
            parts.append(f"{duration(run.eta)} left")
        if run.message or not run.total:
            parts.append(run.message or "starting")
    if run.state == "queued":
        parts.append("waits for its turn")
    if run.state == "finished":
        if run.total:
            parts.append(plural(run.done, run.unit.removesuffix("s")) if run.unit else count(run.done))
        if run.started_at is not None:  # else it is one that was there already
            parts.append(f"in {duration(seconds_of(run))}")
        parts.append(clock(run.ended_at))
    return " · ".join(parts)


def seconds_of(run: Run) -> float | None:
    """How long it has run, in seconds."""
    if run.started_at is None:
        return None
    end = run.ended_at or dt.datetime.now(dt.UTC)
    start = run.started_at if run.started_at.tzinfo else run.started_at.replace(tzinfo=dt.UTC)
    end = end if end.tzinfo else end.replace(tzinfo=dt.UTC)
    return (end - start).total_seconds()


def latest(runs: Sequence[Run], kind: str) -> Run | None:
    """The run of a kind that says most; `runs` are newest first.

    One at work comes first, then one that waits, then the newest that ever began or failed to: those after a failed one
    in a chain did neither, and would hide why.
    """
    of_kind = [run for run in runs if run.kind == kind]

    def tried(run: Run) -> bool:
        return run.started_at is not None or run.state == "failed"

    for tells in (lambda run: run.state == "running", lambda run: run.active, tried):
        if found := next(filter(tells, of_kind), None):
            return found
    return of_kind[0] if of_kind else None
