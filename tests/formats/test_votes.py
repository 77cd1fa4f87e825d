"""Which answer a vote of another tool speaks of."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from m3po.errors import BadInputError
from m3po.formats import argilla, label_studio
from m3po.formats.mapping import parse_mapped
from m3po.formats.registry import open_source
from m3po.formats.votes import find_answers, place_of, read_time
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


TWO = {"instruction": "Who?", "answer_1": "A cat.", "answer_2": "A dog.", "image": "a.png"}
YES_NO = {"instruction": "Is there a cat?", "answers": ["Yes", "No"]}
THREE = {"instruction": "Who?", "answers": ["A cat.", "A dog.", "A cow."]}


def choice(name: str, value: str) -> dict:
    return {"type": "choices", "from_name": name, "to_name": "instruction", "value": {"choices": [value]}}


def pairwise(to_name: str, selected: str = "left") -> dict:
    return {"type": "pairwise", "from_name": "p", "to_name": to_name, "value": {"selected": selected}}


def ranker(buckets: dict) -> dict:
    return {"type": "ranker", "from_name": "r", "to_name": "answers", "value": {"ranker": buckets}}


def read(data: dict, *results: dict) -> dict:
    return label_studio.parse({"data": data, "annotations": [{"result": list(results)}]}, "")


@pytest.mark.parametrize("other", [("image_is_blurred", "No"), ("confidence", "2"), ("style", "answer_2")])
def test_a_control_that_does_not_ask_for_the_preferred_answer_is_no_vote(other: tuple[str, str]) -> None:
    votes = choice("preferred", "answer_1"), choice(*other)
    for order in (votes, votes[::-1]):
        fields = read(YES_NO, *order)
        assert [(v.chosen, v.rejected) for v in fields["decisions"]] == [(0, 1)]
        assert other[0] in fields["warnings"][0]
    assert read(YES_NO, votes[1])["decisions"] == []
    responses = {"preferred": [{"value": "answer_1"}], other[0]: [{"value": other[1]}]}
    [vote] = argilla.parse({"fields": TWO | {"answer_1": "Yes", "answer_2": "No"}, "responses": responses}, "")[
        "decisions"
    ]
    assert (vote.chosen, vote.rejected) == (0, 1)


@pytest.mark.parametrize(
    ("buckets", "vote"),
    [
        ({"good": ["answer_1"], "bad": ["answer_2", "answer_3"]}, (0, 2)),
        ({"bad": ["answer_2", "answer_3"], "good": ["answer_1"], "_": []}, (0, 2)),
        ({"_": ["answer_3", "answer_2", "answer_1"]}, (2, 0)), ({"rank": ["2", "1", "3"], "_": []}, (1, 2)),
        ({"cats": ["answer_1"], "dogs": ["answer_2", "answer_3"]}, None), ({"good": ["answer_1", "answer_2"]}, None),
    ],
)  # fmt: skip
def test_buckets_of_a_ranker(buckets: dict, vote: tuple | None) -> None:
    if vote is None:
        with pytest.raises(BadInputError, match=r"buckets .*call them good and bad"):
            read(THREE, ranker(buckets))
        return
    assert [(v.chosen, v.rejected) for v in read(THREE, ranker(buckets))["decisions"]] == [vote]


def test_a_pairwise_goes_by_names_never_by_the_order_of_the_keys() -> None:
    fields = {"instruction": "Who?", "response_b": "A dog.", "response_a": "A cat."}
    found = read(fields, choice("style", "good"), pairwise("response_a,response_b"))
    assert found["candidates"] == ["A cat.", "A dog."] and found["decisions"][0].chosen == 0
    assert read(TWO, pairwise("txt-2,txt-1"))["decisions"][0].chosen == 1
    assert read(THREE, pairwise("left,right", "right"))["decisions"][0].chosen == 1
    for to_name in ("left,right", "one,two", "response_a", "response_a,response_a"):
        with pytest.raises(BadInputError, match=r"pairwise compares .*cannot be told"):
            read(fields, pairwise(to_name))


@pytest.mark.parametrize(
    ("votes", "words"),
    [
        ({"chosen": "99", "rejected": "1"}, "'99' as chosen, which is none of its 2 answers"),
        ({"chosen": "1", "rejected": "1"}, "same answer as chosen and as rejected"),
        ({"chosen": "1", "preferred": "2"}, "another chosen"),
        ({"verdict": "fine"}, "verdict 'fine'"),
        ({"verdict": "accept"}, "without both chosen and rejected"),
    ],
)
def test_a_vote_that_cannot_be_is_refused_and_none_is_invented(votes: dict, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        read(YES_NO, *(choice(name, value) for name, value in votes.items()))
    with pytest.raises(BadInputError, match=words):
        argilla.parse({"fields": TWO, "responses": {name: [{"value": v}] for name, v in votes.items()}}, "")


def test_a_vote_for_an_answer_that_is_not_there_is_not_dropped() -> None:
    record = {"fields": {"instruction": "Who?", "answer_1": "A cat."}, "responses": {"chosen": [{"value": "2"}]}}
    with pytest.raises(BadInputError, match="none of its 1 answer;"):
        argilla.parse(record, "")


def test_one_choice_of_three_answers_is_no_pair_and_says_so() -> None:
    fields = read(THREE, choice("chosen", "answer_2"))
    assert not fields["decisions"] and "alone" in fields["warnings"][0]


def test_a_time_of_a_table_is_a_time() -> None:
    there = dt.datetime(2025, 3, 1, 12, 30, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    assert read_time(there) == read_time(there.isoformat()) == dt.datetime(2025, 3, 1, 10, 30)
    assert read_time(dt.datetime(2025, 3, 1)) == dt.datetime(2025, 3, 1)


@pytest.mark.parametrize("tool", [label_studio, argilla])
def test_tasks_of_two_sources_may_share_their_ids(tool, tmp_path: Path) -> None:
    """In an empty workspace, too: an id is unique in its own source alone."""
    rows = [
        {"source": source, "external_id": "2", "instruction": text, "candidates": [{"id": 7, "text": "A cat."}]}
        for source, text in (("birds", "Who?"), ("cats", "What?"), ("birds", "Who?"))
    ]
    path = tmp_path / "x.json"
    path.write_text(json.dumps([tool.to_task(r, []) if tool is label_studio else tool.to_record(r, []) for r in rows]))
    found = list(open_source(path).rows(lambda data, info: path))
    assert [row.id for row in found] == ["2", "cats/2", "2"]
    assert [row.known_as[:2] for row in found] == [("birds", "2"), ("cats", "2"), ("birds", "2")]


def test_numbers_of_a_mapped_column_keep_their_digits() -> None:
    values = [1234567.0, 1234568.0, 0.1234567891, 3, 2.0]
    ids = [parse_mapped({"n": value}, {"id": "n"})["id"] for value in values]
    assert ids == ["1234567", "1234568", "0.1234567891", "3", "2"]
