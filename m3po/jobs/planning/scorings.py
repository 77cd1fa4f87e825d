"""Who scores what: the models that go with answers, whether they can, and the runs that a scoring takes."""

from __future__ import annotations

import dataclasses

from m3po.errors import UsageError
from m3po.jobs.planning.defaults import own_models
from m3po.models.checks import judges_of
from m3po.models.fingerprint import loaded_fingerprint
from m3po.remote_spec import parse_remote
from m3po.scorer_spec import parse_scorer
from m3po.settings import ModelOptions, SampleConfig, ScoreConfig, weights_of
from m3po.store import candidates, runs, scorers
from m3po.store.connection import Database
from m3po.store.workspace import Workspace
from m3po.text import same_model
from m3po.workspace_config import WorkspaceConfig, check_specs


def score_steps(config: ScoreConfig) -> list[ScoreConfig]:
    """The runs that a scoring takes, in order: each has one scorer, and a judge, which is large, no policy beside it.

    The parts of a mean are scored one by one, each stored as a scorer of its own, then the mean; answers are grouped
    at the end.
    """
    if config.group:
        grouping = [only_useful(dataclasses.replace(config, policy=None, adapter=None, mas=None))]
        scored = dataclasses.replace(config, group=None) if config.policy or config.mas else None
        return [*(score_steps(scored) if scored else []), *grouping]
    if not config.mas:
        return [config]
    spec = parse_scorer(config.mas)
    alone = spec.is_mean or spec.parts[0].kind not in ("", "clip", "siglip")
    steps = [dataclasses.replace(config, mas=None)] if alone and config.policy else []
    only_mas = dataclasses.replace(config, policy=None, adapter=None) if alone else config
    if spec.is_mean:
        steps += [only_useful(dataclasses.replace(only_mas, mas=part.text, activate=False)) for part in spec.parts]
    return [*steps, only_useful(dataclasses.replace(only_mas, mas=spec.text))]


def only_useful(config: ScoreConfig) -> ScoreConfig:
    """Without model options where no model takes them: a policy and a judge do."""
    return (
        config if config.policy or judges_of(config) else dataclasses.replace(config, **ModelOptions().model_options())
    )


def check_score(workspace: Workspace, config: ScoreConfig) -> None:
    """Refuse before anything is queued what cannot be scored: a remote judge where the workspace forbids it
    (UsageError), model options for what takes none (UsageError), a rating that no file brought (BadInputError)."""
    check_specs(workspace.read_config(), {"mas": config.mas})
    useful = only_useful(config).model_options()
    if idle := [name for name, value in config.model_options().items() if value != useful[name]]:
        raise UsageError(
            f"{idle[0]} is for a policy or a judge (vqa:, claims:), and {config.mas or config.group} is neither: "
            "leave it out."
        )
    for part in parse_scorer(config.mas).parts if config.mas else ():
        if part.kind == "column":
            workspace.db.read(lambda con, name=part.model: scorers.check_rating(con, name))


def find_scorer(there: list[dict], scorer: int | str) -> dict:
    """The one of `there` (m3po.store.scorers.list_scorers) with this number or name; raises UsageError for none."""
    named = [row for row in there if str(scorer) in (str(row["number"]), row["name"])]
    if not named:
        names = ", ".join(f"{row['number']} ({row['name']})" for row in there if row["candidates"])
        raise UsageError(f"There is no scorer {scorer}; there are: {names or 'none yet: score first'}.")
    return named[-1]


def logp_fingerprint(config: ScoreConfig) -> str:
    """What gives the log-probs: the weights, and the options under which they say something else."""
    return loaded_fingerprint(config.policy, config.adapter, config)


def active_policy(db: Database) -> dict:
    """`policy`, `adapter` and model options that gave the log-probs which are shown; empty when none are.

    They are those of the newest score run with that fingerprint, so that what is scored later is scored alike.
    Fingerprints are read from files, which takes its time: outside of the database.
    """
    info, past = db.read(
        lambda con: (
            candidates.scorer_info(con, candidates.active_scorer(con, "logp")),
            runs.read_runs(con, ("score",), limit=1000),
        )
    )
    if info is None:
        return {}
    others: list[dict] = []  # of each its files are read once, however many runs it had
    for config in (ScoreConfig.of_run(run.config) for run in past):
        if config.policy != info["name"] or (weights := weights_of(config)) in others:
            continue
        if same_model(info["fingerprint"], logp_fingerprint(config)):
            return weights
        others.append(weights)
    return {"policy": info["name"]}


def scoring_for(db: Database, own: WorkspaceConfig, sample: SampleConfig) -> ScoreConfig | None:
    """Both signals for the answers of `sample`, as far as models for them are known; None where none is.

    Log-probs are by the weights that gave the answers; those of a server by the workspace's own policy, else by the
    one that is shown. MAS is by the workspace's own scorer, else by the one that is shown.
    """
    models = own_models(own)
    if not parse_remote(sample.policy):
        weights = weights_of(sample)
    else:
        weights = {"policy": models["policy"]} if models["policy"] else active_policy(db)
    return _scoring(weights, models["mas"] or _shown_mas(db))


def scorings_in_use(db: Database) -> list[ScoreConfig]:
    """What gave the scores that are shown, by name: whether its files are still the same is for the caller to ask."""
    return _as_shown(db, _scoring(active_policy(db), _shown_mas(db)))


def _scoring(weights: dict, mas: str | None) -> ScoreConfig | None:
    named = {"policy": None, **weights, "mas": mas}
    return ScoreConfig(**named) if named["policy"] or mas else None


def mas_in_use(db: Database) -> ScoreConfig | None:
    """The scorer whose MAS is shown, with the options it had; None where there is none."""
    shown = _shown_mas(db)
    return _as_shown(db, ScoreConfig(policy=None, mas=shown))[-1] if shown else None


def _shown_mas(db: Database) -> str | None:
    shown = db.read(lambda con: candidates.scorer_info(con, candidates.active_scorer(con, "mas")))
    return shown and shown["name"]


def scorings_of_pilot(db: Database, own: WorkspaceConfig, sample: SampleConfig) -> list[ScoreConfig]:
    """What scores a pilot's answers: log-probs as scoring_for says, MAS by the scorer that the next selection uses.

    One that rates only what was imported says nothing of sampled answers: then by the workspace's own, where it has
    one.
    """
    score = scoring_for(db, own, sample)
    shown = _shown_mas(db)
    if score is None or shown is None:
        return [score] if score else []
    if own.mas and any(part.kind == "column" for part in parse_scorer(shown).parts):
        return [score]
    return _as_shown(db, dataclasses.replace(score, mas=shown))


def _as_shown(db: Database, score: ScoreConfig | None) -> list[ScoreConfig]:
    """`score`, by the scorer that is shown; a judge has the model options it had, not the policy's."""
    if not score or not score.mas or not judges_of(score):
        return [score] if score else []
    run_id = db.read(lambda con: scorers.last_run(con, candidates.active_scorer(con, "mas")))
    if run_id is None:
        return [score]
    run = db.read(lambda con: runs.read_run(con, run_id))
    options = ScoreConfig.of_run(run.config).model_options() if run else {}
    logp = [dataclasses.replace(score, mas=None)] if score.policy else []
    return [*logp, ScoreConfig(policy=None, mas=score.mas, **options)]
