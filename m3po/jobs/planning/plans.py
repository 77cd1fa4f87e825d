"""What each kind of job is given: config and input frozen from the store, and its command line.

Only what is stored is done inside a transaction: prompts and answers, of which there may be a million, are read outside
of it, so that nobody who edits an answer waits for them.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable

import pyarrow as pa

from m3po.errors import JobError, UsageError
from m3po.jobs.planning.edits import prepare_edits
from m3po.jobs.planning.judge_input import prepare as prepare_judging
from m3po.jobs.planning.pair_tables import content_hash, pair_table
from m3po.jobs.planning.pilot import build_report, for_sampled
from m3po.jobs.planning.scorings import check_score, logp_fingerprint
from m3po.models.fingerprint import grouper_fingerprint, model_fingerprint, scorer_fingerprint
from m3po.scorer_spec import ScorerPart, ScorerSpec, parse_grouper, parse_scorer
from m3po.selection import RULES, Scored
from m3po.settings import EvaluateConfig, SampleConfig, ScoreConfig, SelectConfig, TrainConfig
from m3po.store import (
    auto_accept,
    candidates,
    decisions,
    dependence,
    groups,
    instructions,
    runs,
    samplers,
    scorers,
    selections,
)
from m3po.store.connection import Connection
from m3po.store.workspace import Workspace
from m3po.text import counted, override_prompt
from m3po.types import Run
from m3po.workspace_config import check_specs

# What is the server's own affair, and what another command (dependence) asks for.
_NO_OPTION = {"score": ("activate", "image", "image_seed", "limit", "edits")}
CHANGED = {"blank": "blanked", "swap": "swapped"}
Prepared = tuple[dict, pa.Table] | dict

# Settings that change how fast a sampler is, or whom it is asked for, not what it answers.
_HOW_FAST = ("limit", "batch_size", "concurrency", "pilot", "device_map", "attention", "trust_remote_code")
_NOT_THE_SAMPLER = ("policy", *_HOW_FAST)  # the policy is known by its fingerprint
# Those that have always been its identity. Later ones are named where they are set: what an older workspace sampled
# stays the same sampler.
_FIRST_IDENTITY = ("adapter", "k", "temperature", "top_p", "max_new_tokens", "seed")


def prepare(workspace: Workspace, run: Run) -> Prepared:
    """Freeze what the run needs when its turn comes; a dict is the result of a run that needs no worker."""
    check_specs(workspace.read_config(), run.config)
    return _PREPARE[run.kind](workspace, run)


def _prepare_sample(workspace: Workspace, run: Run) -> Prepared:
    config = SampleConfig.of_run(run.config)
    fingerprint, identity = identify(config)

    sampler = workspace.db.write(lambda con: candidates.sampler_id(con, fingerprint, identity, config.policy))

    def read(con: Connection) -> pa.Table:
        if config.pilot:
            ids = samplers.pilot_ids(con, config.pilot, config.seed)
            return samplers.unsampled_of(con, sampler, ids, workspace.images)
        return candidates.unsampled(con, sampler, config.limit, workspace.images)

    table = workspace.db.read(read)
    if config.system or config.prompt:
        texts = [
            json.dumps(
                override_prompt(json.loads(text), system=config.system, template=config.prompt), ensure_ascii=False
            )
            for text in table.column("messages").to_pylist()
        ]
        place = table.column_names.index("messages")
        table = table.set_column(place, "messages", pa.array(texts, pa.string()))
    if not table.num_rows:
        return {"message": "Nothing to sample: every train instruction asked for has its answers.", "sampled": 0}
    return {**dataclasses.asdict(config), "sampler": sampler, "fingerprint": fingerprint}, table


def identify(config: SampleConfig) -> tuple[str, dict]:
    """What makes a sampler the same one: the fingerprint of its weights, and its settings."""
    return model_fingerprint(config.policy, config.adapter, code=config.trust_remote_code), settings_of(config)


def settings_of(config: SampleConfig) -> dict:
    """Those that make another sampler, whatever its weights."""
    identity = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in _FIRST_IDENTITY or (field.name not in _NOT_THE_SAMPLER and value != field.default):
            identity[field.name] = value
    return identity


def _prepare_score(workspace: Workspace, run: Run) -> Prepared:
    config = ScoreConfig.of_run(run.config)
    check_score(workspace, config)
    if config.group:
        return _prepare_grouping(workspace, config)
    if config.image:
        return _prepare_changed(workspace, config)
    if config.edits:
        return prepare_edits(workspace, config, run.id)
    spec = parse_scorer(config.mas) if config.mas else None
    known = _fingerprints(config)
    if spec and (spec.is_mean or spec.parts[0].kind == "column"):
        return workspace.db.write(lambda con: _score_by_sql(con, spec, config, known, run.id))

    def name(con: Connection) -> tuple[int | None, int | None]:
        logp = candidates.scorer_id(con, "logp", config.policy, known["logp"]) if config.policy else None
        return logp, _part_id(con, spec.parts[0], known) if spec else None

    logp, mas = workspace.db.write(name)
    sees = spec is not None and spec.parts[0].kind in ("", "clip", "siglip")  # it compares an image with a text
    unseen = workspace.db.read(lambda con: candidates.count_without_image(con, mas)) if sees else 0
    if unseen:
        warning = (
            f"{spec.text} compares a text with an image: the answers to {unseen} instructions without an image get no "
            "MAS by it, and no pair. A judge (vqa:, claims:, remote:) scores them too."
        )
        workspace.db.write(lambda con: runs.add_warnings(con, run.id, [warning]))
    table = workspace.db.read(lambda con: candidates.unscored(con, logp, mas, workspace.images, needs_image=sees))
    if not table.num_rows:
        # A model that has yet to load changes nothing that is shown: its worker's results do (m3po.jobs.ingest).
        if config.activate:
            workspace.db.write(lambda con: candidates.activate_scorers(con, logp, mas))
        scored = "every candidate has its scores" if not unseen else "what has an image has its scores"
        return {"message": f"Nothing to score: {scored}.", "scored": 0}
    return {**dataclasses.asdict(config), "logp_scorer": logp, "mas_scorer": mas}, table


def _prepare_changed(workspace: Workspace, config: ScoreConfig) -> Prepared:
    """The signals with the image blanked or swapped: scorers of kinds of their own, which are never shown as scores."""
    known, image = _fingerprints(config), config.image

    def name(con: Connection) -> tuple[int | None, int | None]:
        logp = mas = None
        if config.policy:
            logp = dependence.changed_scorer(con, "logp", config.policy, known["logp"], image, config.image_seed)
        if config.mas:
            name = parse_scorer(config.mas).parts[0].text
            mas = dependence.changed_scorer(con, "mas", name, known[name], image, config.image_seed)
        return logp, mas

    logp, mas = workspace.db.write(name)
    how = (image, config.image_seed, config.limit, workspace.images)
    table = workspace.db.read(lambda con: dependence.changed_input(con, logp, mas, *how))
    if not table.num_rows:
        return {"message": f"Every answer asked for has its scores with the image {CHANGED[image]}.", "scored": 0}
    return {**dataclasses.asdict(config), "logp_scorer": logp, "mas_scorer": mas}, table


def _prepare_grouping(workspace: Workspace, config: ScoreConfig) -> Prepared:
    grouper = parse_grouper(config.group)
    if grouper is None:
        workspace.db.write(lambda con: candidates.activate(con, "group", None))
        return {"message": "Answers are shown without groups.", "scored": 0}
    fingerprint = grouper_fingerprint(grouper, config)
    scorer = workspace.db.write(lambda con: candidates.scorer_id(con, "group", grouper.text, fingerprint))
    table = workspace.db.read(lambda con: groups.ungrouped(con, scorer, workspace.images))
    if not table.num_rows:
        workspace.db.write(lambda con: candidates.activate(con, "group", scorer))
        return {"message": "Nothing to group: every answer is in its group.", "scored": 0}
    return {**dataclasses.asdict(config), "logp_scorer": None, "mas_scorer": None, "group_scorer": scorer}, table


def _fingerprints(config: ScoreConfig) -> dict[str, str]:
    """Those of the policy (by "logp") and of each scorer (by its name). They are read from files, which takes its
    time: never inside a transaction."""
    known = {"logp": logp_fingerprint(config)} if config.policy else {}
    parts = parse_scorer(config.mas).parts if config.mas else ()
    return known | {part.text: scorer_fingerprint(part, config) for part in parts}


def _score_by_sql(con: Connection, spec: ScorerSpec, config: ScoreConfig, known: dict[str, str], run_id: int) -> dict:
    """A rating or a mean is computed here, at once."""
    scorer = _scorer_id(con, spec, known)
    if spec.is_mean:
        scored = scorers.fill_mean(con, scorer, run_id)
    else:
        scored = scorers.fill_from_ratings(con, scorer, spec.parts[0].model, run_id)
    if config.activate:
        candidates.activate_scorers(con, None, scorer)
    return {"message": f"{scored} candidates scored by {spec.text}.", "scored": scored}


def _scorer_id(con: Connection, spec: ScorerSpec, known: dict[str, str]) -> int:
    if not spec.is_mean:
        return _part_id(con, spec.parts[0], known)
    parts = [(share, _part_id(con, part, known)) for share, part in zip(spec.shares, spec.parts, strict=True)]
    return scorers.mean_scorer(con, spec.text, parts)


def _part_id(con: Connection, part: ScorerPart, known: dict[str, str]) -> int:
    return candidates.scorer_id(con, "mas", part.text, known[part.text])


def _prepare_select(workspace: Workspace, run: Run) -> Prepared:
    return select(workspace, SelectConfig.of_run(run.config))


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
            "message": f"{counted(info['pairs'], 'pair')} picked by {config.rule}",
        }

    return workspace.db.write(change)


def _prepare_pilot(workspace: Workspace, run: Run) -> Prepared:
    """What the pilot that `run` belongs to found: a report, no selection."""
    config = SampleConfig.of_run(run.config["sample"])
    select_config = SelectConfig.of_run(run.config["select"])
    fingerprint, identity = identify(config)
    stored = run.config.get("scores") or [run.config.get("score")]  # one alone, in an older run
    scores = [ScoreConfig.of_run(values) for values in stored if values]
    known = [_fingerprints(score) for score in scores]

    def name(con: Connection) -> tuple[int, int | None, int | None]:
        logp, mas = (candidates.active_scorer(con, kind) for kind in ("logp", "mas"))
        for score, own in zip(scores, known, strict=True):
            if score.policy:
                logp = candidates.scorer_id(con, "logp", score.policy, own["logp"])
            if score.mas:
                mas = _scorer_id(con, parse_scorer(score.mas), own)
        selections.check_raw(con, mas, for_sampled(select_config))
        return candidates.sampler_id(con, fingerprint, identity, config.policy), logp, mas

    sampler, logp, mas = workspace.db.write(name)

    def read(con: Connection) -> tuple[dict[int, list[dict]], list[Run], int, dict[str, str | None]]:
        found = samplers.answers_of(con, sampler, samplers.pilot_ids(con, config.pilot, config.seed), logp, mas)
        infos = {kind: candidates.scorer_info(con, scorer) for kind, scorer in (("mas", mas), ("logp", logp))}
        named = {kind: info and info["name"] for kind, info in infos.items()}
        return found, runs.read_runs(con, ("sample",), limit=1000), instructions.count_by_split(con)["train"], named

    found, past, total, named = workspace.db.read(read)
    # A pilot that was run before has its answers and samples nothing: its cost was measured then. The newest first.
    timed = (each for each in past if (each.result or {}).get("seconds_each"))
    measured = next(filter(sampled_by(config, fingerprint, identity), timed), None)
    names = ("mas", "logp_sum", "n_tokens", "truncated")
    answers = [
        [(Scored(row["candidate_id"], number, *[row[name] for name in names]), row["votes"]) for row in members]
        for number, members in found.items()
    ]
    return build_report(answers, config, select_config, measured, total, named)


def sampled_by(config: SampleConfig, fingerprint: str, identity: dict) -> Callable[[Run], bool]:
    """Whether a run sampled as `config` does. The files of each model are read once, however many runs it had."""

    def model(other: SampleConfig) -> tuple:
        return other.policy, other.adapter, other.trust_remote_code

    known = {model(config): fingerprint}

    def same(run: Run) -> bool:
        other = SampleConfig.of_run(run.config)
        if settings_of(other) != identity:
            return False
        if model(other) not in known:
            known[model(other)] = identify(other)[0]
        return known[model(other)] == fingerprint

    return same


def _prepare_evaluate(workspace: Workspace, run: Run) -> Prepared:
    config = EvaluateConfig.of_run(run.config)
    table = workspace.db.read(lambda con: instructions.heldout_rows(con, config.split, workspace.images))
    if not table.num_rows:
        raise JobError(
            f"The {config.split} split is empty: import rows with split = {config.split!r} to measure before and after."
        )
    return dataclasses.asdict(config), table


def _prepare_frozen(workspace: Workspace, run: Run) -> Prepared:
    raise JobError(f"Run {run.id} lost what was frozen for it (input.parquet): start a new run.")


_PREPARE = {
    "sample": _prepare_sample,
    "score": _prepare_score,
    "select": _prepare_select,
    "pilot": _prepare_pilot,
    "evaluate": _prepare_evaluate,
    "train": _prepare_frozen,  # when launched: what was shown is what is trained on
    "preflight": _prepare_frozen,
    "merge": _prepare_frozen,
    "judge": prepare_judging,
}


def training_set(
    workspace: Workspace, con: Connection, config: TrainConfig, *, with_excluded: bool = False
) -> tuple[list[dict], pa.Table, dict]:
    """The curated pairs (`with_excluded`: and those that people took out) as the worker reads them, and where they come
    from: `content_hash`, `selection`, `pairs` and `human` (how many), `accepted_without_eyes` (by which score).

    Raises JobError when there is nothing to train on, UsageError for pairs without eyes where no score is set for that.
    """
    selection = selections.latest_selection(con)
    threshold = auto_accept.say_threshold(con, selection) if config.only == "auto" else None
    if config.only == "auto" and threshold is None:
        raise UsageError(auto_accept.NO_SCORE)
    if not (pairs := decisions.curated_pairs(con, selection, config.only, with_excluded=with_excluded)):
        remedy = "review some pairs first" if config.only != "all" else "sample, score and select first"
        remedy = advise_log_probs(candidates.count_without_log_prob(con)) or remedy
        raise JobError(f"There is no pair to train on: {remedy}.")
    table = pair_table(con, pairs, workspace.images)
    human = sum(pair["human"] for pair in pairs)
    lineage = {"content_hash": content_hash(table), "selection": selection, "pairs": len(pairs), "human": human}
    return pairs, table, lineage | ({"accepted_without_eyes": threshold} if threshold else {})


def advise_log_probs(count: int) -> str:
    """What to do about `count` answers of remote policies that have no log-prob of a model here; empty for none."""
    if not count:
        return ""
    return (
        f"{counted(count, 'answer')} of a remote policy {'has' if count == 1 else 'have'} no log-prob of a model "
        "on this machine, and without one no pair is "
        "made of them; score with the weights that will be trained (score --policy FOLDER), then select"
    )


def base_evaluation(con: Connection, mark: str) -> Run | None:
    """An evaluation with this mark that is finished or under way, to be used again."""
    for run in runs.read_runs(con, ("evaluate",), limit=1000):
        if run.config.get("mark") == mark and run.state in ("finished", "running", "queued"):
            return run
    return None


def evaluated_fingerprint(config: EvaluateConfig) -> str:
    return model_fingerprint(config.policy, config.adapter, code=config.trust_remote_code)


def evaluation_mark(con: Connection, config: EvaluateConfig, fingerprint: str) -> str:
    """Which model (`fingerprint`, read from its files beforehand) on which rows: equal marks give equal figures."""
    known = ("policy", "adapter", "batch_size", *config.model_options())
    settings = {k: v for k, v in dataclasses.asdict(config).items() if k not in known} | config.changed_answers()
    rows = instructions.state_of_split(con, config.split)
    return json.dumps([fingerprint, settings, rows], sort_keys=True)


def command_line(kind: str, workspace: Workspace, config: object) -> str:
    """The command that does the same headless; only what differs from the defaults is written out."""
    words = ["python", "-m", "m3po", kind, shlex.quote(str(workspace.path))]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value is None or value == field.default or field.name in _NO_OPTION.get(kind, ()):
            continue
        option = f"--{field.name.replace('_', '-')}"
        words += [option] if value is True else [option, shlex.quote(str(value))]
    return " ".join(words)
