"""The curves of the Fine-tune tab: of the run that is shown, with others laid over it by choice."""

from __future__ import annotations

import gradio as gr

from m3po.studio import Studio
from m3po.types import Run
from ui.curves import STEP, TIME, plot_curves
from ui.formatting import STATE_LABELS
from ui.markup import tag

POINTS = 300  # of a curve; more would be no pixel of it
OVERLAID = 5


class CurvesCard:
    """Lays itself out where it is made. `settings`: what chooses what is drawn; `outputs`: what `draw` returns, in
    their order, of which `seen`, what was drawn last, comes along with every call."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        with gr.Column(visible=False) as self.drawn:
            with gr.Row(elem_classes="settings curve-settings", elem_id="train-curve-settings"):
                self.others = gr.Dropdown(
                    [], multiselect=True, max_choices=OVERLAID, label="Lay over", elem_id="train-others", scale=3
                )
                self.smoothing = gr.Slider(0, 0.98, value=0, step=0.02, label="Smoothing", elem_id="train-smoothing")
                self.by = gr.Dropdown([("Steps", STEP), ("Time", TIME)], value=STEP, label="Against", filterable=False,
                                      elem_id="train-axis", scale=1)  # fmt: skip
            self.plot = gr.Plot(elem_id="train-plot", show_label=False, container=False)
        self.none = gr.HTML("", apply_default_css=False, js_on_load=None, elem_id="train-no-curves")
        self.seen = gr.State({"runs": [], "drawn": ""})
        self.settings = [self.others, self.smoothing, self.by]
        self.outputs = [self.drawn, self.none, self.plot, self.others, self.seen]

    def draw(self, run: Run | None, others: list[int] | None, smoothing: float, by: str, seen: dict) -> list:
        """The curves where they are others than those drawn last, and the runs that can be laid over them; before
        the first point, when they come."""
        if run is None:
            return [gr.Column(visible=False), "", gr.skip(), gr.skip(), seen]
        known = [other for other in self._studio.runs(("train",)) if other.id != run.id and other.started_at]
        names = [(name_run(other), other.id) for other in known]
        chosen = [other for other in others or [] if other in {known.id for known in known}]
        shown = [run.id, *chosen]
        counts = {run_id: self._studio.count_metrics(run_id) for run_id in shown}
        drawn = repr((counts, smoothing, by))
        if not any(counts.values()):
            words = tag("p", "The curves come with the first step.", class_="quiet") if run.active else ""
            return [gr.Column(visible=False), words, gr.skip(), gr.skip(), {**seen, "drawn": ""}]
        return [
            gr.Column(visible=True),
            "",
            gr.skip() if drawn == seen["drawn"] else self._plot(shown, smoothing, by),
            gr.skip() if names == seen["runs"] else gr.Dropdown(choices=names, value=chosen),
            {"runs": names, "drawn": drawn},
        ]

    def _plot(self, shown: list[int], smoothing: float, by: str):
        curves = {run_id: self._studio.run_metrics(run_id, POINTS) for run_id in shown}
        return plot_curves(curves, smoothing, by, shown[0])


def name_run(run: Run) -> str:
    """A run among others: its number, what it is of, and how it ended."""
    config = run.config
    what = f"{config.get('preset', '')} {str(config.get('method', '')).upper()}".strip()
    return f"Run {run.id} · {what} · {STATE_LABELS.get(run.state, run.state)}"
