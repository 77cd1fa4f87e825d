"""What each kind of job is given: config and input frozen from the store, and its command line."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex

import pyarrow as pa

from m3po.errors import JobError
from m3po.models.fingerprint import model_fingerprint
from m3po.selection import RULES
from m3po.settings import EvaluateConfig, ModelOptions, SampleConfig, ScoreConfig, SelectConfig, TrainConfig
from m3po.store import candidates, decisions, instructions, runs, selections
from m3po.store.connection import Connection
from m3po.store.workspace import Workspace
from m3po.types import Run

Prepared = tuple[dict, pa.Table] | dict

# Settings that change how fast a sampler is, not what it answers: the rest is its identity.
_NOT_THE_SAMPLER = ("limit", "batch_size", "policy")
_SCORE_FIELDS = {field.name for field in dataclasses.fields(ScoreConfig)}
_MODEL_OPTIONS = {field.name for field in dataclasses.fields(ModelOptions)}


def prepare(workspace: Workspace, run: Run) -> Prepared:
    """Freeze what the run needs when its turn comes; a dict is the result of a run that needs no worker."""
    return _PREPARE[run.kind](workspace, run)


def _prepare_sample(workspace: Workspace, run: Run) -> Prepared:
    config = SampleConfig(**run.config)
    fingerprint = model_fingerprint(config.policy, config.adapter, code=config.trust_remote_code)
    identity = _identity(config, _NOT_THE_SAMPLER)

    def read(con: Connection) -> tuple[int, pa.Table]:
        sampler = candidates.sampler_id(con, fingerprint, identity)
        return sampler, candidates.unsampled(con, sampler, config.limit, workspace.images)

    sampler, table = workspace.db.write(read)
    if not table.num_rows:
        return {"message": "Nothing to sample: every train instruction asked for has its answers.", "sampled": 0}
    return {**dataclasses.asdict(config), "sampler": sampler, "fingerprint": fingerprint}, table


def _identity(config: ModelOptions, without: tuple[str, ...]) -> dict:
    """The settings that make a difference; a model option counts where it is not the default, so that what was
    stored before there was such an option keeps its identity."""
    values = {k: v for k, v in dataclasses.asdict(config).items() if k not in without and k not in _MODEL_OPTIONS}
    return values | config.changed_answers()


def logp_fingerprint(config: ScoreConfig) -> str:
    """What gives the log-probs: the weights, and the options under which they say something else."""
    fingerprint = model_fingerprint(config.policy, config.adapter, code=config.trust_remote_code)
    changed = config.changed_answers()
    return f"{fingerprint}?{json.dumps(changed, sort_keys=True)}" if changed else fingerprint


def active_policy(con: Connection) -> dict:
    """`policy`, `adapter` and model options that gave the log-probs which are shown; empty when none are.

    They are those of the newest score run with that fingerprint, so that what is scored later is scored alike.
    """
    info = candidates.scorer_info(con, candidates.active_scorer(con, "logp"))
    if info is None:
        return {}
    for run in runs.read_runs(con, ("score",), limit=1000):
        config = ScoreConfig(**{key: value for key, value in run.config.items() if key in _SCORE_FIELDS})
        if config.policy == info["name"] and logp_fingerprint(config) == info["fingerprint"]:
            return {"policy": config.policy, "adapter": config.adapter} | config.model_options()
    return {"policy": info["name"]}


def _prepare_score(workspace: Workspace, run: Run) -> Prepared:
    config = ScoreConfig(**run.config)

    def read(con: Connection) -> tuple[int | None, int | None, pa.Table]:
        logp = mas = None
        if config.policy:
            logp = candidates.scorer_id(con, "logp", config.policy, logp_fingerprint(config))
        if config.mas:
            mas = candidates.scorer_id(con, "mas", config.mas, model_fingerprint(config.mas.removeprefix("clip:")))
        table = candidates.unscored(con, logp, mas, workspace.images)
        # A model that has yet to load changes nothing that is shown: its worker's results do (m3po.jobs.ingest).
        if not table.num_rows:
            candidates.activate_scorers(con, logp, mas)
        return logp, mas, table

    logp, mas, table = workspace.db.write(read)
    if not table.num_rows:
        return {"message": "Nothing to score: every candidate has its scores.", "scored": 0}
    return {**dataclasses.asdict(config), "logp_scorer": logp, "mas_scorer": mas}, table


def _prepare_select(workspace: Workspace, run: Run) -> Prepared:
    return select(workspace, SelectConfig(**run.config))


def select(workspace: Workspace, config: SelectConfig) -> dict:
    """Run the pick rule over the whole workspace now; returns counts, reasons and the content hash."""

    def change(con: Connection) -> dict:
        selection = selections.create_selection(con, RULES[config.rule], config)
        info = selections.selection_info(con, selection)
        return {
            "selection_id": selection,
            "pairs": info["pairs"],
            "no_pair": selections.no_pair_counts(con, selection),
            "content_hash": info["content_hash"],
            "message": f"{info['pairs']} pairs picked by {config.rule}",
        }

    return workspace.db.write(change)


def _prepare_evaluate(workspace: Workspace, run: Run) -> Prepared:
    config = EvaluateConfig(**{k: v for k, v in run.config.items() if k in EVALUATE_FIELDS})
    table = workspace.db.read(lambda con: instructions.heldout_rows(con, config.split, workspace.images))
    if not table.num_rows:
        raise JobError(
            f"The {config.split} split is empty: import rows with split = {config.split!r} to measure before and after."
        )
    return dataclasses.asdict(config), table


EVALUATE_FIELDS = {field.name for field in dataclasses.fields(EvaluateConfig)}


def _prepare_train(workspace: Workspace, run: Run) -> Prepared:
    raise JobError(f"Run {run.id} lost its frozen pairs (input.parquet): start a new run.")


_PREPARE = {
    "sample": _prepare_sample,
    "score": _prepare_score,
    "select": _prepare_select,
    "evaluate": _prepare_evaluate,
    "train": _prepare_train,  # frozen when launched: what was shown is what is trained on
}


def training_set(workspace: Workspace, con: Connection, config: TrainConfig) -> tuple[list[dict], pa.Table, str]:
    """The curated pairs, as the worker reads them, and the hash of their content.

    Raises JobError when there is nothing to train on.
    """
    selection = selections.latest_selection(con)
    pairs = decisions.curated_pairs(con, selection, config.only)
    if not pairs:
        remedy = "review some pairs first" if config.only != "all" else "sample, score and select first"
        raise JobError(f"There is no pair to train on: {remedy}.")
    table = instructions.prompts(con, [pair["instruction_id"] for pair in pairs], workspace.images)
    for name, key in (("chosen_id", "chosen"), ("rejected_id", "rejected"), ("human", "human")):
        table = table.append_column(name, pa.array([pair[key] for pair in pairs]))
    for name in ("chosen", "rejected"):
        table = table.append_column(name, pa.array([pair[f"{name}_text"] for pair in pairs], pa.string()))
        table = table.append_column(f"{name}_truncated", pa.array([pair[f"{name}_truncated"] for pair in pairs]))
    return pairs, table, content_hash(table)


def content_hash(table: pa.Table) -> str:
    """SHA-256 of what is trained on: images (by content address), prompt, chosen and rejected, whatever the ids."""
    lines = sorted(
        json.dumps(
            [
                [path.rsplit("/", 1)[-1] for path in row["images"]],
                row["messages"],
                row["chosen"],
                row["rejected"],
            ]
        )
        for row in table.select(["images", "messages", "chosen", "rejected"]).to_pylist()
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def base_evaluation(con: Connection, config: EvaluateConfig) -> Run | None:
    """An evaluation of the same model on the same rows that is finished or under way, to be used again."""
    mark = evaluation_mark(con, config)
    for run in runs.read_runs(con, ("evaluate",), limit=1000):
        if run.config.get("mark") == mark and run.state in ("finished", "running", "queued"):
            return run
    return None


def evaluation_mark(con: Connection, config: EvaluateConfig) -> str:
    """Which model on which rows: equal marks give equal figures."""
    settings = _identity(config, ("policy", "adapter", "batch_size"))
    rows = instructions.state_of_split(con, config.split)
    fingerprint = model_fingerprint(config.policy, config.adapter, code=config.trust_remote_code)
    return json.dumps([fingerprint, settings, rows], sort_keys=True)


def command_line(kind: str, workspace: Workspace, config: object) -> str:
    """The command that does the same headless; only what differs from the defaults is written out."""
    words = ["python", "-m", "m3po", kind, shlex.quote(str(workspace.path))]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value is None or value == field.default:
            continue
        option = f"--{field.name.replace('_', '-')}"
        words += [option] if value is True else [option, shlex.quote(str(value))]
    return " ".join(words)
