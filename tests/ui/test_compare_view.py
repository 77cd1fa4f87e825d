"""What Results says of a comparison, as HTML and as a plot; the figures are real ones, of answers made up here."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest

from m3po.evaluation.comparison import compare_arms
from m3po.evaluation.comparison_plot import plot_comparison
from m3po.evaluation.metrics import METRICS
from m3po.evaluation.pair_truth import gains_by_margin, pair_rates
from ui.compare_view import draw_progress, draw_tables


def counts(hits: int) -> np.ndarray:
    return np.array([[int(n < hits), 1] for n in range(40)])


@pytest.fixture
def report() -> dict:
    """M3PO hallucinates less than the base, SFT as much; the simulated annotator's arm has no run yet."""
    figures = compare_arms(
        {"base": {0: counts(20)}, "sft": {0: counts(20)}, "m3po": {0: counts(4)}}, ("base", "m3po"), resamples=200
    )
    judged = {"judged": 10, "better": 9, "equal": 0, "worse": 1, "rejected_wrong": 8}
    margins = [{"logp_margin_before": -1.0, "logp_margin_after": 2.0}]
    arms = []
    for name, label in (("base", "Base"), ("sft", "<b>SFT</b>"), ("m3po", "M3PO"), ("m3po_corrected", "Corrected")):
        trained = name == "m3po"
        arms.append(
            {
                "arm": name, "label": label, "says": "says", "seeds_done": int(name in figures),
                "figures": {"chair_s": figures[name]} if name in figures else {}, "available": [12] if trained else [],
                "pair_counts": judged, "pair_rates": pair_rates(judged) if trained else {},
                "gains": gains_by_margin(margins, [0.0]) if trained else [], "seconds": 12.3 if trained else None,
            }
        )  # fmt: skip
    metric = METRICS["chair_s"]
    return {
        "id": 4, "state": "running", "done": 5, "total": 7, "seeds": 1, "pairs": 10, "steps": 30, "seconds_left": 90.0,
        "now": {"id": 8, "kind": "train", "arm": "m3po_corrected", "seed": 0, "done": 3, "total": 30, "unit": "steps",
                "message": ""},
        "failed": [{"arm": "sft", "seed": 0, "run": 3, "state": "failed", "message": "The disk is full."}],
        "left_out": {"rlhf": "no scorer can judge"}, "problems": [], "options": {"error_rate": 0.1}, "how": "how",
        "command": "python -m m3po compare", "metrics": [vars(metric)], "arms": arms,
    }  # fmt: skip


def test_progress_names_the_run_at_work_and_what_failed(report):
    drawn = draw_progress(report)
    for words in (
        "5 of 7 runs", "Corrected, seed 0, trains: 3 / 30 steps", "(run 3): The disk is full.",
        "Left out: rlhf, for no scorer can judge.", 'data-comparison-state="running"', "python -m m3po compare",
    ):  # fmt: skip
        assert words in drawn
    assert "<b>SFT</b>" not in drawn
    stopped = draw_progress(report | {"state": "stopped", "now": None, "seconds_left": None})
    assert "Press Resume to go on" in stopped
    assert "bar-run" not in draw_progress(report | {"state": "finished", "now": None})


def test_the_table_marks_only_what_is_surely_better(report):
    drawn = draw_tables(report)
    by_arm = dict(re.findall(r'<tr data-arm="(\w+)">(.*?)</tr>', drawn))
    assert "▲b" in by_arm["m3po"] and "judged-better" in by_arm["m3po"] and "10.0" in by_arm["m3po"]
    assert "▼m" in by_arm["base"] and "▼m" in by_arm["sft"] and "b</span>" not in by_arm["sft"]
    assert "–" in by_arm["m3po_corrected"] and "CHAIRs ↓, %" in drawn and "&lt;b&gt;SFT" in drawn
    assert "90.0" in drawn and "+3.00" in drawn  # pairs truly better, margin gained
    content = re.search(r"base64,([^\"]+)\" download=\"comparison-4.csv\"", drawn).group(1)
    assert base64.b64decode(content).decode().startswith("arm,figure,mean,low,high,minus_base")
    assert "appear here" in draw_tables(report | {"metrics": []})


def test_the_plot_has_every_arm_with_its_interval(report):
    figure = plot_comparison(report)
    [trace] = figure.data
    assert trace.y == ("Base", "<b>SFT</b>", "M3PO") and trace.marker.symbol == ("circle", "circle", "triangle-up")
    found = report["arms"][2]["figures"]["chair_s"]
    assert trace.x[2] == 100 * found["mean"]  # in per cent, as the table
    assert trace.error_x.array[2] == pytest.approx(100 * (found["high"] - found["mean"]))
    assert [shape.x0 for shape in figure.layout.shapes] == [50]  # the base
