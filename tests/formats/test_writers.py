"""What is written is read back the same, by us, by `datasets` and by TRL's own trainer; a full disk loses nothing."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from sources import read_source

from m3po.errors import BadImageError, BadInputError, StorageError
from m3po.formats import writers
from m3po.formats.trl import pair_texts
from m3po.formats.writers import write
from m3po.images import inspect_image, load_rgb
from m3po.imported import ImportedRow, RefusedRow
from m3po.types import SPLITS, Turn


def write_m3po(rows: Iterable[dict], out: Path) -> int:
    return write("m3po", rows, out, "paths")[0]


def write_trl(rows: Iterable[dict], out: Path) -> int:
    return write("trl", rows, out, "bytes")[0]


# --- m3po ------------------------------------------------------------------------------------------------------------

# Any text that can be stored; `<image>` is taken out on import, so it does not come back.
texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=60).filter(
    lambda text: text.strip() and "<image>" not in text
)
scores = st.none() | st.floats()
candidates = st.fixed_dictionaries(
    {"id": st.integers(1, 10**9), "text": texts, "source": st.sampled_from(["sampled", "imported", "human"])}
    | {"votes": st.integers(0, 8), "n_tokens": st.none() | st.integers(1, 500)}
    | dict.fromkeys(["mas", "logp_sum", "logp_mean", "confidence", "good", "hard"], scores)
)
turns = st.integers(0, 2).flatmap(
    lambda n: st.tuples(*[st.builds(Turn, st.just(("user", "assistant")[i % 2]), texts) for i in range(2 * n)])
)
rows_of_files = st.lists(
    st.fixed_dictionaries(
        {
            "id": texts,
            "images": st.lists(st.sampled_from(["a.png", "images/b.png"]), max_size=2),
            "instruction": texts,
            "split": st.sampled_from(SPLITS),
            "candidates": st.lists(candidates, max_size=3),
            "pair": st.none() | st.just({"chosen": 1, "rejected": 2, "m3p_score": 0.5, "logp_margin": math.nan}),
            "no_pair_reason": st.none() | st.just("delta"),
            "decision": st.none() | st.just({"verdict": "skip", "chosen": None, "rejected": None}),
        },
        optional={"system": texts, "turns": turns},
    ),
    max_size=5,
    unique_by=lambda row: row["id"],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    (root / "images").mkdir()
    Image.new("RGB", (8, 6), "red").save(root / "a.png")
    Image.new("RGB", (8, 6), "blue").save(root / "images" / "b.png")
    return root


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(rows=rows_of_files)
def test_m3po_comes_back_as_it_was_written(folder: Path, rows: list[dict]) -> None:
    out = folder / "rows.jsonl"
    assert write_m3po(iter(rows), out) == len(rows)
    for line in out.read_text(encoding="utf-8").split("\n")[:-1]:
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    if not rows:
        return
    found = list(read_source(out, "m3po")[1])
    assert [type(row) for row in found] == [ImportedRow] * len(rows), found
    for row, back in zip(rows, found, strict=True):
        assert (back.id, back.instruction, back.split) == (row["id"], row["instruction"], row["split"])
        assert back.images == tuple(folder / name for name in row["images"])
        assert back.candidates == tuple(candidate["text"] for candidate in row["candidates"])
        assert (back.system, back.turns) == (row.get("system", ""), tuple(row.get("turns", ())))


def test_what_was_read_back_is_written_the_same_again(folder: Path) -> None:
    """Scores and decisions come back from the file as they were, to the last digit, and nan as null."""
    row = {"id": "1", "images": [], "instruction": "Où?", "split": "train", "pair": None, "decision": None}
    row["candidates"] = [{"id": 3, "text": "</script> é", "mas": 0.1 + 0.2, "logp_sum": -math.inf, "votes": 2}]
    out = folder / "again.jsonl"
    write_m3po([row], out)
    first = out.read_text(encoding="utf-8")
    assert "é" in first  # readable, not escaped
    back = json.loads(first)
    assert back["candidates"][0] | {"logp_sum": -math.inf} == row["candidates"][0]
    assert back["candidates"][0]["logp_sum"] is None
    write_m3po([back], out)
    assert out.read_text(encoding="utf-8") == first


def test_absolute_paths_are_taken_from_a_workspace_alone(tmp_path: Path) -> None:
    """An export may lie anywhere, and names images of its workspace, each called by its own hash."""
    store = tmp_path / "workspace" / "images" / "ab"
    store.mkdir(parents=True)
    Image.new("RGB", (8, 6), "red").save(store / "x.png")
    sha = inspect_image(store / "x.png").sha256
    named = (store / "x.png").rename(store / f"{sha}.png")
    Image.new("RGB", (8, 6), "lime").save(store / ("0" * 64 + ".png"))  # a name that is not its hash
    out = tmp_path / "elsewhere" / "rows.jsonl"
    paths = [str(named), str(store / ("0" * 64 + ".png")), "/etc/passwd"]
    write_m3po([{"images": [path], "instruction": "What?"} for path in paths], out)
    assert all(isinstance(row, RefusedRow) and "outside" in row.reason for row in read_source(out)[1])
    (tmp_path / "workspace" / "m3po.duckdb").touch()
    first, *others = read_source(out)[1]
    assert isinstance(first, ImportedRow) and first.images == (named,)
    assert [type(row) for row in others] == [RefusedRow, RefusedRow]


# --- trl -------------------------------------------------------------------------------------------------------------

CANDIDATES = [{"id": 1, "text": "Right."}, {"id": 2, "text": "Wrong."}, {"id": 3, "text": "Human."}]
PAIR = {"chosen": 1, "rejected": 2, "m3p_score": 0.9, "logp_margin": -0.1}


@pytest.mark.parametrize(
    ("pair", "decision", "expected"),
    [
        (PAIR, None, ("Right.", "Wrong.")),
        (None, None, None),
        (PAIR, ("accept", 1, 2), ("Right.", "Wrong.")),
        (PAIR, ("override", 3, 1), ("Human.", "Right.")),
        (None, ("override", 3, 1), ("Human.", "Right.")),
        *((PAIR, (verdict, None, None), None) for verdict in ("tie", "skip", "flag", "all_wrong", "all_right")),
    ],
)
def test_the_human_decision_counts(pair: dict | None, decision: tuple | None, expected: tuple | None) -> None:
    decided = decision and dict(zip(("verdict", "chosen", "rejected"), decision, strict=True))
    row = {"id": "7", "candidates": CANDIDATES, "pair": pair, "decision": decided}
    assert pair_texts(row) == expected


def test_a_pair_of_an_unknown_candidate_is_named() -> None:
    with pytest.raises(BadInputError, match=r"'7'.*candidate 9"):
        pair_texts({"id": "7", "candidates": CANDIDATES, "pair": {"chosen": 9, "rejected": 1}, "decision": None})


def make_rows(folder: Path, count: int) -> Iterator[dict]:
    """As the store gives them: one image, two images, none; turns and a system text; alpha and rotation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(count):
        path = folder / f"{number}.png"
        image = tiny.build_image(number)
        if number % 3 == 1:
            image.putalpha(100)
        image.save(path, **({"exif": exif} if number % 3 == 2 else {}))
        yield {
            "id": str(number),
            "images": [[str(path)], [str(path), str(folder / "0.png")], []][number % 5 // 2],
            "system": "Be brief." if number % 2 else "",
            "turns": (Turn("user", "Hello."), Turn("assistant", "Hi.")) if number % 4 == 3 else (),
            "instruction": f"What is in picture {number}?",
            "chosen": f"A red boat {number}.",
            "rejected": "A blue fish.",
            "human": False,
        }


def test_datasets_reads_it_with_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(writers, "GROUP_ROWS", 4)
    rows = list(make_rows(tmp_path, 10))
    unpaired = {"id": "x", "images": [], "candidates": [], "pair": None, "decision": None}
    out = tmp_path / "pairs.parquet"
    assert write_trl([*rows, unpaired], out) == 10
    assert pq.ParquetFile(out).num_row_groups == 3

    message = datasets.List({"type": datasets.Value("string"), "text": datasets.Value("string")})
    messages = datasets.List({"role": datasets.Value("string"), "content": message})
    features = datasets.Features(
        {"images": datasets.List(datasets.Image()), "prompt": messages, "chosen": messages, "rejected": messages}
    )
    loaded = datasets.load_dataset("parquet", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.features == features
    for row, back in zip(rows, loaded, strict=True):
        for path, image in zip(row["images"], back["images"], strict=True):
            assert image.mode == "RGB" and (np.asarray(image) == np.asarray(load_rgb(path))).all()
        roles = ["system"] * bool(row["system"]) + ["user", "assistant"] * bool(row["turns"]) + ["user"]
        assert [turn["role"] for turn in back["prompt"]] == roles
        parts = [part for turn in back["prompt"] for part in turn["content"]]
        assert sum(part["type"] == "image" for part in parts) == len(row["images"])
        assert parts[-1] == {"type": "text", "text": row["instruction"]}
        assert back["chosen"] == [{"role": "assistant", "content": [{"type": "text", "text": row["chosen"]}]}]
        assert back["rejected"][0]["content"][0]["text"] == row["rejected"]


def test_no_pairs_give_an_empty_file_with_its_columns(tmp_path: Path) -> None:
    assert write_trl([], tmp_path / "none.parquet") == 0
    table = pq.read_table(tmp_path / "none.parquet")
    assert table.num_rows == 0 and table.column_names == ["images", "prompt", "chosen", "rejected"]
    assert table.schema.metadata == writers.WRITERS["trl"].schema.metadata


@pytest.mark.slow
def test_dpo_trainer_takes_it_as_it_is(tmp_path: Path, tiny_policy: Path) -> None:
    """A real DPOTrainer on a tiny LLaVA: the prompt it renders is ours, and a step moves the model."""
    import datasets
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl import DPOConfig, DPOTrainer

    out = tmp_path / "pairs.parquet"
    write_trl(make_rows(tmp_path, 10), out)
    loaded = datasets.load_dataset("parquet", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache"))
    model, processor = (
        AutoModelForImageTextToText.from_pretrained(tiny_policy),
        AutoProcessor.from_pretrained(tiny_policy),
    )
    before = {name: value.clone() for name, value in model.named_parameters()}
    config = DPOConfig(
        output_dir=str(tmp_path / "run"), max_length=None, per_device_train_batch_size=5, max_steps=4, logging_steps=1,
        learning_rate=1e-3, beta=1.0, report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True, bf16=False,
    )  # fmt: skip
    trainer = DPOTrainer(model, args=config, train_dataset=loaded, processing_class=processor)
    batch = trainer.data_collator([loaded[3]])
    shown = processor.tokenizer.decode(batch["input_ids"][0])
    # A null `text` beside an image would show up as the word None; the image is as many tokens as the tower gives.
    assert "None" not in shown and shown.count("<image>") == tiny.N_IMAGE_TOKENS * len(loaded[3]["images"])
    for text in ("Be brief.", "Hello.", "Hi.", "What is in picture 3?", "A red boat 3."):
        assert text in shown
    assert batch["completion_mask"][0].sum() >= 5
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-3) and losses[-1] < losses[0] - 0.01
    assert any(not torch.equal(before[name], value.detach()) for name, value in model.named_parameters())


# --- the disk ------------------------------------------------------------------------------------------------------


def write_one(out: Path, rows: list[dict] | Iterator[dict]) -> int:
    return write_trl(rows, out) if out.suffix == ".parquet" else write_m3po(rows, out)


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "quota"), (errno.EROFS, "read-only")]
)
def test_a_disk_that_refuses_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int, words: str
) -> None:
    out = tmp_path / name
    out.write_text("old")

    def refuse(*_: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(StorageError) as caught:
        write_one(out, [{"id": "1", "images": [], "instruction": "What?", "chosen": "a", "rejected": "b"}])
    assert words in str(caught.value) and name in str(caught.value) and "old file is kept" in str(caught.value)
    assert out.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_a_really_full_device(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full answers every write as a full disk does; the temporary file is a link to it."""
    part = tmp_path / "part"
    part.symlink_to("/dev/full")
    monkeypatch.setattr("tempfile.mkstemp", lambda **_: (os.open(os.devnull, os.O_RDONLY), str(part)))
    rows = ({"images": [], "instruction": "x" * 9999, "chosen": "a", "rejected": str(n)} for n in range(2000))
    with pytest.raises(StorageError, match="disk is full"):
        write_one(tmp_path / name, rows)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_a_row_that_fails_half_way_leaves_the_old_file(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    out.write_text("old")

    def rows() -> Iterator[dict]:
        yield {"images": [], "instruction": "What?", "chosen": "a", "rejected": "b"}
        raise BadImageError("gone bad")

    with pytest.raises(BadImageError):
        write_one(out, rows())
    assert out.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="not a folder"):
        write_m3po([], tmp_path / "file" / "out.jsonl")
    with pytest.raises(StorageError, match="it is a folder"):
        write_m3po([], tmp_path)
    assert write_m3po([], tmp_path / "new" / "deep" / "out.jsonl") == 0  # folders are made
    assert (tmp_path / "new" / "deep" / "out.jsonl").stat().st_mode & 0o044  # as readable as any other file
