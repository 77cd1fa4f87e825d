"""The card *Against the baselines* of the Results tab: one button trains every arm, one table compares them."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from typing import Any

import gradio as gr

from m3po.errors import M3poError
from m3po.evaluation.comparison_plot import plot_comparison
from m3po.jobs.comparing.arm_settings import split_settings
from m3po.jobs.comparing.arms import ARMS, BASE
from m3po.jobs.comparing.comparison_reports import list_settings
from m3po.jobs.comparing.comparisons import ERROR_RATE, SEEDS
from m3po.studio import Studio
from m3po.training.presets import PRESETS, build_train_config, parse_overrides
from ui.cards import draw_heading
from ui.compare_view import draw_none, draw_progress, draw_tables
from ui.data_view import draw_notice
from ui.form import QUIET, numbers
from ui.plots import dress

log = logging.getLogger(__name__)
TICK = 2.0
IF_VISIBLE = "(...values) => [Boolean(document.querySelector('#compare-card')?.offsetParent), ...values.slice(1)]"


def build_compare_card(studio: Studio, page: gr.Blocks, tab: gr.Tab) -> None:
    """Lay out the card. The comparison is the Studio's: closing the page changes nothing."""
    with gr.Column(elem_classes="card-group", elem_id="compare-card"):
        draw_heading("Against the baselines")
        with gr.Row(elem_classes="settings curator-only"):
            seeds = gr.Number(SEEDS, label="Seeds", precision=0, elem_id="compare-seeds")
            preset = gr.Dropdown(
                [(preset.label, preset.name) for preset in PRESETS.values()], value="demo", label="Preset",
                filterable=False, elem_id="compare-preset",
            )  # fmt: skip
            error_rate = gr.Number(ERROR_RATE, label="Simulated annotator errs", step=0.05, elem_id="compare-error")
            settings = gr.Textbox(
                "",
                label="Settings of every arm, or of one",
                placeholder="epochs=1 sft:learning_rate=1e-3",
                elem_id="compare-settings",
            )
        arms = gr.CheckboxGroup(
            [(arm.label, arm.name) for arm in ARMS.values() if arm.name != BASE], value=[],
            label="Arms beside the base; none ticked: all that can be trained", elem_id="compare-arms",
            elem_classes="curator-only",
        )  # fmt: skip
        with gr.Row(elem_classes="settings curator-only"):
            start_btn = gr.Button("Compare", variant="primary", elem_id="compare-start")
            stop_btn = gr.Button("Stop", variant="stop", interactive=False, elem_id="compare-stop")
            resume_btn = gr.Button("Resume", interactive=False, elem_id="compare-resume")
        message = gr.HTML("", apply_default_css=False, js_on_load=None, elem_id="compare-message")
        choice = gr.Dropdown(
            [], value=None, label="Comparison", filterable=False, visible=False, elem_id="compare-choice"
        )
        progress = gr.HTML(draw_none(), apply_default_css=False, js_on_load=None, elem_id="compare-progress")
        tables = gr.HTML("", apply_default_css=False, js_on_load=None, elem_id="compare-tables")
        with gr.Column(visible=False) as beside:
            plot = gr.Plot(elem_id="compare-plot", show_label=False, container=False)
    seen, working, known = gr.State(""), gr.State(False), gr.State([])
    live = [working, progress, stop_btn, resume_btn, tables, beside, plot, seen, choice, known]
    looked = [seen, choice, known]

    def draw(seen: str, chosen: int | None, known: list[int]) -> list:
        """What `live` shows of the comparison that was `chosen`, else of the newest, or of one that began since; tables
        and plot only where a run has ended since `seen`."""
        there, choices = studio.comparisons.numbers(), gr.skip()
        if there != known:
            chosen = there[0] if known or chosen not in there else chosen
            named = [(f"Comparison {number}", number) for number in there]
            choices = gr.Dropdown(named, value=chosen, visible=len(there) > 1)
        return [*draw_one(studio.comparisons.report(chosen), seen), choices, there]

    def draw_one(report: dict | None, seen: str) -> list:
        if report is None:
            none = gr.Button(interactive=False)
            return [False, draw_none(), none, none, "", gr.Column(visible=False), gr.skip(), ""]
        can = [gr.Button(interactive=report["state"] == state) for state in ("running", "stopped")]
        shown: list = [report["state"] == "running", draw_progress(report), *can]
        mark = f"{report['id']}:{report['done']}"
        if mark == seen:
            return [*shown, gr.skip(), gr.skip(), gr.skip(), mark]
        told = bool(report["metrics"])
        figure = dress(plot_comparison(report), report["id"]) if told else gr.skip()
        return [*shown, draw_tables(report), gr.Column(visible=told), figure, mark]

    def restore() -> list:
        """The form as the newest comparison was asked for: who reloads the page finds what was set."""
        report = studio.comparisons.report()
        if report is None:
            return [gr.skip()] * len(form)
        given = report["options"]
        ticked = [name for name in given["arms"] if name != BASE]
        return [given["seeds"], given["train"]["preset"], given["error_rate"], shlex.join(list_settings(given)), ticked]

    def on_start(seeds: Any, preset: str, error_rate: Any, settings: str, arms: list[str], *looked: Any) -> list:
        try:
            given = numbers({"Seeds": seeds, "Simulated annotator errs": error_rate})
            plain = studio.default_train(preset)
            common, own = split_settings(parse_overrides(shlex.split(settings)))
            config = build_train_config(plain.policy, preset, common)
            names = [BASE, *arms] if arms else []
            found = studio.comparisons.start(
                config,
                seeds=int(given["Seeds"]),
                arms=names,
                error_rate=given["Simulated annotator errs"],
                own=own,
                asked=common.keys(),
            )
            state = studio.comparisons.report(found)["state"]
            words = {
                "running": f"Comparison {found} is at work; it goes on when this page is closed.",
                "finished": f"Comparison {found} with these settings is finished: nothing has changed since.",
            }
            looked = (looked[0], found, [])  # which may be one of before, that goes on
            notice = draw_notice(words.get(state, f"Comparison {found} waits."), good=True)
        except M3poError as error:
            notice = draw_notice(str(error))
        except Exception as error:
            log.exception("start of a comparison")
            notice = draw_notice(f"Unexpected {type(error).__name__}: {error}; the log has the details.")
        return [notice, *draw(*looked)]

    def on_stop(*looked: Any) -> list:
        return act(studio.comparisons.stop, "What was finished is kept.", *looked)

    def on_resume(*looked: Any) -> list:
        return act(studio.comparisons.resume, "It goes on with what lacks.", *looked)

    def act(do: Callable[[int], object], words: str, *looked: Any) -> list:
        try:
            report = studio.comparisons.report(looked[1])
            if report:
                do(report["id"])
            notice = draw_notice(words, good=True)
        except M3poError as error:
            notice = draw_notice(str(error))
        return [notice, *draw(*looked)]

    def on_tick(visible: bool, was: bool, *looked: Any) -> list:
        if not visible:
            return [gr.skip()] * (1 + len(live))
        drawn = draw(*looked)
        return [gr.skip() if drawn[0] == was else "", *drawn]  # what was said of it is over

    form = [seeds, preset, error_rate, settings, arms]
    start_btn.click(on_start, [*form, *looked], [message, *live], **QUIET)
    stop_btn.click(on_stop, looked, [message, *live], **QUIET)
    resume_btn.click(on_resume, looked, [message, *live], **QUIET)
    for look in (choice.input, tab.select, page.load):
        look(draw, looked, live, **QUIET)
    page.load(restore, None, form, **QUIET)
    visible = gr.Checkbox(True, visible=False)  # what the browser says: a State never goes there
    gr.Timer(TICK).tick(on_tick, [visible, working, *looked], [message, *live], js=IF_VISIBLE, **QUIET)
