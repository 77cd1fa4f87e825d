"""The curves of runs: smoothed as TensorBoard does it, against steps or time, one or several, and light when long."""

from __future__ import annotations

import random
import statistics

import gradio as gr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3po.store import runs
from m3po.studio import Studio
from ui.curves import PANELS, TIME, plot_curves, smooth
from ui.curves_card import CurvesCard
from ui.train_view import draw_queue, draw_warned

NUMBERS = st.lists(st.none() | st.floats(-1e6, 1e6), max_size=40)


def curves(steps: int, **more) -> dict:
    noise = random.Random(steps)
    names = [line.metric for _, lines in PANELS for line in lines]
    return {name: [(step, noise.random()) for step in range(1, steps + 1)] for name in names} | more


@given(NUMBERS, st.floats(0, 0.98))
def test_smoothing_is_a_weighted_mean_of_what_came_before(values, weight):
    """By its definition: sum of w^age x value over sum of w^age, gaps left out."""
    smoothed = smooth(values, weight)
    for at, value in enumerate(values):
        known = [v for v in values[: at + 1] if v is not None][::-1]
        if value is None:
            assert smoothed[at] is None
        else:
            weights = [weight**age for age in range(len(known))]
            wanted = sum(w * v for w, v in zip(weights, known, strict=True)) / sum(weights)
            assert smoothed[at] == pytest.approx(wanted, rel=1e-6, abs=1e-3)


def test_every_figure_of_a_run_has_a_curve_and_nan_is_a_gap():
    drawn = plot_curves({4: curves(60, loss=[(1, 0.7), (2, None), (3, 0.6)])})
    assert list(drawn.data[0].y) == [0.7, None, 0.6]
    shown = {trace.name for trace in drawn.data}
    assert {"loss", "chosen", "rejected", "margin", "accuracy", "gradient norm", "learning rate", "tokens/s",
            "GiB"} == shown  # fmt: skip
    assert [trace.name for trace in drawn.data if trace.showlegend] == ["chosen", "rejected"]


def test_a_smoothed_curve_keeps_what_it_was_behind_it_but_not_among_several():
    one, two = plot_curves({1: curves(50)}, 0.9), plot_curves({1: curves(50), 2: curves(50)}, 0.9)
    lines = sum(len(lines) for _, lines in PANELS)
    assert (len(one.data), len(two.data)) == (2 * lines, 2 * lines)
    raw, smoothed = one.data[:2]
    assert statistics.stdev(smoothed.y) < statistics.stdev(raw.y) and raw.opacity < 1
    assert [trace.name for trace in two.data if trace.showlegend] == ["Run 1", "Run 2"]
    colours = {trace.legendgroup: trace.line.color for trace in two.data}
    assert len(set(colours.values())) == 2


def test_against_time_a_run_lies_where_its_seconds_are_and_one_without_them_nowhere():
    timed = curves(3, seconds=[(1, 10.0), (2, 30.0), (3, 200.0)])
    drawn = plot_curves({1: timed, 2: curves(3)}, by=TIME)
    assert drawn.layout.xaxis7.title.text == "minutes of training"
    assert list(drawn.data[0].x) == pytest.approx([1 / 6, 0.5, 200 / 60])
    assert {trace.legendgroup for trace in drawn.data} == {"1"}


def test_a_curve_without_a_number_is_left_out_and_the_legend_stays():
    nothing = {"loss": [(1, None), (2, float("nan"))], "learning_rate": []}
    for smoothing in (0, 0.9):
        alone = plot_curves({1: {**nothing, "logps/chosen": [(1, -3.0)], "logps/rejected": [(1, None)]}}, smoothing)
        assert {trace.name for trace in alone.data if trace.showlegend is not False} == {"chosen"}
        assert [title.text for title in alone.layout.annotations] == ["Log-probs, nats (dashed: rejected)"]
    assert alone.layout.xaxis.title.text == "step" and not plot_curves({1: nothing}).data
    both = plot_curves({1: curves(3), 2: {**nothing, "grad_norm": [(1, 1.0)]}})
    assert [trace.name for trace in both.data if trace.showlegend] == ["Run 1", "Run 2"]


@pytest.fixture
def opened(tmp_path):
    studio = Studio.open(Studio.create(tmp_path / "ws"))
    studio.runner.close()
    yield studio
    studio.close()


def add_run(studio: Studio, points: list, **values) -> int:
    def change(con) -> int:
        run_id = runs.add_run(con, "train", {"preset": "demo", "method": "dpo"}, "")
        runs.update_run(con, run_id, **({"state": "finished", "started_at": runs.now()} | values))
        runs.add_metrics(con, run_id, points)
        return run_id

    return studio.db.write(change)


def test_a_long_run_is_sent_as_means_and_a_short_one_as_it_is(opened):
    points = [(step, "loss", float(step)) for step in range(1, 1001)]
    run_id = add_run(opened, [*points, (1000, "loss", 2000.0)])  # told again by a resumed worker
    assert opened.run_metrics(run_id)["loss"] == [(step, float(step)) for step in range(1, 1000)] + [(1000, 2000.0)]
    light = opened.run_metrics(run_id, 100)["loss"]
    assert [step for step, _ in light] == list(range(10, 1001, 10))
    assert light[0] == (10, 5.5) and light[-1][1] == pytest.approx((sum(range(991, 1000)) + 2000) / 10)
    short = add_run(opened, [(1, "loss", 0.7), (2, "loss", None)])
    assert opened.run_metrics(short, 100) == {"loss": [(1, 0.7), (2, None)]}


def test_curves_are_drawn_anew_only_where_they_are_others(opened):
    first = add_run(opened, [(1, "loss", 0.7)])
    second = add_run(opened, [(1, "loss", 0.6)], state="running")
    waiting = add_run(opened, [], state="queued", started_at=None)
    with gr.Blocks():
        card = CurvesCard(opened)
    run = opened.run(second)
    nothing = {"runs": [], "drawn": ""}
    *_, plot, others, seen = card.draw(run, [], 0, "step", nothing)
    assert len(plot.data) and [value for _, value in others.choices] == [first]  # what never began has no curve
    # No empty panels: before the first step it says when they come.
    hidden, words, *_ = card.draw(opened.run(waiting), [], 0, "step", nothing)
    assert not hidden.visible and "come with the first step" in words
    shown, words, skipped, same, again = card.draw(run, [], 0, "step", seen)
    assert (shown.visible, words, skipped, same, again) == (True, "", gr.skip(), gr.skip(), seen)
    _, _, overlaid, _, _ = card.draw(run, [first, 99], 0, "step", seen)
    assert {trace.name for trace in overlaid.data} == {f"Run {second}", f"Run {first}"}


def test_what_the_figures_warn_of_is_not_folded_away_among_what_was_left_out():
    left_out = [f"Instruction {n} is left out: <b>." for n in range(200)]
    drawn = draw_warned([*left_out, "Step 9: the loss is stuck.", "Step 30: the gradient's norm is 0."])
    open_part, folded = drawn.split("<details")
    assert open_part.index("Step 30") < open_part.index("Step 9") and "left out" not in open_part
    assert "200 warnings" in folded and "<b>" not in drawn and draw_warned([]) == ""


def test_trainings_that_wait_are_listed_in_their_order_and_can_be_taken_out(opened):
    ids = [add_run(opened, [], state="queued", started_at=None) for _ in range(3)]
    drawn = draw_queue(opened.results(), ids[0])
    assert drawn.index(f"Run {ids[1]}") < drawn.index(f"Run {ids[2]}") and f"Run {ids[0]}<" not in drawn
    assert drawn.count('data-run-op="stop"') == 2 and draw_queue([], 1) is None
    opened.stop_run(ids[1])
    assert f"Run {ids[1]}<" not in draw_queue(opened.results(), ids[0])
