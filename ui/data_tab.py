"""The Data tab: what the workspace holds, import, and the three steps that make pairs, each with its progress."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import gradio as gr

from m3po.errors import M3poError
from m3po.jobs.server_runs import SERVER_KINDS
from m3po.remote_spec import parse_remote
from m3po.settings import SampleConfig, ScoreConfig, SelectConfig, weights_of
from m3po.studio import Studio
from m3po.types import Run
from ui.cards import build_message
from ui.data_view import draw_import, draw_notice, draw_selection, draw_started, draw_warnings, draw_workspace
from ui.export_card import build_export_card
from ui.form import QUIET
from ui.formatting import plural
from ui.import_card import build_import_card
from ui.markup import Markup, join
from ui.pope_card import build_pope_card
from ui.run_view import draw_run, latest
from ui.sample_card import build_sample_card
from ui.sample_view import draw_pilot, draw_samplers
from ui.score_card import build_score_card
from ui.select_card import build_select_card

log = logging.getLogger(__name__)
TICK = 1.0  # seconds between looks at the runs
IF_VISIBLE = "() => [Boolean(document.querySelector('#data-page')?.offsetParent)]"


def build_data_tab(studio: Studio, page: gr.Blocks) -> None:
    """Lay out the tab and connect its buttons; the runs belong to the Studio, the page only looks at them."""
    defaults, problem = _defaults(studio)
    with gr.Row(elem_id="data-page", elem_classes="data-page"):
        with gr.Column(scale=5, min_width=380):
            workspace = gr.HTML("", apply_default_css=False, js_on_load=None, elem_id="data-workspace")
            importing = build_import_card(studio)
            asking = build_pope_card()
            exporting = build_export_card(studio)
        with gr.Column(scale=7, min_width=480):
            importing.preview.render()
            all_btn = gr.Button("Run all: sample, score, select", variant="primary", elem_id="data-all")
            all_message = build_message("data", draw_notice(problem) if problem else "")
            sampling = build_sample_card(studio, defaults)
            scoring, connect_switch = build_score_card(studio, defaults)
            selecting = build_select_card(studio)
    sample_form = [*scoring.policy, *sampling.form]
    strips = [workspace, importing.strip, sampling.strip, scoring.strip, selecting.strip, exporting.strip]
    cards = (importing, asking, sampling, scoring, selecting, exporting)
    messages = [all_message, *(card.message for card in cards)]

    def act(do: Callable[..., Markup], speaker: gr.HTML) -> Callable[..., list]:
        """A button: the sentence of what it did, or why not, where that button is, and the strips as they are then."""

        def on_click(*values: Any) -> list:
            try:
                notice = do(*values)
            except M3poError as error:
                notice = draw_notice(str(error))
            except Exception as error:
                log.exception("data tab")
                notice = draw_notice(f"Unexpected {type(error).__name__}: {error}; the log has the details.")
            return [*(notice if message is speaker else "" for message in messages), *draw_strips(studio)]

        return on_click

    def sample(*values: Any) -> Markup:
        studio.start_sample(sampling.read(*values))
        return draw_started("Sampling started; it goes on when this page is closed.")

    def score(*values: Any) -> Markup:
        studio.start_score(scoring.read(*values))
        return draw_started("Scoring started; it goes on when this page is closed.")

    def select(*values: Any) -> Markup:
        done = studio.select(selecting.read(*values))
        text = f"{plural(done['pairs'], 'pair')} selected, frozen as {done['content_hash'][:12]}."
        return draw_notice(text, good=True)

    def read_all(*values: Any) -> tuple[SampleConfig, ScoreConfig, SelectConfig]:
        to_sample = len(sample_form)
        to_select = len(values) - len(selecting.form)
        sample_config = sampling.read(*values[:to_sample])
        score_config = scoring.read(*values[to_sample:to_select])
        if not parse_remote(sample_config.policy):  # whose weights are elsewhere: the Score card names those at hand
            score_config = dataclasses.replace(score_config, **weights_of(sample_config))
        return sample_config, score_config, selecting.read(*values[to_select:])

    def run_all(*values: Any) -> Markup:
        studio.start_pipeline(*read_all(*values))
        return draw_started("Sampling, scoring and selecting, one after another; it goes on when this page is closed.")

    def pilot(*values: Any) -> Markup:
        studio.start_pilot(*read_all(*values))
        return draw_started("The pilot started: 16 answers an instruction, scores, then a report; nothing is selected.")

    def import_(*values: Any) -> Markup:
        studio.start_import(**importing.read(*values))
        return draw_started("Import started; it goes on when this page is closed.")

    def ask_pope(*values: Any) -> Markup:
        return draw_notice(studio.build_pope(**asking.read(*values))["message"], good=True)

    def export(*values: Any) -> Markup:
        studio.start_export(**exporting.read(*values))
        return draw_started("Export started; it goes on when this page is closed.")

    outputs = [*messages, *strips]
    whole_form = [*sample_form, *scoring.form, *selecting.form]
    sampling.button.click(act(sample, sampling.message), sample_form, outputs, **QUIET)
    sampling.pilot.click(act(pilot, sampling.message), whole_form, outputs, **QUIET)
    scoring.button.click(act(score, scoring.message), scoring.form, outputs, **QUIET)
    selecting.button.click(act(select, selecting.message), selecting.form, outputs, **QUIET)
    all_btn.click(act(run_all, all_message), whole_form, outputs, **QUIET)
    importing.button.click(act(import_, importing.message), importing.form, outputs, **QUIET)
    importing.button.click(lambda: "", None, importing.preview, **QUIET)  # it says that nothing is imported yet
    asking.button.click(act(ask_pope, asking.message), asking.form, outputs, **QUIET)
    for trigger in (exporting.button.click, *exporting.submits):
        trigger(act(export, exporting.message), exporting.form, outputs, **QUIET)

    def on_tick(visible: bool) -> list:
        return draw_strips(studio) if visible else [gr.skip()] * len(strips)

    visible = gr.Checkbox(True, visible=False)  # what the browser says: a State never goes there
    timer = gr.Timer(TICK)
    timer.tick(on_tick, visible, strips, js=IF_VISIBLE, **QUIET)
    connect_switch(timer, visible, page)
    page.load(lambda: draw_strips(studio), None, strips, **QUIET)


def draw_strips(studio: Studio) -> list[Markup]:
    """Workspace counts, then one strip for each step."""
    runs = studio.runs()
    status = studio.status()
    strips = [draw_workspace(status)]
    for kind in ("import", "sample", "score", "select", "export"):
        strip = _draw_strip(studio, latest(runs, kind), kind, status)
        if kind == "sample":
            strip = join([strip, draw_pilot(runs), draw_samplers(status["samplers"])])
        strips.append(strip)
    return strips


def _draw_strip(studio: Studio, run: Run | None, kind: str, status: dict) -> Markup:
    parts: list[Markup | None] = []
    if run is not None and (kind != "select" or run.state != "finished"):
        log_tail = studio.run_log(run.id, 30) if run.state == "failed" and kind not in SERVER_KINDS else ""
        parts.append(draw_run(run, log_tail, title=False))
        parts.append(draw_warnings(studio.run_warnings(run.id)) if kind != "import" else None)
    if run is not None and kind == "import":
        parts.append(draw_import(run))
    if run is not None and kind == "export" and run.state == "finished":
        parts.append(draw_notice(run.message, good=True))
    if kind == "select" and status["selection"]:
        parts.append(draw_selection(status))
    return join([part for part in parts if part])


def _defaults(studio: Studio) -> tuple[dict[str, Any], str]:
    """The workspace's own settings as the form's first values, and what is missing in config.toml."""
    names = {name: model or "" for name, model in studio.own_models.items()}
    names["sampler"] = "" if names["policy"] else studio.config.policy or ""  # a remote one
    values: dict[str, Any] = dict(names)
    try:
        values.update(dataclasses.asdict(studio.default_sample()) | names)
    except M3poError as error:
        return values, str(error)
    return values, ""
