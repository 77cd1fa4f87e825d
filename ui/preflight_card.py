"""The card *Check the pairs* of the Fine-tune tab: one button, and what the check found, kind by kind."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import gradio as gr

from m3po.errors import M3poError
from m3po.settings import TrainConfig
from m3po.studio import Studio
from m3po.training.pair_checks import KINDS
from ui.cards import draw_heading
from ui.data_view import draw_notice
from ui.form import run_command
from ui.markup import join
from ui.plots import plot_lengths
from ui.preflight_view import PAGE, Look, draw_check
from ui.run_view import RUN_BUTTONS_JS

log = logging.getLogger(__name__)
# One listener, which survives every redraw: what a button is about stands in its data.
ACT_JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-op], [data-offset]');
  if (button && !button.disabled) trigger('act', {op: 'page', ...button.dataset});
});
"""


class PreflightCard:
    """Lays itself out where it is made. `outputs`: what `look`, `act` and `tick` return, in their order; `state` comes
    along with every call."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

        def on_run_button(command: dict) -> dict:
            return run_command(studio, command)

        with gr.Column(elem_classes="card-group", elem_id="preflight-card"):
            with gr.Row(elem_classes="settings"):
                draw_heading("Check the pairs")
                self.button = gr.Button("Check", elem_id="preflight-start", elem_classes="curator-only")
            self.found = gr.HTML(
                "", server_functions=[on_run_button], js_on_load=RUN_BUTTONS_JS + ACT_JS, apply_default_css=False,
                elem_id="preflight-found",
            )  # fmt: skip
            with gr.Accordion("Lengths of the answers", open=False, visible=False, elem_id="preflight-lengths") as fold:
                self.plot = gr.Plot(elem_id="preflight-plot", show_label=False, container=False)
        self.fold = fold
        self.state = gr.State({"kind": "", "offset": 0, "seen": "", "plotted": None})
        self.outputs = [self.found, self.fold, self.plot, self.state]

    def start(self, read: Callable[[], TrainConfig], state: dict) -> list:
        """Begin a check of what `read` gives, unless one is at work already."""
        return self._try(self._start, read, state)

    def act(self, data: object, read: Callable[[], TrainConfig], state: dict) -> list:
        """A button inside the card; `data` comes over the network."""
        return self._try(lambda config: self._act(data if isinstance(data, dict) else {}, state), read, state)

    def look(self, read: Callable[[], TrainConfig], state: dict) -> list:
        """The card as it is now."""
        return self._try(lambda config: state, read, state)

    def tick(self, read: Callable[[], TrainConfig], state: dict) -> list:
        """The card again where a check moved on; nothing else is read."""
        if self._mark() == state["seen"]:
            return [gr.skip()] * len(self.outputs)
        return self.look(read, state)

    def _mark(self) -> str:
        newest = self._studio.runs(("preflight",), 1)
        return repr([(run.id, run.state, run.done, run.message) for run in newest])

    def _try(self, change: Callable[[TrainConfig], dict], read: Callable[[], TrainConfig], state: dict) -> list:
        problem = None
        try:
            config = read()
            try:
                state = change(config)
            except M3poError as error:
                problem = draw_notice(str(error))
            return self._draw(config, state, problem)
        except M3poError as error:
            return [draw_notice(str(error)), gr.skip(), gr.skip(), state]
        except Exception as error:
            log.exception("the check of the pairs")
            words = f"Unexpected {type(error).__name__}: {error}; the log has the details."
            return [draw_notice(words), gr.skip(), gr.skip(), state]

    def _start(self, config: TrainConfig) -> dict:
        if not any(run.active for run in self._studio.runs(("preflight",), 5)):  # a double click is one check
            self._studio.preflight.start(config)
        return {"kind": "", "offset": 0, "seen": "", "plotted": None}

    def _act(self, data: dict, state: dict) -> dict:
        kind = data.get("kind") if data.get("kind") in KINDS else state["kind"]
        op, run_id = data.get("op"), state.get("run")
        if op == "show":
            return state | {"kind": "" if kind == state["kind"] else kind, "offset": 0}
        if op == "page":
            return state | {"offset": _whole(data.get("offset"))}
        if op == "include_others" and run_id is not None:
            self._studio.preflight.include(run_id, others=True)
        if op in ("exclude", "include") and run_id is not None:
            change = getattr(self._studio.preflight, op)
            item = _whole(data.get("id"))
            if ("id" in data and not item) or ("kind" in data and data["kind"] != kind):
                return state  # what cannot be read never stands for more than it names
            if item and op == "include":
                change(instruction_ids=[item])
            elif item:
                change(run_id, [kind], [item])
            else:
                change(run_id, [kind])
        return state

    def _draw(self, config: TrainConfig, state: dict, problem: str | None) -> list:
        seen = self._mark()
        report = self._studio.preflight.report(config)
        run_id, look, found = report["checked_run"], Look(state["kind"], state["offset"]), None
        if run_id is not None and look.kind in report["kinds"]:
            found = self._studio.preflight.findings(run_id, [look.kind], PAGE, look.offset)
        run = report["run"]
        failed = run is not None and run.state in ("failed", "interrupted")
        log_tail = self._studio.run_log(run.id, 20) if failed else ""
        warnings = [] if run_id is None else self._studio.run_warnings(run_id)
        drawn = draw_check(report, look, found, log_tail, warnings)
        lengths = report["result"]["lengths"] if run_id is not None and report["state"] != "working" else None
        fold: Any = gr.skip()
        plot: Any = gr.skip()
        if lengths != state["plotted"]:
            told = bool(lengths and lengths["pairs"])
            fold = gr.Accordion(visible=told)
            plot = plot_lengths(lengths, run_id) if told else gr.skip()
        return [join([problem, drawn]), fold, plot, state | {"seen": seen, "plotted": lengths, "run": run_id}]


def _whole(value: object) -> int:
    text = str(value)
    return int(text) if text.isdecimal() and len(text) < 18 else 0
