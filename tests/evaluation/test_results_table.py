"""Results as CSV, Markdown, JSON and plot, from a report made by hand."""

import csv
import io
import json

from m3po.evaluation.results_plot import plot_results
from m3po.evaluation.results_table import WRITERS, write_csv, write_markdown


def figure(key, unit="fraction", benchmark="Held-out", judged="noise", before=0.5, after=0.25, **more):
    told = {"key": key, "label": key.upper(), "benchmark": benchmark, "unit": unit, "higher_is_better": False}
    told |= {"detail": False, "description": "What it is.", "before": before, "before_low": 0.4, "before_high": 0.6}
    told |= {"after": after, "after_low": 0.2, "after_high": 0.3, "change": after - before}
    return told | {"change_low": -0.35, "change_high": -0.15, "p": 0.0004, "judged": judged, **more}


RATE = {"run": 9, "scorer": "clip:A|B", "against": "the base", "items": 8, "unjudged": 0, "wins": 3, "losses": 1,
        "ties": 4, "win_rate": 0.75, "low": 0.3, "high": 0.95, "p": 0.6}  # fmt: skip
REPORT = {
    "title": "Run 3: before and after", "run": 3, "before_run": 2, "after_run": 4, "counts": {}, "how": ["How."],
    "figures": [
        figure("chair_s", judged="better"),
        figure("mme_ocr_score", "points", "MME", before=100, after=150, before_low=90, before_high=110,
               after_low=120, after_high=170, change=50, change_low=10, change_high=80, higher_is_better=True),
        figure("mme_perception", "points", "MME"),
        figure("mme_ocr_accuracy", benchmark="MME", detail=True),
    ],
    "win_rates": [RATE],
}  # fmt: skip


def test_markdown_has_a_table_a_benchmark_with_intervals():
    text = write_markdown(REPORT)
    assert "| Held-out | Before | After | Change | p |  |" in text and "| MME | Before |" in text
    line = "| CHAIR_S ↓ | 50.0 % [40.0, 60.0] | 25.0 % [20.0, 30.0] | -25.0 pp [-35.0, -15.0] | < 0.001 | better |"
    assert line in text
    assert "| MME_OCR_SCORE ↑ | 100.0 [90.0, 110.0] | 150.0 [120.0, 170.0] | +50.0 [+10.0, +80.0]" in text
    assert "| clip:A\\|B | the base | 75.0 % [30.0, 95.0] | 3 | 1 | 4 |" in text and text.endswith("How.\n")


def test_csv_and_json_hold_every_value():
    rows = list(csv.DictReader(io.StringIO(write_csv(REPORT))))
    assert [row["figure"] for row in rows] == [f["key"] for f in REPORT["figures"]] + ["clip:A|B"]
    assert (rows[0]["before"], rows[0]["change_low"], rows[0]["judged"]) == ("0.5", "-0.35", "better")
    assert (rows[-1]["benchmark"], rows[-1]["after"], rows[-1]["after_high"]) == ("Win rate", "0.75", "0.95")
    assert json.loads(WRITERS[".json"](REPORT)) == REPORT


def test_an_evaluation_by_itself_has_one_column():
    alone = {**figure("chair_s"), **dict.fromkeys(("before", "before_low", "before_high", "change", "p"))}
    report = REPORT | {"before_run": None, "figures": [alone], "win_rates": []}
    assert "| Held-out | Value |" in write_markdown(report)
    bars = plot_results(report).data
    assert [bar.name for bar in bars] == ["value"]


def test_bars_stand_in_per_cent_with_their_intervals_and_what_is_judged_has_a_mark():
    drawn = plot_results(REPORT)
    bars = [trace for trace in drawn.data if trace.type == "bar"]
    assert [(bar.name, list(bar.y), list(bar.x)) for bar in bars] == [
        ("before", ["CHAIR_S"], [50.0]), ("after", ["CHAIR_S"], [25.0]),
        ("before", ["MME_OCR_SCORE"], [100.0]), ("after", ["MME_OCR_SCORE"], [150.0]),
    ]  # fmt: skip
    assert round(bars[1].error_x.array[0], 6) == 5 and round(bars[1].error_x.arrayminus[0], 6) == 5
    assert drawn.layout.xaxis.range[1] > 100 and drawn.layout.xaxis2.range[1] > 200
    marks = [trace for trace in drawn.data if trace.type == "scatter"]
    assert [list(mark.text) for mark in marks] == [["▲"]]
    assert plot_results(REPORT | {"figures": []}).data == ()
    assert "<html" in WRITERS[".html"](REPORT | {"figures": REPORT["figures"][:1]})[:100].lower()
