"""A training that was done elsewhere, taken back: a pack of m3po.jobs.packs.packing, or the adapter of another trainer.

Of a pack the workspace trusts what it froze when the pack was made; only what the worker wrote is taken from the folder
that comes back. Another trainer's adapter (TRL's, ms-swift's: what peft saves) becomes a run of its own, with the
curves that its trainer kept, and without pairs: which it learned from is not known here.
"""

from __future__ import annotations

import datetime as dt
import json
import shlex
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from m3po.errors import BadInputError, UsageError
from m3po.files import absolute, storage_error
from m3po.jobs.folder import RunFolder
from m3po.jobs.ingest import ENDS, Tail, ingest_events
from m3po.jobs.packs.packing import RUN, emitted_folder
from m3po.jobs.packs.returned import check_events, check_files, check_lora, read_object
from m3po.jobs.planning import launches, plans
from m3po.jobs.runner import JobRunner
from m3po.models import checks
from m3po.settings import TrainConfig
from m3po.store import lineage, runs
from m3po.store.connection import Connection
from m3po.store.instructions import now
from m3po.store.workspace import Workspace
from m3po.training.curves import read_curves

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "README.md")
RESULT_FILES = ("events.jsonl", "log.txt", "margins.parquet", "reference.parquet")
OF_ADAPTER = tuple(f"adapter/{name}" for name in ADAPTER_FILES)
Fill = Callable[[Connection, int, RunFolder], None]  # of a run that was just queued: its curves, end and warnings


def absorb(workspace: Workspace, runner: JobRunner, folder: Path, policy: str | None, evaluate: bool) -> int:
    """Take up what was trained in `folder`; returns the run's id. `policy`: what a foreign adapter lies on, else the
    workspace's own.

    Raises UsageError for a folder that is neither a pack of this workspace nor an adapter, or was absorbed before;
    BadInputError for a pack whose run has not finished or was changed; ModelError for no adapter of peft's.
    """
    folder = absolute(folder)
    check_files(folder, ("pack.json",))
    if (folder / "pack.json").is_file():
        return _absorb_pack(workspace, runner, folder, evaluate)
    found = _find_adapter(folder)
    if found is None:
        raise UsageError(
            f"{folder} is neither a pack (no pack.json) nor an adapter (no adapter_config.json): "
            "give a folder that train --emit wrote, or one that peft saved."
        )
    return _absorb_adapter(workspace, runner, found, policy, evaluate)


def _absorb_pack(workspace: Workspace, runner: JobRunner, folder: Path, evaluate: bool) -> int:
    pack = str(read_object(folder / "pack.json").get("pack", ""))
    if not pack.isalnum():
        raise BadInputError(f"{folder / 'pack.json'} names no pack: take the file of the pack as it was written.")
    home = emitted_folder(runner, pack)

    def refuse_second(con: Connection, but: int | None = None) -> None:
        for run in runs.read_runs(con, ("train",), limit=100_000):
            if run.config.get("pack") == pack and run.id != but:
                raise UsageError(f"Run {run.id} is what was trained in {folder}: it was absorbed before.")

    workspace.db.read(refuse_second)
    if not home.is_dir():
        raise UsageError(f"{folder} is no pack of this workspace: absorb it where it was emitted.")
    there = RunFolder(folder / RUN)
    check_files(folder, [str(RUN / name) for name in (*RESULT_FILES, "config.json", "input.parquet", *OF_ADAPTER)])
    kept = read_object(home / "emitted.json")
    events = check_events(there.read_events()[0], there.events_path)
    _check_finished(there, events)
    if _hash_of(there.input_path) != kept["content_hash"]:
        raise BadInputError(
            f"{there.input_path} is not what was packed: the adapter was trained on other pairs; absorb the folder "
            "adapter in it as a foreign one."
        )
    check_lora(there.adapter_path)
    _check_margins(there.path / "margins.parquet", kept["pairs_frozen"])
    config = TrainConfig.of_run(kept["config"])
    warnings = _tell_differences(config, read_object(there.config_path))
    frozen = _stage(runner, home, there, events)
    decided = pq.read_table(home / "decisions.parquet")
    origin = {
        name: value for name, value in kept.items() if name not in ("format", "config", "command", "pairs_frozen")
    }
    origin["absorbed"] = str(folder)

    def fill(con: Connection, run_id: int, own: RunFolder) -> None:
        refuse_second(con, run_id)  # somebody may have been quicker
        runs.add_run_pairs(con, run_id, kept["pairs_frozen"])
        lineage.add_run_decisions(con, run_id, decided)
        ingest_events(con, run_id, "train", {}, own, Tail())
        started = dt.datetime.fromtimestamp(events[0]["t"], dt.UTC).replace(tzinfo=None)
        runs.update_run(con, run_id, started_at=started)
        runs.add_warnings(con, run_id, warnings)

    try:
        values = kept["config"] | origin
        run_id = launches.queue_training(workspace, runner, config, values, kept["command"], frozen, fill, evaluate)
    finally:
        shutil.rmtree(frozen, ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)
    return run_id


def _check_margins(path: Path, frozen: list[dict]) -> None:
    """What is said of pairs must be of those that were packed."""
    if not path.is_file():
        return
    known = {(pair["instruction_id"], pair["chosen"], pair["rejected"]) for pair in frozen}
    try:
        table = pq.read_table(path, columns=["instruction_id", "chosen_id", "rejected_id"])
    except (OSError, ValueError, pa.ArrowException) as error:
        raise BadInputError(f"{path} cannot be read ({error}): bring the pack back again.") from error
    if not {tuple(row.values()) for row in table.to_pylist()} <= known:
        raise BadInputError(f"{path} tells of pairs that were not packed: bring the pack back as it was trained.")


def _check_finished(there: RunFolder, events: list[dict]) -> None:
    last = next((event for event in reversed(events) if event["event"] in (*ENDS, "started")), None)
    if last is None:
        raise BadInputError(f"Nothing was trained in {there.path} yet: start run.sh in the pack, then absorb it.")
    if last["event"] != "finished":
        told = last.get("message") or "it told no end"
        raise BadInputError(f"The run in {there.path} has not finished ({told}): start run.sh again, it goes on.")


def _tell_differences(config: TrainConfig, there: Mapping[str, object]) -> list[str]:
    """A sentence for each setting that was another elsewhere; where the model lies is expected to be."""
    own = {name: getattr(config, name) for name in vars(config)}
    moved = {name for name, value in there.items() if name in own and value != own[name]}
    told = [
        f"Elsewhere {name} was {there[name]!r}, here {own[name]!r}." for name in sorted(moved - {"policy", "adapter"})
    ]
    if "policy" in moved:
        told.append(
            f"It was trained on {there['policy']} in place of {config.policy}: that both are one is not checked."
        )
    return told


def _stage(runner: JobRunner, home: Path, there: RunFolder, events: list[dict]) -> Path:
    """A folder that becomes the run's: what was frozen at home, and what the worker wrote elsewhere."""
    frozen = runner.root / f"frozen-{time.time_ns()}"
    try:
        shutil.copytree(home, frozen)
        (frozen / "adapter").mkdir()
        for name in ADAPTER_FILES:
            _copy(there.adapter_path / name, frozen / "adapter" / name)
        for name in RESULT_FILES:
            _copy(there.path / name, frozen / name)
        lines = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)
        (frozen / "events.jsonl").write_text(lines, encoding="utf-8")  # what was looked at, and nothing else
    except OSError as error:
        shutil.rmtree(frozen, ignore_errors=True)
        raise storage_error(frozen, error) from error
    return frozen


def _copy(source: Path, out: Path) -> None:
    if source.is_file():
        shutil.copyfile(source, out)


def _find_adapter(folder: Path) -> Path | None:
    """Where an adapter lies in what a trainer wrote: the folder itself, else its newest checkpoint."""
    if (folder / "adapter_config.json").is_file():
        return folder
    steps = {}
    # ms-swift puts a folder named by version and date between.
    for path in (*folder.glob("checkpoint-*/adapter_config.json"), *folder.glob("*/checkpoint-*/adapter_config.json")):
        number = path.parent.name.rpartition("-")[2]
        if number.isdecimal():
            steps[int(number)] = path.parent
    return steps[max(steps)] if steps else None


def _absorb_adapter(workspace: Workspace, runner: JobRunner, folder: Path, policy: str | None, evaluate: bool) -> int:
    check_files(folder, ADAPTER_FILES)
    lora = check_lora(folder)
    trained_on = lora.get("base_model_name_or_path")
    policy = policy or workspace.read_config().policy
    if not policy:
        raise UsageError(f"The workspace names no policy: give --policy, the model that {folder} lies on.")
    curves = read_curves(folder)
    method = "dpo" if any("rewards/margins" in values for _, values in curves) else "sft"
    dropout = lora.get("lora_dropout", 0.0)
    try:
        config = TrainConfig(
            policy=policy, method=method, lora_r=lora["r"], lora_alpha=lora["lora_alpha"], lora_dropout=dropout
        )
    except UsageError as error:
        raise UsageError(f"{folder / 'adapter_config.json'}: {error}") from None
    checks.check_policy(policy, str(folder), config)
    frozen = runner.root / f"frozen-{time.time_ns()}"
    try:
        (frozen / "adapter").mkdir(parents=True)
        for name in ADAPTER_FILES:
            _copy(folder / name, frozen / "adapter" / name)
        # What is not known is left out; a default would be told as if it had been set.
        own = {"policy": policy, "adapter": None, "method": method, "preset": "", "lora_r": config.lora_r}
        own |= {"lora_alpha": config.lora_alpha, "lora_dropout": config.lora_dropout}
        RunFolder(frozen).write_config(own)
    except OSError as error:
        shutil.rmtree(frozen, ignore_errors=True)
        raise storage_error(frozen, error) from error

    def fill(con: Connection, run_id: int, own_folder: RunFolder) -> None:
        points = [(step, name, value) for step, values in curves for name, value in values.items()]
        runs.add_metrics(con, run_id, points)
        last = curves[-1] if curves else (0, {})
        result = {"adapter": "adapter", "steps": last[0], "final": last[1], "pairs": 0, "left_out": 0}
        runs.update_run(con, run_id, state="finished", result=result, done=last[0], total=last[0], unit="steps",
                        ended_at=now())  # fmt: skip
        told = ["It was trained by another program: which pairs it learned from, and by which settings, is not known."]
        if isinstance(trained_on, str) and trained_on and not _same_place(trained_on, policy):
            told.append(f"Its own config names {trained_on} as what it lies on; it is measured on {policy}.")
        runs.add_warnings(con, run_id, told)

    origin = {"absorbed": str(folder), "pairs": 0, "human": 0, "content_hash": ""}
    words = ["python", "-m", "m3po", "train", str(workspace.path), "--policy", policy, "--absorb", str(folder)]
    try:
        command = shlex.join(words)
        return launches.queue_training(workspace, runner, config, own | origin, command, frozen, fill, evaluate)
    finally:
        shutil.rmtree(frozen, ignore_errors=True)


def _same_place(one: str, other: str) -> bool:
    try:
        return one == other or absolute(one) == absolute(other)
    except UsageError:  # it names no place, here at least
        return False


def _hash_of(path: Path) -> str:
    try:
        return plans.content_hash(pq.read_table(path))
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise BadInputError(f"{path} cannot be read ({error}): bring the pack back again.") from error
