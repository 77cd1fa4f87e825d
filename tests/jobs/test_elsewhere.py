"""A run trained elsewhere: packed, trained by the pack's own script in a process that knows nothing but the pack, and
taken back; adapters of other trainers."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
import torch
from runs_here import finish_here, open_quietly
from safetensors.torch import save_file
from workspaces import add_instruction, make_selected

from m3po.errors import BadInputError, JobError, ModelError, UsageError
from m3po.jobs.packs.packing import RUN
from m3po.jobs.packs.returned import find_not_finite
from m3po.store import runs
from m3po.store.pair_changes import measured_runs
from m3po.studio import Studio
from m3po.training.curves import read_curves
from m3po.training.presets import build_train_config
from m3po.workspace_config import WorkspaceConfig

pytestmark = pytest.mark.slow
SETTINGS = {"max_steps": "3", "batch_size": "2", "lora_r": "4"}


@pytest.fixture(scope="module")
def packed(tiny_policy, tmp_path_factory) -> tuple[Path, Path]:
    """A workspace and the pack of a run of it, trained by its run.sh where neither the workspace nor this checkout is
    on the path; copy both before use."""
    folder = tmp_path_factory.mktemp("elsewhere")
    workspace = make_selected(folder / "ws", 4, WorkspaceConfig(policy=str(tiny_policy)))
    studio = Studio.open(workspace)
    report = studio.emit_train(build_train_config(str(tiny_policy), "demo", SETTINGS), folder / "pack")
    studio.close()
    assert report["pairs"] == 4 and "run.sh" in report["message"]
    moved = shutil.move(folder / "pack", folder / "cluster")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run([moved / "run.sh"], cwd="/", env=environment | {"PYTHON": sys.executable},
                           capture_output=True, text=True)  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return workspace, Path(moved)


@pytest.fixture
def back(packed, tmp_path) -> tuple[Studio, Path]:
    """Copies of both, the workspace open."""
    workspace, pack = (shutil.copytree(path, tmp_path / path.name) for path in packed)
    studio = open_quietly(workspace)
    yield studio, pack
    studio.close()


def test_a_pack_is_trained_elsewhere_and_taken_back_with_its_lineage(back):
    studio, pack = back
    own = (pack / "code" / "m3po" / "training" / "dpo.py").read_bytes()
    assert own == (Path(__file__).resolve().parents[2] / "m3po" / "training" / "dpo.py").read_bytes()
    run = studio.absorb_train(pack)
    assert (run.kind, run.state, run.result["steps"], run.config["pairs"]) == ("train", "finished", 3, 4)
    assert run.started_at < run.ended_at
    folder = studio.runner.folder(run.id)
    assert (folder.adapter_path / "adapter_model.safetensors").is_file()
    assert pq.read_table(folder.path / "margins.parquet").num_rows == 4
    assert all(Path(path).is_file() for row in pq.read_table(folder.input_path)["images"].to_pylist() for path in row)

    def read(con):
        frozen = con.execute("SELECT instruction_id, chosen, rejected FROM run_pairs WHERE run_id = ?", [run.id])
        return sorted(frozen.fetchall()), runs.read_metrics(con, run.id), measured_runs(con)

    pairs, curves, measured = studio.db.read(read)
    assert run.id in measured and run.config["packages"] and run.config["fingerprint"]
    rows = pq.read_table(folder.path / "margins.parquet").to_pylist()
    assert pairs == sorted((row["instruction_id"], row["chosen_id"], row["rejected_id"]) for row in rows)
    assert [step for step, _ in curves["loss"]] == [1, 2, 3]
    # What a second press would train here is the same set.
    again = studio.start_train(build_train_config(run.config["policy"], "demo", SETTINGS), evaluate=False)
    assert again.config["content_hash"] == run.config["content_hash"]
    with pytest.raises(UsageError, match=f"Run {run.id} .* was absorbed before"):
        studio.absorb_train(pack)


def test_a_pack_that_cannot_be_stored_leaves_no_folder_behind(back, monkeypatch):
    studio, pack = back
    before = sorted(studio.runner.root.iterdir())

    def refuse(*_):
        raise BadInputError("It cannot be stored.")

    with monkeypatch.context() as patched:
        patched.setattr(runs, "add_warnings", refuse)  # the last that the transaction does
        with pytest.raises(BadInputError, match="cannot be stored"):
            studio.absorb_train(pack)
    assert sorted(studio.runner.root.iterdir()) == before and not studio.runs(("train",))
    assert studio.absorb_train(pack).state == "finished"


def test_what_is_not_the_run_that_was_packed_is_refused(back, tmp_path):
    studio, pack = back
    other = shutil.copytree(pack, tmp_path / "other")
    rows = pq.read_table(other / RUN / "input.parquet").slice(1)
    pq.write_table(rows, other / RUN / "input.parquet")
    with pytest.raises(BadInputError, match="is not what was packed"):
        studio.absorb_train(other)
    strange = shutil.copytree(pack, tmp_path / "strange")
    margins = pq.read_table(strange / RUN / "margins.parquet")
    ids = pa.array([10_000 + n for n in range(margins.num_rows)])
    pq.write_table(margins.set_column(0, "instruction_id", ids), strange / RUN / "margins.parquet")
    with pytest.raises(BadInputError, match="pairs that were not packed"):
        studio.absorb_train(strange)
    cut = shutil.copytree(pack, tmp_path / "cut")
    events = (cut / RUN / "events.jsonl").read_bytes().splitlines(keepends=True)
    (cut / RUN / "events.jsonl").write_bytes(b"".join(events[:-1]))
    with pytest.raises(BadInputError, match="has not finished"):
        studio.absorb_train(cut)
    shutil.copy(pack / RUN / "events.jsonl", cut / RUN / "events.jsonl")
    (cut / RUN / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match="has no adapter_model"):
        studio.absorb_train(cut)
    broken = shutil.copytree(pack, tmp_path / "broken")
    with (broken / RUN / "events.jsonl").open("ab") as file:
        file.write(b'{"event": "metrics", "values": 3}\n{"t": "x", "event": "finished"}\n')
    with pytest.raises(BadInputError, match="no worker wrote"):
        studio.absorb_train(broken)
    linked = shutil.copytree(pack, tmp_path / "linked")
    (linked / RUN / "log.txt").unlink(missing_ok=True)
    (linked / RUN / "log.txt").symlink_to("/etc/hostname")
    with pytest.raises(BadInputError, match="no regular file"):
        studio.absorb_train(linked)
    torn = shutil.copytree(pack, tmp_path / "torn")
    weights = torn / RUN / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cut off"):
        studio.absorb_train(torn)
    listed = shutil.copytree(pack, tmp_path / "listed")
    last = json.loads(events[-1]) | {"result": [1]}
    (listed / RUN / "events.jsonl").write_bytes(b"".join(events[:-1]) + json.dumps(last).encode() + b"\n")
    with pytest.raises(BadInputError, match="no worker wrote"):
        studio.absorb_train(listed)
    (pack / "pack.json").write_text('{"pack": "0123"}')
    with pytest.raises(UsageError, match="no pack of this workspace"):
        studio.absorb_train(pack)
    assert studio.runs() == [] or all(run.kind != "train" for run in studio.runs())
    assert not list(studio.runner.root.glob("frozen-*"))
    # None of it has spoilt the true one.
    shutil.copy(other / "pack.json", pack / "pack.json")
    assert studio.absorb_train(pack).state == "finished"


def test_settings_that_were_changed_elsewhere_are_told(back):
    studio, pack = back
    path = pack / RUN / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"policy": "/other/place", "beta": 0.5}))
    run = studio.absorb_train(pack)
    told = studio.run_warnings(run.id)
    assert any("beta was 0.5, here 0.1" in text for text in told)
    assert any("/other/place" in text for text in told)


def test_a_folder_in_use_and_a_workspace_without_pairs_give_no_pack(back, tmp_path, tiny_policy):
    studio, pack = back
    config = build_train_config(str(tiny_policy), "demo", SETTINGS)
    with pytest.raises(UsageError, match="not an empty folder"):
        studio.emit_train(config, pack)
    empty = open_quietly(Studio.create(tmp_path / "empty", WorkspaceConfig(policy=str(tiny_policy))))
    with pytest.raises(JobError, match="no pair to train on"):
        empty.emit_train(config, tmp_path / "new")
    empty.close()
    assert not (tmp_path / "new").exists() and not list(tmp_path.glob(".new*"))


@pytest.fixture
def foreign(tiny_policy, tmp_path) -> Path:
    """What TRL and ms-swift leave: checkpoints with an adapter and the trainer's state."""
    out = tmp_path / "output"
    for step in (2, 10):
        folder = out / f"checkpoint-{step}"
        tiny.build_adapter(tiny_policy, folder)
        log = [
            {"step": n, "loss": 0.69 - n / 100, "rewards/margins": n / 10, "eval_loss": 9} for n in range(1, step + 1)
        ]
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": [*log, {"step": step, "train_loss": 1}]}))
    return out


def test_an_adapter_of_another_trainer_becomes_a_run_that_is_measured(foreign, tiny_policy, tiny_mas, tmp_path):
    path = make_selected(tmp_path / "ws", 4, WorkspaceConfig(policy=str(tiny_policy)))
    studio = open_quietly(path)
    studio.db.write(lambda con: add_instruction(con, "unseen", split="heldout"))
    run = studio.absorb_train(foreign)
    assert (run.state, run.result["steps"], run.config["method"]) == ("finished", 10, "dpo")
    assert "learning_rate" not in run.config
    curves = studio.db.read(lambda con: runs.read_metrics(con, run.id))
    assert [step for step, _ in curves["loss"]] == list(range(1, 11)) and "eval_loss" not in curves
    assert any("another program" in text for text in studio.run_warnings(run.id))
    result = studio.results()[0]
    assert finish_here(studio, result["after_run"]).state == "finished"
    assert studio.results()[0]["after"] is not None
    (foreign / "checkpoint-10" / "adapter_config.json").write_text('{"peft_type": "PROMPT_TUNING"}')
    with pytest.raises(ModelError, match="only LoRA is taken"):
        studio.absorb_train(foreign / "checkpoint-10")
    with pytest.raises(UsageError, match="neither a pack"):
        studio.absorb_train(path)
    studio.close()


def test_curves_of_ms_swift_and_of_nobody(tmp_path):
    lines = ['{"loss": 0.7, "global_step/max_steps": "1/20"}', '{"loss": NaN, "global_step/max_steps": "2/20"}',
             '{"loss": 0.6, "acc": 1, "global_step/max_steps": "3/20"}', '{"los']  # fmt: skip
    (tmp_path / "logging.jsonl").write_text("\n".join(lines))
    (tmp_path / "checkpoint-3").mkdir()
    assert read_curves(tmp_path / "checkpoint-3") == [(1, {"loss": 0.7}), (3, {"loss": 0.6})]
    (tmp_path / "logging.jsonl").write_text("[]\n3")
    assert read_curves(tmp_path) == []


@pytest.mark.parametrize("number", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("broken", [None, math.nan, math.inf])
def test_weights_that_are_no_numbers_are_found_in_every_type(tmp_path, number, broken):
    tensors = {
        "a.lora_A.weight": torch.ones(3, 4, dtype=number),
        "b.lora_B.weight": torch.full((2, 2), -6e4).to(number),
    }
    if broken is not None:
        tensors["b.lora_B.weight"][1, 0] = broken
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    found = find_not_finite(tmp_path / "adapter_model.safetensors")
    assert found == ("" if broken is None else "b.lora_B.weight")
