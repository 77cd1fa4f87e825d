"""The People tab: how far everybody is and how far they agree, assignments, and what waits for a last word."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import gradio as gr

from m3po.assigning import STRATA
from m3po.errors import M3poError
from m3po.studio import Studio
from ui.cards import draw_heading
from ui.data_view import draw_notice
from ui.form import QUIET, numbers
from ui.formatting import plural
from ui.markup import Markup
from ui.people_view import draw_agreement, draw_assignments, draw_disputes, draw_people

log = logging.getLogger(__name__)
TICK = 5.0  # seconds
IF_VISIBLE = "() => [Boolean(document.querySelector('#people-page')?.offsetParent)]"
STRATA_LABELS = {"m3p_score": "M3P-Score, by tenths", "source": "Source", "none": "Nothing"}


def build_people_tab(studio: Studio, page: gr.Blocks, tab: gr.Tab) -> None:
    """Lay out the tab and connect its buttons; figures are read anew whenever one looks."""

    def html(element_id: str) -> gr.HTML:
        return gr.HTML("", apply_default_css=False, js_on_load=None, elem_id=element_id)

    with gr.Column(elem_id="people-page", elem_classes="data-page"):
        message = html("people-message")
        people = html("people-figures")
        with gr.Row():
            with gr.Column(scale=6, min_width=420):
                with gr.Column(elem_classes="card-group not-annotator"):
                    draw_heading("Agreement")
                    agreement = html("people-agreement")
                with gr.Column(elem_classes="card-group curator-only"):
                    draw_heading("Disagreements", "Kept out of training until a majority forms or you decide.")
                    disputes = html("people-disputes")
            with gr.Column(scale=5, min_width=380):
                with gr.Column(elem_classes="card-group"):
                    draw_heading("Assignments")
                    assignments = html("people-assignments")
                    with gr.Column(elem_classes="curator-only"):
                        form, assign_btn = _build_assign_form()
                        with gr.Row(elem_classes="settings"):
                            number = gr.Number(1, label="Assignment", precision=0,
                                               elem_id="people-overlap-of")  # fmt: skip
                            share = gr.Number(10, label="For everybody, %", elem_id="people-overlap-share")
                            overlap_btn = gr.Button("Set overlap", elem_id="people-overlap", min_width=90)
                with gr.Column(elem_classes="card-group curator-only"):
                    draw_heading("History", "Every decision: who, when, what, on what was shown, and whether undone.")
                    out = gr.Textbox(label="File to write", placeholder="/path/to/decisions.csv or .jsonl",
                                     elem_id="people-history-path")  # fmt: skip
                    history_btn = gr.Button("Write history", elem_id="people-history")
    drawn = [people, agreement, assignments, disputes]

    def draw() -> list[Markup | None]:
        found = studio.people.overview()
        return [draw_people(found), draw_agreement(found) or "", draw_assignments(found["assignments"]) or "",
                draw_disputes(found)]  # fmt: skip

    def act(do: Callable[..., str]) -> Callable[..., list]:
        def on_click(*values: Any) -> list:
            try:
                notice = draw_notice(do(*values), good=True)
            except M3poError as error:
                notice = draw_notice(str(error))
            except Exception as error:
                log.exception("people tab")
                notice = draw_notice(f"Unexpected {type(error).__name__}: {error}; the log has the details.")
            return [notice, *draw()]

        return on_click

    def assign(names: str, items: float, overlap: float, gold: float, stratify: str, blind: bool, seed: float) -> str:
        given = numbers({"Items": items, "For everybody": overlap, "Gold items": gold, "Seed": seed})
        made = studio.people.assign(
            names.replace("\n", ",").split(","),
            items=int(given["Items"]), overlap=given["For everybody"] / 100, gold=int(given["Gold items"]),
            stratify=stratify, blind=bool(blind), seed=int(given["Seed"]),
        )  # fmt: skip
        return (
            f"Assignment {made['assignment_id']}: {plural(made['items'], 'item')} for {', '.join(made['annotators'])}."
        )

    def set_overlap(assignment: float, share: float) -> str:
        given = numbers({"Assignment": assignment, "For everybody": share})
        studio.people.set_overlap(int(given["Assignment"]), given["For everybody"] / 100)
        return f"{share:.0f} % of the items of assignment {int(assignment)} are for everybody now."

    def write_history(out: str) -> str:
        done = studio.people.write_history(out.strip())
        return f"{plural(done['rows'], 'decision')} in {done['path']}."

    def on_tick(visible: bool) -> list:
        return draw() if visible else [gr.skip()] * len(drawn)

    assign_btn.click(act(assign), form, [message, *drawn], **QUIET)
    overlap_btn.click(act(set_overlap), [number, share], [message, *drawn], **QUIET)
    history_btn.click(act(write_history), out, [message, *drawn], **QUIET)
    visible = gr.Checkbox(True, visible=False)  # what the browser says: a State never goes there
    tab.select(draw, None, drawn, **QUIET)
    page.load(draw, None, drawn, **QUIET)
    gr.Timer(TICK).tick(on_tick, visible, drawn, js=IF_VISIBLE, **QUIET)


def _build_assign_form() -> tuple[list, gr.Button]:
    names = gr.Textbox(label="Annotators, by comma", placeholder="ann, bob", elem_id="people-names")
    with gr.Row(elem_classes="settings"):
        items = gr.Number(100, label="Items", precision=0, elem_id="people-items")
        overlap = gr.Number(10, label="For everybody, %", elem_id="people-share")
        gold = gr.Number(0, label="Gold items", precision=0, elem_id="people-gold")
        seed = gr.Number(0, label="Seed", precision=0)
    stratify = gr.Dropdown([(STRATA_LABELS[name], name) for name in STRATA], value=STRATA[0],
                           label="In proportion by", filterable=False)  # fmt: skip
    blind = gr.Checkbox(
        False, label="Blind: no scores, picks or others' decisions before the vote", elem_id="people-blind"
    )
    button = gr.Button("Assign", elem_id="people-assign", variant="primary")
    return [names, items, overlap, gold, stratify, blind, seed], button
