"""Which settings suit each arm of a comparison on the demo? As many trials for each, on pictures of their own.

    PYTHONPATH=. python benchmarks/tune_demo.py [--arms m3po,sft] [--seeds 2] [--jobs 2] [--workspace DIR]

A demo source of another seed gives train and tuning images, sampled and scored as `benchmarks/demo_gain.py` does.
Every trial of every arm trains on as many pairs for the same optimiser steps, once a seed, and its greedy answers are
measured on the tuning images. The best has the highest mean of partner F1 less CHAIRs among those that lose no more
than 0.03 of the base's recall, and, where none does, the one that loses least. What came out is
m3po.jobs.comparing.arm_settings.TUNED. A trial of simulated RLHF takes as long as three of the others: it has fewer.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from benchmarks._runs import DEMO_EPOCHS, make_demo
from m3po.demo.workspace import write_demo_source
from m3po.evaluation.metrics import summarise
from m3po.jobs.comparing.arms import ARMS, BASE, draw_arms
from m3po.jobs.comparing.comparisons import ERROR_RATE, pool_of
from m3po.jobs.planning import defaults
from m3po.jobs.planning.pair_tables import pair_table
from m3po.settings import TrainConfig
from m3po.store import instructions
from m3po.store.workspace import Workspace
from m3po.training.presets import build_train_config
from m3po.training.ranks import count_steps

SEED = 7  # of the demo source: the demo itself is drawn from another
RECALL_LOSS = 0.03
FIGURES = ("yes_no_partner_f1", "chair_s", "object_recall", "yes_no_random_f1", "easy_vqa_accuracy")
PREFERENCE = [
    {"learning_rate": rate, "loss_weights": weights, "beta": "0.1"}
    for rate in ("4e-4", "8e-4", "1.6e-3")
    for weights in ("1+1", "1+3", "1+8")
]
SFT_RATES = ("2e-4", "4e-4", "8e-4", "1.2e-3", "1.6e-3", "2e-3", "2.4e-3", "3.2e-3", "4e-3")
TRIALS: dict[str, list[dict[str, str]]] = {
    "sft": [{"learning_rate": rate} for rate in SFT_RATES],
    "dpo": PREFERENCE,
    "rm_dpo": PREFERENCE,
    "m3po": PREFERENCE,
    "rlhf": [
        {"learning_rate": rate, "beta": beta}
        for rate, beta in (
            ("4e-4", "0.01"),
            ("1e-3", "0.01"),
            ("1e-3", "0.0001"),
            ("2e-3", "0.01"),
            ("2e-3", "0.04"),
            ("3e-3", "0.01"),
        )
    ],
}


class Silent:
    """A reporter that nobody reads."""

    stop_requested = False

    def emit(self, *_: object, **__: object) -> None: ...
    def progress(self, *_: object, **__: object) -> None: ...
    def metrics(self, *_: object, **__: object) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", default=",".join(TRIALS))
    parser.add_argument("--seeds", type=int, default=2, help="trainings a trial")
    parser.add_argument("--jobs", type=int, default=2, help="trials at a time")
    parser.add_argument("--workspace", type=Path, default=None, help="default: a temporary one")
    parser.add_argument("--out", type=Path, default=None, help="a JSON line a training")
    arguments = parser.parse_args()
    folder = arguments.workspace or Path(tempfile.mkdtemp(prefix="m3po-tune-")) / "tune"
    source = folder.parent / "tune-source"
    if not source.exists():
        write_demo_source(source, n_tune=0, seed=SEED)
    make_demo(folder, source)
    config, tables, heldout = read_workspace(folder, range(arguments.seeds))
    base = measure(config, None, heldout)
    tell({"arm": BASE, "settings": {}, "seed": 0, "seconds": 0.0, **base}, arguments.out)
    found: dict[str, list[dict]] = {}
    threads = max(1, (os.cpu_count() or 1) // arguments.jobs)
    with ProcessPoolExecutor(
        arguments.jobs, mp_context=get_context("spawn"), initializer=use_threads, initargs=(threads,)
    ) as pool:
        waiting = [
            pool.submit(try_settings, dataclasses.replace(config, seed=seed), arm, settings, tables[arm, seed], heldout)
            for arm in sorted(arguments.arms.split(","), key=lambda arm: arm != "rlhf")  # the slowest first
            for settings in TRIALS[arm]
            for seed in range(arguments.seeds)
        ]
        for one in as_completed(waiting):
            tell(one.result(), arguments.out)
            found.setdefault(one.result()["arm"], []).append(one.result())
    for arm, done in found.items():
        trials = [average([one for one in done if one["settings"] == settings]) for settings in TRIALS[arm]]
        for trial in trials:
            tell(trial)
        print(f"{arm}: {pick_best(trials, base)['settings']} of {len(trials)} trials")


def read_workspace(
    folder: Path, seeds: Sequence[int]
) -> tuple[TrainConfig, dict[tuple[str, int], list[dict]], list[dict]]:
    """The budget as a config, the pairs of each arm and seed as a training reads them, and the tuning rows with their
    truth."""
    workspace = Workspace(folder)
    try:
        select = defaults.current_select(workspace.db)
        pool = workspace.db.write(lambda con: pool_of(con, select))
        draws = workspace.db.read(lambda con: draw_arms(con, pool, list(TRIALS), seeds, select, ERROR_RATE))
        tables = {
            (draw.arm, draw.seed): workspace.db.read(
                lambda con, d=draw: pair_table(con, d.pairs, workspace.images)
            ).to_pylist()
            for draw in draws
        }
        heldout = workspace.db.read(lambda con: instructions.heldout_rows(con, "heldout", workspace.images)).to_pylist()
        config = build_train_config(str(workspace.config.policy), "demo", {"epochs": DEMO_EPOCHS})
        config = dataclasses.replace(
            config, max_steps=count_steps(config, len(draws[0].pairs)), reward=str(workspace.config.mas)
        )
        return config, tables, heldout
    finally:
        workspace.close()


def use_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def try_settings(
    config: TrainConfig, arm: str, settings: dict[str, str], rows: list[dict], heldout: list[dict]
) -> dict:
    """Train once, measure once."""
    from m3po.training.dpo import train_pairs
    from m3po.training.grpo import train_by_reward

    values = build_train_config(config.policy, config.preset, settings)
    own = dataclasses.replace(config, method=ARMS[arm].method, **{key: getattr(values, key) for key in settings})
    rows = [{"name": str(row["instruction_id"]), **row} for row in rows]
    with tempfile.TemporaryDirectory(prefix="m3po-trial-") as folder:
        started = time.monotonic()
        train = train_by_reward if own.method == "grpo" else train_pairs
        result = train(own, rows, Path(folder), Silent())
        seconds = time.monotonic() - started
        told = {"arm": arm, "settings": settings, "seed": own.seed, "seconds": seconds}
        told |= {"steps": result["steps"], "pairs": len(rows)}
        return told | measure(config, str(Path(folder) / result["adapter"]), heldout)


def measure(config: TrainConfig, adapter: str | None, heldout: list[dict]) -> dict[str, float | None]:
    from m3po.images import load_rgb
    from m3po.models.policy import Policy

    policy = Policy.load(config.policy, adapter)
    order = sorted(heldout, key=lambda row: row["category"])  # answers of like length together
    answered = []
    for start in range(0, len(order), 32):
        batch = order[start : start + 32]
        messages = [json.loads(row["messages"]) for row in batch]
        images = [[load_rgb(Path(path)) for path in row["images"]] for row in batch]
        answers = policy.greedy(messages, images, 64)
        answered += [{**row, "text": answer.text} for row, answer in zip(batch, answers, strict=True)]
    vocabulary = sorted({name for row in heldout for name in row["objects"] or ()})
    return {key: summarise(answered, vocabulary).metrics.get(key) for key in FIGURES}


def average(trainings: list[dict]) -> dict:
    """A trial, as the mean of its trainings."""
    means = {key: fmean(one[key] for one in trainings) for key in (*FIGURES, "seconds")}
    return {**trainings[0], "seed": "mean", **means}


def pick_best(trials: list[dict], base: dict) -> dict:
    def worth(trial: dict) -> tuple[float, float]:
        over = max(0.0, base["object_recall"] - RECALL_LOSS - trial["object_recall"])
        return -over, trial["yes_no_partner_f1"] - trial["chair_s"]

    return max(trials, key=worth)


def tell(trial: dict, out: Path | None = None) -> None:
    figures = "  ".join(f"{key} {trial[key]:.3f}" for key in FIGURES)
    settings = " ".join(f"{key}={value}" for key, value in trial["settings"].items())
    print(f"{trial['arm']:7} {trial['seed']:4} {trial['seconds']:4.0f} s  {figures}  {settings}", flush=True)
    if out:
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(trial) + "\n")


if __name__ == "__main__":
    main()
