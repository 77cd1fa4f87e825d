"""The Results tab: every run with its figures before and after, and what the model answers now."""

from __future__ import annotations

import gradio as gr

from m3po.errors import M3poError
from m3po.studio import Studio
from ui.data_view import draw_notice
from ui.form import QUIET
from ui.markup import join, tag
from ui.plots import plot_before_after
from ui.results_view import common_metrics, draw_metrics, draw_no_results, draw_overview, draw_samples, judge

TICK = 3.0
SAMPLES = 12
IF_VISIBLE = "(...values) => [Boolean(document.querySelector('#results-page')?.offsetParent), ...values.slice(1)]"
PICK_JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-show-run]');
  if (button) trigger('pick', {run_id: Number(button.dataset.showRun)});
});
"""


def build_results_tab(studio: Studio, page: gr.Blocks, tab: gr.Tab) -> None:
    """Lay out the tab. `wanted` is the run that was clicked; without a click, the newest one that was measured."""
    with gr.Column(elem_id="results-page", elem_classes="results-page"):
        overview = gr.HTML(draw_no_results(), js_on_load=PICK_JS, apply_default_css=False, elem_id="results-overview")
        with gr.Row():
            with gr.Column(scale=6, min_width=600):
                table = gr.HTML("", js_on_load=None, apply_default_css=False, elem_id="results-table")
            with gr.Column(scale=5, min_width=420, visible=False) as beside:
                plot = gr.Plot(elem_id="results-plot", show_label=False, container=False)
        with gr.Column(visible=False) as below:
            changed = gr.Checkbox(label="Only answers that changed", value=True, elem_id="results-changed")
            samples = gr.HTML("", js_on_load=None, apply_default_css=False, elem_id="results-samples")
    wanted, seen = gr.State(None), gr.State("")
    outputs = [overview, table, beside, plot, below, samples, seen]

    def draw(wanted: int | None, changed: bool, seen: str) -> list:
        results = studio.results()
        if not results:
            return [draw_no_results(), "", gr.Column(visible=False), gr.skip(), gr.Column(visible=False), "", ""]
        finished = next((r for r in results if r["after"]), results[0])
        result = next((r for r in results if r["run"].id == wanted), finished)
        run = result["run"]
        mark = (
            f"{[(r['run'].id, r['run'].state, bool(r['before']), bool(r['after'])) for r in results]}{run.id}{changed}"
        )
        if mark == seen:
            return [gr.skip()] * len(outputs)
        try:
            found = studio.result_samples(run.id, limit=SAMPLES, changed_only=changed) if result["after"] else []
            drawn = draw_samples(found)
        except M3poError as error:
            drawn = draw_notice(str(error))
        rows = [
            (metric.label, result["before"][metric.key], result["after"][metric.key], judge(metric, result))
            for metric in (common_metrics(result) if result["before"] and result["after"] else [])
            if metric.unit == "fraction"
            and result["before"].get(metric.key) is not None
            and result["after"].get(metric.key) is not None
        ]
        return [
            draw_overview(results, run.id),
            join([tag("h2", f"Run {run.id}: before and after"), draw_metrics(result)]),
            gr.Column(visible=bool(rows)),
            plot_before_after(rows, run.id) if rows else gr.skip(),
            gr.Column(visible=bool(result["after"])),
            drawn,
            mark,
        ]

    def on_pick(event: gr.EventData, changed: bool) -> list:
        run_id = event._data.get("run_id") if isinstance(event._data, dict) else None
        return [run_id, *draw(run_id, changed, "")]

    def on_tick(visible: bool, wanted: int | None, changed: bool, seen: str) -> list:
        return draw(wanted, changed, seen) if visible else [gr.skip()] * len(outputs)

    overview.pick(on_pick, changed, [wanted, *outputs], **QUIET)
    changed.input(lambda wanted, changed: draw(wanted, changed, ""), [wanted, changed], outputs, **QUIET)
    tab.select(draw, [wanted, changed, seen], outputs, **QUIET)
    page.load(draw, [wanted, changed, seen], outputs, **QUIET)
    visible = gr.Checkbox(True, visible=False)  # what the browser says: a State never goes there
    gr.Timer(TICK).tick(on_tick, [visible, wanted, changed, seen], outputs, js=IF_VISIBLE, **QUIET)
