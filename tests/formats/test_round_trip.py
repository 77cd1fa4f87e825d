"""What a format can hold comes back from it: every format written and read again, over drawn rows."""

import dataclasses
import datetime as dt
import operator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from sources import detect_format, read_source

from m3po.formats.registry import FORMATS
from m3po.formats.writers import WRITERS, write
from m3po.images import inspect_image
from m3po.imported import ImportedDecision, RefusedRow
from m3po.text import same_answer_key
from m3po.types import SPLITS, Turn

# `<image>` stands for an image in most formats, white space at the ends is cut off with it, and answers that differ in
# white space alone are one answer.
TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=40).filter(
    lambda text: text.strip() == text and "<image>" not in text and text.strip()
)
# A model may say nothing, or go on for hundreds of lines.
MANY_LINES = st.builds(lambda text, lines: text + "\n" * lines + text, TEXT, st.integers(200, 400))
HOLD_EMPTY = ("m3po", "vlfeedback", "label_studio", "argilla")
WORDS = st.from_regex(r"[A-Za-z][A-Za-z ]{0,8}[A-Za-z]", fullmatch=True)
RATINGS = st.dictionaries(WORDS, st.one_of(st.integers(-5, 5).map(float), st.floats(-9, 9)), max_size=2)
TIMES = st.datetimes(dt.datetime(2001, 1, 1), dt.datetime(2040, 1, 1))
VOTE = {
    "seconds": st.none() | st.floats(0, 900), "note": st.just("") | TEXT, "at": TIMES, "reason": st.just("") | WORDS,
    "blind": st.booleans(),
}  # fmt: skip
PAIR_FORMATS = ("trl", "rlhf_v", "rlaif_v", "mmpr", "llamafactory", "ms_swift", "csv")
WITHOUT_ID = ("trl",)
ONE_IMAGE = ("rlhf_v", "rlaif_v", "pope")
NO_TURNS = ("rlhf_v", "rlaif_v", "mmpr", "csv", "vlfeedback", "pope")
SPLIT_KEPT = ("rlhf_v", "rlaif_v", "mmpr", "csv", "llava", "sharegpt", "m3po", "pope", "label_studio", "argilla")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("round")
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (8, 6), colour).save(root / name)
    return root


@st.composite
def rows(draw, format: str) -> dict:
    answer = TEXT | MANY_LINES | st.sampled_from(["", " \n"]) if format in HOLD_EMPTY else TEXT | MANY_LINES
    texts = draw(st.lists(answer, min_size=2, max_size=4, unique_by=same_answer_key))
    bare = format in NO_TURNS
    n_images = 1 if format in ONE_IMAGE else draw(st.integers(0, 1 if format == "vlfeedback" else 2))
    turns = [] if bare else draw(st.lists(TEXT, max_size=4).filter(lambda found: len(found) % 2 == 0))
    ids = list(range(11, 11 + len(texts)))
    row = {
        "source": "birds", "external_id": draw(TEXT), "images": ["a.png", "b.png"][:n_images],
        "instruction": draw(TEXT), "system": "" if bare else draw(st.just("") | TEXT),
        "split": draw(st.sampled_from(SPLITS)),
        "turns": [{"role": ("user", "assistant")[n % 2], "text": text} for n, text in enumerate(turns)],
        "candidates": [
            {"id": id, "text": text, "source": draw(st.sampled_from(["sampled", "imported"])), "ratings": draw(RATINGS)}
            for id, text in zip(ids, texts, strict=True)
        ],
        "pair": None, "decision": None, "answer": draw(st.sampled_from(["yes", "no"])),
    }  # fmt: skip
    row["id"] = row["external_id"]
    if format in PAIR_FORMATS:
        row |= {"chosen": texts[0], "rejected": texts[1]}
    votes = []
    for annotator in draw(st.lists(WORDS, max_size=2, unique=True)):
        verdict = draw(st.sampled_from(["accept", "override", "tie", "all_wrong", "skip"]))
        sides = ids[:2] if verdict in ("accept", "override") else [None, None]
        vote = {name: draw(values) for name, values in VOTE.items()}
        votes.append({"verdict": verdict, "chosen": sides[0], "rejected": sides[1], "annotator": annotator} | vote)
    if votes and draw(st.booleans()):
        votes.append(votes[-1] | {"role": "adjudicated"})
    row["decisions"] = [vote | {"at": vote["at"].isoformat() + "Z"} for vote in votes]
    row["votes"] = votes  # for the test alone
    return row


@pytest.mark.parametrize("format", list(WRITERS))
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(data=st.data(), way=st.integers(0, 2))
def test_what_is_written_is_read_again(folder: Path, format: str, data: st.DataObject, way: int) -> None:
    drawn = data.draw(st.lists(rows(format), min_size=1, max_size=3, unique_by=lambda row: row["id"]))
    ways = [name for name in WRITERS[format].ways if name != "paths" or format == "m3po"]
    out = folder / f"out{WRITERS[format].suffix}"
    shas = {name: inspect_image(folder / name).sha256 for name in ("a.png", "b.png")}
    given_rows = [row | {"images": [str(folder / name) for name in row["images"]]} for row in drawn]
    without = [{k: v for k, v in row.items() if k != "votes"} for row in given_rows]
    count, left_out = write(format, without, out, ways[way % len(ways)])
    assert (count, left_out) == (len(drawn), {})
    known_as = "mmpr" if format == "csv" else format
    if format not in ("sharegpt", "llava"):
        assert detect_format(out) == known_as
    back = list(read_source(out, known_as)[1])
    assert not [row for row in back if isinstance(row, RefusedRow)]
    for row, found in zip(drawn, back, strict=True):
        assert found.instruction == row["instruction"] and found.system == row["system"]
        assert [inspect_image(path).sha256 for path in found.images] == [shas[name] for name in row["images"]]
        assert found.turns == tuple(Turn(turn["role"], turn["text"]) for turn in row["turns"])
        assert found.id == row["id"] or format in WITHOUT_ID
        assert found.split == (row["split"] if format in SPLIT_KEPT else None)
        texts = [candidate["text"] for candidate in row["candidates"]]
        ratings = [candidate["ratings"] for candidate in row["candidates"]]
        if format in PAIR_FORMATS:
            assert list(found.candidates) == texts[:2]
            preference = ImportedDecision("override", 0, 1, annotator=known_as, given=True)
            assert found.decisions == (preference,)
        elif format in ("m3po", "vlfeedback", "label_studio", "argilla"):
            assert list(found.candidates) == texts
        if format in ("m3po", "vlfeedback"):
            assert list(found.ratings) == (ratings if any(ratings) or format == "vlfeedback" else [])
        if format in ("m3po", "label_studio", "argilla"):
            votes = [_as_vote(vote) for vote in row["votes"]]
            if format == "label_studio":  # it has no place for more than an annotator's verdict and note
                votes = [dataclasses.replace(v, reason="", blind=False) for v in votes if not v.role]
            by = operator.attrgetter("annotator", "role")
            assert sorted(found.decisions, key=by) == sorted(votes, key=by)
        if format in ("label_studio", "argilla"):
            assert found.known_as == ("birds", row["external_id"], "")
        if format in ("pope", "m3po"):
            assert found.answer == row["answer"]


def _as_vote(vote: dict) -> ImportedDecision:
    places = {side: None if vote[side] is None else vote[side] - 11 for side in ("chosen", "rejected")}
    names = [field.name for field in dataclasses.fields(ImportedDecision)]
    return ImportedDecision(**{name: value for name, value in (vote | places).items() if name in names})


def test_every_format_that_is_written_can_be_read() -> None:
    assert set(WRITERS) - {"csv"} <= set(FORMATS)
