"""How numbers and times read."""

import datetime as dt
import re

import pytest

from m3po.selection import NO_PAIR_REASONS
from m3po.types import Run
from ui import formatting
from ui.run_view import draw_run, latest
from ui.scatter import BOTTOM, HEIGHT, TOP, ScatterPoint, draw_scatter


@pytest.mark.parametrize(
    ("value", "options", "expected"),
    [
        (None, {}, "–"),
        (float("nan"), {}, "–"),
        (-0.5, {}, "−0.50"),
        (-0.001, {}, "0.00"),
        (0.25, {"sign": True}, "+0.25"),
        (3, {"digits": 0}, "3"),
    ],
)
def test_numbers(value, options, expected):
    assert formatting.number(value, **options) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "–"),
        (-1, "–"),
        (7.6, "8 s"),
        (59.9, "1 min 0 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (1e5, "1 d 3 h"),
    ],
)
def test_durations(seconds, expected):
    assert formatting.duration(seconds) == expected


def test_rates():
    assert formatting.rate(12.52, "rows") == "12.5 rows/s"
    assert formatting.rate(0.5, "instructions") == "2.0 s each"
    assert formatting.rate(None, "rows") == formatting.rate(0, "rows") == ""


def test_every_reason_is_a_sentence():
    for code in [*NO_PAIR_REASONS, None, "not_selected", "not_scored_then", "something_new"]:
        words = formatting.reason(code)
        assert words.endswith(".") and words[0].isupper() and "_" not in words


def make_run(**values) -> Run:
    return Run(
        **{"id": 7, "kind": "sample", "state": "running", "config": {}, "created_at": dt.datetime(2026, 1, 1)} | values
    )


def test_a_run_shows_progress_rate_and_time_left():
    drawn = draw_run(make_run(done=30, total=120, unit="instructions", rate=2.0, eta=45.0))
    assert 'aria-valuenow="25"' in drawn and "30 / 120 instructions · 2.0 instructions/s · 45 s left" in drawn
    assert 'data-run-op="stop"' in drawn and 'data-run-op="resume"' not in drawn


def test_a_failed_run_says_why_and_offers_to_resume():
    drawn = draw_run(make_run(state="failed", message="Out of <memory>."), "line <1>")
    assert "Out of &lt;memory&gt;." in drawn and "line &lt;1&gt;" in drawn and 'data-run-op="resume"' in drawn


def test_the_running_run_comes_before_a_newer_one_that_waits():
    runs = [make_run(id=9, state="queued"), make_run(id=8), make_run(id=5, kind="score")]
    assert latest(runs, "sample").id == 8
    ended = dt.datetime(2026, 1, 1)
    chain = [make_run(id=3, state="stopped"), make_run(id=1, state="failed", started_at=ended)]
    assert latest(chain, "sample").id == 1  # what never began does not hide what failed
    refused = [make_run(id=4, state="failed"), make_run(id=3, state="finished", started_at=ended)]
    assert latest(refused, "sample").id == 4  # before it began: that is the news
    assert latest(runs[:1], "sample").id == 9 and latest([], "sample") is None


def test_marks_stay_within_the_frame_of_a_scatter():
    drawn = draw_scatter([ScatterPoint(i, str(i), i, i, role) for i, role in enumerate(("rejected", "chosen"))])
    heights = [float(y) for y in re.findall(r"[\d.]+,([\d.]+)", drawn)]
    assert len(heights) == 6 and min(heights) >= TOP and max(heights) <= HEIGHT - BOTTOM


def test_a_scatter_of_equal_points_has_finite_places():
    drawn = draw_scatter([ScatterPoint(i, str(i), 0.5, 1.0, "none") for i in range(3)])
    assert "nan" not in drawn and "inf" not in drawn and drawn.count("<circle") == 3
