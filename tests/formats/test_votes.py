"""Which answer a vote of another tool speaks of."""

from __future__ import annotations

import pytest

from m3po.formats import argilla, label_studio
from m3po.formats.votes import place_of

NUMBERS = {"answer_1": "2", "answer_2": "1"}
SIDES = {"answer_1": "right", "answer_2": "left"}
WORDS = {"answer_1": "Red.", "answer_2": "Blue."}


@pytest.mark.parametrize(
    ("value", "answers", "place"),
    [
        ("1", NUMBERS, 1), (" 2 ", NUMBERS, 0), ("answer_1", NUMBERS, 0), ("answer 2", NUMBERS, 1), (1, NUMBERS, 0),
        ("left", SIDES, 1), ("left", WORDS, 0), ("right", WORDS, 1), ("2", WORDS, 1), ("Blue. ", WORDS, 1),
        ("Green.", WORDS, None), ("3", WORDS, None), (None, WORDS, None),
    ],
)  # fmt: skip
def test_a_name_then_a_text_then_a_number(value: object, answers: dict, place: int | None) -> None:
    assert place_of(value, answers) == place


def test_a_vote_for_a_number_as_text() -> None:
    choice = {"type": "choices", "from_name": "chosen", "to_name": "answers", "value": {"choices": ["1"]}}
    data = {"instruction": "How many boats?", "answers": ["2", "1"]}
    fields = label_studio.parse({"data": data, "annotations": [{"result": [choice]}]}, "")
    assert (fields["decisions"][0].chosen, fields["decisions"][0].rejected) == (1, 0)


@pytest.mark.parametrize("tool", [label_studio, argilla])
def test_answers_that_are_numbers_keep_their_votes_on_the_way_out_and_back(tool) -> None:
    row = {
        "source": "birds", "external_id": "a", "instruction": "How many boats?",
        "candidates": [{"id": 7, "text": "2"}, {"id": 8, "text": "1"}],
        "decisions": [{"verdict": "override", "chosen": 8, "rejected": 7, "annotator": "ada", "at": None}],
    }  # fmt: skip
    record = label_studio.to_task(row, []) if tool is label_studio else argilla.to_record(row, [])
    [vote] = tool.parse(record, "")["decisions"]
    assert (vote.verdict, vote.chosen, vote.rejected) == ("override", 1, 0)
