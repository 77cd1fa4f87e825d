"""What Results says of where a run comes from and of two runs' difference, as HTML."""

import datetime as dt

from ui.lineage_view import draw_diff, draw_lineage

AT = dt.datetime(2026, 11, 23, 10, 0)
FOUND = {
    "run_id": 8, "state": "finished", "pairs": 12345, "human": 1, "settings": {"seed": 0, "adapter": "<none>"},
    "decisions": [{"annotator": "<ann>", "verdict": "override", "decisions": 1, "pairs": 1, "first": AT, "last": AT}],
    "changes": {"learned": 1200, "unlearned": 0, "kept": 3, "still_wrong": 4, "": 2},
}  # fmt: skip
NAMED = {"instruction_id": 7, "source": "s", "id": "<x>", "chosen": "a", "rejected": "b"}
DIFF = {
    "a": 5, "b": 8, "config": [["seed", 0, 1]], "unknown": {"a": ["code"], "b": []},
    "pairs": {"same": 9, "changed": 1, "only_a": 21, "only_b": 0},
    "named": {
        "changed": [NAMED | {"other_chosen": "c", "other_rejected": "d"}],
        "only_a": [NAMED | {"other_chosen": "", "other_rejected": ""}], "only_b": [],
    },
    "changes": {"a": None, "b": FOUND["changes"]}, "moved": [["kept", "unlearned", 3], ["kept", "kept", 5]],
    "figures": {"chair_s": {"a": {"before": 0.5, "after": 0.4}, "b": {"before": 0.5, "after": 0.25}, "p": 0.031}},
}  # fmt: skip


def test_what_a_run_did_leads_to_the_pairs_in_review():
    html = draw_lineage(FOUND, [], None)
    assert '<a href="#review?run=8&amp;outcome=learned&amp;order=reward_margin">1,200 learned</a>' in html
    assert "0 unlearned" in html and "outcome=unlearned" not in html and "2 not measured" in html
    assert "&lt;ann&gt;: 1 overridden" in html and "&lt;none&gt;" in html and "<ann>" not in html
    assert "Compare with" not in html  # there is no other run
    unknown = FOUND | {"changes": None, "decisions": []}
    assert "was not measured" in draw_lineage(unknown, [], None)
    waiting = draw_lineage(unknown | {"state": "queued"}, [{"id": 5, "pairs": 2, "state": "failed"}], None)
    assert "when it has finished" in waiting and "Nobody had decided" in waiting
    assert '<option value="5">run 5: 2 pairs, failed</option>' in waiting and "run-diff" not in waiting


def test_only_the_first_settings_stand_open():
    many = {f"package {n}": n for n in range(20)}
    html = draw_lineage(FOUND | {"settings": many}, [], None)
    assert "<summary>12 more settings, code and packages</summary>" in html and "package 19" in html
    assert html.index("package 7") < html.index("12 more settings") < html.index("package 8")
    config = [[name, value, value + 1] for name, value in many.items()]
    assert "<summary>12 more settings differ</summary>" in draw_diff(DIFF | {"config": config})
    assert "more settings" not in draw_lineage(FOUND, [], None)


def test_a_difference_names_its_pairs_and_leads_to_them():
    html = draw_lineage(FOUND, [{"id": 5, "pairs": 2, "state": "finished"}], DIFF)
    assert draw_diff(DIFF) in html and '<option value="5" selected>' in html
    assert 'href="#review?run=8~5"' in html and 'href="#review?run=5-8"' in html and "run=8-5" not in html
    assert 'href="#review?run=8~5&amp;item=7"' in html and "Run 5: a &gt; b\nRun 8: c &gt; d" in html
    assert "&lt;x&gt;" in html and " and 20 more" in html and "<x>" not in html
    assert "Not noted of run 5: code." in html and "Not noted of run 8" not in html
    assert "3: kept in run 5, unlearned in run 8" in html and "5: kept" not in html
    assert "50.0 % → <b>40.0 %</b>" in html and "50.0 % → <b>25.0 %</b>" in html and "0.031" in html
