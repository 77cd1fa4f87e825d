"""A training in several processes: the same losses as one, one of them writes, and where GPUs lack it is said."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import workspaces
from accelerate.commands import launch
from accelerate.state import PartialState
from accelerate.utils import DeepSpeedPlugin, DistributedType
from accelerate.utils.launch import prepare_deepspeed_cmd_env
from runs_here import open_quietly
from safetensors.torch import load_file
from training_here import Recorder, build_rows, train
from warm_processes import start_warm

from m3po.errors import JobError, UsageError
from m3po.jobs.folder import RunFolder
from m3po.jobs.schemas import TRAIN_INPUT
from m3po.models import memory
from m3po.studio import Studio
from m3po.training import ranks
from m3po.training.checkpoints import count_done, find_checkpoint
from m3po.training.presets import PRESETS, build_train_config
from m3po.training.trainer import PairTrainer
from m3po.types import Run
from m3po.workspace_config import WorkspaceConfig

SETTINGS = {"loss_type": "sigmoid", "epochs": "6", "learning_rate": "0.003", "lora_r": "4", "batch_size": "2"}


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


def test_accelerate_builds_the_deepspeed_plugin_of_the_file(tmp_path, monkeypatch):
    """As far as it goes without DeepSpeed: what each process would read of the launcher's environment."""
    config = build_train_config("m", "gpus_deepspeed", {"gradient_accumulation": "3", "max_grad_norm": "0.5"})
    (tmp_path / ranks.FILE).write_text(ranks.describe_launch(config, 2))
    handed = []
    monkeypatch.setattr(launch, "deepspeed_launcher", handed.append)
    launch.launch_command(launch.launch_command_parser().parse_args(ranks.launch_words(tmp_path, 2, 29500)[2:]))
    _, environment = prepare_deepspeed_cmd_env(handed[0])
    for name in environment.keys() - os.environ.keys():
        monkeypatch.setenv(name, environment[name])
    plugin = DeepSpeedPlugin()
    assert (plugin.zero_stage, plugin.gradient_accumulation_steps, plugin.gradient_clipping) == (2, 3, 0.5)
    assert plugin.offload_optimizer_device == plugin.offload_param_device == "none"


def test_steps_are_counted_over_all_processes():
    config = build_train_config("m", "demo", {"batch_size": "2", "epochs": "1", "processes": "4"})
    assert ranks.count_steps(config, 33) == ranks.count_steps(
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


def alive() -> dict[int, int]:
    """Process -> parent, those that only wait to be buried left out."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # gone meanwhile
            state, parent, *_ = path.read_text().rpartition(")")[2].split()
            if state != "Z":
                parents[int(path.parent.name)] = int(parent)
    return parents


def descendants(pid: int) -> set[int]:
    parents = alive()
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in found | {pid}} - found:
        found |= more
    return found


def wait_for(what: Callable[[], object], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


class Several:
    """A run of two processes in a workspace of its own, whose runner looks when it is told to."""

    def __init__(self, folder: Path, policy: Path, rows: list[dict], preset: str, **settings: str) -> None:
        self.studio = open_quietly(Studio.create(folder / "ws", WorkspaceConfig(policy=str(policy))))
        self.runner = self.studio.runner
        config = build_train_config(str(policy), preset, SETTINGS | {"processes": "2"} | settings)
        columns = [{name: row.get(name) for name in TRAIN_INPUT.names} for row in rows]
        table = pa.Table.from_pylist(columns, schema=TRAIN_INPUT)
        frozen = self.runner.freeze("train", dataclasses.asdict(config), table)
        self.number = self.runner.queue_frozen(
            [frozen],
            lambda con: self.runner.queue(con, "train", dataclasses.asdict(config), "", frozen=frozen),
        )
        self.folder = self.runner.folder(self.number)
        self._seen = 0

    def steps(self) -> list[int]:
        """Told since it was started last."""
        return [event["step"] for event in self.folder.read_events(self._seen)[0] if event["event"] == "metrics"]

    def start(self) -> None:
        """For the first time, or again."""
        if self.folder.events_path.exists():
            self._seen = self.folder.events_path.stat().st_size
            self.runner.resume(self.number)
        self.runner.tick()

    def end(self) -> Run:
        """Wait until it has ended."""

        def ended() -> bool:
            self.runner.tick()
            return not self.studio.run(self.number).active

        wait_for(ended)
        return self.studio.run(self.number)

    def stop_in_its_midst(self, total: int) -> int:
        """Started, stopped behind a step, and saved; returns the step."""
        self.start()
        wait_for(self.steps)
        self.runner.stop(self.number)
        stopped = self.end()
        assert stopped.state == "stopped" and "Stopped by the user after step" in stopped.message, stopped
        saved = self.steps()[-1]
        assert 1 <= saved < total and count_done(find_checkpoint(self.folder.path / "checkpoints")) == saved
        return saved

    def finish_like(self, one: Recorder, saved: int) -> None:
        """It goes on behind `saved`, and all that was told is what `one` was told."""
        self.start()
        run = self.end()
        assert run.state == "finished", self.folder.log_tail()
        assert self.steps() == list(range(saved + 1, len(one.points) + 1))
        assert run.result["processes"] == 2 and not self.folder.worker_alive()
        told = {event["step"]: event["values"] for event in self.folder.read_events()[0] if event["event"] == "metrics"}
        assert sorted(told) == [step for step, _ in one.points]
        for step, ours in one.points:
            for name in ("loss", "rewards/chosen", "rewards/margins", "logps/chosen", "grad_norm", "tokens"):
                assert told[step][name] == pytest.approx(ours[name], rel=1e-4, abs=1e-5), (step, name)
        assert self.folder.log_path.read_text().count(f"step {len(one.points)}/") == 1
        assert pq.read_table(self.folder.path / "margins.parquet").num_rows == 8
        assert not (self.folder.path / "checkpoints").exists()
        self.studio.close()


@pytest.fixture(scope="module")
def alone(tiny_policy, tmp_path_factory) -> tuple[list[dict], Recorder, Path]:
    """Pairs, and what one process with twice the batch tells of them; its folder."""
    folder = tmp_path_factory.mktemp("alone")
    rows, one = build_rows(folder)[:8], Recorder()
    train(tiny_policy, rows, folder / "run", one, **SETTINGS | {"batch_size": "4"})
    return rows, one, folder / "run"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel ends no process with its parent")
def test_two_processes_killed_stopped_and_resumed_give_the_losses_of_one(tiny_policy, alone, tmp_path, monkeypatch):
    rows, one, _ = alone
    two = Several(tmp_path, tiny_policy, rows, "demo")
    # Killed: nothing says goodbye, and none of those that it started goes on.
    two.start()
    wait_for(two.steps)
    supervisor = two.folder.worker_pid()
    at_work = descendants(supervisor)
    assert len(at_work) == 3  # accelerate launch and its two
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not at_work & alive().keys(), 20)
    assert two.end().state == "interrupted" and not two.folder.worker_alive()
    start_warm(monkeypatch)
    saved = two.stop_in_its_midst(len(one.points))
    two.finish_like(one, saved)
    assert json.loads((two.folder.adapter_path / "adapter_config.json").read_text())["r"] == 4


@pytest.mark.slow
def test_fsdp2_on_two_cpus_gives_the_losses_and_the_adapter_of_one_process(tiny_policy, alone, tmp_path, monkeypatch):
    """With the very file that the preset writes. accelerate shares no weights out where it sees CPUs, so that the
    processes are told that what they are on is GPUs."""
    rows, one, folder = alone
    begin = PartialState.__init__

    def begin_as_on_gpus(self, *args, **kwargs) -> None:
        begin(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    gathered = PairTrainer.gather_weights

    def gather(trainer: PairTrainer):
        assert {type(weight.data).__name__ for weight in trainer.model.parameters()} == {"DTensor"}
        return gathered(trainer)

    monkeypatch.setattr(PartialState, "__init__", begin_as_on_gpus)
    monkeypatch.setattr(PairTrainer, "gather_weights", gather)
    monkeypatch.setattr(memory, "gpu_in_sight", lambda: False)
    monkeypatch.setattr(memory, "count_gpus", lambda: 2)
    start_warm(monkeypatch)
    same = {name: str(getattr(build_train_config("m", "demo"), name)) for name in ("lora_alpha", "lora_dropout")}
    shared = Several(tmp_path, tiny_policy, rows, "gpus_fsdp", gradient_accumulation="1", dtype="float32", **same)
    saved = shared.stop_in_its_midst(len(one.points))
    shared.finish_like(one, saved)
    assert (shared.folder.path / ranks.FILE).read_text() == ranks.describe_launch(
        build_train_config("m", "gpus_fsdp", {"dtype": "float32"}), 2
    )
    ours, theirs = (load_file(path / "adapter" / "adapter_model.safetensors") for path in (folder, shared.folder.path))
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(theirs[name], ours[name], rtol=1e-3, atol=1e-5) for name in ours)


def test_a_process_that_begins_after_its_worker_ended_does_not_go_on(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "1")
    folder.write_config({})
    place = os.environ | {ranks.RANKS: "2", "WORLD_SIZE": "2", "RANK": "0"}
    ended = subprocess.run(
        [sys.executable, "-m", "m3po.jobs.train", str(folder.path)], env=place, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (1, "the worker that started this process is gone\n")
    assert folder.read_events()[0] == []


def test_presets_for_all_gpus_count_those_that_may_be_used(monkeypatch):
    monkeypatch.setattr(memory, "GPU_FILES", ("/dev/null",))
    monkeypatch.setattr(memory, "_ask_driver", lambda what: [80 * memory.GIB] * 4)
    config = build_train_config("m", "gpus_fsdp", {"batch_size": "2", "gradient_accumulation": "1", "epochs": "1"})
    for named, gpus in ((None, 4), ("2,0", 2), ("3", 1), ("1,-1,2", 1), ("GPU-8a,GPU-9b", 2), ("7", 0), ("", 0)):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if named is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert memory.count_gpus() == gpus, named
        assert ranks.counted(config).processes == max(1, gpus)
        assert ranks.count_steps(config, 80) == 40 // max(1, gpus)
    assert not memory.gpu_in_sight()  # all are hidden
