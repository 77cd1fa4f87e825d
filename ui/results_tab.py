"""The Results tab: every run with its figures before and after, and what the model answers now."""

from __future__ import annotations

from typing import Any

import gradio as gr

from m3po.errors import M3poError
from m3po.evaluation.results_plot import plot_results
from m3po.studio import Studio
from ui.compare_card import build_compare_card
from ui.data_view import draw_notice
from ui.form import QUIET
from ui.judge_card import JudgeCard
from ui.lineage_card import LineageCard
from ui.markup import join, tag
from ui.plots import dress
from ui.results_view import draw_downloads, draw_metrics, draw_newer, draw_no_results, draw_overview, draw_sections
from ui.run_actions import RunActions
from ui.samples_view import draw_pager, draw_samples, label_kinds
from ui.sides_tab import build_sides
from ui.train_view import state_of

TICK = 3.0
SAMPLES = 12
IF_VISIBLE = "(...values) => [Boolean(document.querySelector('#results-page')?.offsetParent), ...values.slice(1)]"
PICK_JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-show-run]');
  if (button) trigger('pick', {run_id: Number(button.dataset.showRun)});
});
"""
SECTIONS_JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-section]');
  if (!button) return;
  const section = document.querySelector(button.dataset.section);
  if (section.tagName === 'DETAILS') section.open = true;
  section.scrollIntoView({behavior: 'smooth', block: 'start'});
});
"""
PAGE_JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-offset]');
  if (button) trigger('turn', {offset: Number(button.dataset.offset)});
});
"""


def build_results_tab(studio: Studio, page: gr.Blocks, tab: gr.Tab) -> None:
    """Lay out the tab. `wanted` is the run that was clicked; `shown` the one that is looked at, which buttons act on.

    Without a click it is the newest one that was measured when the tab was opened; it changes by no timer."""
    with gr.Column(elem_id="results-page", elem_classes="results-page"):
        gr.HTML(draw_sections(), js_on_load=SECTIONS_JS, apply_default_css=False, elem_id="results-sections")
        overview = gr.HTML(draw_no_results(), js_on_load=PICK_JS, apply_default_css=False, elem_id="results-overview")
        with gr.Row():
            with gr.Column(scale=7, min_width=600):
                table = gr.HTML("", js_on_load=None, apply_default_css=False, elem_id="results-table")
                newer = gr.HTML("", js_on_load=PICK_JS, apply_default_css=False)
            with gr.Column(scale=5, min_width=420):
                with gr.Column(visible=False) as beside:
                    plot = gr.Plot(elem_id="results-plot", show_label=False, container=False)
                judging = JudgeCard(studio)
                actions = RunActions(studio)
        origin = LineageCard(studio)
        with gr.Column(visible=False) as below:
            show = gr.Radio(
                label_kinds({}), value="changed", label="Held-out answers", elem_id="results-show", container=False
            )
            samples = gr.HTML("", js_on_load=PAGE_JS, apply_default_css=False, elem_id="results-samples")
        build_sides(studio)
        build_compare_card(studio, page, tab)
    wanted, seen, offset, shown = gr.State(None), gr.State(""), gr.State(0), gr.State(None)
    outputs = [overview, newer, table, beside, plot, judging.html, below, show, samples, origin.html, shown, seen,
               *actions.buttons]  # fmt: skip

    def draw(wanted: int | None, show: str, offset: int, seen: str, other: int | None, held: int | None = None) -> list:
        results = studio.results()
        if not results:
            hidden = gr.Column(visible=False)
            nothing = [draw_no_results(), "", "", hidden, gr.skip(), "", hidden, gr.skip(), "", "", None, ""]
            return nothing + actions.draw(None)
        result = shown_run(results, wanted, held)
        run = result["run"]
        states = [(r["run"].id, state_of(r), bool(r["before"]), bool(r["after"])) for r in results]
        judged = studio.judging.newest(run.id)
        mark = repr((states, run.id, show, offset, judged and (judged.id, judged.state, judged.done)))
        if mark == seen:
            return [gr.skip()] * len(outputs)
        kinds = gr.skip()
        try:
            found = studio.result_samples(run.id, limit=SAMPLES, show=show, offset=offset)
            drawn = join([draw_samples(found["rows"]), draw_pager(offset, SAMPLES, found["counts"][show])])
            kinds = gr.Radio(choices=label_kinds(found["counts"]))
        except M3poError as error:
            drawn = draw_notice(str(error))
        report = studio.reports.read(run.id)
        plotted = bool(result["after"])
        newest = shown_run(results, None)["run"].id if held and not wanted else None
        return [
            draw_overview(results, run.id),
            draw_newer(newest, run.id) or "",
            join([
                tag("h2", f"Run {run.id}: before and after"), draw_metrics(result),
                draw_downloads(report) if plotted else None,
            ]),
            gr.Column(visible=plotted),
            dress(plot_results(report), run.id) if plotted else gr.skip(),
            judging.draw(run.id, report["win_rates"]),
            gr.Column(visible=plotted),
            kinds,
            drawn,
            origin.draw(run.id, other),
            run.id,
            mark,
            *actions.draw(run),
        ]  # fmt: skip

    def on_pick(event: gr.EventData, show: str, other: int | None) -> list:
        run_id = event._data.get("run_id") if isinstance(event._data, dict) else None
        return [run_id, 0, *draw(run_id, show, 0, "", other)]

    def on_page(event: gr.EventData, wanted: int | None, show: str, other: int | None, held: int | None) -> list:
        asked = event._data.get("offset") if isinstance(event._data, dict) else None
        offset = max(asked, 0) if isinstance(asked, int) else 0
        return [offset, *draw(wanted, show, offset, "", other, held)]

    def on_show(wanted: int | None, show: str, other: int | None, held: int | None) -> list:
        return [0, *draw(wanted, show, 0, "", other, held)]

    def on_compare(event: gr.EventData, held: int | None) -> list:
        other = event._data.get("other") if isinstance(event._data, dict) else None
        other = other if isinstance(other, int) else None
        return [other, origin.draw(held, other) if held else ""]

    def on_tick(visible: bool, *values: Any) -> list:
        return draw(*values) if visible else [gr.skip()] * len(outputs)

    actions.connect(shown, lambda held: studio.run(held) if held else None)
    judging.connect(shown)
    state = [wanted, show, offset, seen, origin.other]
    for list_of_runs in (overview, newer):
        list_of_runs.pick(on_pick, [show, origin.other], [wanted, offset, *outputs], **QUIET)
    show.input(on_show, [wanted, show, origin.other, shown], [offset, *outputs], **QUIET)
    samples.turn(on_page, [wanted, show, origin.other, shown], [offset, *outputs], **QUIET)
    origin.html.compare(on_compare, shown, [origin.other, origin.html], **QUIET)
    tab.select(draw, state, outputs, **QUIET)
    page.load(draw, state, outputs, **QUIET)
    visible = gr.Checkbox(True, visible=False)  # what the browser says: a State never goes there
    gr.Timer(TICK).tick(on_tick, [visible, *state, shown], outputs, js=IF_VISIBLE, **QUIET)


def shown_run(results: list[dict], wanted: int | None, held: int | None = None) -> dict | None:
    """The run that was clicked (`wanted`), else the one that is looked at (`held`), else the newest one that was
    measured, else the newest. One of a comparison is shown when it is clicked, or there is no other: it would take the
    place of what somebody looks at."""
    if not results:
        return None
    own = [r for r in results if not r["config"].get("comparison")] or results
    measured = next((r for r in own if r["after"]), own[0])
    asked = (next((r for r in results if r["run"].id == number), None) for number in (wanted, held))
    return next(filter(None, asked), measured)
