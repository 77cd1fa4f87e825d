"""An export as its user sees it: a run with progress, a folder with its card, and an upload to the hub."""

import json
import threading

import pytest
import yaml
from exports import open_pairs, wait
from sources import read_source
from workspaces import make_images

from m3po.errors import BadInputError, UsageError
from m3po.jobs.transfer import exporting
from m3po.settings import SelectConfig
from m3po.studio import Studio


@pytest.fixture
def studio(tmp_path):
    yield from open_pairs(tmp_path)


def test_a_folder_has_its_data_images_card_and_selection(studio, tmp_path):
    run = wait(studio, studio.start_export(tmp_path / "out", format="mmpr"))
    assert (run.state, run.done, run.total, run.kind) == ("finished", 5, 5, "export"), run.message
    out = tmp_path / "out"
    assert {p.name for p in out.iterdir()} == {"data.jsonl", "images", "README.md", "selection.json"}
    assert len(list((out / "images").iterdir())) == 2  # rows share them
    facts = json.loads((out / "selection.json").read_text())
    assert facts["counts"]["pairs"] == 5 and facts["counts"]["human"] == 1
    assert facts["selection"]["rule"] == "given" and len(facts["selection"]["content_hash"]) == 64
    card = (out / "README.md").read_text()
    assert card.startswith("---\n") and "1 of 5 pairs (20 %)" in card and facts["selection"]["content_hash"] in card
    back = [row.candidates for row in read_source(out / "data.jsonl")[1]]
    assert back[0] == ("A car.", "A boat 0.") and back[1] == ("A boat 1.", "A car.")  # the human's decision counts
    again = wait(studio, studio.start_export(out, format="llamafactory", only="accepted"))
    assert again.result["rows"] == 1 and json.loads((out / "dataset_info.json").read_text())["m3po"]["ranking"] is True
    assert run.command.endswith("--format mmpr")


@pytest.fixture
def slow(monkeypatch):
    """Exports that wait in their first row: (under way, go on)."""
    under_way, go_on = threading.Event(), threading.Event()
    rows = exporting.exports.iter_pairs

    def slowly(*arguments):
        for row in rows(*arguments):
            under_way.set()
            go_on.wait(30)
            yield row

    monkeypatch.setattr(exporting, "TELL_EVERY", 1)
    monkeypatch.setattr(exporting.exports, "iter_pairs", slowly)
    yield under_way, go_on
    go_on.set()


def test_an_export_can_be_stopped_and_done_again(studio, tmp_path, slow):
    under_way, go_on = slow
    run = studio.start_export(tmp_path / "out.csv", format="csv")
    under_way.wait(10)
    studio.stop_run(run.id)
    go_on.set()
    assert wait(studio, run).state == "stopped" and not (tmp_path / "out.csv").exists()
    studio.resume_run(run.id)
    assert wait(studio, run).state == "finished" and len((tmp_path / "out.csv").read_text().splitlines()) == 6


def test_an_export_that_is_stopped_leaves_the_one_before_as_it_was(studio, tmp_path, slow):
    under_way, go_on = slow
    go_on.set()
    out = tmp_path / "out"
    studio.export(out, format="mmpr")
    before = {path.name: path.read_bytes() for path in out.glob("*.*") if path.is_file()}
    go_on.clear()
    under_way.clear()
    run = studio.start_export(out, format="csv")
    under_way.wait(30)
    studio.stop_run(run.id)
    go_on.set()
    assert wait(studio, run).state == "stopped"
    assert {name: (out / name).read_bytes() for name in before} == before
    studio.resume_run(run.id)
    assert wait(studio, run).state == "finished"
    assert {path.name for path in out.iterdir()} == {"data.csv", "images", "README.md", "selection.json"}


def test_two_exports_into_one_folder_do_not_meet(studio, tmp_path, slow):
    under_way, go_on = slow
    first = studio.start_export(tmp_path / "out", format="mmpr")
    under_way.wait(30)
    with pytest.raises(BadInputError, match="Another export is writing"):
        studio.export(tmp_path / "out", format="csv")
    go_on.set()
    assert wait(studio, first).state == "finished"
    assert not list((tmp_path / "out").glob("*.csv")) and (tmp_path / "out" / "data.jsonl").exists()


@pytest.mark.parametrize(
    ("place", "options", "error", "words"),
    [
        ("out", {"format": "xml"}, UsageError, "choose one of m3po"),
        ("out", {"format": "trl", "images": "paths"}, UsageError, "does not go with trl"),
        ("out", {"images": "gold"}, UsageError, "is not known"),
        ("ws/out", {}, BadInputError, "inside the workspace"),
        ("ws", {}, BadInputError, "inside the workspace"),
        ("images", {}, BadInputError, "is not empty"),
        ("out.jsonl", {"push": "me/birds"}, UsageError, "name a folder"),
        ("out", {"push": "birds"}, UsageError, "OWNER/NAME"),
        ("nul\0.csv", {"format": "csv"}, UsageError, "names no place"),
    ],
)
def test_what_cannot_be_exported_says_so_before_it_begins(studio, tmp_path, monkeypatch, place, options, error, words):
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    with pytest.raises(error, match=words):
        studio.start_export(tmp_path / place, **options)
    assert not [run for run in studio.runs() if run.kind == "export"]


def test_what_a_format_has_no_place_for_is_left_out_and_said(studio, tmp_path):
    (tmp_path / "more.jsonl").write_text(
        json.dumps({"instruction": "No picture?", "split": "train", "candidates": [{"text": "a"}, {"text": "b"}],
                    "given": [{"verdict": "override", "chosen": None, "rejected": None}]}) + "\n"
    )  # fmt: skip
    assert studio.import_source(tmp_path / "more.jsonl").n_refused == 1
    (tmp_path / "more.json").write_text(
        json.dumps([{"question": "No picture?", "chosen": "a", "rejected": "b", "split": "train"}])
    )
    assert studio.import_source(tmp_path / "more.json", format="mmpr").added == 1
    studio.select(SelectConfig(rule="given"))
    result = studio.export(tmp_path / "out", format="rlaif_v")
    assert result["rows"] == 5 and result["left_out"] == {"no or several images": 1}
    assert "1 left out: no or several images" in result["message"]


def test_an_answer_that_is_empty_comes_back_and_is_not_trained_on(studio, tmp_path):
    """A model may say nothing: whatever is stored can be read again."""
    answers = [{"id": 1, "text": ""}, {"id": 2, "text": "b"}]
    asked = {"instruction": "No picture?", "split": "train", "candidates": answers,
             "given": [{"verdict": "override", "chosen": 2, "rejected": 1}]}  # fmt: skip
    (tmp_path / "more.jsonl").write_text(json.dumps(asked) + "\n")
    assert studio.import_source(tmp_path / "more.jsonl").n_refused == 0
    studio.select(SelectConfig(rule="given"))
    for format in ("mmpr", "trl"):
        assert studio.export(tmp_path / format, format=format)["left_out"] == {"a pair with an empty answer": 1}
    other = Studio.open(Studio.create(tmp_path / "other"))
    try:
        for format in ("m3po", "vlfeedback", "label_studio", "argilla"):
            studio.export(tmp_path / format, format=format)
            report = other.import_source(next((tmp_path / format).glob("data.*")))
            assert (report.n_refused, report.added + report.already_there) == (0, 6), report.refused
    finally:
        other.close()


def test_a_workspace_goes_to_label_studio_and_comes_back_with_its_votes(studio, tmp_path):
    """The tasks that were written find their instructions again; a vote that was added there comes in, once."""
    studio.export(tmp_path / "tasks", format="label_studio")
    path = tmp_path / "tasks" / "data.json"
    tasks = json.loads(path.read_text())
    assert tasks[0]["data"]["image"].startswith("data:image/png;base64,")
    assert tasks[0]["annotations"][0]["completed_by"] == {"email": "me"}
    tasks[1]["annotations"] = [
        {"completed_by": {"id": 3, "email": "ada@example.org"}, "created_at": "2025-03-01T13:30:00+01:00",
         "lead_time": 8.5, "was_cancelled": False,
         "result": [{"type": "pairwise", "from_name": "p", "to_name": "left,right",
                                             "value": {"selected": "right"}}]},
        {"completed_by": 4, "created_at": "2025-03-01T12:30:00Z", "was_cancelled": True, "result": []},
    ]  # fmt: skip
    path.write_text(json.dumps(tasks))
    for expected in (1 + 2, 3):  # decided here, which the file has too, and two new ones; then nothing more
        report = studio.import_source(path)
        assert (report.added, report.already_there, report.refused) == (0, 5, ())
        total = studio.db.read(lambda con: con.execute("SELECT count(*) FROM decisions").fetchall())[0][0]
        assert total == expected
    votes = {d.annotator: d for d in studio.history(2)}
    assert votes["ada@example.org"].at.isoformat() == "2025-03-01T12:30:00" and votes["4"].verdict == "skip"
    assert votes["ada@example.org"].seconds == 8.5


@pytest.mark.parametrize("format", ["label_studio", "argilla"])
@pytest.mark.parametrize("what", ["instruction", "image"])
def test_votes_of_another_workspace_do_not_join_an_instruction_of_the_same_name(studio, tmp_path, format, what):
    """Same source, same ids, and one row with the same text on another image."""
    studio.export(tmp_path / "tasks", format=format)
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    if what == "instruction":
        rows[0]["question"] = "Who is it?"
    else:
        rows[0]["image"] = rows[1]["image"]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    other = Studio.open(Studio.create(tmp_path / "other"))
    try:
        assert other.import_source(tmp_path / "pairs.jsonl").added == 5
        report = other.import_source(tmp_path / "tasks" / "data.json")
        assert (report.added, report.already_there, report.n_refused) == (0, 4, 1)
        assert "about another question" in report.refused[0].reason and other.history(1) == []
    finally:
        other.close()


# --- the hub -------------------------------------------------------------------------------------------------------


def test_the_card_of_questions_with_their_truth_speaks_of_no_pairs(studio, tmp_path):
    images = make_images(tmp_path / "eyes", 3)
    (tmp_path / "eyes" / "pope.jsonl").write_text(
        json.dumps({"question_id": 1, "image": images[2].name, "text": "Is there a dog?", "label": "no"}) + "\n"
    )
    assert studio.import_source(tmp_path / "eyes" / "pope.jsonl").added == 1
    assert studio.export(tmp_path / "out", format="pope")["rows"] == 1
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Questions with their truth" in card and "1 row in the format `pope`" in card
    assert not any(word in card for word in ("Preference pairs", "dpo", "picked\n", "rejected", "looked at them"))
    assert yaml.safe_load(card.split("---\n")[1])["tags"] == ["evaluation", "vision-language", "m3po"]


def test_an_export_of_nothing_says_why(tmp_path):
    empty = Studio.open(Studio.create(tmp_path / "empty"))
    try:
        for options, words in (
            ({}, "no instruction; import some"),
            ({"format": "csv"}, "no pair trains yet"),
            ({"only": "reviewed"}, "nothing is reviewed yet"),
            ({"format": "pope"}, "known answer"),
        ):
            result = empty.export(tmp_path / "out", **options)
            assert result["rows"] == 0 and words in result["message"], result["message"]
    finally:
        empty.close()


@pytest.mark.parametrize("verdict", ["all_wrong", "bad_question", "flag"])
def test_an_answer_that_a_person_threw_out_is_not_taught(studio, tmp_path, verdict):
    (tmp_path / "one.jsonl").write_text(
        json.dumps({"id": "single", "instruction": "What now?", "split": "train", "candidates": [{"text": "A cow."}]})
    )
    studio.import_source(tmp_path / "one.jsonl")

    def answers() -> list[str]:
        studio.export(tmp_path / "out", format="llava")
        rows = json.loads((tmp_path / "out" / "data.json").read_text())
        return [turn["value"] for row in rows if row["id"] == "single" for turn in row["conversations"][1:]]

    assert answers() == ["A cow."]
    studio.decide(studio.find_instruction("single"), verdict)
    assert answers() == []


def test_where_reviewers_disagree_nothing_is_taught(studio, tmp_path):
    item = studio.review_item()
    chosen, rejected = item.given
    for annotator, pair in (("ann", (chosen, rejected)), ("bob", (rejected, chosen))):
        studio.decide(
            item.instruction.id, "override", chosen=pair[0], rejected=pair[1], annotator=annotator
        )  # the third vote is that of `fill`
    studio.undo()
    studio.export(tmp_path / "out.json", format="llava")
    rows = json.loads((tmp_path / "out.json").read_text())
    [turns] = [row["conversations"] for row in rows if row["id"] == item.instruction.external_id]
    assert [turn["from"] for turn in turns] == ["human"]


def test_truth_has_no_reviews_to_choose_by(studio, tmp_path):
    with pytest.raises(UsageError, match="truth, which nobody reviews"):
        studio.export(tmp_path / "out.jsonl", format="pope", only="reviewed")


def test_a_suffix_of_another_format_is_refused(studio, tmp_path):
    with pytest.raises(UsageError, match=r"trl is written as \.parquet: name pairs\.parquet, or a folder"):
        studio.export(tmp_path / "pairs.csv", format="trl")


def test_truth_in_sentences_goes_to_pope(studio, tmp_path):
    image = make_images(tmp_path / "images", 1)[0].name
    answers = {"a": "No, there is no bird.", "b": "Yes, it is.", "c": "Nobody knows."}
    rows = [
        {"id": id, "image": f"images/{image}", "instruction": f"Is it {id}?", "split": "train", "answer": answer}
        for id, answer in answers.items()
    ]
    (tmp_path / "truth.jsonl").write_text("".join(json.dumps(row | {"split": "heldout"}) + "\n" for row in rows))
    other = Studio.open(Studio.create(tmp_path / "other"))
    try:
        other.import_source(tmp_path / "truth.jsonl")
        result = other.export(tmp_path / "pope.jsonl", format="pope")
    finally:
        other.close()
    found = [json.loads(line) for line in (tmp_path / "pope.jsonl").read_text().splitlines()]
    assert [row["label"] for row in found] == ["no", "yes"] and sum(result["left_out"].values()) == 1
