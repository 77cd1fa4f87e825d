"""Which answer a vote of another tool speaks of."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from m3po.formats import argilla, label_studio
from m3po.formats.votes import find_answers, place_of
from m3po.types import VERDICTS

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


@pytest.mark.parametrize("tool", [label_studio, argilla])
def test_votes_stay_with_their_answers_beside_an_empty_one(tool) -> None:
    texts = ["", "A cat.", "A dog.", "A cow."]
    row = {
        "source": "birds", "external_id": "a", "instruction": "Who?",
        "candidates": [{"id": id, "text": text} for id, text in enumerate(texts, 7)],
        "decisions": [
            {"verdict": "override", "chosen": 8, "rejected": 9, "annotator": "ada", "at": None, "note": "answer_4"},
            {"verdict": "accept", "chosen": 10, "rejected": 7, "annotator": "bob", "at": None, "seconds": 0.0},
        ],
    }  # fmt: skip
    fields = tool.parse(label_studio.to_task(row, []) if tool is label_studio else argilla.to_record(row, []), "")
    assert fields["candidates"] == texts
    assert [(v.annotator, v.verdict, v.chosen, v.rejected, v.note, v.seconds) for v in fields["decisions"]] == [
        ("ada", "override", 1, 2, "answer_4", None), ("bob", "accept", 3, 0, "", 0.0),
    ]  # fmt: skip


def test_a_number_is_that_of_the_answer_also_where_fields_before_it_are_empty() -> None:
    fields = {"answers": ["", "A cat.", None, "A cow."]}
    answers = find_answers(fields)
    assert [place_of(value, answers) for value in ("answer_2", 4, "2", "1", "3")] == [0, 1, 0, None, None]
    assert find_answers(fields, ours=True) == {"answer_1": "", "answer_2": "A cat.", "answer_4": "A cow."}
    many = {f"answer_{n}": f"{n} boats" for n in range(1, 121)} | {"text": "How many?"}
    assert len(find_answers(many, ours=True)) == 120


def test_argilla_is_given_no_responses_of_people_whom_it_does_not_know() -> None:
    """Its server wants a UUID of one of its users, and refuses the record otherwise."""
    row = {
        "source": "birds", "external_id": "a", "instruction": "Who?", "candidates": [{"id": 7, "text": "A cat."}],
        "decisions": [{"verdict": "tie", "chosen": None, "rejected": None, "annotator": "ada", "at": None}],
    }  # fmt: skip
    record = argilla.to_record(row, [])
    assert record["responses"] == {} and all(isinstance(value, str) for value in record["metadata"].values())
    record["responses"] = {"verdict": [{"value": "flag", "user_id": "0000-1"}]}  # somebody there votes
    assert [(v.annotator, v.verdict) for v in argilla.parse(record, "")["decisions"]] == [
        ("0000-1", "flag"), ("ada", "tie"),
    ]  # fmt: skip


def test_the_labelling_config_offers_every_verdict_that_a_task_may_hold() -> None:
    [verdict] = ElementTree.fromstring(label_studio.CONFIG).findall("Choices[@name='verdict']")
    assert [choice.get("value") for choice in verdict] == list(VERDICTS)
