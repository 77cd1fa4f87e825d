"""Every tooltip belongs to a field that is there."""

import json

from ui.build import build
from ui.hints import HINTS, write_script


def test_each_hint_has_its_field_and_no_hint_ends_the_script(studio):
    page = build(studio)
    ids = {component["props"].get("elem_id") for component in page.get_config_file()["components"]}
    assert set(HINTS) <= ids, set(HINTS) - ids
    script = write_script()
    assert "<" not in script and json.loads(script.removeprefix("window.m3poHints = ").rstrip(";")) == HINTS
