"""A training run for another machine: all that its worker reads, packed into one folder with scripts that start it.

PACK/
  pack.json       which run this is; m3po.jobs.packs.absorbing takes it back by that
  run.sh          trains on the machine that it is called on, and goes on where it was when called again
  job.sbatch      the same as a Slurm job
  requirements.txt, config.toml (what the worker obeys), code/ (this version of m3po), images/
  adapter/        where one is gone on from
  runs/1/         the run's folder (m3po.jobs.folder): config.json and input.parquet, later events, adapter and margins

What was frozen stays at home as `runs/emitted-<id>`, and alone says what was trained on when the pack comes back.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import secrets
import shlex
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import m3po
from m3po.files import absolute, check_new_folder, new_folder
from m3po.jobs.planning import plans, trainings
from m3po.jobs.runner import PACKAGE_ROOT, JobRunner
from m3po.jobs.schemas import TRAIN_INPUT
from m3po.settings import TrainConfig
from m3po.store import lineage
from m3po.store.workspace import Workspace
from m3po.training import ranks
from m3po.training.presets import check_settings, find_preset, train_command

FORMAT = 1  # of pack.json
SEVERAL = 4  # GPUs that are asked for where a preset wants several and no number is set
RUN = Path("runs", "1")
PAIR_COLUMNS = ("instruction_id", "chosen", "rejected", "human", "decision_id")
NEEDED = (
    "torch", "transformers", "trl", "peft", "accelerate", "datasets", "pyarrow", "numpy", "pillow", "huggingface_hub",
)  # fmt: skip

RUN_SH = """#!/usr/bin/env bash
# Trains the run of this folder; called again, it goes on from the last checkpoint.
# PYTHON: an interpreter that has requirements.txt. POLICY, and REWARD of a GRPO run: where the model or the scorer
# lies here, if elsewhere than at home.
set -euo pipefail
cd "$(dirname "$0")"
export PYTHONPATH="$PWD/code${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_DISABLE_TELEMETRY=1
PYTHON=${PYTHON:-python3}
POLICY="${POLICY:-}" REWARD="${REWARD:-}" "$PYTHON" - <<'END'
import json, os, pathlib
path = pathlib.Path("runs/1/config.json")
moved = {name.lower(): os.environ[name] for name in ("POLICY", "REWARD") if os.environ[name]}
if moved:
    path.write_text(json.dumps(json.loads(path.read_text()) | moved, indent=2))
END
rm -f runs/1/stop
{launch}exec "$PYTHON" -m m3po.jobs.train runs/1
"""
LAUNCH = """# In several processes; this starts, hands a stop on to, and answers for
#   accelerate launch --config_file runs/1/accelerate.yaml --num_processes {processes} -m m3po.jobs.train runs/1
"""
SBATCH = """#!/usr/bin/env bash
#SBATCH --job-name=m3po-{pack}
#SBATCH --gpus={gpus}
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --output=%x-%j.log
# Two minutes before the time is over the run is asked to stop; submitted again, it goes on.
cd "$SLURM_SUBMIT_DIR"
srun ./run.sh
"""
README = """A training run of M3PO Studio, packed {at}: {pairs} pairs, {policy}.

    pip install -r requirements.txt     # on a GPU machine, torch for its driver first
    ./run.sh                            # or: sbatch job.sbatch
    POLICY=/where/the/model/lies ./run.sh

Then bring this folder back and take it up:

    {absorb}
"""


def emit(workspace: Workspace, runner: JobRunner, config: TrainConfig, out: Path) -> dict:
    """Pack the run that `config` would start into the folder `out`, which must not exist or be empty.

    Returns `path`, `pack` (its id), `pairs`, `images` (how many) and `message`. Raises JobError when there is no pair,
    UsageError for a folder that is in use, StorageError for one that cannot be written.
    """
    check_settings(config)
    config = trainings.with_reward(workspace, config)
    out = absolute(out)
    check_new_folder(out, runner.root.parent, *([absolute(config.adapter)] if config.adapter else []))
    begins = trainings.trained_fingerprint(config)
    (pairs, table, origin), decided = workspace.db.read_at_once(
        lambda con: (plans.training_set(workspace, con, config), lineage.standing_decisions(con))
    )
    origin |= trainings.describe_origin(begins)
    pack = secrets.token_hex(6)
    values = dataclasses.asdict(config)
    record = {
        "format": FORMAT,
        "pack": pack,
        "emitted_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "m3po": m3po.__version__,
        "config": values,
        **origin,
    }
    command = train_command(str(workspace.path), config)
    home = runner.freeze("train", values, table)
    try:
        with new_folder(out) as part:
            n_images = _write_pack(part, config, table, record, workspace.read_config().remote)
            absorb = f"python -m m3po train {shlex.quote(str(workspace.path))} --absorb THIS_FOLDER"
            told = README.format(at=record["emitted_at"], pairs=len(pairs), policy=config.policy, absorb=absorb)
            (part / "README.md").write_text(told, encoding="utf-8")
            frozen = [{name: pair[name] for name in PAIR_COLUMNS} for pair in pairs]
            kept = record | {"command": command, "pairs_frozen": frozen}
            (home / "emitted.json").write_text(json.dumps(kept), encoding="utf-8")
            pq.write_table(decided, home / "decisions.parquet")
            home = home.rename(emitted_folder(runner, pack))
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    message = f"{len(pairs)} pairs and {n_images} images are packed in {out}: start run.sh or job.sbatch there."
    return {"path": str(out), "pack": pack, "pairs": len(pairs), "images": n_images, "message": message}


def emitted_folder(runner: JobRunner, pack: str) -> Path:
    """Where what was frozen for a pack waits at home."""
    return runner.root / f"emitted-{pack}"


def _write_pack(part: Path, config: TrainConfig, table: pa.Table, record: dict, remote: bool) -> int:
    """Everything but the README; returns the number of images."""
    run = part / RUN
    run.mkdir(parents=True)
    images = part / "images"
    images.mkdir()
    paths = {path for row in table["images"].to_pylist() for path in row}
    for path in paths:
        shutil.copyfile(path, images / Path(path).name)
    # Relative to the pack, which run.sh works in.
    inside = [[f"images/{Path(path).name}" for path in row] for row in table["images"].to_pylist()]
    place = table.schema.get_field_index("images")
    moved = table.set_column(place, "images", pa.array(inside, pa.list_(pa.string())))
    pq.write_table(moved.select(TRAIN_INPUT.names).cast(TRAIN_INPUT), run / "input.parquet")
    values = dict(record["config"])
    if config.adapter:
        shutil.copytree(Path(config.adapter).expanduser(), part / "adapter")
        values["adapter"] = "adapter"
    (run / "config.json").write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (part / "config.toml").write_text(f"remote = {str(remote).lower()}  # false: the worker downloads nothing\n")
    (part / "pack.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (part / "requirements.txt").write_text("".join(f"{line}\n" for line in _requirements()))
    shutil.copytree(PACKAGE_ROOT / "m3po", part / "code" / "m3po", ignore=shutil.ignore_patterns("__pycache__"))
    gpus, launch = 1, ""
    if find_preset(config.preset).parallel or config.processes > 1:
        gpus = config.processes or SEVERAL
        (run / ranks.FILE).write_text(ranks.describe_launch(config, gpus), encoding="utf-8")
        launch = LAUNCH.format(processes=config.processes or "ALL_GPUS")
    scripts = {
        "run.sh": RUN_SH.replace("{launch}", launch),
        "job.sbatch": SBATCH.format(pack=record["pack"], gpus=gpus),
    }
    for name, text in scripts.items():
        (part / name).write_text(text)
        (part / name).chmod(0o755)
    return len(paths)


def _requirements() -> list[str]:
    """The versions here; torch without the build's name, which each machine has its own of."""
    lines = []
    for name in NEEDED:
        try:
            lines.append(f"{name}=={version(name).partition('+')[0]}")
        except PackageNotFoundError:
            continue
    return lines
