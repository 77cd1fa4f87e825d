"""Every tooltip belongs to a field that is there."""

import json

from ui.build import build
from ui.export_card import ONLY_LABELS as EXPORT_LABELS
from ui.hints import HINTS, write_script
from ui.train_form import ONLY as TRAIN_ONLY


def test_each_hint_has_its_field_and_no_hint_ends_the_script(studio):
    page = build(studio)
    ids = {component["props"].get("elem_id") for component in page.get_config_file()["components"]}
    assert set(HINTS) <= ids, set(HINTS) - ids
    labels = {"train-only": TRAIN_ONLY, "export-only": {label: name for name, label in EXPORT_LABELS.items()}}
    for field, choices in labels.items():  # what Calibrate accepts is offered, and explained
        assert choices["Accepted, and auto-accepted"] == "auto"
        assert "Accepted, and auto-accepted: " in HINTS[field]
    script = write_script()
    assert "<" not in script and json.loads(script.removeprefix("window.m3poHints = ").rstrip(";")) == HINTS
