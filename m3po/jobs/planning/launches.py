"""How runs are queued: the chain of jobs that one press starts, whole or not at all."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from m3po.errors import M3poError
from m3po.jobs.folder import RunFolder
from m3po.jobs.planning import edits, estimates, plans, scorings, trainings
from m3po.jobs.planning.pilot import DEFAULT_PILOT, PILOT_K
from m3po.jobs.runner import JobRunner
from m3po.settings import EvaluateConfig, SampleConfig, ScoreConfig, SelectConfig, TrainConfig
from m3po.store import candidates, instructions, lineage, runs
from m3po.store.connection import Connection
from m3po.store.workspace import Workspace
from m3po.training import ranks
from m3po.training.presets import check_settings, train_command
from m3po.workspace_config import check_specs

log = logging.getLogger("m3po.launches")

FIRST = 24  # instructions that a pipeline answers first, so that there is something to review within seconds
Step = tuple[str, SampleConfig | ScoreConfig | SelectConfig]  # a run's kind and config


def launch_training(workspace: Workspace, runner: JobRunner, config: TrainConfig, evaluate: bool) -> int:
    """Freeze the curated pairs and queue the run between its two evaluations; returns the training run's id.

    Raises JobError when there is no pair or a step takes more memory than there is, UsageError for a loss that does
    not exist.
    """
    check_settings(config)
    ranks.check_devices(config)
    config = trainings.with_reward(workspace, config)
    trained = trainings.trained_fingerprint(config)
    (pairs, table, origin), decided = workspace.db.read_at_once(
        lambda con: (plans.training_set(workspace, con, config), lineage.standing_decisions(con))
    )
    here = ranks.counted(config)
    estimates.check_fits(workspace.db.read(lambda con: estimates.read_known(con, here, trained)), here)
    values = dataclasses.asdict(config)
    origin |= trainings.describe_origin(trained)
    frozen = runner.freeze("train", values, table)

    def fill(con: Connection, run_id: int, folder: RunFolder) -> None:
        runs.add_run_pairs(con, run_id, pairs)
        lineage.add_run_decisions(con, run_id, decided)
        if advice := trainings.advise_weights(con, config, trained):
            runs.add_warnings(con, run_id, [advice])

    command = train_command(str(workspace.path), config)
    return queue_training(workspace, runner, config, values | origin, command, frozen, fill, evaluate)


def queue_training(
    workspace: Workspace,
    runner: JobRunner,
    config: TrainConfig,
    values: dict,
    command: str,
    frozen: Path,
    fill: Callable[[Connection, int, RunFolder], None],
    evaluate: bool,
) -> int:
    """Queue a run of the folder `frozen`, whole or not at all, between its two evaluations (where `evaluate`, and there
    is a held-out split); returns its id. `values` are what the run keeps as its config; `fill` stores what else belongs
    to the run. `frozen` is gone afterwards."""
    options = config.model_options()  # the model is measured as it is trained
    base = EvaluateConfig(policy=config.policy, adapter=config.adapter, **options)
    try:
        fingerprint = plans.evaluated_fingerprint(base)
    except BaseException:  # a model whose files went meanwhile
        shutil.rmtree(frozen, ignore_errors=True)
        raise

    def change(con: Connection) -> int:
        measure = evaluate and instructions.count_by_split(con)["heldout"] > 0
        before = queue_base(workspace, runner, con, base, fingerprint) if measure else None
        run_id = runner.queue(con, "train", values | {"before_run": before}, command, frozen=frozen)
        folder = runner.folder(run_id)
        fill(con, run_id, folder)
        if measure:
            after = EvaluateConfig(policy=config.policy, adapter=str(folder.adapter_path), **options)
            told = plans.command_line("evaluate", workspace, after)
            runner.queue(con, "evaluate", dataclasses.asdict(after), told, parent=run_id, after=run_id)
        return run_id

    return runner.queue_frozen([frozen], change)


def launch_steps(
    workspace: Workspace, runner: JobRunner, steps: Sequence[Step], *, command: str = "", **links: int | None
) -> list[int]:
    """Queue runs, one after another, when all of them can be; a scoring may take several. Returns their ids.
    `command`: the one that does all of it headless, where it is not that of each.

    Raises what scorings.check_score does, or UsageError, with nothing queued.
    """
    _check_steps(workspace, steps)
    run_ids = workspace.db.write(lambda con: _queue_steps(workspace, runner, con, steps, command=command, **links))
    runner.wake()
    return run_ids


def _check_steps(workspace: Workspace, steps: Sequence[Step]) -> None:
    for kind, config in steps:
        if kind == "score":
            scorings.check_score(workspace, config)
        check_specs(workspace.read_config(), dataclasses.asdict(config))


def _queue_steps(
    workspace: Workspace,
    runner: JobRunner,
    con: Connection,
    steps: Sequence[Step],
    *,
    command: str = "",
    **links: int | None,
) -> list[int]:
    chain: list[int] = []
    for kind, config in steps:
        # No command scores edits alone: `score` scores everything, and switches scorers.
        shown = command if command or _is_of_edits(config) else plans.command_line(kind, workspace, config)
        for each in scorings.score_steps(config) if kind == "score" else [config]:
            after = {"after": chain[-1]} if chain else {}
            chain.append(runner.queue(con, kind, dataclasses.asdict(each), shown, **(links | after)))
    return chain


def _is_of_edits(config: SampleConfig | ScoreConfig | SelectConfig) -> bool:
    return isinstance(config, ScoreConfig) and config.edits


def launch_pipeline(
    workspace: Workspace, runner: JobRunner, sample: SampleConfig, score: ScoreConfig, select: SelectConfig
) -> list[int]:
    """Queue sampling, scoring and selection, in a fresh workspace a few instructions first; the ids of the runs."""
    fresh = not workspace.db.read(lambda con: candidates.counts(con))["sampled_instructions"]
    few_first = fresh and (not sample.limit or sample.limit > FIRST)
    samples = (dataclasses.replace(sample, limit=FIRST), sample) if few_first else (sample,)
    steps = [step for config in samples for step in (("sample", config), ("score", score), ("select", select))]
    return launch_steps(workspace, runner, steps)


def launch_edit_scoring(workspace: Workspace, runner: JobRunner) -> None:
    """Score by the scorers in use what humans wrote, unless a run that is waiting or at work will see to it.

    Nothing is raised: the answer is stored, and a scorer that cannot be asked is no fault of its writer.
    """
    if any(run.kind == "score" for run in workspace.db.read(runs.read_active)):
        return
    try:
        for score in edits.scorings_of_edits(workspace):
            launch_steps(workspace, runner, [("score", score)])
    except M3poError as error:
        log.warning("an edited answer stays unscored: %s", error)


def launch_late_edits(workspace: Workspace, runner: JobRunner, queued_at: dt.datetime) -> None:
    """After a score run, however it ended (`queued_at`: when it was queued): score what humans wrote since scoring was
    last at rest, for which nothing was queued then. What was written before has had a run of its own; it is not tried
    again, or this would never end."""

    def read(con: Connection) -> bool:
        since = queued_at  # not when it started: its input was frozen a moment before that
        for other in runs.read_runs(con, ("score",)):  # newest first
            if other.active or (other.ended_at is not None and other.ended_at >= since):
                since = min(since, other.created_at)
        return candidates.has_unscored_edits(con, since)

    if workspace.db.read(read):
        launch_edit_scoring(workspace, runner)


def launch_pilot(
    workspace: Workspace, runner: JobRunner, sample: SampleConfig, scores: Sequence[ScoreConfig], select: SelectConfig
) -> list[int]:
    """Queue a pilot (m3po.jobs.planning.pilot): sampling, scoring by `scores`, and the report; their ids.

    Its scorers are shown only where none of their kind is. Raises as launch_steps does.
    """
    sample = dataclasses.replace(sample, pilot=sample.pilot or DEFAULT_PILOT, k=PILOT_K, limit=0)
    unseen = workspace.db.read(lambda con: [each for score in scores for each in _score_unseen(con, score)])
    steps = [("sample", sample), *(("score", scoring) for scoring in unseen)]
    _check_steps(workspace, steps)
    report = {"sample": dataclasses.asdict(sample), "select": dataclasses.asdict(select)}
    report["scores"] = [dataclasses.asdict(score) for score in scores]
    command = plans.command_line("sample", workspace, sample)

    def change(con: Connection) -> list[int]:
        chain = _queue_steps(workspace, runner, con, steps)
        return [*chain, runner.queue(con, "pilot", report, command, after=chain[-1])]

    run_ids = workspace.db.write(change)
    runner.wake()
    return run_ids


def _score_unseen(con: Connection, score: ScoreConfig) -> list[ScoreConfig]:
    """The same scoring, but no scorer takes over from one of its kind; groups, which no pair needs, are left out."""
    first = {kind: candidates.active_scorer(con, kind) is None for kind in ("logp", "mas")}
    logp = dataclasses.replace(score, mas=None, group=None, activate=first["logp"]) if score.policy else None
    weightless = {"policy": None, "adapter": None, "group": None}
    mas = scorings.only_useful(dataclasses.replace(score, **weightless, activate=first["mas"])) if score.mas else None
    if logp and mas and logp.activate == mas.activate:
        return [dataclasses.replace(logp, mas=score.mas)]
    return [scoring for scoring in (logp, mas) if scoring]


def launch_evaluation(workspace: Workspace, runner: JobRunner, config: EvaluateConfig) -> int:
    """Queue an evaluation; one of the same model on the same rows that is there is used again. Returns its id."""
    fingerprint = plans.evaluated_fingerprint(config)

    def change(con: Connection) -> int:
        if not config.adapter:
            return queue_base(workspace, runner, con, config, fingerprint)
        command = plans.command_line("evaluate", workspace, config)
        return runner.queue(con, "evaluate", dataclasses.asdict(config), command)

    run_id = workspace.db.write(change)
    runner.wake()
    return run_id


def queue_base(
    workspace: Workspace, runner: JobRunner, con: Connection, config: EvaluateConfig, fingerprint: str
) -> int:
    """An evaluation of a model without an adapter of ours: the one that is there, or one that is queued; its id."""
    mark = plans.evaluation_mark(con, config, fingerprint)
    known = plans.base_evaluation(con, mark)
    if known:
        return known.id
    values = dataclasses.asdict(config) | {"mark": mark}
    return runner.queue(con, "evaluate", values, plans.command_line("evaluate", workspace, config))
