"""Each format that people bring: what a good row becomes; ten broken ones are refused and the others go in."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from format_rows import (
    GOOD,
    LONG,
    NUL,
    bot,
    completion,
    gpt,
    human,
    make_folder,
    read,
    rlhf_text,
    user,
    without,
    write,
)
from sources import detect_format

from m3po.formats import pairs, vlfeedback, writers
from m3po.formats.registry import FORMATS
from m3po.imported import ImportedDecision
from m3po.types import Turn


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("set"))


# --- good rows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOOD)
def test_each_format_is_told_by_its_rows_and_read(folder: Path, name: str) -> None:
    path = write(folder, [GOOD[name]])
    assert detect_format(path) == name
    [row], refused = read(path)
    assert not refused and row.images == (folder / "a.png",) and not row.warnings
    assert row.instruction == ("Is there a dog in the image?" if name in ("pope", "mme") else "What is it?")
    if name in ("trl", "rlhf_v", "rlaif_v", "mmpr", "llamafactory", "ms_swift"):
        assert row.candidates == ("Red.", "Blue.")
        assert row.decisions == (ImportedDecision("override", 0, 1, annotator=name, given=True),)
    else:
        assert row.decisions == ()
    assert row.answer == ("no" if name in ("pope", "mme") else None)  # truth comes from a benchmark alone


@pytest.mark.parametrize("name", GOOD)
def test_each_format_reads_the_same_from_parquet_with_image_bytes(folder: Path, name: str) -> None:
    [expected], _ = read(write(folder, [GOOD[name]]))
    image = {"bytes": (folder / "a.png").read_bytes(), "path": "a.png"}
    key = next(key for key in ("file_name", "img_path", "image", "images") if key in GOOD[name])
    row = GOOD[name] | {key: [image] if isinstance(GOOD[name][key], list) else image}
    pq.write_table(pa.Table.from_pylist([row, row | {key: None}]), folder / "rows.parquet")
    kept = []
    [found, *others], _ = read(folder / "rows.parquet", keep_image=lambda data, info: kept.append(data) or Path("kept"))
    assert detect_format(folder / "rows.parquet") == name and kept == [image["bytes"]]
    same = ("id", "instruction", "turns", "candidates", "decisions", "ratings", "answer", "category", "split")
    assert [getattr(found, field) for field in same] == [getattr(expected, field) for field in same]
    assert all(row.images == () for row in others)  # text alone, where the format allows it


def test_our_own_trl_file_comes_back(folder: Path) -> None:
    turns = [Turn("user", "Hi."), Turn("assistant", "Yes?")]
    row = {"images": [folder / "a.png"], "instruction": "What?", "system": "Be brief.", "turns": turns}
    writers.write("trl", [row | {"chosen": "Red.", "rejected": "Blue."}], folder / "ours.parquet", "bytes")
    [found], refused = read(folder / "ours.parquet")
    assert not refused and (found.instruction, found.system, found.turns) == ("What?", "Be brief.", tuple(turns))
    assert found.candidates == ("Red.", "Blue.") and found.decisions[0].annotator == "trl"
    assert found.images[0].read_bytes() == (folder / "a.png").read_bytes()


def test_every_format_has_a_name_for_people_a_test_and_a_line_in_the_readme() -> None:
    assert {*GOOD, "mapping"} <= set(FORMATS) and all(format.label for format in FORMATS.values())
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    told = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`[^|]*`) \|", readme, re.MULTILINE)))
    assert set(FORMATS) <= set(told)


def test_mixed_up_first_rows_do_not_hide_the_format(folder: Path) -> None:
    """A row without `chosen` alone would look like another format's, or like none."""
    for name in ("rlaif_v", "llamafactory", "ms_swift"):
        broken = without(GOOD[name], "chosen", "rejected_response")
        path = write(folder, [broken, GOOD[name] | {"id": "1"}, GOOD[name] | {"id": "2"}])
        assert detect_format(path) == name
        good, refused = read(path)
        assert len(good) == 2 and refused[0].row == "line 1", refused


def test_turns_come_before_the_instruction(folder: Path) -> None:
    [row], _ = read(write(folder, [GOOD["sharegpt"]]))
    assert row.turns == (Turn("user", "Hi."), Turn("assistant", "Yes?")) and row.candidates == ("Red.",)
    chat = [{"role": "system", "content": "Be brief."}, user("Hi."), bot("Yes?"), user("What is it?")]
    for name, key, extra in [("trl", "prompt", []), ("ms_swift", "messages", [bot("Red.")])]:
        [row], _ = read(write(folder, [GOOD[name] | {key: chat + extra}]), name)
        assert row.system == "Be brief." and len(row.turns) == 2 and row.candidates == ("Red.", "Blue."), name


@pytest.mark.parametrize(
    "shape",
    [
        {"prompt": "What is it?", "chosen": "Red.", "rejected": "Blue."},
        {"prompt": [user("What is it?")], "chosen": bot("Red."), "rejected": bot("Blue.")},
        {"chosen": [user("What is it?"), bot("Red.")], "rejected": [user("What is it?"), bot("Blue.")]},
        {"image": "a.png", "prompt": [user("<image>What is it?")], "chosen": [bot("Red.")], "rejected": [bot("Blue.")]},
        {"prompt": {"role": ["user"], "content": ["What is it?"]}, "chosen": "Red.", "rejected": "Blue."},
    ],
)
def test_trl_in_its_shapes(folder: Path, shape: dict) -> None:
    path = write(folder, [shape])
    assert detect_format(path) == "trl"
    [row], _ = read(path)
    assert (row.instruction, row.candidates) == ("What is it?", ("Red.", "Blue."))


def test_vlfeedback_keeps_the_ratings_that_are_numbers(folder: Path) -> None:
    rows = [
        completion("One", "5"), completion("Two", "N/A"), completion("Three", 3), completion("Four", "2.5"),
        completion(" One ", "1"), {"response": "Six", "annotations": None}, completion("Seven", "nan"),
    ]  # fmt: skip
    as_columns = {key: [row.get(key) for row in rows] for key in ("response", "model", "annotations")}
    for completions in (rows, as_columns):  # as written, and as `datasets` stores a sequence
        [row], _ = read(write(folder, [GOOD["vlfeedback"] | {"completions": completions}]))
        assert row.candidates == ("One", "Two", "Three", "Four", "Six", "Seven") and row.decisions == ()
        assert [ratings.get("Helpfulness") for ratings in row.ratings] == [5.0, None, 3.0, 2.5, None, None]
        assert row.ratings[0] == {"Helpfulness": 5.0, "Visual Faithfulness": 5.0}
        assert set(row.warnings) == {vlfeedback.NO_NUMBER, vlfeedback.TWICE}


@pytest.mark.parametrize(
    ("name", "row", "category"),
    [
        ("coco_pope_random.json", {}, "pope_random"),
        ("coco_pope_popular.json", {}, "pope_popular"),
        ("coco_pope_adversarial.json", {}, "pope_adversarial"),
        ("coco_pope_adversarial.json", {"label": "Yes"}, "pope_adversarial"),  # each file has its own present ones
        ("coco_pope_random.json", {"category": "adversarial"}, "pope_adversarial"),
        ("gqa_pope_seem_popular.json", {}, "pope_gqa_popular"),
        ("aokvqa_pope_random.json", {"label": "Yes"}, "pope_aokvqa_random"),
        ("mine.json", {}, "pope"),
        ("hub.json", {"text": None, "question": "Is it?", "label": None, "answer": "no"}, "pope"),
        # A workspace's own questions, as it exports them, and as it did before.
        ("own.jsonl", {"category": "exist_present", "label": "Yes", "split": "heldout"}, "exist_present"),
        ("own.jsonl", {"category": "exist_random"}, "exist_random"),
        ("own.jsonl", {"category": "pope_gqa_random"}, "pope_gqa_random"),
        ("coco_pope_random.json", {"split": "heldout"}, "pope_random"),  # said by hand, and still POPE's own file
        ("gqa_pope_seem_random.json", {"split": "heldout"}, "pope_gqa_random"),
        ("own.jsonl", {"category": "adversarial", "split": "heldout"}, "exist_partner_absent"),
        ("own.jsonl", {"label": "Yes", "split": "heldout"}, "exist_present"),
        ("own.jsonl", {"split": "heldout"}, None),
    ],
)
def test_pope_is_truth_and_held_out(folder: Path, name: str, row: dict, category: str | None) -> None:
    [found], _ = read(write(folder, [GOOD["pope"] | row], name))
    assert (found.category, found.split, found.candidates) == (category, "heldout", ())
    assert found.answer == ("yes" if row.get("label") == "Yes" else "no") and found.id == "1"


def test_an_equal_pair_is_no_preference(folder: Path) -> None:
    [row], _ = read(write(folder, [GOOD["mmpr"] | {"rejected": " Red. "}]))
    assert row.candidates == ("Red.",) and row.decisions == () and row.warnings == (pairs.SAME,)


def test_fewer_placeholders_than_images_is_a_warning(folder: Path) -> None:
    [row], _ = read(write(folder, [GOOD["mmpr"] | {"image": ["a.png", "b.png"]}]))
    assert len(row.images) == 2 and "Fewer <image>" in row.warnings[0]


# --- bad rows ------------------------------------------------------------------------------------------------------


def bad_rows(name: str) -> dict[str, tuple[object, str]]:
    """Broken in ten ways each and more: (row, what the reason says)."""
    good = GOOD[name]
    image = next(key for key in ("file_name", "img_path", "image", "images") if key in good)

    def with_image(value: object) -> dict:
        return good | {image: [value] if isinstance(good[image], list) else value}

    def with_text(text: object) -> dict:
        places = {
            "rlhf_v": {"text": rlhf_text(question=text)}, "rlaif_v": {"question": text}, "mmpr": {"question": text},
            "vlfeedback": {"prompt": text}, "pope": {"text": text}, "mme": {"question": text}, "trl": {"prompt": text},
            "llava": {"conversations": [human(text)]}, "sharegpt": {"conversations": [human(text)]},
            "llamafactory": {"conversations": [human(text)]}, "ms_swift": {"messages": [user(text), bot("Red.")]},
        }  # fmt: skip
        return good | places.get(name, {"instruction": text})

    missing = {
        "rlhf_v": "text", "rlaif_v": "question", "mmpr": "question", "vlfeedback": "prompt", "pope": "text",
        "trl": "prompt", "llava": "conversations", "sharegpt": "conversations", "llamafactory": "conversations",
        "ms_swift": "messages", "mme": "question",
    }.get(name, "instruction")  # fmt: skip
    line = json.dumps(with_text("caf?"))
    cases: dict[str, tuple[object, str]] = {
        "missing field": (without(good, missing), "it has no " if name != "rlhf_v" else "must be a JSON string"),
        "wrong type": (with_text(5), "must be a list of turns" if name == "trl" else "must be text, not a number"),
        "empty text": (with_text("<image> \n"), "instruction is empty"),
        "image missing": (with_image("gone.png"), "does not exist"),
        "image outside": (with_image("../outside.png"), "lies outside"),
        "image unreadable": (with_image("broken.png"), "truncated"),
        "image of a wrong type": (
            with_image(7),
            "an image must be a path" if isinstance(good[image], list) else "not a",
        ),
        "not json": (json.dumps(good)[:-1], "not valid JSON"),
        "half a row": (json.dumps(good)[:30], "not valid JSON"),
        "wrong encoding": (line.encode().replace(b"caf?", b"caf\xe9"), "not valid UTF-8"),
        "same id, other content": (with_text("Something else?") | {"id": "1"}, "already used with other content"),
        "too many placeholders": (with_text("<image><image> What?"), "2 <image> but it names 1 image"),
        "nul": (with_text(NUL), "NUL character"),
        "too long": (with_text(LONG), "100,001 characters"),
        "no object": ([good], "a list where a JSON object is expected"),
    }
    if name in ("trl", "rlhf_v", "rlaif_v", "mmpr", "llamafactory", "ms_swift"):
        for side, key in (("chosen", "chosen"), ("rejected", "rejected")):
            for case, value, words in [
                ("missing", None, f"no {side} answer"), ("empty", " ", f"the {side} answer is empty"),
                ("of a wrong type", 5, "must be text"), ("with nul", NUL, "NUL"), ("too long", LONG, "100,001"),
            ]:  # fmt: skip
                row = with_pair(name, key, value)
                if row is not None:
                    cases[f"{side} {case}"] = row, words
    return cases | OWN.get(name, {})


def with_pair(name: str, side: str, value: object) -> dict | None:
    good = GOOD[name]
    if name == "rlhf_v":
        return good | {"text": rlhf_text(**{side: value})}
    if name == "ms_swift":
        if side == "rejected":
            return good | {"rejected_response": value}
        return None  # the chosen one is a turn, broken above
    if name == "llamafactory":
        return good | {side: None if value is None else gpt(value)}
    if name == "trl":
        return good | {side: None if value is None else [bot(value)]}
    return good | {side: value}


T, L, S = GOOD["trl"], GOOD["llamafactory"], GOOD["ms_swift"]
OWN: dict[str, dict[str, tuple[object, str]]] = {
    "trl": {
        "two answers": (T | {"chosen": [bot("a"), bot("b")]}, "chosen has 2 messages"),
        "an answer of the user": (T | {"rejected": [user("a")]}, "rejected is from the user"),
        "a prompt that is answered": (T | {"prompt": [user("a"), bot("b")]}, "ends with an answer"),
        "an unknown role": (T | {"prompt": [{"role": "robot", "content": "a"}]}, "from 'robot'"),
        "an unknown part": (T | {"prompt": [user([{"type": "video"}])]}, "neither text nor image"),
        "different prompts": (
            {"chosen": [user("a"), bot("b")], "rejected": [user("c"), bot("d")], "prompt": None},
            "different conversations",
        ),
    },
    "rlhf_v": {
        "text is no json": (GOOD["rlhf_v"] | {"text": "{'question': 'a'}"}, "the JSON in its text cannot be read"),
        "text is a list": (GOOD["rlhf_v"] | {"text": "[1]"}, "must be a JSON string"),
        "text without question": (GOOD["rlhf_v"] | {"text": '{"chosen": "a", "rejected": "b"}'}, "no question"),
    },
    "vlfeedback": {
        "no completions": (GOOD["vlfeedback"] | {"completions": []}, "completions must be a list of answers"),
        "completions as text": (GOOD["vlfeedback"] | {"completions": "a"}, "completions must be a list of answers"),
        "no response": (GOOD["vlfeedback"] | {"completions": [{"model": "m"}]}, "completion 1 must be an object"),
        "response of null": (GOOD["vlfeedback"] | {"completions": [completion(None)]}, "object with response"),
        "response as number": (GOOD["vlfeedback"] | {"completions": [completion(3)]}, "candidate 1 must be text"),
        "annotations as text": (
            GOOD["vlfeedback"] | {"completions": [{"response": "a", "annotations": "4"}]}, "annotations must be"
        ),
    },
    "llamafactory": {
        "an answer too many": (L | {"conversations": [human("a"), gpt("b")]}, "besides chosen and rejected"),
        "chosen by a human": (L | {"chosen": human("a")}, "chosen is from the user"),
        "a turn that is text": (L | {"conversations": ["a"]}, "turn 1 must be an object"),
    },
    "ms_swift": {
        "no chosen answer": (S | {"messages": [user("a")]}, "no last answer"),
        "empty chosen": (S | {"messages": [user("a"), bot(" ")]}, "no last answer"),
        "messages as text": (S | {"messages": "a"}, "messages must be a list"),
    },
    "pope": {
        "label is neither": (GOOD["pope"] | {"label": "maybe"}, "write yes or no"),
        "label is truth": (GOOD["pope"] | {"label": True}, "write yes or no"),
        "no label": (without(GOOD["pope"], "label"), "write yes or no"),
        "no image": (without(GOOD["pope"], "image"), "names no image"),
    },
    "mme": {
        "answer is neither": (GOOD["mme"] | {"answer": "maybe"}, "write Yes or No"),
        "no image": (without(GOOD["mme"], "image"), "names no image"),
    },
}  # fmt: skip
CASES = [(name, case) for name in GOOD for case in bad_rows(name)]


@pytest.mark.parametrize(("name", "case"), CASES)
def test_a_bad_row_is_refused_and_the_good_ones_go_in(folder: Path, name: str, case: str) -> None:
    row, words = bad_rows(name)[case]
    first, last = (GOOD[name] | {"id": str(n)} for n in (1, 3))
    file = "metadata.jsonl" if name == "imagefolder" else "rows.jsonl"
    good, refused = read(write(folder, [first, row, last], file))
    assert [r.id for r in good] == ["1", "3"], refused
    assert [r.row for r in refused] == ["line 2"]
    reason = refused[0].reason
    assert words in reason
    assert reason.endswith(".") and "\n" not in reason and len(reason) < 400 and (";" in reason or ":" in reason)
    (folder / "metadata.jsonl").unlink(missing_ok=True)


def test_each_format_is_broken_in_ten_ways() -> None:
    assert all(len(bad_rows(name)) >= 10 for name in GOOD)


# --- columns by hand -------------------------------------------------------------------------------------------------
