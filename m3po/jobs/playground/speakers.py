"""Who can be asked in the playground: policies, adapters, finished runs; and the scorer that judges their answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from m3po.errors import JobError, UsageError
from m3po.jobs.comparing.arms import ARMS
from m3po.jobs.planning import defaults, scorings
from m3po.jobs.results.model_exports import adapter_of
from m3po.jobs.runner import JobRunner
from m3po.models.checks import check_policy
from m3po.remote_spec import names_remote, parse_remote
from m3po.scorer_spec import parse_scorer
from m3po.settings import ModelOptions, ScoreConfig
from m3po.store import runs
from m3po.store.workspace import Workspace
from m3po.text import counted
from m3po.types import Run
from m3po.workspace_config import WorkspaceConfig, check_specs


@dataclass(frozen=True)
class Side:
    """Who answers: a `policy` with an `adapter` (a folder), or `run`, a finished training run's number: its policy with
    its adapter, or with `before` what it began with. Nothing at all is the workspace's own policy."""

    policy: str = ""
    adapter: str = ""
    run: int | None = None
    before: bool = False


def resolve(
    workspace: Workspace, runner: JobRunner, config: WorkspaceConfig, side: Side, options: Mapping | None
) -> dict:
    """`policy`, `adapter`, `options` and `name` of a side, checked by its files. Raises M3poError in one sentence."""
    policy, adapter, chosen, name = side.policy, side.adapter or None, ModelOptions(), ""
    if side.run is not None:
        run = workspace.db.read(lambda con: runs.read_run(con, side.run))
        if run is None:
            raise JobError(f"There is no run {side.run}: see the list of runs for those there are.")
        folder = adapter_of(runner, run)
        chosen = ModelOptions.of_run(run.config)
        policy = policy or run.config["policy"]
        adapter = (run.config.get("adapter") or None) if side.before else str(folder)
        name = f"before run {run.id}" if side.before else f"run {run.id}"
    policy = policy or defaults.own_policy(workspace, config)
    check_specs(config, {"policy": policy})
    if parse_remote(policy) and adapter:
        raise UsageError(
            "A remote policy takes no adapter: serve the adapter under a name of its own and give that as MODEL."
        )
    if options is not None:
        chosen = ModelOptions(**options)
    check_policy(policy, adapter, chosen)
    named = name or name_model(policy, adapter)
    return {"policy": policy, "adapter": adapter, "options": chosen.model_options(), "name": named}


def name_side(side: Side) -> str:
    """What a side is called that cannot answer."""
    if side.run is not None:
        return f"{'before ' * side.before}run {side.run}"
    return name_model(side.policy or "the workspace's policy", side.adapter or None)


def usable_scorer(workspace: Workspace, config: WorkspaceConfig) -> tuple[ScoreConfig | None, str]:
    """The active scorer where it can judge a new answer; else why not, in a sentence, or nothing where none is."""
    scoring = scorings.mas_in_use(workspace.db)
    if scoring is None:
        return None, ""
    spec = parse_scorer(scoring.mas)
    if any(part.kind == "column" for part in spec.parts):
        part_of = "has" if spec.is_mean else "is"
        return None, f"No MAS: the active scorer {part_of} a rating of imported answers."
    if names_remote(scoring.mas) and not config.remote:
        return None, "No MAS: the active scorer is on a server, which remote = false in config.toml forbids."
    return scoring, ""


def has_adapter(runner: JobRunner, run: Run) -> bool:
    try:
        return bool(adapter_of(runner, run))
    except JobError:
        return False


def describe(run: Run) -> dict:
    """`run` (its number), `name`, and what it `began` with, in words."""
    config = run.config
    parts = [f"run {run.id}", str(config.get("method", "dpo"))]
    parts += [counted(config["pairs"], "pair")] if config.get("pairs") else []
    if of := config.get("comparison"):
        parts.append(f"{ARMS[of['arm']].label if of['arm'] in ARMS else of['arm']} of comparison {of['id']}")
    return {"run": run.id, "name": " · ".join(parts), "began": name_model(config["policy"], config.get("adapter"))}


def name_model(policy: str, adapter: str | None) -> str:
    """As short as people call it."""
    remote = parse_remote(policy)
    base = remote.model if remote else _last(policy)
    return f"{base} with {_last(adapter)}" if adapter else base


def _last(path: str) -> str:
    """The last part of a path; of a run's folder, where each is called `adapter`, with the one before."""
    *before, last = path.rstrip("/").split("/")
    return f"{before[-1]}/{last}" if last == "adapter" and before and before[-1] else last or path
