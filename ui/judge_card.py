"""What scorers say of a run's answers, on the Results tab: judge them by one, and the win rates that are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import gradio as gr

from m3po.errors import BadInputError
from m3po.evaluation.paired import LEVEL
from m3po.evaluation.results_table import show_rate
from m3po.scorer_spec import short_name
from m3po.studio import Studio
from m3po.types import Run
from ui.cards import build_message, draw_heading
from ui.data_view import draw_notice
from ui.form import QUIET
from ui.formatting import STATE_LABELS, count, number
from ui.framed import say_error
from ui.markup import Markup, join, tag
from ui.run_view import draw_bar

WHY = (
    "Of the held-out instructions that are no benchmark's, where the two answers differ in MAS: the share that the "
    "answer after wins. Equal answers and equal MAS are ties and count for neither side. In brackets the 95 % "
    "interval, by bootstrap over images; p by swapping the two answers, image by image."
)


class JudgeCard:
    """The card; `draw` is its list for a run, `connect` ties the button to what is shown."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        with gr.Column(elem_classes="card-group", elem_id="judge-card"):
            draw_heading("Win rate by a scorer", "Which answers does MAS prefer, those before or those after?")
            with gr.Row(elem_classes="settings curator-only"):
                self._mas = gr.Textbox(
                    label="Scorer", placeholder="the workspace's own; or vqa:MODEL, 0.5*clip:A + 0.5*vqa:B ...",
                    elem_id="judge-mas",
                )  # fmt: skip
                self._against = gr.Number(0, label="Against run, 0 = before it", precision=0, elem_id="judge-against")
                self._button = gr.Button("Judge", elem_id="judge-start")
            self._message = build_message("judge")
            self.html = gr.HTML("", js_on_load=None, apply_default_css=False, elem_id="judge-rates")

    def connect(self, shown: gr.State) -> None:
        def on_judge(run_id: int | None, mas: str, against: int | None) -> list:
            try:
                if run_id is None:
                    raise BadInputError("There is no run yet: fine-tune once.")
                run = self._studio.judging.start(run_id, mas.strip() or None, against or None)
                said = f"Run {run_id} was judged by this scorer before." if run.state == "finished" else ""
                return [draw_notice(said, good=True) if said else "", self.draw(run_id)]
            except Exception as error:
                return [draw_notice(say_error(error, "results", run_id)), gr.skip()]

        self._button.click(on_judge, [shown, self._mas, self._against], [self._message, self.html], **QUIET)

    def draw(self, run_id: int, rates: Sequence[Mapping] | None = None) -> Markup:
        """`rates`: those of the run's report, where it was read already."""
        if rates is None:
            rates = self._studio.reports.read(run_id)["win_rates"]
        return join([self._draw_newest(self._studio.judging.newest(run_id)), draw_rates(rates)])

    @staticmethod
    def _draw_newest(run: Run | None) -> Markup | None:
        """The newest judging while it is not over, or where it went wrong."""
        if run is None or run.state == "finished":
            return None
        words = f"Run {run.id} by {short_name(run.config['mas'])}: {STATE_LABELS.get(run.state, run.state)}"
        told = f"{words}. {run.message}" if run.message and not run.active else f"{words}."
        return join(
            [tag("p", told, class_="quiet" if run.active else "problem"), draw_bar(run) if run.active else None]
        )


def draw_rates(rates: Sequence[Mapping]) -> Markup:
    if not rates:
        return tag("p", "No scorer has judged these answers yet.", class_="quiet")
    head = tag(
        "tr", *[tag("th", name, scope="col") for name in ("Scorer", "Against", "Win rate", "Won", "Lost", "Tied", "p")]
    )
    rows = []
    for rate in rates:
        sure = rate["p"] is not None and rate["p"] < LEVEL
        judged = ("better" if rate["win_rate"] > 0.5 else "worse") if sure else "noise"
        mark = {"better": "▲ ", "worse": "▼ ", "noise": ""}[judged]
        rows.append(
            tag(
                "tr",
                tag("th", short_name(rate["scorer"]), scope="row", title=rate["scorer"]),
                tag("td", rate["against"]),
                tag("td", mark, show_rate(rate), class_=f"num judged-{judged}"),
                *[tag("td", count(rate[name]), class_="num") for name in ("wins", "losses", "ties")],
                tag("td", number(rate["p"], 3), class_="num"),
                data_judged_run=rate["run"],
            )
        )
    left_out = sum(rate["unjudged"] for rate in rates)
    told = f" {count(left_out)} answers could not be judged." if left_out else ""
    return join(
        [
            tag("table", tag("thead", head), tag("tbody", *rows), class_="figures-table"),
            tag("p", WHY, told, class_="quiet"),
        ]
    )
