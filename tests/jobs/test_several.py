"""A training in several processes: the same losses as one, one of them writes, and where GPUs lack it is said."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import workspaces
from runs_here import open_quietly
from training_here import Recorder, build_rows, train

from m3po.errors import JobError, UsageError
from m3po.jobs.folder import RunFolder
from m3po.jobs.schemas import TRAIN_INPUT
from m3po.models import memory
from m3po.training import ranks
from m3po.training.presets import PRESETS, build_train_config, count_steps
from m3po.workspace_config import WorkspaceConfig

SETTINGS = {"loss_type": "sigmoid", "epochs": "2", "learning_rate": "0.003", "lora_r": "4", "batch_size": "2"}


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.parallel])
def test_accelerate_reads_the_file_of_each_preset_for_several_gpus(name, tmp_path):
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / ranks.FILE
    config = build_train_config("m", name, {"gradient_accumulation": "3", "max_grad_norm": "0.5"})
    path.write_text(ranks.describe_launch(config, 4))
    read = load_config_from_file(str(path))
    assert (read.num_processes, read.mixed_precision, read.use_cpu) == (4, "bf16", False)
    if PRESETS[name].parallel == "fsdp":
        assert read.distributed_type.value == "FSDP" and read.fsdp_config["fsdp_version"] == 2
        known = {action.dest for action in launch_command_parser()._actions}
        assert set(read.fsdp_config) <= known
    else:
        assert read.distributed_type.value == "DEEPSPEED"
        assert read.deepspeed_config["zero_stage"] == 2 and read.deepspeed_config["gradient_clipping"] == 0.5
        assert read.deepspeed_config["gradient_accumulation_steps"] == 3
        known = {action.dest for action in launch_command_parser()._actions}
        assert set(read.deepspeed_config) <= known
    given: argparse.Namespace = launch_command_parser().parse_args(ranks.launch_words(tmp_path / "run", 4, 29500)[2:])
    assert (given.num_processes, given.module, given.training_script) == (4, True, "m3po.jobs.train")


def test_steps_are_counted_over_all_processes():
    config = build_train_config("m", "demo", {"batch_size": "2", "epochs": "1", "processes": "4"})
    assert count_steps(config, 33) == count_steps(
        build_train_config("m", "demo", {"batch_size": "8", "epochs": "1"}), 33
    )
    with pytest.raises(UsageError, match="processes does nothing for the method grpo"):
        build_train_config("m", "demo", {"processes": "2", "method": "grpo"})


def test_where_the_gpus_lack_the_run_is_refused_and_can_be_packed(tmp_path, tiny_policy, monkeypatch):
    studio = open_quietly(workspaces.make_selected(tmp_path / "ws", 4, WorkspaceConfig(policy=str(tiny_policy))))
    monkeypatch.setattr(memory, "gpu_in_sight", lambda: False)
    config = build_train_config(str(tiny_policy), "gpus_fsdp")
    with pytest.raises(JobError, match="trains on 2 GPUs or more, and this machine has 0: take the preset gpu24"):
        studio.start_train(config)
    assert studio.runs(("train",)) == []
    assert "this machine has 0" in studio.train_preview(config)["refusal"]
    studio.emit_train(config, tmp_path / "pack")
    script = (tmp_path / "pack" / "run.sh").read_text()
    assert "accelerate launch --config_file runs/1/accelerate.yaml" in script
    assert subprocess.run(["bash", "-n", tmp_path / "pack" / "run.sh"]).returncode == 0
    assert "fsdp_version: 2" in (tmp_path / "pack" / "runs" / "1" / ranks.FILE).read_text()
    assert "#SBATCH --gpus=4\n" in (tmp_path / "pack" / "job.sbatch").read_text()
    monkeypatch.setattr(memory, "count_gpus", lambda: 2)
    with pytest.raises(JobError, match="processes = 3 wants a GPU each, and this machine has 2"):
        ranks.check_devices(build_train_config("m", "demo", {"processes": "3"}))
    studio.close()


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one_and_one_of_them_writes(tiny_policy, tmp_path):
    rows = build_rows(tmp_path)[:8]
    one = Recorder()
    train(tiny_policy, rows, tmp_path / "one", one, **SETTINGS | {"batch_size": "4"})

    folder = RunFolder(tmp_path / "runs" / "1")
    folder.path.mkdir(parents=True)
    (tmp_path / "config.toml").write_text("# the defaults\n")
    config = build_train_config(str(tiny_policy), "demo", SETTINGS | {"processes": "2"})
    folder.write_config(dataclasses.asdict(config))
    columns = [{name: row.get(name) for name in TRAIN_INPUT.names} for row in rows]
    pq.write_table(pa.Table.from_pylist(columns, schema=TRAIN_INPUT), folder.input_path)
    ended = subprocess.run(
        [sys.executable, "-m", "m3po.jobs.train", str(folder.path)], capture_output=True, text=True, timeout=200,
        env=os.environ | {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    events = folder.read_events()[0]
    told = [event["event"] for event in events if event["event"] != "progress"]
    assert told == ["started", *["metrics"] * 4, "finished"]
    for (step, ours), event in zip(one.points, [e for e in events if e["event"] == "metrics"], strict=True):
        assert step == event["step"]
        for name in ("loss", "rewards/chosen", "rewards/margins", "logps/chosen", "grad_norm", "tokens"):
            assert event["values"][name] == pytest.approx(ours[name], rel=1e-4, abs=1e-5), name
    assert ended.stdout.count("step 1/4") == 1
    assert pq.read_table(folder.path / "margins.parquet").num_rows == 8
    assert json.loads((folder.adapter_path / "adapter_config.json").read_text())["r"] == 4
    assert not (folder.path / "checkpoints").exists() and not folder.worker_alive()
