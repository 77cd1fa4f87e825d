"""Scoring what a human wrote: by the very scorers whose values are shown, and nothing else is scored or switched.

Where a model's files are no longer those that gave the scores, the answer stays without: the value that other weights
give says nothing beside those of its siblings.
"""

from __future__ import annotations

import dataclasses

import pyarrow as pa

from m3po.errors import JobError
from m3po.jobs.planning.scorings import logp_fingerprint, scorings_in_use
from m3po.models.fingerprint import scorer_fingerprint
from m3po.remote_spec import names_remote
from m3po.scorer_spec import parse_scorer
from m3po.settings import ScoreConfig
from m3po.store import candidates, runs, scorers
from m3po.store.connection import Connection, Database
from m3po.store.workspace import Workspace
from m3po.text import same_model


def scorings_of_edits(workspace: Workspace) -> list[ScoreConfig]:
    """One of each scorer in use that can be asked about an answer nobody rated, and may be: see `remote` in
    m3po.workspace_config.WorkspaceConfig."""
    found = []
    for config in scorings_in_use(workspace.db):
        parts = parse_scorer(config.mas).parts if config.mas else ()
        forbidden = names_remote(config.mas) and not workspace.read_config().remote
        mas = None if forbidden or any(part.kind == "column" for part in parts) else config.mas
        if config.policy or mas:
            found.append(dataclasses.replace(config, mas=mas, edits=True, activate=False))
    return found


def prepare_edits(workspace: Workspace, config: ScoreConfig, run_id: int) -> tuple[dict, pa.Table] | dict:
    """As m3po.jobs.planning.plans.prepare. Raises JobError where no model is the one that gave the scores in use."""
    db, spec = workspace.db, parse_scorer(config.mas) if config.mas else None
    if spec and spec.is_mean:
        return db.write(lambda con: _fill_mean(con, spec.text, run_id))
    logp = mas = None
    changed = {}  # by what this run was to give
    if config.policy:
        logp = _in_use(db, "logp", logp_fingerprint(config))
        changed |= {"log-prob": config.policy} if logp is None else {}
    if spec:
        mas = _in_use(db, "mas", scorer_fingerprint(spec.parts[0], config))
        changed |= {"MAS": spec.text} if mas is None else {}
    if changed:
        models = " and ".join(changed.values())
        words = (
            f"An edited answer stays without {' and '.join(changed)}, because {models} changed on disk (or is gone)"
            " since the other answers were scored: run `score`, or press Score on Data, to score all of them anew."
        )
        if logp is None and mas is None:
            raise JobError(words)
        db.write(lambda con: runs.add_warnings(con, run_id, [words]))
    sees = spec is not None and spec.parts[0].kind in ("", "clip", "siglip")
    table = db.read(
        lambda con: candidates.unscored(con, logp, mas, workspace.images, needs_image=sees, only_edits=True)
    )
    if not table.num_rows:
        return {"message": "Nothing to score: every edited answer has its scores.", "scored": 0}
    known = {"policy": config.policy if logp is not None else None, "mas": config.mas if mas is not None else None}
    return {**dataclasses.asdict(config), **known, "logp_scorer": logp, "mas_scorer": mas}, table


def _in_use(db: Database, kind: str, fingerprint: str) -> int | None:
    """The scorer of this model that is active, or is a part of the mean that is; None for any other."""

    def read(con: Connection) -> int | None:
        active = candidates.active_scorer(con, kind)
        infos = [candidates.scorer_info(con, each) for each in (active, *scorers.parts_of(con, active)) if each]
        return next((info["scorer_id"] for info in infos if same_model(info["fingerprint"], fingerprint)), None)

    return db.read(read)


def _fill_mean(con: Connection, name: str, run_id: int) -> dict:
    active = candidates.active_scorer(con, "mas")
    info = candidates.scorer_info(con, active)
    if info is None or info["name"] != name:
        return {"message": f"Nothing to score: {name} is not in use any more.", "scored": 0}
    scored = scorers.fill_mean(con, active, run_id, only_edits=True)
    return {"message": f"{scored} edited answers scored by {name}.", "scored": scored}
