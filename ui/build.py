"""The page: a head and its tabs on one Studio."""

from __future__ import annotations

import json

import gradio as gr

from m3po.door import Door, acting_as
from m3po.studio import Studio
from m3po.users import OWNER
from ui.browse_tab import build_browse_tab
from ui.calibrate.tab import build_calibrate_tab
from ui.data_tab import build_data_tab
from ui.markup import Markup, tag
from ui.people_tab import build_people_tab
from ui.playground_tab import build_playground_tab
from ui.results_tab import build_results_tab
from ui.review.tab import build_review_tab
from ui.train_tab import build_train_tab

TABS = ("data", "browse", "review", "calibrate", "people", "train", "results", "playground")
ANNOTATORS = ("review", "people")  # the tabs of those who only judge; people.css shows no other


def build(studio: Studio) -> gr.Blocks:
    """Lay out the page. Everything shown is read from `studio` when a browser asks: nothing is kept here.

    The page gets the Studio's door alone, which knows of each request whose it is (see ui/server.py).
    """
    with acting_as(OWNER):  # what is laid out is the same for all; what is in it, and may be done, is not
        return _build(Door(studio))


def _build(studio: Door) -> gr.Blocks:
    # What is drawn first is what most come for; on_load knows better, but only when all of it is there.
    first = "review" if studio.status()["pairs"] else "data"
    with gr.Blocks(title="M3PO Studio", analytics_enabled=False, fill_width=True, elem_id="m3po") as page:
        gr.HTML(_draw_head(studio), elem_id="head", apply_default_css=False, js_on_load=None)
        with gr.Tabs(elem_id="tabs", selected=first) as tabs:
            with gr.Tab("Data", id="data"):
                build_data_tab(studio, page)
            with gr.Tab("Browse", id="browse"):
                build_browse_tab(studio)
            with gr.Tab("Review", id="review"):
                build_review_tab(studio)
            with gr.Tab("Calibrate", id="calibrate"):
                build_calibrate_tab(studio)
            with gr.Tab("People", id="people") as people_tab:
                build_people_tab(studio, page, people_tab)
            with gr.Tab("Fine-tune", id="train") as train_tab:
                build_train_tab(studio, page, train_tab)
            with gr.Tab("Results", id="results") as results_tab:
                build_results_tab(studio, page, results_tab)
            with gr.Tab("Playground", id="playground"):
                build_playground_tab(studio)

        def on_load(fragment: str | None) -> dict:
            name = str(fragment or "").lstrip("#").partition("?")[0]  # a view may follow
            judges = studio.user.role == "annotator"
            asks = name == "playground" and studio.user.role != "curator"
            if asks or name not in (ANNOTATORS if judges else TABS):
                name = "review" if judges or studio.status()["pairs"] else "data"
            # Where it is open already, nothing is said: this may come after the first click on another tab.
            return gr.skip() if name == first else gr.Tabs(selected=name)

        _tick_where_one_looks(page, first)

        # `fragment` comes from the browser: the tab that was open before a reload.
        fragment = gr.Textbox(visible=False)
        page.load(
            on_load, fragment, tabs, js="() => [location.hash]", queue=False, show_progress="hidden",
            api_visibility="private",
        )  # fmt: skip
    return page


def _tick_where_one_looks(page: gr.Blocks, first: str) -> None:
    """The timers of a tab run while it is open: a page that somebody reviews on asks nothing for the other tabs."""
    tabs = [block for block in page.blocks.values() if isinstance(block, gr.Tab)]
    timers = [block for block in page.blocks.values() if isinstance(block, gr.Timer)]
    for timer in timers:
        timer.active = _tab_of(timer).id == first
    for tab in tabs:
        active = [{"__type__": "update", "active": _tab_of(timer) is tab} for timer in timers]
        tab.select(None, None, timers, js=f"() => {json.dumps(active)}", show_progress="hidden")


def _tab_of(block: gr.blocks.Block) -> gr.Tab | None:
    while block is not None and not isinstance(block, gr.Tab):
        block = block.parent
    return block


def _draw_head(studio: Studio) -> Markup:
    return tag(
        "div",
        tag("span", tag("b", "M3PO"), " Studio", class_="brand"),
        tag("span", studio.path.name, class_="quiet workspace-name", title=studio.path.name),
        tag("span", id="who", class_="quiet"),  # page.js: who is logged in, and the way out
        tag(
            "button",
            id="theme-toggle",
            type="button",
            class_="plain",
            aria_label="Switch between light and dark",
            title="Switch between light and dark",
        ),
        class_="page-head",
    )
