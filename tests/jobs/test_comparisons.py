"""A comparison from its first run to its table: real trainings of a tiny model, stopped, gone on with, and told."""

from __future__ import annotations

import csv
import io
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tiny
import workspaces
from runs_here import finish_here, open_quietly
from workspaces import Answer

from m3po.errors import JobError, NotAllowedError, UsageError
from m3po.evaluation.comparison_table import write_csv, write_markdown
from m3po.jobs.comparing import comparisons as comparisons_module
from m3po.jobs.comparing.arms import BASE
from m3po.jobs.planning.pair_tables import content_hash
from m3po.models.fingerprint import loaded_fingerprint
from m3po.settings import ModelOptions, SelectConfig
from m3po.store import candidates, comparisons, runs, selections
from m3po.training.presets import build_train_config

ARMS = ["base", "sft", "m3po"]
N = 6


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_policy) -> Path:
    """Train instructions with images and scored answers, and held-out ones with truth; a selection that stands."""
    folder = tmp_path_factory.mktemp("compare")
    rows = []
    for n in range(N + 2):
        tiny.build_image(n).save(folder / f"{n}.png")
        known = {"objects": ["boat"], "category": "describe"}
        row = {"id": f"r{n}", "image": f"{n}.png", "instruction": "Describe the picture.", **known}
        rows.append(row | {"split": "train" if n < N else "heldout"})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    studio = open_quietly(workspaces.Studio.create(folder / "ws"))
    mapping = {name: name for name in ("id", "image", "instruction", "objects", "category", "split")}
    studio.import_source(folder / "rows.jsonl", format="mapping", mapping=mapping)
    fingerprint = loaded_fingerprint(str(tiny_policy), None, ModelOptions())

    def fill(con) -> None:
        ids = [
            row[0] for row in con.execute("SELECT instruction_id FROM instructions WHERE split = 'train'").fetchall()
        ]
        for n in ids:
            answers = [Answer("a red boat", 0.9, -4.0 - n), Answer("a fish", 0.1, -2.0, 4), Answer("boats", 0.5, -7.0)]
            workspaces.add_answers(con, n, answers)
        scorer = candidates.scorer_id(con, "logp", str(tiny_policy), fingerprint)
        con.execute("UPDATE logprobs SET scorer_id = ?", [scorer]).fetchall()
        candidates.activate(con, "logp", scorer)

    studio.db.write(fill)
    studio.select(SelectConfig(delta=0.1))
    studio.close()
    return studio.path


@pytest.fixture
def studio(made, tmp_path):
    studio = open_quietly(shutil.copytree(made, tmp_path / "workspace"))
    yield studio
    studio.close()


def config_of(policy: Path, **overrides):
    given = {"batch_size": "4", "lora_r": "2", "max_steps": "2", **overrides}
    return build_train_config(str(policy), "demo", given)


def finish_all(studio) -> None:
    for run in sorted(studio.runs(limit=100), key=lambda run: run.id):
        if run.active:
            finish_here(studio, run)


def test_who_begins_the_same_at_once_gets_the_same_comparison(studio, tiny_policy):
    config, both = config_of(tiny_policy), threading.Barrier(2)
    draw = comparisons_module.draw_arms

    def wait_and_draw(*given):  # both have seen that there is none yet
        both.wait(30)
        return draw(*given)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr(comparisons_module, "draw_arms", wait_and_draw)
        begun = [pool.submit(studio.comparisons.start, config, seeds=1, arms=ARMS) for _ in range(2)]
        numbers = {each.result(60) for each in begun}
    assert numbers == set(studio.comparisons.numbers()) and len(numbers) == 1
    assert len(studio.runs(("train",))) == 2 and not list(studio.runner.root.glob("frozen-*"))


def test_a_comparison_trains_every_arm_alike_and_tells_it_in_one_table(studio, tiny_policy, tmp_path):
    before = studio.db.read(selections.latest_selection)
    config = config_of(tiny_policy)
    number = studio.comparisons.start(config, seeds=1, arms=ARMS)
    assert studio.comparisons.report()["state"] == "running"
    finish_all(studio)
    report = studio.comparisons.report(number)
    assert (report["state"], report["done"], report["total"], report["failed"]) == ("finished", 5, 5, [])
    assert studio.db.read(selections.latest_selection) == before  # what stands is not touched

    trainings = studio.runs(("train",))
    assert {run.config["method"] for run in trainings} == {"sft", "dpo"}
    for run in trainings:
        assert (run.config["pairs"], run.config["max_steps"], run.config["selection"]) == (N, 2, None)
        assert run.result["steps"] == 2 and run.config["comparison"]["id"] == number
        frozen = pq.read_table(studio.runner.folder(run.id).input_path)
        assert content_hash(frozen) == run.config["content_hash"]
        sql = "SELECT chosen, rejected FROM run_pairs WHERE run_id = ? ORDER BY instruction_id"
        kept = studio.db.read(lambda con, sql=sql, run=run: con.execute(sql, [run.id]).fetchall())
        assert kept == list(zip(frozen["chosen_id"].to_pylist(), frozen["rejected_id"].to_pylist(), strict=True))

    arms = {arm["arm"]: arm for arm in report["arms"]}
    assert list(arms) == ARMS and {m["key"] for m in report["metrics"]} == {
        "chair_s", "chair_i", "object_recall", "describe_words",
    }  # fmt: skip
    own = next(run for run in trainings if run.config["comparison"]["arm"] == "m3po")
    after = next(run for run in studio.runs(("evaluate",)) if run.parent_id == own.id)
    measured = arms["m3po"]["figures"]["describe_words"]
    assert measured["mean"] == pytest.approx(after.result["metrics"]["describe_words"])
    assert measured["low"] <= measured["mean"] <= measured["high"] and set(measured["change"]) == {BASE}
    assert arms["m3po"]["pair_rates"]["precision"]["mean"] == 1 and arms[BASE]["pair_rates"] == {}
    assert sum(bin["pairs"] for bin in arms["m3po"]["gains"]) == N and arms[BASE]["gains"] == []
    assert arms["sft"]["seconds"] > 0 and arms[BASE]["seconds"] is None

    rows = list(csv.DictReader(io.StringIO(write_csv(report))))
    told = next(row for row in rows if (row["arm"], row["figure"]) == ("m3po", "describe_words"))
    assert float(told["mean"]) == pytest.approx(measured["mean"], rel=1e-4)
    table = write_markdown(report)
    assert "| M3PO | " in table and "1 seed; 6 pairs and 2 optimiser steps a run" in table and "bootstrap" in table
    written = studio.comparisons.write(tmp_path / "out", number)
    assert [Path(path).suffix for path in written] == [".csv", ".md", ".json", ".html"]
    assert json.loads(Path(written[2]).read_text())["id"] == number
    assert "Plotly.newPlot" in Path(written[3]).read_text()

    # Asked for again, nothing is done twice; more seeds take what is there.
    assert studio.comparisons.start(config, seeds=1, arms=ARMS) == number
    more = studio.comparisons.start(config, seeds=2, arms=ARMS)
    assert more != number and sum(run.active for run in studio.runs()) == 4
    second = studio.comparisons.report(more)
    assert (second["done"], second["total"]) == (5, 9) and second["arms"][2]["seeds_done"] == 1
    assert second["arms"][2]["figures"]["describe_words"]["each"] == measured["each"]


def test_one_that_cannot_be_queued_whole_leaves_nothing_behind(studio, tiny_policy, monkeypatch):
    add = comparisons.add_comparison_run

    def break_off(con, comparison, arm, *rest) -> None:
        if arm == "m3po":  # the last; the other arm's training is queued by then
            raise JobError("It cannot be stored.")
        add(con, comparison, arm, *rest)

    before = sorted(studio.runner.root.glob("*"))
    with monkeypatch.context() as patched:
        patched.setattr(comparisons, "add_comparison_run", break_off)
        with pytest.raises(JobError, match="cannot be stored"):
            studio.comparisons.start(config_of(tiny_policy), seeds=1, arms=ARMS)
    assert sorted(studio.runner.root.glob("*")) == before and studio.runs() == []
    studio.comparisons.start(config_of(tiny_policy), seeds=1, arms=ARMS)
    assert {path.name for path in studio.runner.root.iterdir()} == {f"{run.id:06d}" for run in studio.runs(("train",))}


def test_one_that_was_stopped_goes_on_with_the_pairs_it_had(studio, tiny_policy):
    config = config_of(tiny_policy)
    number = studio.comparisons.start(config, seeds=1, arms=ARMS)
    finish_here(studio, min(studio.runs(), key=lambda run: run.id))  # the base
    first = min(run.id for run in studio.runs(("train",)))
    assert studio.comparisons.stop(number) == 4
    report = studio.comparisons.report()
    assert (report["state"], report["done"], len(report["failed"])) == ("stopped", 1, 4)
    hashes = {run.id: run.config["content_hash"] for run in studio.runs(("train",))}

    studio.select(SelectConfig(delta=0.0, rule="rm_dpo", length_ratio=0))  # another selection does not matter ...
    studio.select(SelectConfig(delta=0.1))  # ... but what is asked for counts
    studio.db.write(lambda con: runs.update_run(con, first, state="interrupted", message="killed"))
    assert studio.comparisons.start(config, seeds=1, arms=ARMS) == number
    assert {run.state for run in studio.runs(("train", "evaluate"))} == {"finished", "queued"}
    assert {run.id: run.config["content_hash"] for run in studio.runs(("train",))} == hashes
    assert studio.comparisons.report()["state"] == "running"

    studio.comparisons.stop(number)
    gone = {"state": "failed", "message": "no such model is here.", "result": {"final": True}}
    trainings = [run.id for run in studio.runs(("train",))]
    studio.db.write(lambda con: [runs.update_run(con, run_id, **gone) for run_id in trainings])
    with pytest.raises(JobError, match=rf"cannot go on: run {first} cannot be resumed. no such model"):
        studio.comparisons.start(config, seeds=1, arms=ARMS)


def test_what_cannot_be_compared_is_refused_before_anything_is_queued(studio, tiny_policy):
    start = studio.comparisons.start
    for overrides, words in (
        ({"seed": "3"}, "seed is what a comparison sets itself"),
        ({"method": "sft"}, "method is what a comparison sets itself"),
    ):
        with pytest.raises(UsageError, match=words):
            start(config_of(tiny_policy, **overrides))
    with pytest.raises(UsageError, match="give 1 to 20"):
        start(config_of(tiny_policy), seeds=0)
    with pytest.raises(UsageError, match="a share from 0 to 1"):
        start(config_of(tiny_policy), error_rate=2)
    assert studio.comparisons.report() is None
    with pytest.raises(JobError, match="no figure to write"):
        studio.comparisons.write(studio.path / "out")
    with pytest.raises(JobError, match="no comparison 7"):
        studio.comparisons.stop(7)

    def forget(con) -> None:
        con.execute("DELETE FROM truth").fetchall()

    studio.db.write(forget)
    with pytest.raises(JobError, match=r"M3PO, corrected .* cannot be compared: no train instruction has a known"):
        start(config_of(tiny_policy), arms=["m3po_corrected"])
    number = start(config_of(tiny_policy), seeds=1)
    report = studio.comparisons.report(number)
    assert "m3po_corrected" not in report["options"]["arms"] and "m3po_corrected" in report["left_out"]
    assert list(studio.runner.root.glob("frozen-*")) == []

    with pytest.raises(NotAllowedError):
        studio.as_user(workspaces.VIC).comparisons.start(config_of(tiny_policy))
    assert studio.as_user(workspaces.VIC).comparisons.report()["id"] == number
