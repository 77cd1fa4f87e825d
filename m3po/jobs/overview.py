"""What a workspace holds at a glance: the counts that `status` and the page show."""

from __future__ import annotations

from m3po.jobs import plans
from m3po.store import candidates, decisions, instructions, runs, samplers, selections
from m3po.store.connection import Connection
from m3po.store.workspace import Workspace
from m3po.types import Run


class Overview:
    """Reads the counts; those that cost more are counted again only when something changed: the page asks often."""

    def __init__(self, workspace: Workspace) -> None:
        self.path = workspace.path
        self._known_samplers: tuple[tuple | None, dict] = (None, {})

    def read(self, con: Connection) -> dict:
        """Plain values, as in `status --json`."""
        selection = selections.latest_selection(con)
        splits = instructions.count_by_split(con)
        verdicts = decisions.verdict_counts(con)
        pairs = decisions.pair_counts(con, selection)
        info = selections.selection_info(con, selection)
        return {
            "workspace": str(self.path),
            "instructions": splits,
            "images": instructions.count_images(con),
            **candidates.counts(con),
            **self._samplers(con, selection),
            "pairs": info["pairs"] if info else 0,
            "no_pair": selections.no_pair_counts(con, selection),
            "selection": info,
            "reviewed": sum(verdicts.values()),
            "reviewable": splits["train"],
            "decisions": verdicts,
            "curated_pairs": pairs["pairs"],
            "human_pairs": pairs["human"],
            "overridden": pairs["overridden"],
            "given": decisions.given_counts(con, candidates.active_scorer(con, "mas")),
            "runs": [_run_summary(run) for run in runs.read_runs(con, limit=20)],
        }

    def _samplers(self, con: Connection, selection: int | None) -> dict:
        """The samplers, and what their answers lack."""
        state = samplers.state_of_samplers(con)
        if self._known_samplers[0] != state:
            count = candidates.count_without_log_prob(con)
            known = {"samplers": samplers.list_samplers(con, selection), "without_log_prob": count}
            self._known_samplers = (state, known | {"advice": plans.advise_log_probs(count)})
        return self._known_samplers[1]


def _run_summary(run: Run) -> dict:
    names = ("id", "kind", "state", "done", "total", "unit", "rate", "eta", "message", "command")
    return {name: getattr(run, name) for name in names}
