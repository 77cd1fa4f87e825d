"""What a workspace holds at a glance: the counts that `status` and the page show."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from m3po.jobs.planning import plans
from m3po.scorer_spec import name_models
from m3po.store import candidates, decisions, instructions, runs, samplers, scorers, selections, writers
from m3po.store.changes import state_of_store
from m3po.store.connection import Connection
from m3po.store.verdicts import count_reviewed
from m3po.store.workspace import Workspace
from m3po.types import Run

T = TypeVar("T")

# What each group of figures is counted from: it is counted again only when one of these tables has grown.
_PICKED = ("selections", "selection_pairs")
_CURATED = ("decisions", "excluded_pairs", "instructions", *_PICKED)
_ANSWERED = ("instructions", "samplers", "sampled", "votes", "candidates")
_SCORED = ("candidates", "active_scorers", "logprobs", "mas_scores")


class Overview:
    """Reads the counts; each is counted again only when something that it counts was stored, for the page asks every
    second, and in a million instructions some take a second."""

    def __init__(self, workspace: Workspace, shown: Callable[[Run], Run]) -> None:
        """`shown`: a run as people see it (m3po.jobs.server_runs)."""
        self.path, self._shown = workspace.path, shown
        self._known: dict[str, tuple[tuple[int, ...], object]] = {}  # by group: the tables' state, the figures

    def read(self, con: Connection) -> dict:
        """Plain values, as in `status --json`."""
        state = state_of_store(con)

        def look(name: str, tables: tuple[str, ...], count: Callable[[], T]) -> T:
            return self._look(name, state, tables, count)

        selection = selections.latest_selection(con)
        splits = look("splits", ("instructions",), lambda: instructions.count_by_split(con))
        verdicts = look("verdicts", ("decisions", "instructions"), lambda: decisions.verdict_counts(con))
        pairs = look("pairs", _CURATED, lambda: decisions.pair_counts(con, selection))
        info = look("selection", _PICKED, lambda: selections.selection_info(con, selection))
        without = look("without", _ANSWERED + _SCORED, lambda: candidates.count_without_log_prob(con))
        tables = ("auto_accepts", *_CURATED)
        auto = look("auto", tables, lambda: decisions.count_auto_accepted(con, selection))
        mas = candidates.active_scorer(con, "mas")
        given = look("given", ("given_preferences", "instructions", *_SCORED), lambda: decisions.given_counts(con, mas))
        alike = look("alike", ("given_preferences", "decisions", "instructions"), lambda: decisions.given_decided(con))
        return {
            "workspace": str(self.path),
            "instructions": splits,
            "images": look("images", ("images",), lambda: instructions.count_images(con)),
            **look("candidates", _ANSWERED + _SCORED, lambda: candidates.counts(con)),
            "written": look("written", ("candidates",), lambda: writers.count_written(con)),
            "samplers": look("samplers", _ANSWERED + _PICKED, lambda: samplers.list_samplers(con, selection)),
            "without_log_prob": without,
            "advice": plans.advise_log_probs(without),
            "pairs": info["pairs"] if info else 0,
            "no_pair": look("no_pair", _PICKED, lambda: selections.no_pair_counts(con, selection)),
            "selection": info,
            "scored_since": look("since", ("instructions", *_PICKED, *_SCORED), lambda: _count_since(con, selection)),
            "reviewed": count_reviewed(verdicts),
            "disagreeing": verdicts.get("disagree", 0),
            "reviewable": splits["train"],
            "decisions": verdicts,
            "curated_pairs": pairs["pairs"],
            "human_pairs": pairs["human"],
            "overridden": pairs["overridden"],
            "excluded": pairs["excluded"],
            "auto_accepted": auto,
            "given": given | alike,
            "runs": [_run_summary(self._shown(run)) for run in runs.read_runs(con, limit=20)],
        }

    def scorers(self, con: Connection) -> list[dict]:
        """As in m3po.store.scorers.list_scorers."""
        tables = ("scorers", "mas_scores", "active_scorers")
        return self._look("scorers", state_of_store(con), tables, lambda: scorers.list_scorers(con))

    def _look(self, name: str, state: dict[str, int], tables: tuple[str, ...], count: Callable[[], T]) -> T:
        relevant = tuple(state[table] for table in tables)
        known = self._known.get(name)
        if known is None or known[0] != relevant:
            known = self._known[name] = (relevant, count())
        return known[1]


def _count_since(con: Connection, selection: int | None) -> int:
    logp, mas = (candidates.active_scorer(con, kind) for kind in ("logp", "mas"))
    return selections.count_scored_since(con, selection, logp, mas)


def _run_summary(run: Run) -> dict:
    names = ("id", "kind", "state", "done", "total", "unit", "rate", "eta", "message", "command")
    return {name: getattr(run, name) for name in names} | {"models": name_models(run.kind, run.config)}
