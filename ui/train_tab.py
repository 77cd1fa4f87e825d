"""The Fine-tune tab: what will be trained and the exact command, one button, and the newest run live."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import gradio as gr

from m3po.errors import M3poError
from m3po.settings import TrainConfig
from m3po.studio import Studio
from m3po.types import Run
from ui.curves_card import CurvesCard
from ui.data_view import draw_notice
from ui.elsewhere_card import ElsewhereCard
from ui.form import QUIET, run_command
from ui.markup import Markup, join, tag
from ui.preflight_card import PreflightCard
from ui.run_view import RESUMABLE, RUN_BUTTONS_JS
from ui.train_form import TrainForm
from ui.train_view import (
    COPY_JS,
    chain_of,
    draw_estimate,
    draw_no_run,
    draw_preview,
    draw_queue,
    draw_status,
    draw_warned,
)

log = logging.getLogger(__name__)
TICK = 1.5
REFUSED = "Nothing, with these settings: above the button is said why."
IF_VISIBLE = "(...values) => [Boolean(document.querySelector('#train-page')?.offsetParent), ...values.slice(1)]"


def build_train_tab(studio: Studio, page: gr.Blocks, tab: gr.Tab) -> None:
    """Lay out the tab; the run is the Studio's, the page only looks at it."""

    def on_run_button(command: dict) -> dict:
        return find_stopping(studio, command) or run_command(studio, command) or resume_chain(studio, command)

    with gr.Row(elem_id="train-page", elem_classes="train-page"):
        with gr.Column(scale=5, min_width=380):
            with gr.Column(elem_classes="card-group"):
                gr.HTML("<h2>What will be trained</h2>", apply_default_css=False, js_on_load=None)
                preview = gr.HTML("", apply_default_css=False, js_on_load=COPY_JS, elem_id="train-preview")
            check = PreflightCard(studio)
            with gr.Column(elem_classes="card-group"):
                form = TrainForm(studio.default_train)
                expected = gr.HTML("", apply_default_css=False, js_on_load=None, elem_id="train-estimate")
                start_btn = gr.Button("Fine-tune", variant="primary", elem_id="train-start")
                message = gr.HTML("", apply_default_css=False, js_on_load=None, elem_id="train-message")
                elsewhere = ElsewhereCard(studio)
        with gr.Column(scale=7, min_width=480), gr.Column(elem_classes="card-group"):
            status = gr.HTML("", server_functions=[on_run_button], js_on_load=RUN_BUTTONS_JS,
                             apply_default_css=False, elem_id="train-status")  # fmt: skip
            stop_btn = gr.Button("Stop", variant="stop", elem_id="train-stop", interactive=False, size="sm")
            warned = gr.HTML("", apply_default_css=False, js_on_load=None, elem_id="train-warnings")
            curves = CurvesCard(studio)
            log_box = gr.HTML("", apply_default_css=False, js_on_load=None, elem_id="train-log")

    fields, told = form.fields, [preview, expected]
    working, shown = gr.State(False), gr.State(None)  # the run that is looked at, which Stop is of
    live = [working, shown, status, stop_btn, warned, log_box, *curves.outputs]
    looked = [*curves.settings, curves.seen]

    def on_form(*values: Any) -> list:
        try:
            found = studio.train_preview(form.read(*values))
            return [draw_preview(found), draw_estimate(found)]
        except M3poError as error:
            return [tag("p", REFUSED, class_="quiet"), draw_notice(str(error))]

    def on_check(state: dict, *values: Any) -> list:
        return check.start(lambda: form.read(*values), state)

    def on_check_button(event: gr.EventData, state: dict, *values: Any) -> list:
        return check.act(event._data, lambda: form.read(*values), state)

    def on_look(state: dict, *values: Any) -> list:
        return check.look(lambda: form.read(*values), state)

    def on_check_tick(visible: bool, state: dict, *values: Any) -> list:
        if not visible:
            return [gr.skip()] * len(check.outputs)
        return check.tick(lambda: form.read(*values), state)

    def draw(*looked: Any) -> list:
        results = studio.results()
        result = shown_result(results)
        return [*draw_live(studio, result, results), *curves.draw(result and result["run"], *looked)]

    def on_start(*values: Any) -> list:
        values, looked = values[: len(fields)], values[len(fields) :]
        try:
            config = form.read(*values)
            same = [r.id for r in studio.runs(("train",)) if r.active and same_settings(r, config)]
            if same:  # a double click is one run
                notice = draw_notice(f"Run {same[0]} with these settings is at work already: stop it to start anew.")
            else:
                run = studio.start_train(config)
                notice = draw_notice(f"Run {run.id} started; it goes on when this page is closed.", good=True)
        except M3poError as error:
            notice = draw_notice(str(error))
        except Exception as error:
            log.exception("start of a training run")
            notice = draw_notice(f"Unexpected {type(error).__name__}: {error}; the log has the details.")
        return [notice, *draw(*looked)]

    def on_stop(held: int | None, *looked: Any) -> list:
        try:
            if held is not None:
                studio.stop_training(held)
            notice: Markup | str = draw_notice("What was finished is kept.", good=True)
        except M3poError as error:
            notice = draw_notice(str(error))
        return [notice, *draw(*looked)]

    def on_tick(visible: bool, was: bool, *looked: Any) -> list:
        if not visible:
            return [gr.skip()] * (1 + len(live))
        drawn = draw(*looked)
        return [gr.skip() if drawn[0] == was else "", *drawn]  # what was said of it is over

    def on_return(given: str, offered: str) -> list:
        return [gr.skip() if (text := offer_adapter(studio, given, offered)) is None else text, scored_adapter(studio)]

    offered = gr.State("")
    elsewhere.connect(fields, form.read)
    checked = [check.state, *fields]
    form.preset.input(form.fill, form.preset, form.of_preset, **QUIET).then(on_form, fields, told, **QUIET)
    for component in fields[1:]:
        component.change(on_form, fields, told, trigger_mode="always_last", **QUIET)
        component.change(on_look, checked, check.outputs, trigger_mode="always_last", **QUIET)
    check.button.click(on_check, checked, check.outputs, **QUIET)
    check.found.act(on_check_button, checked, check.outputs, **QUIET).then(on_form, fields, told, **QUIET)
    start_btn.click(on_start, [*fields, *looked], [message, *live], **QUIET).then(on_form, fields, told, **QUIET)
    stop_btn.click(on_stop, [shown, *looked], [message, *live], **QUIET)
    for component in curves.settings:
        component.input(draw, looked, live, trigger_mode="always_last", **QUIET)
    for look in (tab.select, page.load):
        look(on_return, [form.adapter, offered], [form.adapter, offered], **QUIET)
        look(on_form, fields, told, **QUIET)
        look(on_look, checked, check.outputs, **QUIET)
    visible = gr.Checkbox(True, visible=False)  # what the browser says: a State never goes there
    timer = gr.Timer(TICK)
    timer.tick(on_tick, [visible, working, *looked], [message, *live], js=IF_VISIBLE, **QUIET)
    timer.tick(on_check_tick, [visible, *checked], check.outputs, js=IF_VISIBLE, **QUIET)
    tab.select(draw, looked, live, **QUIET)
    page.load(draw, looked, live, **QUIET)


def same_settings(run: Run, config: TrainConfig) -> bool:
    return all(run.config.get(name) == value for name, value in dataclasses.asdict(config).items())


def scored_adapter(studio: Studio) -> str:
    """The adapter whose log-probs the newest scoring made: after *Begin the next round* the one to go on from."""
    scored = next((run for run in studio.runs(("score",)) if run.state == "finished"), None)
    return (scored and scored.config.get("adapter")) or ""


def offer_adapter(studio: Studio, given: str, offered: str) -> str | None:
    """What to write into the field of the adapter, where `given` stands and `offered` was written last: None leaves it,
    as where somebody wrote or took out something."""
    found = scored_adapter(studio)
    return found if found != offered and given.strip() == offered else None


def find_stopping(studio: Studio, command: object) -> dict:
    """`{"error": sentence}` where another step of the training that is to be resumed is at work still, as it is between
    *Stop* and the end of its batch: it would then stay stopped while the others go on."""
    if not isinstance(command, dict) or command.get("op") != "resume":
        return {}
    for result in studio.results():
        chain = [step for _, step in chain_of(result)]
        working = next((step for step in chain if step.state == "running"), None)
        if working and command.get("run_id") in [step.id for step in chain]:
            return {"error": f"Run {working.id} of this training is at work still: press Resume when it has ended."}
    return {}


def resume_chain(studio: Studio, command: dict) -> dict:
    """With a step of a training that was resumed, its other steps that ended early come back: *Stop* ended them all.
    Returns `{}` or `{"error": sentence}`."""
    if command.get("op") != "resume":
        return {}
    for result in studio.results():
        chain = [step.id for _, step in chain_of(result)]
        if command["run_id"] not in chain:
            continue
        for run_id in chain:
            run = studio.run(run_id)
            again = run.state in RESUMABLE and run.resumable
            if again and (answer := run_command(studio, {"op": "resume", "run_id": run_id})):
                return answer
        return {}
    return {}


def shown_result(results: list[dict]) -> dict | None:
    """The run at work, else the one that waits next, else the newest, if there is one outside of comparisons."""
    for states in (("running",), ("queued",)):
        for result in reversed(results):
            if any(step.state in states for _, step in chain_of(result)):
                return result
    own = [result for result in results if not result["run"].config.get("comparison")]
    return next(iter(own or results), None)


def draw_live(studio: Studio, result: dict | None, results: list[dict]) -> list:
    """Whether it is at work, its id, status with what waits behind it, stop button, what it warns of, and its log."""
    if result is None:
        return [False, None, draw_no_run(), gr.Button(interactive=False), "", ""]
    run = result["run"]
    chain = [step for _, step in chain_of(result)]
    logs = {step.id: studio.run_log(step.id, 30) for step in chain if step.state in ("failed", "interrupted")}
    tail = studio.run_log(run.id, 14)
    active = any(step.active for step in chain)
    return [
        active,
        run.id,
        join([draw_status(result, logs), draw_queue(results, run.id)]),
        gr.Button(interactive=active),
        draw_warned(studio.run_warnings(run.id)),
        tag("details", tag("summary", "Log"), tag("pre", tail, class_="log"), open=True) if tail else "",
    ]
