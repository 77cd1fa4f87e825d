"""The image-dependence test: both signals again with the image blanked and swapped, and which pairs survive it.

A pair whose chosen answer stays the better one without its image was never about the image: it is suspect. Scores with
another image are stored as scorers of kinds of their own (m3po.store.beliefs), beside those that are shown.
"""

from __future__ import annotations

import dataclasses
import shlex

import numpy as np

from m3po.errors import JobError
from m3po.evaluation.intervals import wilson_interval
from m3po.jobs.planning import launches, scorings
from m3po.jobs.runner import JobRunner
from m3po.models.checks import checked
from m3po.models.fingerprint import scorer_fingerprint
from m3po.scorer_spec import parse_scorer
from m3po.settings import ScoreConfig
from m3po.store import candidates, dependence, runs
from m3po.store.connection import Connection
from m3po.store.workspace import Workspace
from m3po.text import same_model

LISTED = 1_000  # pairs of a report
Gaps = dict[tuple[str, str], dependence.Gaps]
Found = tuple[Gaps, dict[int, list[tuple[str, str]]]]


class Dependence:
    """The test on one workspace: its runs, and what they found."""

    def __init__(self, workspace: Workspace, runner: JobRunner) -> None:
        self._workspace, self._runner = workspace, runner
        self._known: tuple[tuple, Found] = ((), ({}, {}))  # replaced whole: threads read it

    def start(self, limit: int = 0, seed: int = 0) -> list[int]:
        """Queue the runs, by the models whose scores are shown; their ids. `limit`: so many pairs, drawn by `seed`
        (0: every answer). Raises JobError where nothing is scored, or not by models that can look again."""
        steps = [checked(step) for step in self._steps(limit, seed)]
        command = f"python -m m3po dependence {shlex.quote(str(self._workspace.path))}"
        command += f" --limit {limit}" * bool(limit) + f" --seed {seed}" * bool(seed)
        return launches.launch_steps(
            self._workspace, self._runner, [("score", step) for step in steps], command=command
        )

    def _steps(self, limit: int, seed: int) -> list[ScoreConfig]:
        db = self._workspace.db
        active = db.read(
            lambda con: {
                kind: candidates.scorer_info(con, candidates.active_scorer(con, kind)) for kind in ("logp", "mas")
            }
        )
        logps, masses = [], []
        for shown in scorings.scorings_in_use(db):
            shown = dataclasses.replace(shown, activate=False, limit=limit, image_seed=seed, group=None)
            if shown.policy and active["logp"]:
                _check_same(active["logp"], scorings.logp_fingerprint(shown))
                logps.append(dataclasses.replace(shown, mas=None, image="blank"))
            if shown.mas and active["mas"] and _looks_at_images(shown.mas):
                alone = scorings.only_useful(dataclasses.replace(shown, policy=None, adapter=None, image="blank"))
                _check_same(active["mas"], scorer_fingerprint(parse_scorer(shown.mas).parts[0], alone))
                masses.append(alone)
        if not logps and not masses:
            raise JobError("No answer was scored by a model that could look at another image: score first.")
        # One signal a run: which image a swap takes is the scorer's own.
        blank = [*logps, *masses]
        return [*blank, *(dataclasses.replace(step, image="swap") for step in blank)]

    def active(self) -> list[int]:
        """The runs of the test that wait or are at work."""
        found = self._workspace.db.read(runs.read_active)
        return [run.id for run in found if run.kind == "score" and run.config.get("image")]

    def gaps(self) -> Gaps:
        """As store.dependence.read_gaps, read again only when something was stored."""

        return self._look()[0]

    def survivors(self) -> dict[int, list[tuple[str, str]]]:
        """Pairs that are preferred all the same, by instruction, each with the tests that it survived; those that
        survived the most come first."""
        return self._look()[1]

    def _look(self) -> Found:
        def read(con: Connection) -> Found:
            state, known = dependence.state_of_gaps(con), self._known
            if state != known[0]:
                gaps = dependence.read_gaps(con)
                known = self._known = (state, (gaps, _survivors(gaps)))
            return known[1]

        return self._workspace.db.read(read)

    def tests(self) -> list[dict]:
        """As in `report`."""
        return [_describe(test, found) for test, found in self.gaps().items()]

    def report(self) -> dict:
        """`tests`: of each how many pairs were `preferred` with their image and how many `survived` the other one,
        their `rate` with its 95 % Wilson `interval`; `pairs`: those that survived any, at most LISTED; `surviving`:
        how many there are; `left_out`: why MAS is not among them."""
        gaps, survivors = self.gaps(), self.survivors()
        named = self._workspace.db.read(lambda con: dependence.name_pairs(con, list(survivors)[:LISTED]))
        for pair in named:
            del pair["image_ids"]
            pair["survived"] = [f"{kind}_{image}" for kind, image in survivors[pair["instruction_id"]]]
            for (kind, image), found in gaps.items():
                place = int(np.searchsorted(found.ids, pair["instruction_id"]))
                if place < len(found.ids) and found.ids[place] == pair["instruction_id"]:
                    pair[f"{kind}_gap"] = float(found.own[place])
                    pair[f"{kind}_{image}_gap"] = float(found.other[place])
        return {"tests": self.tests(), "surviving": len(survivors), "pairs": named, "left_out": self._left_out()}

    def _left_out(self) -> str:
        """A sentence where the MAS that is shown cannot be tested, else empty."""
        mas = self._workspace.db.read(lambda con: candidates.scorer_info(con, candidates.active_scorer(con, "mas")))
        if mas is None or _looks_at_images(mas["name"]):
            return ""
        return f"MAS is left out: {mas['name']} is a rating or a mean, and has no image to take away."


def _survivors(found: Gaps) -> dict[int, list[tuple[str, str]]]:
    survivors: dict[int, list[tuple[str, str]]] = {}
    for test, gaps in found.items():
        for number in gaps.ids[gaps.survived].tolist():
            survivors.setdefault(number, []).append(test)
    return dict(sorted(survivors.items(), key=lambda item: (-len(item[1]), item[0])))


def _describe(test: tuple[str, str], gaps: dependence.Gaps) -> dict:
    preferred, survived = int(np.count_nonzero(gaps.preferred)), int(np.count_nonzero(gaps.survived))
    interval = wilson_interval(survived, preferred)
    return {
        "signal": test[0],
        "image": test[1],
        "scored": len(gaps.ids),
        "preferred": preferred,
        "survived": survived,
        "rate": survived / preferred if preferred else None,
        "interval": list(interval) if interval else None,
    }


def _looks_at_images(mas: str) -> bool:
    """Not a rating that a file brought, nor a mean: there is no image to take away."""
    spec = parse_scorer(mas)
    return not spec.is_mean and spec.parts[0].kind != "column"


def _check_same(active: dict, fingerprint: str) -> None:
    if not same_model(active["fingerprint"], fingerprint):
        raise JobError(
            f"{active['name']} is no longer what gave the scores that are shown (its files changed): score again first."
        )
