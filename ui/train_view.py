"""The Fine-tune tab's own HTML: what a run would train on, and the run at work, step by step."""

from __future__ import annotations

from collections.abc import Sequence

from m3po.training.signs import is_sign
from m3po.types import Run
from ui.data_view import draw_warnings, open_playground, open_tab
from ui.formatting import STATE_LABELS, count, plural
from ui.markup import Markup, join, tag
from ui.run_view import RESUMABLE, draw_button, draw_run

# A browser gives a page its clipboard on this machine or over https alone; elsewhere the text is marked.
COPY_JS = """
element.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  const text = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = 'Copied';
  } catch (error) {
    getSelection().selectAllChildren(text);
    button.textContent = 'Press Ctrl+C';
  }
});
"""


def draw_preview(preview: dict) -> Markup:
    """How many pairs, how many of them human-corrected, from which selection, and what speaks against it."""
    figures = [
        ("Pairs", count(preview["pairs"]), "to train on"),
        ("By humans", count(preview["human"]), f"{count(preview.get('overridden', 0))} of them corrected"),
        ("Given by the data" if preview["given"] else "Machine", count(preview["machine"]), "not reviewed"),
    ]
    if preview.get("disagreeing"):
        figures.append(("Left out", count(preview["disagreeing"]), "reviewers disagree"))
    if preview.get("excluded"):
        figures.append(("Excluded", count(preview["excluded"]), "by the check of the pairs"))
    cells = [
        tag("div", tag("dt", name), tag("dd", tag("b", value), tag("span", note, class_="quiet")))
        for name, value, note in figures
    ]
    problems = [tag("li", text) for text in preview["problems"]]
    code = preview["selection"]
    return join(
        [
            tag("dl", *cells, class_="figures"),
            tag("p", "From the selection ", tag("code", code[:12], title=code), class_="quiet") if code else "",
            tag("ul", *problems, class_="problems", role="alert") if problems else "",
            _draw_copyable("Exact command", preview["command"], "train-command"),
            tag(
                "details",
                tag("summary", "The config as the worker reads it"),
                _draw_copyable("config.json in the run's folder", preview["config"], "train-config"),
            ),
        ]
    )


def draw_estimate(preview: dict) -> Markup:
    """What the run will take, beside the button."""
    if preview["refusal"]:
        return tag("p", preview["refusal"], class_="problems", role="alert")
    return join([tag("p", preview[name], class_="quiet") for name in ("time", "memory") if preview[name]])


def _draw_copyable(label: str, text: str, name: str) -> Markup:
    return join(
        [
            tag(
                "p",
                label,
                tag("button", "Copy", type="button", class_="copy", data_copy=name),
                class_="field-label",
            ),
            tag("pre", text, class_="command", id=name, tabindex="0"),
        ]
    )


def chain_of(result: dict) -> list[tuple[str, Run]]:
    """The runs that belong to one training, in the order in which they work."""
    steps = (("Measure before", result["before_run"]), ("Train", result["run"]), ("Measure after", result["after_run"]))
    return [(name, run) for name, run in steps if run is not None]


def state_of(result: dict) -> str:
    """The state of the whole: what is at work counts first, then what waits, what went wrong, and finished.

    A run waits, too, whose model was measured before and that has yet to begin, and one that waits to be measured."""
    states = [run.state for _, run in chain_of(result)]
    for state in ("running", "queued"):
        if state in states:
            return state
    own = result["run"].state
    if own != "finished":
        return own
    return next((state for state in states if state != "finished"), "finished")


def draw_status(result: dict, logs: dict[int, str]) -> Markup:
    """The newest run: its state in one word, then each step with its bar; `logs`: run id -> tail, where it failed."""
    run, state = result["run"], state_of(result)
    config = result["config"]
    facts = [
        plural(result["pairs"], "pair"), f"{count(result['human'])} by humans", str(config.get("preset", "")),
        str(config.get("method", "")).upper(),
    ]  # fmt: skip
    head = tag(
        "div",
        tag("b", f"Run {run.id}"),
        tag("span", STATE_LABELS.get(state, state), class_=f"chip state-{state}"),
        tag("span", " · ".join(fact for fact in facts if fact), class_="quiet"),
        tag("code", result["content_hash"][:12], title=f"Content hash of the pairs: {result['content_hash']}")
        if result["content_hash"]
        else None,
        class_="run-head",
    )
    steps = []
    ended = False
    for name, step in chain_of(result):
        if ended and step.started_at is None:
            continue  # it waits for one that ended early, and comes back with it: one Resume is enough
        ended = ended or step.state in RESUMABLE
        steps.append(tag("div", tag("b", name, class_="step-name"), draw_run(step, logs.get(step.id, ""), title=False),
                         class_="step"))  # fmt: skip
    done = None
    if state == "finished":
        results = open_tab("results", "See before and after")
        done = tag("p", "Finished. ", results, " ", open_playground(run.id), class_="notice notice-good")
    return tag("div", head, *steps, done, class_="train-run", data_run_id=run.id, data_run_state=state)


def draw_warned(warnings: Sequence[str]) -> Markup:
    """What the run's figures warn of, in full, newest first; what it left out, folded."""
    signs = [tag("li", warning) for warning in reversed(warnings) if is_sign(warning)]
    rest = [warning for warning in warnings if not is_sign(warning)]
    return join([tag("ul", *signs, class_="problems", role="status") if signs else "", draw_warnings(rest)])


def draw_queue(results: Sequence[dict], shown: int) -> Markup | None:
    """The trainings that wait behind the one shown, the next one first, each with a button that takes it out."""
    waiting = [result for result in reversed(results) if result["run"].state == "queued" and result["run"].id != shown]
    if not waiting:
        return None
    items = [
        tag(
            "li",
            tag("b", f"Run {result['run'].id}"),
            tag("span", f" {plural(result['pairs'], 'pair')} · {result['config'].get('preset', '')} ", class_="quiet"),
            draw_button(result["run"], "stop", "Take out"),
        )
        for result in waiting
    ]
    return tag("div", tag("p", "Waiting, one after another:", class_="quiet"), tag("ol", *items), class_="train-queue")


def draw_no_run() -> Markup:
    return tag(
        "div",
        tag("p", tag("b", "No run yet."), " Check what will be trained on the left, then press Fine-tune."),
        tag("p", "The run goes on when this page is closed and when the app is restarted.", class_="quiet"),
        class_="nothing",
        data_run_state="none",
    )
