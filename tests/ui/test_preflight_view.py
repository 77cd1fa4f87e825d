"""The card *Check the pairs*: what it draws in each state, and what its buttons do."""

from __future__ import annotations

import gradio as gr
import pytest
from runs_here import open_quietly
from workspaces import CORA, VIC, make_selected

from m3po.door import Door, acting_as
from m3po.settings import TrainConfig
from m3po.store import runs
from m3po.types import Run
from ui.markup import escape
from ui.plots import plot_lengths
from ui.preflight_card import PreflightCard
from ui.preflight_view import Look, draw_check

HOSTILE = "<img src=x onerror=alert(1)>"
LENGTHS = {
    "pairs": 3, "unequal": 2, "longer": 1, "share": 0.5, "interval": [0.1, 0.9], "mean_difference": -0.5,
    "biased": False, "histogram": {"width": 3, "centres": [-3, 0, 3], "counts": [1, 1, 1]},
}  # fmt: skip
RESULT = {"pairs": 3, "longest": {"tokens": 70, "limit": 64, "name": HOSTILE}, "lengths": LENGTHS}


@pytest.fixture
def studio(tmp_path):
    studio = open_quietly(make_selected(tmp_path, 8))
    yield studio
    studio.close()


def report(state: str, kinds: dict | None = None, **changed) -> dict:
    run = Run(7, "preflight", "finished", {}, None) if state in ("checked", "changed") else None
    found = {"run": run, "state": state, "checked_run": run and run.id, "result": run and RESULT, "problems": []}
    return found | {"kinds": kinds or {}, "others": 0} | changed


def test_each_state_is_told_in_words():
    assert "Not checked yet." in draw_check(report("none"), Look(), None)
    assert "Nothing was found." in draw_check(report("checked"), Look(), None)
    assert "changed since this check" in draw_check(report("changed"), Look(), None)
    biased = RESULT | {"lengths": LENGTHS | {"biased": True}}
    drawn = draw_check(report("checked", result=biased, problems=["Longer."]), Look(), None)
    assert "Nothing was found." not in drawn and "Longer." in drawn and 'data-show="data-select"' in drawn
    at_work = report("checked") | {"state": "working", "run": Run(8, "preflight", "running", {}, None, done=1, total=3)}
    assert 'data-run-op="stop"' in draw_check(at_work, Look(), None)
    drawn = draw_check(report("checked", others=2), Look(), None, "", [HOSTILE])
    assert "2 more pairs are excluded" in drawn
    assert HOSTILE not in drawn and escape(HOSTILE) in drawn
    failed = report("none", run=Run(8, "preflight", "failed", {}, None, message="No model."))
    assert "No model." in draw_check(failed, Look(), None)


def test_pairs_are_listed_with_what_can_be_done_and_their_text_is_no_markup():
    pair = {"instruction_id": 5, "source": "s", "id": HOSTILE, "detail": HOSTILE, "kind": "near_equal"}
    found = {"pairs": [pair | {"excluded": False}, pair | {"excluded": True}], "total": 25}
    kinds = {"near_equal": {"found": 25, "excluded": 1}, "unreadable": {"found": 1, "excluded": 1}}
    drawn = draw_check(report("checked", kinds), Look("near_equal", 10), found)
    assert HOSTILE not in drawn and "11–20 of 25" in drawn
    assert drawn.count('href="#review?order=id&amp;item=5"') == 2
    assert drawn.count('data-id="5"') == 2 and drawn.count(">Exclude all<") == 1  # none of the unreadable is left
    unreadable = draw_check(report("checked", kinds), Look("unreadable"), found | {"total": 2})
    assert "Open in Review" not in unreadable  # nothing to mend there


def test_the_plot_has_a_bar_a_bin():
    [bars] = plot_lengths(LENGTHS).data
    assert list(bars.x) == [-3, 0, 3] and list(bars.y) == [1, 1, 1] and len(set(bars.marker.color)) == 3


def test_buttons_go_through_the_door(studio, tiny_policy):
    """The check itself is m3po.jobs.preflight's: here its result is put in by hand."""
    config = TrainConfig(str(tiny_policy))
    with gr.Blocks():
        card = PreflightCard(Door(studio))
    start, read = card.state.value, lambda: config
    with acting_as(VIC):
        assert "only a curator" in card.start(read, start)[0] and studio.runs() == []
        assert "Not checked yet." in card.look(read, start)[0]
    run_id = studio.preflight.start(config)
    pairs = "SELECT instruction_id, chosen, rejected FROM selection_pairs WHERE chosen IS NOT NULL"

    def finish(con) -> None:
        con.execute(f"INSERT INTO pair_findings SELECT {run_id}, *, 'near_equal', 'alike' FROM ({pairs})")
        runs.update_run(con, run_id, state="finished", result=RESULT)

    studio.db.write(finish)
    with acting_as(CORA):
        drawn, *_, state = card.tick(read, start)
        assert "nearly equal" in drawn and "alike" not in drawn
        assert card.tick(read, state)[0] == gr.skip()
        drawn, *_, state = card.act({"op": "show", "kind": "near_equal"}, read, state)
        assert drawn.count("alike") == 8
        ask = {"op": "exclude", "kind": "near_equal", "id": "1"}
        with acting_as(VIC):
            assert "only a curator" in card.act(ask, read, state)[0]
        assert studio.status()["curated_pairs"] == 8
        assert "1 excluded" in card.act(ask, read, state)[0] and studio.status()["curated_pairs"] == 7
        assert studio.review_item(instruction_id=1).excluded.endswith("alike (by cora)")
        card.act({"op": "exclude", "kind": "near_equal"}, read, state)
        assert studio.status()["curated_pairs"] == 0
        card.act({"op": "include", "kind": "near_equal", "id": "2"}, read, state)
        assert studio.status()["curated_pairs"] == 1
        card.act({"op": "include", "kind": "near_equal"}, read, state)
        assert studio.status()["curated_pairs"] == 8
        card.act(ask, read, state)
        studio.db.write(lambda con: con.execute("DELETE FROM pair_findings WHERE instruction_id = 1").fetchall())
        assert "1 more pair is excluded" in card.look(read, state)[0]
        assert "1 more pair" not in card.act({"op": "include_others"}, read, state)[0]
        before = studio.status()["curated_pairs"]
        unreadable = [ask | {"id": value} for value in ("abc", "", "0", "-1", None, [1], "9" * 30)]
        unreadable.append({"op": "exclude", "kind": "x"})
        others = [{"op": "drop"}, {"op": "page", "offset": "x"}, "text", {"op": "show", "kind": "x"}]
        for nonsense in [*others, *unreadable, *(each | {"op": "include"} for each in unreadable)]:
            assert "nearly equal" in card.act(nonsense, read, state)[0]
            assert studio.status()["curated_pairs"] == before, nonsense
