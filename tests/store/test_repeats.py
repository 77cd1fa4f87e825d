"""Rows of one file that have the same id: together they do what they would do one by one, and they take no longer."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3po.imported import ImportedDecision, ImportedRow
from m3po.store import imports
from m3po.store.connection import Connection, rows
from m3po.store.instructions import StoredImage
from m3po.studio import Studio

HOURS = st.sampled_from([None, *(dt.datetime(2025, 3, 1, hour) for hour in (9, 12))])
ANSWERS = ("A boat.", "a  boat.", "A car.")
DECISIONS = st.builds(
    ImportedDecision,
    verdict=st.sampled_from(["tie", "skip"]),
    annotator=st.sampled_from(["ada", "bob"]),
    at=HOURS,
    given=st.booleans(),
)
ROWS = st.builds(
    ImportedRow,
    row=st.just("line"),
    id=st.sampled_from("ab"),
    images=st.just(()),
    instruction=st.just(""),  # of an id, as below
    answer=st.sampled_from([None, "yes", "no"]),
    objects=st.sampled_from([None, ("boat", "car"), ("car", "boat", "car"), ("fish",)]),
    category=st.sampled_from([None, "describe"]),
    candidates=st.lists(st.sampled_from(ANSWERS), max_size=2).map(tuple),
    ratings=st.just(({"Helpfulness": 1.0},)),
    decisions=st.lists(DECISIONS, max_size=2).map(tuple),
).map(lambda row: row if row.candidates else ImportedRow(**{**vars(row), "ratings": ()}))


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    opened = Studio.open(Studio.create(tmp_path_factory.mktemp("repeats") / "workspace"))
    yield opened
    opened.close()


def stored(con: Connection, source: str) -> dict[str, list]:
    """What is there of a source, without ids and without the time of the import."""
    mine = "JOIN instructions i USING (instruction_id) WHERE i.source = ?"
    wanted = {
        "instructions": "SELECT external_id, split, instruction FROM instructions i WHERE i.source = ?",
        "truth": f"SELECT external_id, answer, objects, category FROM truth {mine}",
        "candidates": f"SELECT external_id, text, origin FROM candidates {mine}",
        "ratings": f"SELECT external_id, text, name, value FROM ratings JOIN candidates USING (candidate_id) {mine}",
        "given": f"SELECT external_id, verdict, annotator, given_at FROM given_preferences {mine}",
        "votes": "SELECT external_id, verdict, annotator, if(year(decided_at) = 2025, decided_at, NULL) AS at_"
        f" FROM decisions {mine} AND reason = 'imported'",
    }
    return {name: sorted(map(str, rows(con, sql, [source]))) for name, sql in wanted.items()}


# What RowChecker lets through: rows of one id ask the same, about the same image.
ASKED = st.fixed_dictionaries(
    {
        id: st.tuples(
            st.sampled_from(["What is it?", "And now?"]), st.sampled_from(["train", "heldout", None]), st.integers(0, 1)
        )
        for id in "ab"
    }
)
numbers = itertools.count()


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    found=st.lists(ROWS, min_size=2, max_size=5),
    asked=ASKED,
)
def test_a_batch_does_what_its_rows_do_one_by_one(
    studio: Studio, found: list[ImportedRow], asked: dict[str, tuple]
) -> None:
    found = [dataclasses.replace(row, instruction=asked[row.id][0], split=asked[row.id][1]) for row in found]
    number = next(numbers)
    outcome = {}
    for source in (f"together-{number}", f"alone-{number}"):
        images = [StoredImage(f"{source} {place}", ".png", 8, 8, 9) for place in range(2)]
        entries = [(row, [images[asked[row.id][2]]]) for row in found]
        parts = [(entries, 0)] if source.startswith("together") else [([e], n) for n, e in enumerate(entries)]
        added, there, refused = 0, 0, []
        for part, first in parts:
            batch = imports.make_batch(part, range(first, first + len(part)))
            result = studio.db.write(lambda con, b=batch, s=source: imports.add_batch(con, s, b, split="train"))
            added, there, refused = added + result.added, there + result.already_there, refused + result.refused
        kept = studio.db.read(lambda con, s=source: stored(con, s))
        # Of a row with two faults either may be named: rows of a batch are looked at image by image first.
        outcome[source.split("-")[0]] = (added, there, sorted(n for n, _ in refused), kept)
    assert outcome["together"] == outcome["alone"]


def test_rows_of_an_id_that_is_refused_are_refused_with_it(studio: Studio) -> None:
    image = StoredImage("of one split", ".png", 8, 8, 9)
    held = ImportedRow("line", "held", (), "What?", split="heldout")
    others = [ImportedRow("line", "other", (), f"What is {n}?", split="train") for n in range(600)]
    for source, found in (("first", [held]), ("second", others)):
        batch = imports.make_batch([(row, [image]) for row in found], range(len(found)))
        result = studio.db.write(lambda con, s=source, b=batch: imports.add_batch(con, s, b))
    assert result.added == 0 and [n for n, _ in result.refused] == list(range(600))
    assert all("its image would be in two splits" in reason for _, reason in result.refused)


@pytest.mark.parametrize("what", ["nothing", "an answer", "another truth", "a preference"])
def test_thousands_of_rows_of_one_id_are_no_burden(studio: Studio, tmp_path: Path, what: str) -> None:
    more = {
        "nothing": lambda n: {},
        "an answer": lambda n: {"candidates": [{"text": f"{n} boats."}]},
        "another truth": lambda n: {"answer": f"{n} boats."},
        "a preference": lambda n: {
            "candidates": [{"id": 0, "text": "A boat."}, {"id": 1, "text": f"{n} boats."}],
            "given": [{"verdict": "override", "chosen": 0, "rejected": 1, "annotator": "ada"}],
        },
    }[what]
    count = 5_000 if what == "a preference" else 20_000
    path = tmp_path / "same.jsonl"
    path.write_text(
        "".join(json.dumps({"id": "same", "instruction": "How many?", **more(n)}) + "\n" for n in range(count))
    )
    start = time.process_time()
    report = studio.import_source(path)
    seconds = time.process_time() - start
    refused = count - 1 if what == "another truth" else 0
    assert (report.added, report.already_there, report.n_refused) == (1, count - 1 - refused, refused)
    found = studio.db.read(lambda con: stored(con, report.source))
    assert len(found["candidates"]) == {"an answer": count, "a preference": count + 1}.get(what, 0)
    assert len(found["given"]) == (count if what == "a preference" else 0)
    assert seconds < 20, f"{seconds:.0f} s of computing"
