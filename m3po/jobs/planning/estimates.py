"""What a training will take before it is started: memory, with a refusal where it cannot fit, and time, with its basis.

Time is that of this workspace's former runs of the same model here, pair by pair; else that of runs of other models, by
floating-point operations, which as many GPUs as train do at once; else, on a CPU, of a matrix product measured now. For
N parameters and T tokens a pair (of both answers, each with its prompt) a step computes about 4 N T a pair with an
adapter (forward, and backward through frozen weights), 6 N T with gradient checkpointing (one more forward); reference
and margins take 2 N T each, once a pair and process.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m3po.errors import JobError
from m3po.models import memory
from m3po.settings import TrainConfig
from m3po.store import candidates, runs
from m3po.store.connection import Connection
from m3po.training import ranks
from m3po.training.presets import checkpoints, uses_checkpointing
from m3po.types import Run

PROMPT_TEXT_TOKENS = 128  # allowed for the words of a prompt, beside its image
FORMER = 20  # newest runs that are looked at
REMEDY = (
    "set a smaller batch_size and more gradient_accumulation, gradient_checkpointing=true, quantise=4bit on a GPU, or "
    "train a smaller model"
)


@dataclass(frozen=True)
class Estimate:
    """Sentences; `problem` is what speaks against a start, `refusal` why there can be none."""

    memory: str = ""
    problem: str = ""
    refusal: str = ""
    time: str = ""


@dataclass(frozen=True)
class Former:
    """What a finished run of this workspace measured on this machine."""

    run: int
    policy: str
    step: float  # seconds
    once: float  # seconds around the steps: loading, reference and margins
    pairs_a_step: int
    pairs: int
    tokens: float  # a step; 0: not known
    operations: int  # floating-point, for a parameter and token of a step
    processes: int


@dataclass(frozen=True)
class Known:
    """What the store knows beforehand: tokens of the longest answer, and the newest run of the same model and method
    and of another model."""

    longest: int
    same: Former | None
    other: Former | None


def read_known(con: Connection, config: TrainConfig, trained: str) -> Known:
    """`trained`: the fingerprint of what the run begins with. `config` as ranks.counted gives it, in a transaction."""
    finished = [run for run in runs.read_runs(con, ("train",), limit=FORMER) if _is_measured(run)]
    here = [run for run in finished if run.config.get("method", "dpo") == config.method]
    same = next((run for run in here if _is_same(run, config, trained)), None)
    other = next((run for run in here if not _is_same(run, config, trained)), None)
    longest = candidates.longest_answer(con) or PROMPT_TEXT_TOKENS
    return Known(longest, *(run and _measured(con, run) for run in (same, other)))


def estimate(known: Known, config: TrainConfig, pairs: int) -> Estimate:
    """Of a run over `pairs` pairs; outside of a transaction, because the driver is asked, which may take seconds. Empty
    sentences where nothing is known: of memory for a model that is not in a folder here."""
    folder = Path(config.policy).expanduser()
    shape = memory.read_shape(folder) if folder.is_dir() else None
    prompt = memory.image_tokens(folder) + PROMPT_TEXT_TOKENS if shape else 0
    said = _describe_time(known, config, pairs, shape, 2 * (prompt + known.longest)) if pairs else ""
    if shape is None:
        return Estimate(time=said)
    need = _need(config, shape, prompt, known.longest)
    spread = config.device_map == "auto"
    free, whole = memory.free_memory(), memory.total_memory(every_device=spread)
    if free is None:
        return Estimate(time=said)
    if whole is not None and need > whole:
        place = "the GPU has" if memory.gpu_in_sight() else "this machine has"
        took = f"A step takes about {memory.say(need)} of memory"
        return Estimate(refusal=f"{took}, and {place} {memory.say(whole)} in all: {REMEDY}.", time=said)
    sentence = (
        f"A step takes about {memory.say(need)} of memory beside the program itself; {memory.say(free)} are free."
    )
    fits = need <= free or spread
    return Estimate(sentence, "" if fits else f"{sentence} End what else uses it, or {REMEDY}.", "", said)


def check_fits(known: Known, config: TrainConfig) -> None:
    """Raises JobError with the remedy where a step takes more memory than there is."""
    if refusal := estimate(known, config, 0).refusal:
        raise JobError(refusal)


def _need(config: TrainConfig, shape: memory.ModelShape, prompt: int, longest: int) -> float:
    number = 2 if config.dtype == "bfloat16" or (config.dtype == "auto" and memory.gpu_in_sight()) else 4
    need = memory.training_bytes(
        shape,
        prompt,
        longest,
        pairs=config.batch_size,
        rank=config.lora_r,
        checkpointing=uses_checkpointing(config),
        number_bytes=number,
    )
    if config.quantise:
        need -= shape.weight_bytes(number) - shape.weight_bytes(0.5 if config.quantise == "4bit" else 1)
    return need


def _describe_time(known: Known, config: TrainConfig, pairs: int, shape: memory.ModelShape | None, tokens: int) -> str:
    steps = ranks.count_steps(config, pairs)
    processes = ranks.count_processes(config)
    a_step = config.batch_size * config.gradient_accumulation * processes
    if was := known.same:
        each = was.step * a_step / was.pairs_a_step
        around = was.once * pairs / max(1, was.pairs)
        basis = f"by run {was.run} of the same model: {each:.2g} s a step, {around:.0f} s around them"
        return _say(each * steps + around, steps, basis)
    if shape is None or config.method == "grpo":
        return "How long it takes is not known before a first run of this model."
    devices = processes if memory.gpu_in_sight() else 1  # processes share a CPU
    in_steps = _operations(uses_checkpointing(config)) * shape.parameters * tokens * a_step * steps
    work = in_steps / devices + 4 * shape.parameters * tokens * pairs
    if known.other and (speed := _speed(known.other)):
        return _say(
            work / speed,
            steps,
            f"roughly, by the speed of run {known.other.run} of another model or with other options",
        )
    if memory.gpu_in_sight():
        return "How long it takes on this GPU is not known before a first run."
    basis = "very roughly, from parameters, tokens and this processor's speed: no run has been measured here"
    return _say(work / cpu_speed(), steps, basis)


def _say(seconds: float, steps: int, basis: str) -> str:
    if seconds < 90:
        words = f"{max(1, seconds):.0f} s"
    elif seconds < 5400:
        words = f"{seconds / 60:.0f} min"
    else:
        words = f"{seconds / 3600:.1f} h"
    return f"Training takes about {words} for {steps:,} steps ({basis}); measuring before and after comes on top."


def _is_measured(run: Run) -> bool:
    """Whether its time is one of this machine."""
    result = run.result or {}
    done = run.state == "finished" and result.get("seconds") and result.get("steps")
    return bool(done) and "absorbed" not in run.config


def _is_same(run: Run, config: TrainConfig, trained: str) -> bool:
    """Whether it began with the same weights; an older run kept its model's name alone."""
    if _processes(run) != ranks.count_processes(config):
        return False
    if "fingerprint" in run.config:
        return run.config["fingerprint"] == trained
    return run.config.get("policy") == config.policy


def _measured(con: Connection, run: Run) -> Former:
    curves = runs.read_metrics(con, run.id)
    result, settings = run.result, run.config
    whole, steps = result["seconds"], result["steps"]
    step, once = whole / steps, 0.0  # as an older version measured
    last, seconds = (curves.get("seconds") or [(0, None)])[-1]
    if seconds:
        step, once = seconds / last, max(0.0, whole - seconds)
    last, tokens = (curves.get("tokens") or [(1, None)])[-1]
    processes = _processes(run)
    a_step = settings.get("batch_size", 1) * settings.get("gradient_accumulation", 1) * processes
    pairs = result.get("pairs") or 0
    again = checkpoints(settings.get("preset", "demo"), settings.get("gradient_checkpointing", ""))
    policy, operations = settings.get("policy", ""), _operations(again)
    return Former(run.id, policy, step, once, a_step, pairs, (tokens or 0) / last, operations, processes)


def _processes(run: Run) -> int:
    """How many trained it; an older run kept no more than what was set."""
    return (run.result or {}).get("processes") or run.config.get("processes") or 1


def _operations(checkpointing: bool) -> int:
    return 6 if checkpointing else 4


def _speed(was: Former) -> float:
    """Floating-point operations a second of one GPU, or of the CPU; 0 where its model is gone."""
    folder = Path(was.policy).expanduser()
    shape = memory.read_shape(folder) if folder.is_dir() else None
    devices = was.processes if memory.gpu_in_sight() else 1
    return was.operations * shape.parameters * was.tokens / was.step / devices if shape else 0.0


@functools.cache
def cpu_speed() -> float:
    """Floating-point operations a second of this processor in a matrix product, the best of three."""
    square = np.ones((512, 512), np.float32)
    best = float("inf")
    for _ in range(4):
        begun = time.perf_counter()
        square @ square
        best = min(best, time.perf_counter() - begun)
    return 2 * 512**3 / max(best, 1e-9)
