"""What Results says of a change and of an answer, as HTML."""

import base64
import re
from types import SimpleNamespace

from m3po.evaluation.metrics import METRICS
from m3po.evaluation.results_table import COLUMNS
from m3po.jobs.results.outcomes import SHOWN
from ui.compare_view import LEGEND
from ui.judge_card import JudgeCard, draw_rates
from ui.results_tab import shown_run
from ui.results_view import draw_downloads, draw_metrics, draw_newer, judge
from ui.samples_view import KINDS, draw_pager, draw_samples, label_kinds
from ui.train_view import state_of

CHAIR = METRICS["chair_s"]


def result(p_values, before=0.5, after=0.2):
    run = {"before": {"chair_s": before}, "after": {"chair_s": after}, "counts": {"rows": 40, "without_truth": 0}}
    return run | {"intervals_before": {"chair_s": [0.3, 0.7]}, "intervals_after": {"chair_s": [0.1, 0.4]},
                  "p_values": p_values}  # fmt: skip


def test_the_paired_test_decides_and_without_it_the_intervals():
    assert judge(CHAIR, result({"chair_s": 0.01})) == "better"
    assert judge(CHAIR, result({"chair_s": 0.01}, before=0.1)) == "worse"
    assert judge(CHAIR, result({"chair_s": 0.06})) == "noise"
    assert judge(CHAIR, result(None)) == "noise"  # they overlap
    assert judge(CHAIR, result(None) | {"intervals_after": {"chair_s": [0.1, 0.25]}}) == "better"
    assert judge(CHAIR, result({"chair_s": 1.0}, after=0.5)) == "same"


def test_the_table_says_how_it_judged():
    assert "p = 0.012" in draw_metrics(result({"chair_s": 0.012})) and "paired test" in draw_metrics(result({}))
    bare = draw_metrics(result(None))
    assert "p = " not in bare and "lie apart" in bare


def sample(before, after, truth, judged):
    return {"instruction_id": 1, "instruction": "<q>", "images": [], "before": before, "after": after, "truth": truth,
            "before_judged": judged[0], "after_judged": judged[1]}  # fmt: skip


def test_answers_are_coloured_by_their_truth():
    right, wrong, unknown = ({"right": value, "there": None, "not_there": None} for value in (True, False, None))
    html = draw_samples([sample("red", "blue", "red", (right, wrong))])
    assert '<mark class="mark-right">red</mark>' in html and '<mark class="mark-wrong">blue</mark>' in html
    assert "✓ right" in html and "✗ wrong" in html and "&lt;q&gt;" in html
    assert "mark-" not in draw_samples([sample("red", "blue", "", (unknown, unknown))])
    before = {"right": True, "there": ["star"], "not_there": []}
    after = {"right": False, "there": [], "not_there": ["bird"]}
    html = draw_samples([sample("Two big stars.", "Three small birds.", "star", (before, after))])
    assert "✓ all there" in html and "✗ not there: bird" in html
    assert 'mark-right">Two big stars</mark>' in html and 'mark-wrong">Three small birds</mark>' in html
    assert "names no object" in draw_samples([sample("a", "b", "star", (before | {"there": []}, after))])


def test_the_pager_counts_what_there_is_and_leads_everywhere():
    assert set(KINDS) == set(SHOWN)
    assert label_kinds({"wrong_now": 3})[2] == ("Right before, wrong now (3)", "wrong_now")
    assert draw_pager(0, 12, 12) is None
    first, middle, last = (draw_pager(at, 12, 30) for at in (0, 12, 24))
    assert "1–12 of 30" in first and 'data-offset="12"' in first and first.count("disabled") == 1
    assert "13–24 of 30" in middle and 'data-offset="0"' in middle and 'data-offset="24"' in middle
    assert "disabled" not in middle and "25–30 of 30" in last and last.count("disabled") == 1


def test_benchmarks_stand_apart_and_details_are_folded():
    def both(**values):
        return {"before": values, "after": values, "counts": {"rows": 4, "without_truth": 0}, "p_values": {}}

    html = draw_metrics(both(chair_s=0.5, pope_random_f1=0.8, mme_ocr_score=120.0, mme_ocr_accuracy=0.7))
    order = [
        html.index(words)
        for words in ("CHAIRs", ">POPE (COCO)</th>", "POPE (COCO) random: F1", ">MME</th>", "MME OCR", "<details>")
    ]
    assert order == sorted(order) and html.index("MME OCR: accuracy") > order[-1]
    assert "120.0" in html and "120.0 %" not in html and "80.0 %" in html
    assert "<details>" not in draw_metrics(both(chair_s=0.5)) and ">Held-out</th>" not in html


def test_a_table_says_what_its_marks_mean():
    assert "another test" in LEGEND and "b: than the base, m: than M3PO" in LEGEND
    assert "below are by intervals" in draw_metrics(result({"chair_s": 0.012}))


def run_of(id, state="finished", after=None, comparison=None):
    run = SimpleNamespace(id=id, state=state)
    return {"run": run, "before_run": SimpleNamespace(state="finished"), "after_run": SimpleNamespace(state="queued"),
            "after": after, "config": {"comparison": comparison}}  # fmt: skip


def test_what_somebody_looks_at_does_not_change_by_itself():
    old, new = run_of(3, after={"chair_s": 1}), run_of(5, after={"chair_s": 1})
    assert shown_run([new, old], None)["run"].id == 5
    assert shown_run([new, old], None, held=3)["run"].id == 3  # it was looked at when run 5 was measured
    assert shown_run([new, old], 5, held=3)["run"].id == 5  # a click
    assert shown_run([run_of(6, after={}, comparison=1), new], None)["run"].id == 5 and shown_run([], None, 3) is None
    assert draw_newer(5, 5) is None and draw_newer(None, 3) is None
    assert 'data-show-run="5"' in draw_newer(5, 3) and "Run 5 was measured since" in draw_newer(5, 3)


def test_a_run_that_waits_is_not_called_running():
    assert state_of(run_of(1, state="queued")) == "queued"  # its model was measured before
    assert state_of(run_of(1)) == "queued"  # trained, and waits to be measured
    assert state_of(run_of(1, state="running")) == "running"


def test_win_rates_are_told_with_their_interval_and_a_mark_where_they_are_sure():
    rate = {"run": 9, "scorer": "clip:/models/A", "against": "the base", "items": 9, "unjudged": 2, "wins": 8,
            "losses": 1, "ties": 0, "win_rate": 8 / 9, "low": 0.6, "high": 0.98, "p": 0.039}  # fmt: skip
    html = draw_rates([rate, rate | {"p": 0.3, "run": 8}])
    assert "▲ 88.9 % [60.0, 98.0]" in html and html.count("▲") == 1 and "4 answers could not be judged" in html
    assert 'title="clip:/models/A"' in html and "No scorer has judged" in draw_rates([])


def test_the_figures_come_as_files():
    figure = {"benchmark": "MME", "key": "mme_ocr_score", "unit": "points", "before": 1.0, "judged": "noise"}
    figure = dict.fromkeys(COLUMNS) | {"label": "OCR", "higher_is_better": True} | figure
    report = {"run": 8, "figures": [figure], "win_rates": [], "title": "", "before_run": 1, "how": []}
    content = re.search(r'base64,([^"]+)" download="run-8.csv"', draw_downloads(report)).group(1)
    assert "MME,mme_ocr_score,points,1" in base64.b64decode(content).decode()


def test_a_judging_that_is_not_over_or_failed_says_so():
    def newest(state, message=""):
        run = SimpleNamespace(id=9, kind="judge", state=state, active=state in ("queued", "running"), message=message,
                              config={"mas": "clip:/models/A"}, done=1, total=4)  # fmt: skip
        return JudgeCard._draw_newest(run)

    assert "Run 9 by clip:A: waiting." in newest("queued") and 'aria-valuenow="25"' in newest("running")
    assert "Run 9 by clip:A: failed. No memory." in newest("failed", "No memory.") and newest("finished") is None
