"""Rules that stand in the page's scripts and on the server, too: what one side knows, the other one does as well."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from m3po.deciding import MAX_NOTE_CHARACTERS, MAX_TAG
from ui.calibrate import frame as calibrate
from ui.calibrate.handlers import PAGE
from ui.review import empty, handlers
from ui.review.frame import ACTIONS, PANELS, build_frame
from ui.scripts import FILES

SCRIPTS = {name: text.decode() for name, text in FILES.items()}


def read_set(script: str, name: str) -> set[str]:
    """A constant `name = new Set([...])` of strings."""
    return set(json.loads(re.search(rf"{name} = new Set\((\[.*?\])\)", SCRIPTS[script])[1]))


def test_decisions_are_the_same_commands():
    leaving, staying = read_set("commands.js", "LEAVING"), read_set("commands.js", "STAYING")
    assert leaving == handlers.VERDICT_KEYS | {"accept"} and staying == handlers.STAYING
    assert leaving | staying == handlers.DECIDING
    assert read_set("deck.js", "SHRINKING") == handlers.SHRINKING


def test_every_button_and_every_word_of_a_key_has_its_action():
    table = SCRIPTS["keys.js"].split("const TABLE = [")[1].split("\n];")[0]
    named = set(re.findall(r'\n  \["(\w+)", "', table))
    assert {op for _, _, op, _ in ACTIONS} | {panel for _, _, panel, _ in PANELS} <= named
    frame = build_frame()
    for attribute in ("data-key", "data-shortcut"):
        assert set(re.findall(rf'{attribute}="(\w+)"', frame)) <= named
    drawn = re.findall(r'data-key-(?:title|text)="([^"]*)"', frame)
    assert drawn and {action for text in drawn for action in re.findall(r"\{(\w+)\}", text)} <= named | {"candidates"}
    assert not re.search(r' title="[^"]*\((Shift\+)?[A-Z]\)"', frame)  # keys can be changed


def test_every_way_out_of_an_empty_view_has_a_button():
    tree = ast.parse(Path(empty.__file__).read_text())
    actions = {
        value.value
        for found in ast.walk(tree)
        if isinstance(found, ast.Dict)
        for key, value in zip(found.keys, found.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "action" and isinstance(value, ast.Constant)
    }
    labels = re.search(r"const label = \{(.*?)\}\[empty\.action\]", SCRIPTS["frame.js"])[1]
    assert actions - {""} == set(re.findall(r'(\w+): "', labels))


def test_lengths_come_from_the_server():
    frame = build_frame()
    assert f'data-max-note="{MAX_NOTE_CHARACTERS}"' in frame and f'data-max-tag="{MAX_TAG}"' in frame
    assert "dataset.maxNote" in SCRIPTS["remarks.js"] and "dataset.maxTag" in SCRIPTS["tags.js"]
    assert f'data-page-size="{PAGE}"' in calibrate.build_frame() and "dataset.pageSize" in SCRIPTS["calibrate.js"]


def test_what_is_an_alert_is_not_told_as_politely_as_a_hint():
    """A fixed aria-live would stand over the role that frame.js gives it."""
    message = re.search(r'<div id="review-message"[^>]*>', build_frame())[0]
    assert 'role="status"' in message and "aria-live" not in message


@pytest.mark.parametrize("tab", ["review", "browse", "calibrate"])
def test_every_tab_asks_the_server_with_an_end_to_its_patience(tab):
    begun = re.search(r"export function start\(element, (\w+)\) \{\n(.*\n)", SCRIPTS[f"{tab}.js"])
    assert f"patient({begun[1]}" in begun[2]


def test_what_is_kept_of_a_workspace_is_named_in_one_place():
    """With the time that it was made: made anew, the same ids are other items."""
    named = {name for name, text in SCRIPTS.items() if re.search(r"\$\{[\w.]*\bworkspace\}", text)}
    assert named == {"memory.js", "unsent.js"}  # the latter reads what earlier versions kept
