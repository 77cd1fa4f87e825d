"""What each training run came from and what it did, and how two of them differ: config, pairs, outcome."""

from __future__ import annotations

import dataclasses

from m3po.errors import JobError
from m3po.jobs.results.outcomes import Outcomes
from m3po.settings import TrainConfig
from m3po.store import lineage, pair_changes, runs, selections
from m3po.store.connection import Connection
from m3po.store.workspace import Workspace
from m3po.types import Run

LISTED = 20  # pairs that a diff names of each kind
_RULE = ("rule", "weight_chosen", "weight_rejected", "delta", "length_ratio", "normalise", "allow_truncated", "seed")


class Lineages:
    """The training runs of one workspace."""

    def __init__(self, workspace: Workspace, outcomes: Outcomes) -> None:
        self._workspace, self._outcomes = workspace, outcomes
        self._counted: dict[int, dict[str, int]] = {}  # what a run did never changes

    def runs(self) -> list[dict]:
        """The runs whose pairs a view can be narrowed to, newest first: `id`, `state`, `pairs`, and whether it is known
        what it did to them, `measured`."""

        def read(con: Connection) -> list[dict]:
            found = runs.read_runs(con, ("train",), limit=1000)
            known = pair_changes.measured_runs(con)
            facts = [{"id": run.id, "state": run.state, "pairs": run.config.get("pairs", 0)} for run in found]
            return [each | {"measured": each["id"] in known} for each in facts]

        return self._workspace.db.read(read)

    def read(self, run_id: int) -> dict:
        """What a run came from: `settings` (all that its figures follow from, by name), `decisions` (see
        store.lineage.who_decided), `pairs` and `human`; and what it did, `changes`: pairs by outcome, None where it was
        not measured. Raises JobError where there is no such training."""

        def read(con: Connection) -> dict:
            run = _training(con, run_id)
            return {
                "run_id": run.id,
                "state": run.state,
                "created_at": run.created_at,
                "pairs": run.config.get("pairs", 0),
                "human": run.config.get("human", 0),
                "settings": _settings(con, run),
                "decisions": lineage.who_decided(con, run_id),
                "changes": self._count(con, run_id),
            }

        return self._workspace.db.read(read)

    def diff(self, a: int, b: int, limit: int = LISTED) -> dict:
        """What is another one in run `b` than in run `a`.

        `config`: of `settings`, as [name, a's, b's]; `unknown`: names that were not noted of `a`, of `b`: an older
        version did not, or it has none (an arm of a comparison has no selection). `pairs`: how many are the `same`,
        `only_a` and `only_b` of items that the other run had none of, `changed` of items that both had another pair
        of; `named`: the first `limit` of each but `same`, see store.lineage.name_pairs. `figures`: of each held-out
        figure that both have, `before` and `after` of either, and `p`: of the difference between the two after, by
        the paired test (None: the answers are not at hand). `changes`: pairs by outcome of either (None: not
        measured), and `moved`: of the pairs that both had how many had which outcomes, as [a's, b's, pairs]. Raises
        JobError where either is no training.
        """
        limit = max(0, min(int(limit), 1000))

        def read(con: Connection) -> dict:
            runs = _training(con, a), _training(con, b)
            before, after = (_settings(con, run) for run in runs)
            counts, reverse = lineage.compare_pairs(con, a, b), lineage.compare_pairs(con, b, a)
            asked = {"changed": (a, b, "changed"), "only_a": (a, b, "only"), "only_b": (b, a, "only")}
            return {
                "a": a,
                "b": b,
                "config": [
                    [name, before[name], after[name]]
                    for name in before
                    if name in after and before[name] != after[name]
                ],
                "unknown": {
                    "a": [name for name in after if name not in before],
                    "b": [name for name in before if name not in after],
                },
                "pairs": {"same": counts["same"], "changed": counts["changed"], "only_a": counts["only"]}
                | {"only_b": reverse["only"]},
                "named": {name: lineage.name_pairs(con, *which, limit) for name, which in asked.items()},
                "changes": {"a": self._count(con, a), "b": self._count(con, b)},
                "moved": pair_changes.moved_outcomes(con, a, b),
            }

        return self._workspace.db.read(read) | {"figures": self._figures(a, b)}

    def _figures(self, a: int, b: int) -> dict[str, dict]:
        results = {result["run"].id: result for result in self._outcomes.results()}
        one, other = results.get(a), results.get(b)
        if not (one and other and one["after"] and other["after"]):
            return {}
        p_values = self._outcomes.compare(one["after_run"], other["after_run"]) or {}
        return {
            key: {
                name: {"before": (result["before"] or {}).get(key), "after": result["after"][key]}
                for name, result in (("a", one), ("b", other))
            }
            | {"p": p_values.get(key)}
            for key in one["after"]
            if key in other["after"]
        }

    def _count(self, con: Connection, run_id: int) -> dict[str, int] | None:
        if run_id not in self._counted and (counted := pair_changes.count_outcomes(con, run_id)) is not None:
            self._counted[run_id] = counted
        return self._counted.get(run_id)


def _training(con: Connection, run_id: int) -> Run:
    run = runs.read_run(con, run_id)
    if run is None or run.kind != "train":
        known = ", ".join(str(each.id) for each in runs.read_runs(con, ("train",))[:10])
        raise JobError(f"There is no training run {run_id}" + (f": choose among {known}." if known else " yet."))
    return run


def _settings(con: Connection, run: Run) -> dict[str, object]:
    """All that a run's outcome follows from, by name, what it does not know left out: its config, then what it was
    trained on, by which selection, from which weights, by which code and packages."""
    config, result = run.config, run.result or {}
    fields = dataclasses.fields(TrainConfig)
    named = [field.name for field in sorted(fields, key=lambda field: field.kw_only)]  # how it is loaded, last
    found = {name: "" if config[name] is None else config[name] for name in named if name in config}
    found |= {"pairs": config.get("pairs"), "human pairs": config.get("human")}
    found["content hash"] = config.get("content_hash")
    found["accepted without eyes"] = config.get("accepted_without_eyes", "")
    selection = selections.selection_info(con, config.get("selection"))
    if selection:
        found |= {"selection": selection["id"], "selection hash": selection["content_hash"]}
        found |= {f"selection {name}": selection[name] for name in _RULE if name in selection}
    found["weights"] = config.get("fingerprint")
    found["code"] = result.get("code") or config.get("code")
    packages = result.get("packages") or config.get("packages") or {}
    found |= {f"package {name}": version for name, version in packages.items()}
    return {name: value for name, value in found.items() if value is not None}
