"""A training run before it is started: what would be trained, and what speaks against it."""

from __future__ import annotations

import dataclasses
import json

from m3po.errors import JobError, UsageError
from m3po.jobs.planning import estimates, plans
from m3po.models.fingerprint import loaded_fingerprint
from m3po.scorer_spec import REMOTE_KINDS, parse_scorer
from m3po.selection import RULES
from m3po.settings import TrainConfig
from m3po.store import auto_accept, candidates, decisions, instructions, runs, selections
from m3po.store.connection import Connection
from m3po.store.workspace import Workspace
from m3po.text import same_model
from m3po.training import ranks
from m3po.training.presets import MIN_PAIRS, check_settings, train_command
from m3po.versions import code_version, package_versions

FEW_STEPS = 10


def preview(workspace: Workspace, config: TrainConfig) -> dict:
    """How many pairs, how many of them by humans, the exact command, and what speaks against the run."""
    check_settings(config)
    trained = trained_fingerprint(config)
    here = ranks.counted(config)

    def read(con: Connection) -> dict:
        selection = selections.latest_selection(con)
        counts = decisions.pair_counts(con, selection, config.only)
        info = selections.selection_info(con, selection)
        problems = []
        if config.only == "auto" and auto_accept.least_score(con, selection) is None:
            problems.append(auto_accept.NO_SCORE)
        problems += describe_few(here, counts["pairs"])
        given = bool(info) and RULES[info["rule"]].given
        if info and not given and info["mas_scorer"] != candidates.active_scorer(con, "mas"):
            problems.append("The pairs were selected by another scorer than the one that is shown now: select again.")
        if advice := advise_weights(con, config, trained):
            problems.append(advice)
        if any(run.kind in ("sample", "select") for run in runs.read_active(con)):
            problems.append("The models are still at work: more pairs will come, and this run would not have them.")
        elif unselected := selections.count_not_selected(con, selection):
            problems.append(f"{unselected} train instructions came after the last selection: sample, score and select.")
        if advice := plans.advise_log_probs(candidates.count_without_log_prob(con)):
            problems.append(f"{advice}.")
        if not instructions.count_by_split(con)["heldout"]:
            problems.append("The held-out split is empty: the run trains, but nothing measures before and after.")
        return {
            **counts,
            "machine": counts["pairs"] - counts["human"],
            "disagreeing": decisions.verdict_counts(con).get("disagree", 0),
            "given": given,
            "selection": info["content_hash"] if info else "",
            "problems": problems,
            "known": estimates.read_known(con, here, trained),
        }

    found = workspace.db.read(read)
    told = estimates.estimate(found.pop("known"), here, found["pairs"])
    try:
        ranks.check_devices(config)
    except JobError as error:
        told = dataclasses.replace(told, refusal=str(error), problem="")
    problems = [told.refusal, *found["problems"], told.problem, ranks.advise_device(config)]
    problems = [problem for problem in problems if problem]
    found |= {"problems": problems, "memory": told.memory, "time": told.time, "refusal": told.refusal}
    shown = json.dumps(dataclasses.asdict(config), indent=2, ensure_ascii=False)
    return found | {"command": train_command(str(workspace.path), config), "config": shown}


def describe_origin(trained: str) -> dict:
    """What a run keeps of where it came from, beside its pairs: the model that it begins with (`trained`, its
    fingerprint), the code and the packages."""
    return {"fingerprint": trained, "code": code_version(), "packages": package_versions()}


def with_reward(workspace: Workspace, config: TrainConfig) -> TrainConfig:
    """The config with the scorer that rewards sampled answers named, where its method wants one: the active one, unless
    it names another. Raises JobError where there is none, UsageError for one that cannot judge a new answer here."""
    if config.method != "grpo":
        return config
    active = workspace.db.read(lambda con: candidates.scorer_info(con, candidates.active_scorer(con, "mas")))
    reward = config.reward or (active and active["name"])
    if not reward:
        raise JobError("GRPO takes MAS as its reward, and no scorer is active: score first, or set reward=SCORER.")
    spec = parse_scorer(reward)
    if spec.is_mean or spec.parts[0].kind in ("column", *REMOTE_KINDS):
        raise UsageError(
            f"{reward} cannot reward the answers that GRPO samples: ratings and means are stored values, and a server "
            "would be asked for every answer of every step. Set reward to a CLIP, SigLIP, vqa: or claims: scorer."
        )
    return dataclasses.replace(config, reward=reward)


def describe_few(config: TrainConfig, pairs: int) -> list[str]:
    """A sentence where so many pairs are too few for a run, or its steps few."""
    if pairs < MIN_PAIRS:
        return [f"There are fewer than {MIN_PAIRS} pairs to train on: sample, score and select first, or review."]
    if (steps := ranks.count_steps(config, pairs)) < FEW_STEPS:
        return [
            f"The run has {steps} optimiser steps, few to learn from: make more pairs, "
            "or set more epochs or a smaller batch."
        ]
    return []


def trained_fingerprint(config: TrainConfig) -> str:
    """What the run begins with, named as the scorer of its log-probs is; read from files, never in a transaction."""
    return loaded_fingerprint(config.policy, config.adapter, config)


def advise_weights(con: Connection, config: TrainConfig, trained: str, *, of_arms: bool = False) -> str:
    """What to do where the log-probs that picked the pairs are not those of what is trained (`trained`, its
    fingerprint); empty where they are, or where the pairs are given by the data. `of_arms`: of a comparison, whose arms
    all begin with the policy alone."""
    info = selections.selection_info(con, selections.latest_selection(con))
    if info is not None and RULES[info["rule"]].given:
        return ""
    scorer = candidates.scorer_info(con, info["logp_scorer"] if info else candidates.active_scorer(con, "logp"))
    if scorer is None:
        return ""
    (scored, told), (begins, asked) = (_split_options(text) for text in (scorer["fingerprint"], trained))
    if same_model(scored, begins):
        if told == asked:
            return ""
        options = ", ".join(f"{name} = {value}" for name, value in told.items()) or "the defaults"
        return (
            f"The log-probs of the pairs were computed under other model options ({options}) than this run has: what "
            "the model believes may differ. Train with the same, or score with these and select."
        )
    adapter = "+" in scored
    which = scorer["name"]
    if adapter:
        which += " with another adapter" if config.adapter else " with an adapter"
    elif which == config.policy:
        which += " alone" if config.adapter else " as it was then"
    here = f"{config.policy} with the adapter {config.adapter}" if config.adapter else f"{config.policy} alone"
    if of_arms:
        return (
            f"The log-probs of the pairs are of {which}, and every arm begins with {here}: the mistakes that they "
            "learn from need not be their own. To mend it, score with that policy alone, and select."
        )
    remedy = "go on from that adapter (--adapter), or " if adapter and not config.adapter else ""
    return (
        f"The log-probs of the pairs are of {which}, and this run begins with {here}: the mistakes "
        f"that it learns from need not be its own. To mend it, {remedy}score with what is trained, and select."
    )


def _split_options(fingerprint: str) -> tuple[str, dict]:
    """The weights, and the options under which they say something else; the number type only rounds."""
    weights, _, options = fingerprint.partition("?")
    return weights, {name: value for name, value in json.loads(options or "{}").items() if name != "dtype"}
