"""The Data tab: what the workspace holds, import, and the three steps that make pairs, each with its progress."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import gradio as gr

from m3po.errors import BadInputError, M3poError
from m3po.settings import NORMALISATIONS, RULES, SampleConfig, ScoreConfig, SelectConfig
from m3po.studio import Studio
from m3po.types import Run
from ui.data_view import IMPORT_FORMATS, draw_import, draw_notice, draw_selection, draw_workspace
from ui.form import QUIET, numbers, run_command
from ui.formatting import plural
from ui.markup import Markup, join
from ui.run_view import RUN_BUTTONS_JS, draw_run, latest

log = logging.getLogger(__name__)
TICK = 1.0  # seconds between looks at the runs
IF_VISIBLE = "() => [Boolean(document.querySelector('#data-page')?.offsetParent)]"


def build_data_tab(studio: Studio, page: gr.Blocks) -> None:
    """Lay out the tab and connect its buttons; the runs belong to the Studio, the page only looks at them."""
    sample_defaults, problem = _defaults(studio)

    def on_run_button(command: dict) -> dict:
        return run_command(studio, command)

    def run_strip() -> gr.HTML:
        return gr.HTML(
            "",
            server_functions=[on_run_button],
            js_on_load=RUN_BUTTONS_JS,
            apply_default_css=False,
            elem_classes="run-strip",
        )

    with gr.Row(elem_id="data-page", elem_classes="data-page"):
        with gr.Column(scale=5, min_width=380):
            workspace = gr.HTML("", apply_default_css=False, js_on_load=None, elem_id="data-workspace")
            with gr.Column(elem_classes="card-group"):
                gr.HTML("<h2>Import</h2>", apply_default_css=False, js_on_load=None)
                path = gr.Textbox(
                    label="Folder of images or file", placeholder="/path/to/images or data.jsonl", elem_id="import-path"
                )
                with gr.Row():
                    format_ = gr.Dropdown(
                        [(label, value) for value, label in IMPORT_FORMATS.items()],
                        value="auto",
                        label="Format",
                        elem_id="import-format",
                        filterable=False,
                    )
                    strict = gr.Checkbox(
                        label="All or nothing",
                        value=False,
                        info="Refuse the whole file if one row is bad",
                        elem_id="import-strict",
                    )
                import_btn = gr.Button("Import", elem_id="data-import")
                import_strip = run_strip()
        with gr.Column(scale=7, min_width=480):
            message = gr.HTML(
                draw_notice(problem) if problem else "",
                apply_default_css=False,
                js_on_load=None,
                elem_id="data-message",
            )
            all_btn = gr.Button("Run all: sample, score, select", variant="primary", elem_id="data-all")
            with gr.Column(elem_classes="card-group"):
                gr.HTML(
                    "<h2>1 · Sample</h2><p>K answers an instruction from the policy; equal answers become votes.</p>",
                    apply_default_css=False,
                    js_on_load=None,
                )
                with gr.Row(elem_classes="settings"):
                    k = gr.Number(sample_defaults.get("k", 8), label="K", precision=0, minimum=1, elem_id="sample-k")
                    temperature = gr.Number(sample_defaults.get("temperature", 1.0), label="Temperature", step=0.1)
                    top_p = gr.Number(sample_defaults.get("top_p", 1.0), label="Top-p", step=0.05)
                    max_new = gr.Number(sample_defaults.get("max_new_tokens", 128), label="Max tokens", precision=0)
                    limit = gr.Number(sample_defaults.get("limit", 0), label="Limit (0 all)", precision=0)
                    seed = gr.Number(sample_defaults.get("seed", 0), label="Seed", precision=0)
                    sample_btn = gr.Button("Sample", elem_id="data-sample", min_width=90)
                sample_strip = run_strip()
            with gr.Column(elem_classes="card-group"):
                gr.HTML(
                    "<h2>2 · Score</h2><p>Log-probs by the policy, MAS by the scorer, for what has none yet.</p>",
                    apply_default_css=False,
                    js_on_load=None,
                )
                with gr.Row(elem_classes="settings"):
                    policy = gr.Textbox(
                        sample_defaults.get("policy", ""),
                        label="Policy (folder or hub id)",
                        scale=4,
                        elem_id="data-policy",
                    )
                    mas = gr.Textbox(
                        sample_defaults.get("mas", ""),
                        label="MAS scorer (folder or hub id)",
                        scale=4,
                        elem_id="data-mas",
                    )
                    score_btn = gr.Button("Score", elem_id="data-score", min_width=90)
                score_strip = run_strip()
            with gr.Column(elem_classes="card-group"):
                gr.HTML(
                    "<h2>3 · Select</h2><p>The best-aligned answer against the confident wrong one.</p>",
                    apply_default_css=False,
                    js_on_load=None,
                )
                d = studio.current_select()
                with gr.Row(elem_classes="settings"):
                    rule = gr.Dropdown(list(RULES), value=d.rule, label="Rule", filterable=False)
                    weight_chosen = gr.Number(d.weight_chosen, label="w chosen", step=0.05)
                    weight_rejected = gr.Number(d.weight_rejected, label="w rejected", step=0.05)
                    delta = gr.Number(d.delta, label="δ margin", step=0.05)
                    length_ratio = gr.Number(d.length_ratio, label="Length ratio", step=0.5)
                    normalise = gr.Dropdown(
                        list(NORMALISATIONS), value=d.normalise, label="Normalise", filterable=False
                    )
                    select_btn = gr.Button("Select", elem_id="data-select", min_width=90)
                select_strip = run_strip()

    strips = [workspace, import_strip, sample_strip, score_strip, select_strip]

    def act(do: Callable[..., str]) -> Callable[..., list]:
        """A button: the sentence of what it did, or why not, and the strips as they are then."""

        def on_click(*values: Any) -> list:
            try:
                notice = draw_notice(do(*values), good=True)
            except M3poError as error:
                notice = draw_notice(str(error))
            except Exception as error:
                log.exception("data tab")
                notice = draw_notice(f"Unexpected {type(error).__name__}: {error}; the log has the details.")
            return [notice, *draw_strips(studio)]

        return on_click

    def read_sample(policy: str, *values: Any) -> SampleConfig:
        names = ("k", "temperature", "top_p", "max_new_tokens", "limit", "seed")
        named = policy.strip() or studio.default_sample().policy
        return SampleConfig(policy=named, **numbers(dict(zip(names, values, strict=True))))

    def read_score(policy: str, mas: str) -> ScoreConfig:
        return ScoreConfig(policy=policy.strip() or None, mas=mas.strip() or None)

    def read_select(rule: str, normalise: str, *values: Any) -> SelectConfig:
        names = ("weight_chosen", "weight_rejected", "delta", "length_ratio")
        return SelectConfig(rule=rule, normalise=normalise, **numbers(dict(zip(names, values, strict=True))))

    def sample(*values: Any) -> str:
        studio.start_sample(read_sample(*values))
        return "Sampling started; it goes on when this page is closed."

    def score(*values: Any) -> str:
        studio.start_score(read_score(*values))
        return "Scoring started; it goes on when this page is closed."

    def select(*values: Any) -> str:
        done = studio.select(read_select(*values))
        return f"{plural(done['pairs'], 'pair')} selected, frozen as {done['content_hash'][:12]}."

    def run_all(*values: Any) -> str:
        of_sample, of_score = values[: len(sample_form)], values[len(sample_form) : -len(select_form)]
        sample_config = read_sample(*of_sample)
        score_config = dataclasses.replace(read_score(*of_score), policy=sample_config.policy)
        studio.start_pipeline(sample_config, score_config, read_select(*values[-len(select_form) :]))
        return "Sampling, scoring and selecting, one after another; it goes on when this page is closed."

    def import_(path: str, format_: str, strict: bool) -> str:
        if not path.strip():
            raise BadInputError("Give the path of a folder or file to import.")
        studio.start_import(path.strip(), format=format_, strict=strict)
        return "Import started; it goes on when this page is closed."

    outputs = [message, *strips]
    sample_form = [policy, k, temperature, top_p, max_new, limit, seed]
    score_form = [policy, mas]
    select_form = [rule, normalise, weight_chosen, weight_rejected, delta, length_ratio]
    sample_btn.click(act(sample), sample_form, outputs, **QUIET)
    score_btn.click(act(score), score_form, outputs, **QUIET)
    select_btn.click(act(select), select_form, outputs, **QUIET)
    all_btn.click(act(run_all), [*sample_form, *score_form, *select_form], outputs, **QUIET)
    for trigger in (import_btn.click, path.submit):
        trigger(act(import_), [path, format_, strict], outputs, **QUIET)

    def on_tick(visible: bool) -> list:
        return draw_strips(studio) if visible else [gr.skip()] * len(strips)

    visible = gr.Checkbox(True, visible=False)  # what the browser says: a State never goes there
    gr.Timer(TICK).tick(on_tick, visible, strips, js=IF_VISIBLE, **QUIET)
    page.load(lambda: draw_strips(studio), None, strips, **QUIET)


def draw_strips(studio: Studio) -> list[Markup]:
    """Workspace counts, then one strip for each step."""
    runs = studio.runs()
    status = studio.status()
    strips = [draw_workspace(status)]
    for kind in ("import", "sample", "score", "select"):
        strips.append(_draw_strip(studio, latest(runs, kind), kind, status))
    return strips


def _draw_strip(studio: Studio, run: Run | None, kind: str, status: dict) -> Markup:
    parts: list[Markup | None] = []
    if run is not None and (kind != "select" or run.state != "finished"):
        log_tail = studio.run_log(run.id, 30) if run.state == "failed" and kind != "import" else ""
        parts.append(draw_run(run, log_tail, title=False))
    if run is not None and kind == "import":
        parts.append(draw_import(run))
    if kind == "select" and status["selection"]:
        parts.append(draw_selection(status))
    return join([part for part in parts if part])


def _defaults(studio: Studio) -> tuple[dict[str, Any], str]:
    """The workspace's own settings as the form's first values, and what is missing in config.toml."""
    values: dict[str, Any] = {"policy": studio.config.policy or "", "mas": studio.config.mas or ""}
    try:
        values.update(dataclasses.asdict(studio.default_sample()))
    except M3poError as error:
        return values, str(error)
    return values, ""
