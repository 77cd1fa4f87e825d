"""What the Sample card tells of samplers and pilots, as HTML; what a model or a file says in it stays text."""

import datetime as dt

from m3po.types import Run
from ui.sample_view import draw_pilot, draw_samplers


def build_run(number, state, result=None, kind="pilot", message=""):
    return Run(number, kind, state, {}, dt.datetime(2026, 1, 1), result=result, message=message)


def report(remote=False):
    cost = {"prompt_tokens": 1000, "completion_tokens": None} if remote else {"device_hours": [0.5, 2.0]}
    row = {"k": 2, "pairs": 0.25, "low": 0.2, "high": 0.3, "expected_pairs": 1234, "distinct": 1.5, **cost}
    bare = row | dict.fromkeys(("pairs", "low", "high", "expected_pairs"))
    return {"rows": [row, bare], "message": "Of <200>.", "rule": "m3po", "of": 5000, "policy": "p"}


def test_the_newest_report_is_shown_while_another_pilot_waits():
    runs = [build_run(3, "queued"), build_run(2, "finished", report()), build_run(1, "finished", {"rows": []})]
    html = str(draw_pilot(runs))
    assert "25% (20% to 30%)" in html and "1,234" in html and "0.5 to 2 h" in html and "Of &lt;200&gt;." in html
    assert "device time" in html and "tokens" not in html
    remote = str(draw_pilot([build_run(1, "finished", report(remote=True))]))
    assert "1,000" in remote and "device time" not in remote


def test_a_pilot_that_failed_says_why():
    html = str(draw_pilot([build_run(2, "failed", message="raw needs <a> scorer"), build_run(1, "finished", report())]))
    assert "raw needs &lt;a&gt; scorer" in html and "table" not in html
    assert draw_pilot([]) is None and draw_pilot([build_run(1, "finished", {}, kind="sample")]) is None


def test_samplers_that_gave_something_are_listed():
    row = {"name": "p<x>, K 8", "policy": "o/p<x>", "settings": {"k": 8, "adapter": None, "system": "<b>"}}
    row |= {"instructions": 1200, "answers": 9600, "distinct": 3000, "pair_share": 0.4}
    idle = row | {"name": "idle", "instructions": 0}
    html = str(draw_samplers([row, idle]))
    assert "p&lt;x&gt;, K 8" in html and "1,200" in html and "40%" in html and "idle" not in html
    assert "k = 8, system = &lt;b&gt;" in html and "adapter" not in html
    assert draw_samplers([idle]) is None
    assert "–" in str(draw_samplers([row | {"pair_share": None}]))
