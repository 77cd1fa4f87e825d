"""What Results says of a change and of an answer, as HTML."""

from m3po.evaluation.metrics import METRICS
from m3po.jobs.outcomes import SHOWN
from ui.results_view import draw_metrics, judge
from ui.samples_view import KINDS, draw_pager, draw_samples, label_kinds

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
