"""A comparison of training methods: planned and queued as a whole, gone on with, stopped, and what it found.

Each arm with each seed is an ordinary training of the queue, its pairs frozen when the comparison starts, and an
evaluation after it. So nothing has to stay alive for it: what was killed is resumed, and what is there is not done
again. The workspace's selection and everybody's decisions are neither trained on nor changed; pairs that people
excluded are left out of every arm.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from m3po.errors import JobError, M3poError, UsageError
from m3po.jobs.comparing.arm_settings import ArmSettings, arm_config, settle
from m3po.jobs.comparing.arms import ARMS, BASE, Draw, check_arms, draw_arms
from m3po.jobs.comparing.comparison_reports import Reports, compare_command
from m3po.jobs.planning import defaults, launches, plans, trainings
from m3po.jobs.planning.pair_tables import content_hash, pair_table
from m3po.jobs.runner import JobRunner
from m3po.models.checks import checked
from m3po.settings import EvaluateConfig, SelectConfig, TrainConfig
from m3po.store import candidates, comparisons, instructions, pools, runs, selections
from m3po.store.connection import Connection
from m3po.store.workspace import Workspace
from m3po.training import ranks
from m3po.training.presets import build_train_config, parse_losses
from m3po.types import Run

SEEDS = 3
MAX_SEEDS = 20
ERROR_RATE = 0.1  # of the simulated annotator
# What differs between the runs of a comparison, and is its own to set.
OWN = ("seed", "method", "only", "adapter")


class Comparisons(Reports):
    """The comparisons of one workspace."""

    def __init__(self, workspace: Workspace, runner: JobRunner) -> None:
        super().__init__(workspace, runner)
        self._workspace, self._runner = workspace, runner

    def start(
        self,
        config: TrainConfig,
        *,
        seeds: int = SEEDS,
        arms: Sequence[str] = (),
        error_rate: float = ERROR_RATE,
        own: ArmSettings | None = None,
        asked: Collection[str] = (),
    ) -> int:
        """Queue what lacks of the comparison with these settings, and return its number: one that was stopped goes on
        with the pairs it had; one that is finished is done again only where candidates, scores or held-out rows came
        since. `arms`: names of ARMS, without any all that can be. `config`: what every arm is trained with, and `own`
        what an arm alone is given (see m3po.jobs.comparing.arm_settings); `asked`: the keys of `config` that somebody
        set, which nothing that was tuned replaces.

        Raises UsageError for a setting that cannot be, JobError where an arm has too few pairs, nothing is held out, or
        the preset wants GPUs that are not here.
        """
        _check(config, seeds, error_rate)
        ranks.check_devices(config)
        parse_losses(checked(config))
        chosen, left_out = self._choose_arms(config, arms)
        select = defaults.current_select(self._workspace.db)
        options = _options(config, select, chosen, seeds, error_rate)
        demo = self._workspace.config.demo
        settled = {
            arm: values for arm, values in settle(config, own or {}, asked=asked, demo=demo).items() if arm in chosen
        }
        options |= {"own": settled} if settled else {}
        known = self._workspace.db.read(lambda con: comparisons.same_comparison(con, options))
        if known and not self._is_finished(known["id"]):
            self.resume(known["id"])
            return known["id"]
        return self._plan(config, select, options, left_out, known and known["id"])

    def resume(self, comparison: int) -> int:
        """Queue again every run of it that was stopped, interrupted or failed; returns how many. Raises JobError where
        there is no such comparison, or where none of what lacks can go on."""
        self._get(comparison)
        queued, stuck = 0, []
        for row in self._rows(comparison):
            for run in (row["train"], row["evaluate"]):
                # read again: an evaluation comes back with its training
                if run is None or (now := self._read_run(run.id)).active or now.state == "finished":
                    continue
                if not now.resumable:
                    stuck.append(f"run {now.id} cannot be resumed. {now.message}")
                    break  # what would measure it waits for nothing
                self._runner.resume(now.id)
                queued += 1
        if stuck and not queued:
            raise JobError(f"Comparison {comparison} cannot go on: {stuck[0]}")
        return queued

    def stop(self, comparison: int) -> int:
        """Stop what waits or is at work of it, from the last to the first; what was finished is kept. Returns how many
        runs that were. Raises JobError where there is no such comparison."""
        self._get(comparison)
        rows = self._rows(comparison)
        return self._runner.stop_all(run.id for row in rows for run in (row["train"], row["evaluate"]) if run)

    def _read_run(self, run_id: int) -> Run:
        return self._workspace.db.read(lambda con: runs.read_run(con, run_id))

    def _choose_arms(self, config: TrainConfig, arms: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
        """The arms to train, and why others are left out where none was asked for."""
        problems = self._workspace.db.read(_problems_of_arms)
        try:
            trainings.with_reward(self._workspace, dataclasses.replace(config, method=ARMS["rlhf"].method))
        except M3poError as error:
            problems["rlhf"] = f"it needs a reward ({str(error).rstrip('.')})"
        chosen = check_arms(arms or [name for name in ARMS if name not in problems])
        for name in chosen:
            if name in problems:
                raise JobError(f"{ARMS[name].label} cannot be compared: {problems[name]}.")
        return chosen, {} if arms else problems

    def _plan(self, config: TrainConfig, select: SelectConfig, options: dict, left_out: dict, known: int | None) -> int:
        """Pick, draw and freeze all pairs, then queue every run that no comparison has finished, in one transaction."""
        workspace, seeds = self._workspace, range(options["seeds"])
        model_options = config.model_options()
        base = EvaluateConfig(policy=config.policy, **model_options)
        fingerprint, trained = plans.evaluated_fingerprint(base), trainings.trained_fingerprint(config)
        pool = workspace.db.write(lambda con: pool_of(con, select))
        draws = workspace.db.read(
            lambda con: draw_arms(con, pool, options["arms"], seeds, select, options["error_rate"])
        )
        draws.sort(key=lambda draw: draw.seed)  # a whole table of the first seed, then the next
        n = len(draws[0].pairs)
        config = dataclasses.replace(config, max_steps=ranks.count_steps(config, n))
        problem = workspace.db.read(lambda con: trainings.advise_weights(con, config, trained, of_arms=True))
        problems = [*trainings.describe_few(config, n), *([problem] if problem else [])]
        told = {"pairs": n, "steps": config.max_steps, "left_out": left_out, "problems": problems}
        rows = workspace.db.read(lambda con: instructions.state_of_split(con, "heldout"))
        if not rows[0]:
            raise JobError("The held-out split is empty, so nothing can be compared: import rows with split = heldout.")
        finished = workspace.db.read(comparisons.finished_marks)
        rewarder = workspace.db.read(lambda con: candidates.scorer_info(con, candidates.active_scorer(con, "mas")))
        planned = []
        try:
            for draw in draws:
                own = arm_config(config, options.get("own", {}).get(draw.arm, {}))
                own = dataclasses.replace(own, seed=draw.seed, method=ARMS[draw.arm].method)
                own = trainings.with_reward(workspace, own)
                table = workspace.db.read(lambda con, draw=draw: pair_table(con, draw.pairs, workspace.images))
                hashed = content_hash(table)
                mark = _mark(own, trained, hashed, rows, rewarder)
                folder = None if mark in finished else self._runner.freeze("train", dataclasses.asdict(own), table)
                planned.append((draw, own, hashed, mark, folder))
            if known is not None and self._marks(known) == {(d.arm, d.seed): mark for d, _, _, mark, _ in planned}:
                return known
            command = compare_command(workspace.path, options)

            def change(con: Connection) -> int:
                same = comparisons.same_comparison(con, options)  # which somebody else may have begun meanwhile
                if same is not None and same["id"] != known:
                    return same["id"]
                comparison = comparisons.add_comparison(con, options, told)
                before = launches.queue_base(workspace, self._runner, con, base, fingerprint)
                comparisons.add_comparison_run(con, comparison, BASE, 0, "", {}, None, before)
                for draw, own, hashed, mark, folder in planned:
                    both = finished.get(mark)
                    if both is None:
                        lineage = {"content_hash": hashed, "pairs": n, "before_run": before}
                        lineage["comparison"] = {"id": comparison, "arm": draw.arm, "error_rate": options["error_rate"]}
                        lineage |= trainings.describe_origin(trained)
                        lineage["picked_by"] = options["select"] | {"rule": ARMS[draw.arm].rule}
                        both = self._queue(con, draw, own, lineage, folder, command)
                    comparisons.add_comparison_run(con, comparison, draw.arm, draw.seed, mark, draw.facts, *both)
                return comparison

            return self._runner.queue_frozen([folder for *_, folder in planned if folder is not None], change)
        finally:
            for *_, folder in planned:  # still there where it did not come so far
                if folder is not None:
                    shutil.rmtree(folder, ignore_errors=True)

    def _queue(
        self, con: Connection, draw: Draw, config: TrainConfig, lineage: dict, folder: Path, command: str
    ) -> tuple[int, int]:
        """The training and its evaluation; their ids."""
        values = dataclasses.asdict(config) | lineage | {"selection": None, "human": 0}
        train = self._runner.queue(con, "train", values, command, frozen=folder)
        runs.add_run_pairs(con, train, draw.pairs)
        adapter = str(self._runner.folder(train).adapter_path)
        after = EvaluateConfig(policy=config.policy, adapter=adapter, **config.model_options())
        line = plans.command_line("evaluate", self._workspace, after)
        return train, self._runner.queue(con, "evaluate", dataclasses.asdict(after), line, parent=train, after=train)


def _check(config: TrainConfig, seeds: int, error_rate: float) -> None:
    if not 1 <= seeds <= MAX_SEEDS:
        raise UsageError(f"seeds = {seeds} cannot be used: give 1 to {MAX_SEEDS}.")
    if not 0 <= error_rate <= 1:
        raise UsageError(f"error_rate = {error_rate} cannot be used: give a share from 0 to 1.")
    plain = build_train_config(config.policy, config.preset)
    for name in OWN:
        if getattr(config, name) != getattr(plain, name):
            raise UsageError(f"{name} is what a comparison sets itself: leave it out.")


def _options(config: TrainConfig, select: SelectConfig, arms: Sequence[str], seeds: int, error_rate: float) -> dict:
    """What was asked for, as plain values: equal options are the same comparison."""
    train = {name: value for name, value in config.identity().items() if name not in OWN}
    picked = {name: value for name, value in dataclasses.asdict(select).items() if name not in ("rule", "seed")}
    return {"arms": list(arms), "seeds": int(seeds), "error_rate": float(error_rate), "train": train, "select": picked}


def _problems_of_arms(con: Connection) -> dict[str, str]:
    """Why some arms cannot be trained in this workspace, in words."""
    problems = {}
    if not comparisons.any_train_truth(con):
        problems["m3po_corrected"] = (
            "no train instruction has a known answer or known objects, which a simulated annotator needs"
        )
    return problems


def pool_of(con: Connection, select: SelectConfig) -> int:
    """The normalised values that all arms pick from. Raises JobError where nothing is scored."""
    logp, mas = candidates.active_scorer(con, "logp"), candidates.active_scorer(con, "mas")
    if logp is None or mas is None:
        raise JobError("There is nothing to pick from: sample and score first, then compare.")
    selections.check_raw(con, mas, select)
    return pools.ensure_pool(con, logp, mas, select)


def _mark(config: TrainConfig, trained: str, hashed: str, rows: list[int], active: dict) -> str:
    """Of all that a run and its measuring follow from; where models lie is not among it. `active`: the MAS scorer."""
    values = {name: value for name, value in config.identity().items() if name != "policy"}
    if config.reward == active["name"]:
        values["reward"] = active["fingerprint"]
    return hashlib.sha256(json.dumps([trained, values, hashed, rows], sort_keys=True).encode()).hexdigest()
