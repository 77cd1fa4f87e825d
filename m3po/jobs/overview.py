"""What a workspace holds at a glance: the counts that `status` and the page show."""

from __future__ import annotations

from collections.abc import Callable

from m3po.jobs import plans
from m3po.store import candidates, decisions, instructions, runs, samplers, scorers, selections
from m3po.store.changes import state_of_store
from m3po.store.connection import Connection
from m3po.store.workspace import Workspace
from m3po.types import Run


class Overview:
    """Reads the counts; they are counted again only when something was stored, for the page asks every second."""

    def __init__(self, workspace: Workspace, shown: Callable[[Run], Run]) -> None:
        """`shown`: a run as people see it (m3po.jobs.server_runs)."""
        self.path, self._shown = workspace.path, shown
        self._known: tuple[tuple[int, ...] | None, dict, list[dict]] = (None, {}, [])  # replaced whole: threads read it

    def read(self, con: Connection) -> dict:
        """Plain values, as in `status --json`."""
        newest = [_run_summary(self._shown(run)) for run in runs.read_runs(con, limit=20)]
        return {**self._look(con)[1], "runs": newest}

    def scorers(self, con: Connection) -> list[dict]:
        """As in m3po.store.scorers.list_scorers."""
        return self._look(con)[2]

    def _look(self, con: Connection) -> tuple[tuple[int, ...] | None, dict, list[dict]]:
        """The state of the store, its counts, and its scorers."""
        state, known = state_of_store(con), self._known
        if state != known[0]:
            known = self._known = (state, self._count(con), scorers.list_scorers(con))
        return known

    def _count(self, con: Connection) -> dict:
        selection = selections.latest_selection(con)
        splits = instructions.count_by_split(con)
        verdicts = decisions.verdict_counts(con)
        pairs = decisions.pair_counts(con, selection)
        info = selections.selection_info(con, selection)
        without = candidates.count_without_log_prob(con)
        return {
            "workspace": str(self.path),
            "instructions": splits,
            "images": instructions.count_images(con),
            **candidates.counts(con),
            "samplers": samplers.list_samplers(con, selection),
            "without_log_prob": without,
            "advice": plans.advise_log_probs(without),
            "pairs": info["pairs"] if info else 0,
            "no_pair": selections.no_pair_counts(con, selection),
            "selection": info,
            "reviewed": sum(verdicts.values()) - verdicts.get("disagree", 0),
            "disagreeing": verdicts.get("disagree", 0),
            "reviewable": splits["train"],
            "decisions": verdicts,
            "curated_pairs": pairs["pairs"],
            "human_pairs": pairs["human"],
            "overridden": pairs["overridden"],
            "auto_accepted": decisions.count_auto_accepted(con, selection),
            "given": decisions.given_counts(con, candidates.active_scorer(con, "mas")),
        }


def _run_summary(run: Run) -> dict:
    names = ("id", "kind", "state", "done", "total", "unit", "rate", "eta", "message", "command")
    return {name: getattr(run, name) for name in names}
