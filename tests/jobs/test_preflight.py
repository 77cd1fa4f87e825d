"""The check of a training set on a tiny real model: what it says is left out is what the run leaves out."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
from PIL import Image
from runs_here import open_quietly, run_here, work_here
from training_here import Recorder
from workspaces import BOB, CORA, VIC, Answer, add_answers, add_instruction

from m3po.errors import BadInputError, NotAllowedError, UsageError
from m3po.jobs import preflight
from m3po.jobs.folder import RunFolder
from m3po.jobs.schemas import PREFLIGHT_INPUT
from m3po.models.chat import ChatFormat
from m3po.models.policy import Policy
from m3po.models.reader import Reader
from m3po.settings import SelectConfig, TrainConfig
from m3po.store import auto_accept, decisions, exclusions, selections
from m3po.studio import Studio
from m3po.text import build_messages
from m3po.training.pair_checks import KINDS
from m3po.training.presets import build_train_config
from m3po.types import ReviewView
from m3po.workspace_config import WorkspaceConfig

LIMIT = 64  # tokens that the model reads
REFUSED = "Nobody may ask this."
FINE = ("There is a red boat.", "A blue fish swims here.")


@pytest.fixture(scope="module")
def policy(tmp_path_factory) -> Path:
    """It reads 64 tokens, and its template refuses a system text."""
    template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    folder = tmp_path_factory.mktemp("models") / "short"
    return tiny.build_policy(folder, max_positions=LIMIT, template=template + tiny.CHAT_TEMPLATE)


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[dict]:
    """A pair of every kind among good ones, and by its name what is to be found of it."""
    folder = tmp_path_factory.mktemp("images")
    rows: list[dict] = []

    def add(name: str, chosen: str = FINE[0], rejected: str = FINE[1], *, images: int = 1, **said: str) -> dict:
        number = len(rows)
        paths = [folder / f"{number}-{k}.png" for k in range(images)]
        for k, path in enumerate(paths):
            tiny.build_image(7 * number + k).save(path)
        messages = build_messages(said.get("text", "What is it?"), images, system=said.get("system", ""))
        rows.append(
            {
                "instruction_id": number, "name": name, "images": [str(path) for path in paths],
                "messages": json.dumps(messages),
                "chosen_id": 2 * number, "rejected_id": 2 * number + 1, "chosen": chosen, "rejected": rejected,
                "chosen_truncated": False, "rejected_truncated": False, "human": False,
                "split": "train", "excluded": False,
            }
        )  # fmt: skip
        return rows[-1]

    for n in range(3):
        add(f"good-{n}")
    add("good-text", images=0)
    add("too_long", " ".join(["boat"] * 40))
    add("too_long images", images=4)
    add("no_completion", "   ")
    add("no_completion cut", "")["chosen_truncated"] = True
    add("same_answer", "A fish.", "A fish. ")
    add("near_equal", "There is a red boat.", "There is a blue boat.")
    add("refused", system="Be brief.")
    add("refused processor", text=REFUSED)
    Path(add("unreadable")["images"][0]).write_bytes(b"no image")
    held = Image.open(rows[0]["images"][0])
    turned = held.convert("RGB").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # upright again when it is shown
    turned.save(folder / "held.png", exif=exif)
    for name, split, path in (("held", "heldout", folder / "held.png"), ("other", "tune", rows[1]["images"][0])):
        rows.insert(0, dict.fromkeys(rows[0]) | {
            "instruction_id": 1000 + len(rows), "name": name, "images": [str(path)], "split": split,
        })  # fmt: skip
    return rows


def write_run(folder: Path, policy: Path, rows: list[dict], **given: str) -> RunFolder:
    run = RunFolder(folder)
    (folder.parent.parent / "config.toml").write_text("# what a worker obeys\n")
    run.write_config(
        dataclasses.asdict(build_train_config(str(policy), "demo", {"batch_size": "2", "max_steps": "1", **given}))
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=PREFLIGHT_INPUT), run.input_path)
    return run


def read_shards(run: RunFolder) -> list[dict]:
    return [row for path in run.shards() for row in pq.read_table(path).to_pylist()]


def ending(run: RunFolder) -> dict:
    return run.read_events()[0][-1]


@pytest.fixture
def refusing(monkeypatch):
    """What the processors of some models do with an image that is too long and narrow, told by a word in the prompt."""
    encode = ChatFormat.encode_prompts

    def encode_prompts(self, texts, images):
        if any(REFUSED in text for text in texts):
            raise BadInputError("The model's processor refuses this prompt (aspect ratio).")
        return encode(self, texts, images)

    monkeypatch.setattr(ChatFormat, "encode_prompts", encode_prompts)


def test_what_is_told_before_is_what_the_run_leaves_out(policy, rows, tmp_path, refusing):
    run = write_run(tmp_path / "runs" / "1", policy, rows)
    assert work_here(run, "preflight") == 0, run.log_tail()
    told = {row["name"]: {f["kind"]: f["detail"] for f in row["findings"]} for row in read_shards(run)}
    expected = {name: {name.split()[0]} for name in told if not name.startswith("good")}
    expected |= {"good-0": {"shared_image"}, "good-1": {"shared_image"}, "good-2": set(), "good-text": set()}
    assert {name: set(found) for name, found in told.items()} == expected
    assert told["good-0"]["shared_image"] == "its image is also that of held (heldout)"
    assert "image token" not in str(told) and f"the {LIMIT} that the model reads" in told["too_long"]["too_long"]

    result = ending(run)["result"]
    assert (result["pairs"], result["left_out"]) == (13, 8)
    assert result["kinds"]["too_long"] == 2 and result["kinds"]["near_equal"] == 1
    assert result["lengths"]["pairs"] == 5 and result["longest"]["limit"] == LIMIT

    # The run itself, on the same pairs: what it leaves out and why, word by word.
    from m3po.training.dpo import train_pairs

    warned: dict[str, str] = {}

    class Reporter:
        stop_requested = False

        def emit(self, event, **values):
            if event == "warning":
                name, _, words = values["message"].removeprefix("Instruction ").partition(" is left out: ")
                warned[name] = words

        def progress(self, *given, **more):
            pass

        metrics = progress

    train = [row for row in rows if row["split"] == "train"]
    trained = train_pairs(TrainConfig(**run.read_config()), train, tmp_path, Reporter())
    left_out = {name: found[kind] for name, found in told.items() for kind in found if kind in preflight.LEFT_OUT}
    assert {name: words.rstrip(".") for name, words in warned.items()} == left_out
    assert (trained["pairs"], trained["left_out"]) == (5, 8)

    chat = Reader.load(policy).chat
    prompt = chat.render_prompt(json.loads(rows[2]["messages"]))
    expanded = len(chat.encode_texts([prompt])[0]) - 1 + tiny.N_IMAGE_TOKENS
    assert {row["prompt_tokens"] for row in read_shards(run) if row["name"] in ("good-0", "good-2")} == {expanded}


def test_a_method_that_samples_its_own_answers_is_checked_without_those_of_the_pairs(policy, rows, tmp_path, refusing):
    from m3po.training.grpo import _is_readable

    given = {"method": "grpo", "trl.max_completion_length": "30"}
    run = write_run(tmp_path / "runs" / "1", policy, rows, **given)
    assert work_here(run, "preflight") == 0, run.log_tail()
    told = {row["name"]: {f["kind"]: f["detail"] for f in row["findings"]} for row in read_shards(run)}
    left_out = {name: found[kind] for name, found in told.items() for kind in found if kind in preflight.LEFT_OUT}
    recorder = Recorder()
    for row in rows:
        if row["split"] == "train":
            _is_readable(row, Policy.load(policy), False, recorder, 30, 0)
    warned = dict(
        words.removeprefix("Instruction ").rstrip(".").split(" is left out: ", 1) for words in recorder.warnings
    )
    assert warned == left_out and {"too_long", "refused", "unreadable"} <= {name.split()[0] for name in left_out}
    assert not {"near_equal", "same_answer", "no_completion"} & {kind for found in told.values() for kind in found}


def test_what_does_not_matter_to_supervised_training_is_not_told_of_it(policy, rows, tmp_path, refusing):
    run = write_run(tmp_path / "runs" / "1", policy, rows, method="sft")
    assert work_here(run, "preflight") == 0, run.log_tail()
    assert "near_equal" not in ending(run)["result"]["kinds"]


def test_a_stopped_check_goes_on_where_it_was(policy, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "BATCH", 3)
    run, whole = write_run(tmp_path / "runs" / "1", policy, rows), write_run(tmp_path / "runs" / "2", policy, rows)
    looked: list[str] = []
    check = preflight.check_pair

    def check_pair(row, *given):
        looked.append(row["name"])
        if len(looked) == 5:
            run.request_stop()
        return check(row, *given)

    monkeypatch.setattr(preflight, "check_pair", check_pair)
    assert work_here(run, "preflight") == 3 and len(read_shards(run)) == 5
    run.clear_stop()
    assert work_here(run, "preflight") == 0
    assert sorted(looked) == sorted(row["name"] for row in rows if row["split"] == "train")  # none twice
    assert work_here(whole, "preflight") == 0
    told = [{k: v for k, v in ending(each)["result"].items() if k != "seconds"} for each in (run, whole)]
    assert told[0] == told[1]


def test_the_reader_without_weights_is_that_of_the_policy(tiny_policy, tmp_path):
    bare = shutil.copytree(tiny_policy, tmp_path / "bare")
    (bare / "generation_config.json").unlink()
    for folder in (tiny_policy, bare):
        own, loaded = Reader.load(folder), Policy.load(folder).reader
        assert (own.max_positions, own.image_token) == (loaded.max_positions, loaded.image_token) == (1024, 4)
        assert own.chat.stop_ids == loaded.chat.stop_ids
        prompt = own.chat.render_prompt(build_messages("What?", 1))
        answers = own.chat.encode_answers(prompt, ["A boat.", "<image>"], [False, True])
        assert answers == loaded.chat.encode_answers(prompt, ["A boat.", "<image>"], [False, True])


# ---- as the Studio has it -----------------------------------------------------------------------------------------


@pytest.fixture
def studio(tmp_path: Path, policy: Path):
    """Three pairs: a good one, a near-equal one, and one that is too long."""
    studio = open_quietly(Studio.create(tmp_path / "ws", WorkspaceConfig(str(policy))))
    texts = [FINE, ("There is a red boat.", "There is a blue boat."), (" ".join(["boat"] * 60), "A fish.")]

    def fill(con) -> None:
        for number, (chosen, rejected) in enumerate(texts):
            answers = [Answer(chosen, 0.9, -2.0), Answer(rejected, 0.1, -1.0)]
            add_answers(con, add_instruction(con, f"item-{number}"), answers)

    studio.db.write(fill)
    assert studio.select(SelectConfig(delta=0, length_ratio=0))["pairs"] == 3
    yield studio
    studio.close()


def test_a_check_counts_as_long_as_pairs_model_and_options_are_the_same(studio, policy, tiny_policy):
    config = TrainConfig(str(policy), max_steps=20)
    assert studio.preflight.report(config)["state"] == "none"
    run = studio.run(studio.preflight.start(config))
    assert studio.preflight.report(config)["state"] == "working"
    assert run.command.startswith("python -m m3po preflight ") and "--set max_steps=20" in run.command
    run = run_here(studio, run)
    assert run.state == "finished" and run.result["kinds"] == {"too_long": 1, "near_equal": 1}, run
    report = studio.preflight.report(config)
    assert (report["state"], report["run"].id, report["problems"]) == ("checked", run.id, [])
    assert studio.preflight.report(dataclasses.replace(config, beta=0.3, seed=4))["state"] == "checked"
    assert "optimiser steps" in studio.preflight.report(TrainConfig(str(policy)))["problems"][0]
    assert studio.preflight.report(TrainConfig(str(tiny_policy)))["state"] == "changed"
    found = studio.preflight.findings(run.id)
    assert [(p["id"], p["kind"]) for p in found["pairs"]] == [("item-1", "near_equal"), ("item-2", "too_long")]
    assert studio.preflight.findings(run.id, ["too_long"], limit=5)["total"] == 1
    assert studio.preflight.findings(run.id, offset=1)["pairs"][0]["id"] == "item-2"
    with pytest.raises(UsageError, match="no kind of finding 'nonsense'"):
        studio.preflight.findings(run.id, ["nonsense"])

    studio.decide(1, "bad_question")
    assert studio.preflight.report(config)["state"] == "changed"
    studio.undo()
    assert studio.preflight.report(config)["state"] == "checked"


def test_who_may_check_and_who_may_look(studio, policy):
    config = TrainConfig(str(policy))
    with pytest.raises(NotAllowedError, match="only a curator"):
        studio.as_user(VIC).preflight.start(config)
    run_here(studio, studio.run(studio.as_user(CORA).preflight.start(config)))
    told = studio.as_user(VIC).preflight.report(config)
    assert told["state"] == "checked" and str(studio.path) not in told["run"].command
    assert studio.as_user(BOB).preflight.findings(told["run"].id)["total"] == 2
    studio.people.assign(["bob"], items=2, blind=True, created_by="cora")
    for look in (lambda own: own.preflight.report(config), lambda own: own.preflight.findings(told["run"].id)):
        with pytest.raises(NotAllowedError):
            look(studio.as_user(BOB))


# ---- excluded pairs -----------------------------------------------------------------------------------------------


def curated(studio, only: str = "all") -> tuple[set[int], dict]:
    """The training set as it is read whole, beside the counts, which are counted another way."""

    def read(con):
        selection = selections.latest_selection(con)
        pairs = decisions.curated_pairs(con, selection, only)
        return {pair["instruction_id"] for pair in pairs}, decisions.pair_counts(con, selection, only)

    ids, counts = studio.db.read(read)
    assert counts["pairs"] == len(ids)
    return ids, counts


def test_an_excluded_pair_stays_out_as_long_as_it_is_the_pair(studio, policy, tmp_path):
    config = TrainConfig(str(policy), max_steps=20)
    run = run_here(studio, studio.run(studio.preflight.start(config)))
    assert studio.preflight.exclude(run.id, ["too_long"], annotator="cora") == 1
    assert studio.preflight.exclude(run.id, ["too_long"], annotator="cora") == 0
    assert curated(studio)[0] == {1, 2} and curated(studio)[1]["excluded"] == 1
    assert studio.status()["curated_pairs"] == 2 and studio.status()["excluded"] == 1
    assert studio.train_preview(config)["excluded"] == 1
    report = studio.preflight.report(config)  # of all the pairs: it still counts
    assert report["state"] == "checked" and report["kinds"]["too_long"] == {"found": 1, "excluded": 1}
    assert report["result"] == run.result  # what the run leaves out by itself was not counted, either
    assert studio.preflight.findings(run.id, ["too_long"])["pairs"][0]["excluded"]
    result = studio.export(tmp_path / "pairs.parquet", format="trl")
    assert result["rows"] == 2
    item = studio.review_item(instruction_id=3)
    assert item.excluded.startswith("More tokens than the model reads: its ") and item.excluded.endswith("(by cora)")
    around = studio.review_neighbours(ReviewView(order="id"), 2, ahead=1, behind=1)
    assert around.excluded == {3} and around.stamps[3].endswith("x") and not around.stamps[1].endswith("x")

    # Accepted: the same pair. Overridden: another one. Undone: the same again.
    studio.decide(3, "accept")
    assert curated(studio)[0] == {1, 2} and curated(studio)[1]["human"] == 0
    shorter = studio.add_edit(3, "A boat.")
    studio.decide(3, "override", chosen=shorter.id, rejected=item.pair.rejected)
    assert curated(studio)[0] == {1, 2, 3} and curated(studio)[1]["overridden"] == 1
    assert studio.review_item(instruction_id=3).excluded == ""
    assert studio.preflight.report(config)["state"] == "changed"
    studio.undo()
    assert curated(studio)[0] == {1, 2}

    # A run and a new check: the run has two pairs, the check still looks at the third.
    trained = studio.start_train(config, evaluate=False)
    assert pq.read_table(studio.runner.folder(trained.id).input_path).num_rows == 2
    studio.stop_run(trained.id)
    again = run_here(studio, studio.run(studio.preflight.start(config)))
    told = {name: again.result[name] for name in ("pairs", "excluded", "left_out", "kinds")}
    assert told == {"pairs": 3, "excluded": 1, "left_out": 0, "kinds": {"too_long": 1, "near_equal": 1}}

    assert studio.preflight.exclude(run.id, instruction_ids=[2]) == 1 and curated(studio)[0] == {1}
    few = studio.preflight.report(config)["problems"]
    assert few == ["There are fewer than 2 pairs to train on: sample, score and select first, or review."]
    assert studio.preflight.include(instruction_ids=[2, 3]) == 2 and curated(studio)[0] == {1, 2, 3}
    assert studio.preflight.exclude(run.id, ["near_equal"]) == studio.preflight.include(run.id, ["near_equal"]) == 1
    kept = studio.db.read(lambda con: con.execute("SELECT withdrawn FROM excluded_pairs ORDER BY rowid").fetchall())
    assert [bool(row[0]) for row in kept] == [False, False, True, True, False, True]  # nothing stored is ever lost
    for wrong in (lambda: studio.preflight.exclude(run.id), lambda: studio.preflight.include(run.id)):
        with pytest.raises(UsageError, match="Say what to"):
            wrong()


def test_lengths_are_those_of_the_pairs_that_are_not_excluded_now(studio, policy):
    config = TrainConfig(str(policy))

    def longer(chosen: str, rejected: str) -> None:
        answers = [Answer(chosen, 0.9, -2.0), Answer(rejected, 0.1, -1.0)]
        for n in range(12):
            studio.db.write(lambda con, n=n: add_answers(con, add_instruction(con, f"{chosen}-{n}"), answers))

    longer("There is a red boat and a blue fish.", "A fish.")
    studio.select(SelectConfig(delta=0, length_ratio=0))
    run = run_here(studio, studio.run(studio.preflight.start(config)))
    first = studio.preflight.report(config)
    assert first["result"] == run.result and run.result["lengths"]["biased"] and run.result["lengths"]["pairs"] == 14
    assert run.result["longest"]["name"].startswith("'There is a red boat and a blue") and len(first["problems"]) == 2
    out = [(4 + n, 2 * n + 7, 2 * n + 8) for n in range(11)]
    studio.db.write(lambda con: exclusions.exclude_pairs(con, dict.fromkeys(out, "not now"), "me"))
    fewer = studio.preflight.report(config)
    assert fewer["result"]["lengths"]["pairs"] == 3 and not fewer["result"]["lengths"]["biased"]
    assert fewer["others"] == 11 and len(fewer["problems"]) == 1
    studio.preflight.include(run.id, others=True)
    assert studio.preflight.report(config) == first

    # A check finds the same of what is excluded when it begins.
    studio.db.write(lambda con: exclusions.exclude_pairs(con, dict.fromkeys(out, "not now"), "me"))
    again = run_here(studio, studio.run(studio.preflight.start(config)))
    told = studio.preflight.report(config)
    assert told["checked_run"] == again.id and told["result"] == again.result
    assert all(told["result"][name] == fewer["result"][name] for name in ("lengths", "longest"))


def test_kinds_and_instructions_that_are_both_named_both_hold_and_all_that_was_found_is_told(studio, policy):
    run = run_here(studio, studio.run(studio.preflight.start(TrainConfig(str(policy)))))
    again = "INSERT INTO pair_findings SELECT * REPLACE ('shared_image' AS kind, 'also elsewhere' AS detail)"
    studio.db.write(lambda con: con.execute(f"{again} FROM pair_findings"))  # of each of the two pairs
    own = studio.preflight
    assert own.exclude(run.id, ["near_equal", "shared_image"], [3]) == 1 and curated(studio)[0] == {1, 2}
    shared = f"{KINDS['shared_image'].title}: also elsewhere"
    assert studio.review_item(instruction_id=3).excluded == f"{shared} (by me)"
    assert own.include(run.id, ["near_equal"], [3]) == 0 and own.include(run.id, ["shared_image"], [3]) == 1
    assert own.exclude(run.id, instruction_ids=[2, 3]) == 2
    why = studio.review_item(instruction_id=2).excluded
    assert why.startswith(f"{KINDS['near_equal'].title}: ") and why.endswith(f"; {shared} (by me)")
    assert own.include(run.id, instruction_ids=[1, 2]) == 1 and curated(studio)[0] == {1, 2}
    with pytest.raises(UsageError, match="Say what to"):
        own.include(None, ["near_equal"], [2])


def test_pairs_taken_without_eyes_obey_it_too(studio, policy):
    run = run_here(studio, studio.run(studio.preflight.start(TrainConfig(str(policy)))))
    selection = studio.review_item().selection_id
    studio.db.write(lambda con: auto_accept.set_threshold(con, selection, 0.0, {}, "me"))
    studio.decide(1, "accept")
    assert curated(studio, "auto")[0] == {1, 2, 3} and studio.status()["auto_accepted"] == 2
    studio.preflight.exclude(run.id, ["near_equal"])
    assert curated(studio, "auto")[0] == {1, 3} and studio.status()["auto_accepted"] == 1
    assert curated(studio, "accepted")[0] == {1} and curated(studio, "accepted")[1]["excluded"] == 0


def test_what_is_excluded_is_not_told_to_who_judges_blind(studio, policy):
    run = run_here(studio, studio.run(studio.preflight.start(TrainConfig(str(policy)))))
    own = studio.as_user(CORA).preflight
    assert own.exclude(run.id, ["near_equal"], annotator="somebody else") == 1
    assert studio.as_user(VIC).review_item(instruction_id=2).excluded.endswith("(by cora)")
    studio.people.assign(["bob"], items=3, blind=True, created_by="cora")
    assert studio.as_user(BOB).review_item(instruction_id=2).exclusions == ()
    around = studio.as_user(BOB).review_neighbours(ReviewView(order="id"), 1, ahead=2, behind=0)
    assert not around.excluded and not any("x" in stamp for stamp in around.stamps.values())
