"""A training in several processes: how many, which of them this is, and the file that `accelerate launch` starts them
by. Each process takes batch_size pairs; the first one alone writes. Imports no torch."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path

from m3po.errors import JobError
from m3po.models import memory
from m3po.settings import TrainConfig
from m3po.training.presets import find_preset

FILE = "accelerate.yaml"  # in the run's folder
MODULE = "m3po.jobs.train"
_GENERAL = """# For: accelerate launch --config_file {file} -m {module} RUN_FOLDER
# which is what `python -m {module} RUN_FOLDER` calls.
compute_environment: LOCAL_MACHINE
distributed_type: {kind}
mixed_precision: '{precision}'
num_machines: 1
machine_rank: 0
num_processes: {processes}
main_training_function: main
use_cpu: false
"""
_FSDP = """fsdp_config:
  fsdp_version: 2
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_reshard_after_forward: true
  fsdp_offload_params: false
  fsdp_state_dict_type: FULL_STATE_DICT
  fsdp_cpu_ram_efficient_loading: false
  fsdp_activation_checkpointing: false  # the trainer's own setting says so
"""
_DEEPSPEED = """deepspeed_config:
  zero_stage: 2
  offload_optimizer_device: none
  offload_param_device: none
  gradient_accumulation_steps: {accumulation}
  gradient_clipping: {clipping}
  zero3_init_flag: false
"""


RANKS = "M3PO_RANKS"  # set for the processes of one run: a cluster may set RANK for a worker that trains alone


def is_rank() -> bool:
    """Whether this process is one of several that train together."""
    return RANKS in os.environ and world() > 1


def rank() -> int:
    return int(os.environ.get("RANK", "0")) if RANKS in os.environ else 0


def world() -> int:
    """How many processes train together here."""
    return int(os.environ.get("WORLD_SIZE", "1")) if RANKS in os.environ else 1


def count_processes(config: TrainConfig) -> int:
    """As many as are set, else a GPU each where the preset is for several, else one."""
    if config.method == "grpo":
        return 1
    if config.processes:
        return config.processes
    return max(1, memory.count_gpus()) if find_preset(config.preset).parallel else 1


def counted(config: TrainConfig) -> TrainConfig:
    """`config` with as many `processes` as train it here. The driver is asked, which may take seconds: what computes
    with it in a transaction does so before."""
    return dataclasses.replace(config, processes=count_processes(config))


def count_steps(config: TrainConfig, n_pairs: int, processes: int = 0) -> int:
    """Optimiser steps of a run over `n_pairs` by so many processes (0: as many as train it here), as the Trainer counts
    them."""
    if config.max_steps:
        return int(config.max_steps)
    batches = math.ceil(math.ceil(n_pairs / config.batch_size) / (processes or count_processes(config)))
    return math.ceil(config.epochs * math.ceil(batches / config.gradient_accumulation))


def several(config: TrainConfig) -> bool:
    """Whether more than one process trains."""
    return count_processes(config) > 1 or (config.method != "grpo" and bool(find_preset(config.preset).parallel))


def check_devices(config: TrainConfig) -> None:
    """Raises JobError where this machine has not the GPUs that the preset or `processes` wants."""
    gpus, parallel = memory.count_gpus(), find_preset(config.preset).parallel
    if parallel and config.processes == 1:
        raise JobError(f"The preset {config.preset} trains in two processes or more: set processes, or 0 for all GPUs.")
    wanted = max(config.processes, 2) if parallel else config.processes
    if parallel and gpus < wanted:
        raise JobError(
            f"The preset {config.preset} trains on {wanted} GPUs or more, and this machine has {gpus}: take the preset "
            "gpu24 or demo, or pack the run for a machine that has them (--emit)."
        )
    if gpus and wanted > gpus:
        raise JobError(f"processes = {wanted} wants a GPU each, and this machine has {gpus}: set fewer.")


def advise_device(config: TrainConfig) -> str:
    """What to do where the preset is for one GPU and none is in sight: the run would take days; empty otherwise."""
    preset = find_preset(config.preset)
    if preset.name == "demo" or preset.parallel or memory.gpu_in_sight():
        return ""
    return (
        f"The preset {preset.name} is for a GPU, and none is in sight: the run computes on the CPU, which may take "
        "days. Take the preset demo, or pack the run for a machine that has one (--emit)."
    )


def describe_launch(config: TrainConfig, processes: int) -> str:
    """accelerate.yaml of a run."""
    parallel = find_preset(config.preset).parallel
    kind = {"fsdp": "FSDP", "deepspeed": "DEEPSPEED"}.get(parallel, "MULTI_GPU")
    on_gpu = parallel or memory.gpu_in_sight()
    text = _GENERAL.format(
        file=FILE, module=MODULE, kind=kind, processes=processes,
        precision="bf16" if on_gpu and config.dtype != "float32" else "no",
    )  # fmt: skip
    if parallel == "fsdp":
        text += _FSDP
    if parallel == "deepspeed":
        text += _DEEPSPEED.format(accumulation=config.gradient_accumulation, clipping=config.max_grad_norm)
    return text


def launch_words(folder: Path, processes: int, port: int = 0) -> list[str]:
    """The command behind the interpreter that starts the processes of the run in `folder`."""
    given = ["--config_file", str(folder / FILE), "--num_processes", str(processes)]
    given += ["--main_process_port", str(port)] if port else []
    return ["-m", "accelerate.commands.launch", *given, "-m", MODULE, str(folder)]
