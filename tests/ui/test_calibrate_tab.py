"""The Calibrate tab without a browser: what each command answers, and that nothing wrong goes through."""

import re
from pathlib import Path

import pytest
from workspaces import Answer, add_answers, add_instruction, open_database

from m3po.evaluation.annotator import NAME as SIMULATED
from m3po.settings import SelectConfig
from m3po.studio import Studio
from m3po.types import ReviewView
from m3po.users import User
from ui.calibrate.charts import draw_bins, draw_curve
from ui.calibrate.frame import build_frame
from ui.calibrate.handlers import BROKEN, CalibrateHandler

HOSTILE = "<img src=x onerror=alert(1)>"
KNOBS = {"rule": "m3po", "weight_chosen": 0.8, "weight_rejected": 0.5, "delta": 0.3, "length_ratio": 0}


def fill(con):
    for n in range(8):
        answers = [
            Answer("right", 0.9 - n / 100, -3.0 + n / 50),
            Answer(f"{HOSTILE} {n}", 0.3 + n / 100, -0.5 - n / 40),
            Answer(f"far off {n}", 0.1 + n / 100, -6.0),
        ]
        add_answers(con, add_instruction(con, f"item-{n}", text=f"What? {HOSTILE}"), answers)


@pytest.fixture
def studio(tmp_path):
    path = Studio.create(tmp_path / "workspace")
    database = open_database(path)
    database.write(fill)
    database.close()
    opened = Studio.open(path)
    yield opened
    opened.close()


def test_an_empty_workspace_and_one_without_decisions_say_what_to_do(studio):
    handler = CalibrateHandler(studio)
    answer = handler.on_command({"op": "open"})
    assert answer["empty"] and 'data-open-tab="data"' in answer["parts"]["calibrate-empty"]
    assert "press Select" in handler.on_command({"op": "what_if", "knobs": KNOBS})["error"]
    studio.select(SelectConfig(delta=0.3, length_ratio=0))
    answer = handler.on_command({"op": "open"})
    assert not answer["empty"] and answer["current"]["length_ratio"] == 0
    assert 'data-open-tab="review"' in answer["parts"]["calibrate-evidence"]
    assert "No score keeps" in answer["parts"]["calibrate-auto"] and not answer["auto"]


def test_a_viewer_looks_and_is_shown_no_button_that_only_refuses(studio):
    studio.select(SelectConfig(delta=0.3, length_ratio=0))
    handler = CalibrateHandler(studio.as_user(User("vic", "viewer")))
    shown = handler.on_command({"op": "open"})
    assert "error" not in shown and shown["parts"]["calibrate-evidence"] and shown["current"]["delta"] == 0.3
    moved = handler.on_command({"op": "what_if", "knobs": {**KNOBS, "weight_rejected": 1.0}})
    assert moved["parts"]["calibrate-counts"]
    for op in ("apply", "accept", "accept_none", "audit"):
        command = {"op": op, "knobs": KNOBS, "selection_id": moved["selection_id"]}
        assert handler.on_command(command)["error"] == "vic is a viewer here, and only a curator may do this."
    frame = str(build_frame())
    hidden = frame.partition('<span class="curator-only">')[2].partition("</span></div></section>")[0]
    assert re.findall(r'<button[^>]* id="calibrate-([a-z-]+)', hidden) == ["accept", "accept-none", "audit"]
    assert re.search(r'id="calibrate-apply" class="[^"]*curator-only', frame)


def test_from_a_slider_to_a_selection_a_threshold_and_its_audit(studio):
    studio.select(SelectConfig(delta=0.3, length_ratio=0))
    handler = CalibrateHandler(studio)
    item = studio.review_item(ReviewView())
    studio.decide(item.instruction.id, "accept")
    moved = handler.on_command({"op": "what_if", "knobs": {**KNOBS, "weight_rejected": 1.0}, "which": "all"})
    flips = moved["parts"]["calibrate-flips"]
    assert HOSTILE not in flips and "&lt;img" in flips and f"item={item.instruction.id}" in flips
    assert "against the human" in flips and "nobody decided" in flips
    some = handler.on_command({"op": "what_if", "knobs": {**KNOBS, "weight_rejected": 1.0}, "which": "against"})
    assert len(re.findall("data-item", some["parts"]["calibrate-flips"])) == 1
    done = handler.on_command({"op": "apply", "knobs": {**KNOBS, "weight_rejected": 1.0}, "selection_id": 1})
    assert "Selected" in done["message"] and done["current"]["weight_rejected"] == 1.0
    again = handler.on_command({"op": "apply", "knobs": KNOBS, "selection_id": 1})
    assert "picked anew" in again["error"] and studio.current_select().weight_rejected == 1.0

    assert "review more pairs" in handler.on_command({"op": "accept", "score": None})["error"]
    assert handler.on_command({"op": "audit", "size": 3})["error"].startswith("Nothing is accepted")
    accepted = handler.on_command({"op": "accept", "score": 0.0}, "ada")
    assert accepted["auto"] and "set by ada" in accepted["parts"]["calibrate-auto"]
    audit = handler.on_command({"op": "audit", "size": 3, "seed": 1})["parts"]["calibrate-auto"]
    assert "3 wait in Review" in audit and 'href="#review?filter=audit"' in audit
    while (item := studio.review_item(ReviewView("audit"))) is not None:
        studio.decide(item.instruction.id, "accept")
    assert "All are decided" in handler.on_command({"op": "open"})["parts"]["calibrate-auto"]
    assert not handler.on_command({"op": "accept_none"})["auto"]


def test_simulated_decisions_are_told_apart(studio):
    studio.select(SelectConfig(delta=0.3, length_ratio=0))
    item = studio.review_item(ReviewView())
    studio.decide(item.instruction.id, "accept", annotator=SIMULATED)
    shown = CalibrateHandler(studio).on_command({"op": "open"})["parts"]["calibrate-evidence"]
    assert "No person" in shown and "chip-warn" in shown


@pytest.mark.parametrize(
    "command",
    [
        None,
        "open",
        {},
        {"op": "drop"},
        {"op": "what_if"},
        {"op": "what_if", "knobs": {**KNOBS, "rule": "x"}},
        {"op": "what_if", "knobs": {**KNOBS, "delta": "1"}},
        {"op": "what_if", "knobs": {**KNOBS, "delta": float("nan")}},
        {"op": "what_if", "knobs": KNOBS, "offset": -1},
        {"op": "apply", "knobs": KNOBS},
        {"op": "accept", "score": True},
        {"op": "audit", "size": "many"},
    ],
)
def test_what_is_no_command_is_refused(studio, command):
    studio.select(SelectConfig(delta=0.3))
    assert CalibrateHandler(studio).on_command(command) == {"error": BROKEN}
    assert studio.calibration.report()["selection_id"] == 1


@pytest.mark.parametrize("values", [{"delta": 7}, {"length_ratio": 0.5}, {"weight_chosen": -1}])
def test_a_value_that_cannot_be_is_one_sentence(studio, values):
    studio.select(SelectConfig(delta=0.3))
    error = CalibrateHandler(studio).on_command({"op": "what_if", "knobs": KNOBS | values})["error"]
    assert next(iter(values)) in error and "Traceback" not in error


def test_its_style_is_for_its_own_tab():
    css = (Path(__file__).parents[2] / "ui" / "calibrate.css").read_text()
    selectors = re.findall(r"([^{}]+)\{", re.sub(r"/\*.*?\*/|@media[^{]+\{", "", css))
    assert len(selectors) > 50
    assert [one for rule in selectors for one in rule.split(",") if not one.strip().startswith(".calibrate")] == []


def test_charts_keep_their_marks_inside_their_frame():
    bins = [
        {"from": 0.5, "to": 0.55, "pairs": 4, "decided": 2, "overridden": 2, "rate": 1.0, "low": 0.34, "high": 1.0},
        {"from": 0.8, "to": 0.85, "pairs": 9, "decided": 0, "overridden": 0, "rate": None, "low": None, "high": None},
    ]
    drawn = draw_bins(bins, 0.05, 2.0)
    marks = re.findall(r'c[xy]="([\d.-]+)"', drawn)
    assert len(marks) == 2 and all(0 <= float(mark) <= 660 for mark in marks)
    curve = {"points": [0.0, 1.0], "rate": [0.2, 0.9], "chosen": [0.3, 1.0], "rejected": [0.2, 0.9], "best": 1,
             "low": 0.8, "high": 0.95, "point_low": 1.0, "point_high": 1.0, "tied": [1.0, 1.0],
             "now": 0.5}  # fmt: skip
    assert "best at 1.00: 90.0%" in draw_curve(curve, "w") and 'aria-label="Agreement over w' in draw_curve(curve, "w")


def test_every_slider_has_its_setting():
    assert set(re.findall(r'data-knob="(\w+)"', build_frame())) == set(KNOBS)
