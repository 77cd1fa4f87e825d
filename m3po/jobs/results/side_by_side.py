"""A blind comparison of two models: people see what both answered to held-out instructions, on sides that chance drew,
and say which is better. Nothing is loaded: the answers are those of two finished evaluations."""

from __future__ import annotations

import hashlib
from pathlib import Path

from m3po.errors import UsageError
from m3po.evaluation.preference import summarise_votes
from m3po.jobs.results.outcomes import read_results
from m3po.store import instructions, runs, side_votes
from m3po.store.connection import Connection
from m3po.store.workspace import Workspace
from m3po.types import Run
from m3po.users import OWNER

SAID = ("left", "right", "tie", "both_bad")


class SideBySide:
    """`first` and `second` are the runs of two evaluations, as `models` lists them."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def models(self) -> list[dict]:
        """Finished evaluations of the held-out split, newest first: `run` (its id), `name`, and where one is of after
        a training `of` (that run) and `before` (the evaluation of what it began with); else None."""

        def read(con: Connection) -> tuple[list[Run], dict[int, Run | None]]:
            begun = {result["run"].id: result["before_run"] for result in read_results(con)}
            return runs.read_runs(con, ("evaluate",), limit=1000), begun

        found, begun = self._workspace.db.read(read)
        whole = [run for run in found if _is_whole(run)]
        before = {run.id: begun.get(run.parent_id) for run in whole}
        return [
            {"run": run.id, "name": _name(run), "of": run.parent_id, "before": before[run.id] and before[run.id].id}
            for run in whole
        ]

    def next(self, first: int, second: int, annotator: str = OWNER.name) -> dict:
        """The next item that this person has not judged: `item` (None: all are), `instruction`, `images`, `left`,
        `right`, `draw` (which goes back with the vote), and how many there are: `judged`, `total`, `same` (equal
        answers, which are left out).

        Order and sides are drawn by a hash of person and item, so that neither a reload nor a neighbour tells them.
        """
        first, second = sorted((first, second))
        left, told = self._open(first, second, annotator)
        if not left:
            return told | {"item": None}
        row = min(left, key=lambda row: _draw(first, second, annotator, row["instruction_id"]))
        return told | self._show(first, second, row, annotator)

    def again(self, first: int, second: int, annotator: str = OWNER.name) -> dict:
        """The item that this person judged last, as `next` tells it: another vote on it counts in the place of that
        one, which is kept. Raises UsageError where there is none."""
        first, second = sorted((first, second))
        _, told = self._open(first, second, annotator)
        item = self._workspace.db.read(lambda con: side_votes.last_item(con, first, second, annotator))
        row = next((row for row in self._rows(first, second) if row["instruction_id"] == item), None)
        if row is None:
            raise UsageError("You judged none of these yet.")
        return told | self._show(first, second, row, annotator)

    def _open(self, first: int, second: int, annotator: str) -> tuple[list[dict], dict]:
        """The rows that wait for this person, and how many there are, as `next` tells it."""
        rows = self._rows(first, second)
        judged = {item for item, who, _ in self._votes(first, second) if who == annotator}
        differ = [row for row in rows if _differs(row)]
        left = [row for row in differ if row["instruction_id"] not in judged]
        return left, {"judged": len(differ) - len(left), "total": len(differ), "same": len(rows) - len(differ)}

    def _show(self, first: int, second: int, row: dict, annotator: str) -> dict:
        item, images = row["instruction_id"], self._workspace.images
        prompt = self._workspace.db.read(lambda con: instructions.read_instruction(con, item, images))
        draw = _draw(first, second, annotator, item)
        sides = {"first": row["before"], "second": row["after"]}
        on_left, on_right = _sides(draw)
        shown = {"instruction": prompt.instruction, "images": list(prompt.images), "draw": _name_draw(draw)}
        return shown | {"item": item, "left": sides[on_left], "right": sides[on_right]}

    def vote(self, first: int, second: int, item: int, said: str, draw: str, annotator: str = OWNER.name) -> None:
        """Store which side is better: one of SAID, of the item as `next` drew it. Raises UsageError for another word,
        an item that both did not answer, or answered alike, and a draw that was made for others."""
        first, second = sorted((first, second))
        if said not in SAID:
            raise UsageError(f"{said!r:.40} is no verdict: give one of {', '.join(SAID)}.")
        if item not in {row["instruction_id"] for row in self._rows(first, second) if _differs(row)}:
            raise UsageError(f"{item!r:.40} is no item that both models answered, and not alike.")
        drawn = _draw(first, second, annotator, item)
        if draw != _name_draw(drawn):
            raise UsageError("This was drawn for another choice of models, or for somebody else: look at it again.")
        left, right = _sides(drawn)
        verdict = {"left": left, "right": right}.get(said, said)
        self._workspace.db.write(
            lambda con: side_votes.add_vote(con, first, second, item, annotator, verdict, left), lane="decision"
        )

    def report(self, first: int, second: int) -> dict:
        """How often the second is preferred to the first: see m3po.evaluation.preference.summarise_votes; with `names`
        of both and `people` (how many judged). Which of the two is named first changes no vote."""
        named = {model["run"]: model["name"] for model in self.models()}
        self._check(first, second, named)
        turned = {} if first < second else {"first": "second", "second": "first"}
        votes = self._votes(*sorted((first, second)))
        summary = summarise_votes((item, turned.get(verdict, verdict)) for item, _, verdict in votes)
        return summary | {"names": [named[first], named[second]], "people": len({who for _, who, _ in votes})}

    def _rows(self, first: int, second: int) -> list[dict]:
        self._check(first, second, {model["run"] for model in self.models()})
        return self._workspace.db.read(lambda con: runs.read_answers(con, first, second))

    def _votes(self, first: int, second: int) -> list[tuple[int, str, str]]:
        def read(con: Connection) -> list[tuple[int, str, str]]:
            return side_votes.read_votes(con, first, second)

        return self._workspace.db.read(read)

    def _check(self, first: int, second: int, known: object) -> None:
        for run in (first, second):
            if run not in known:
                raise UsageError(f"Run {run!r:.40} is no finished evaluation of the held-out split: evaluate first.")
        if first == second:
            raise UsageError("Choose two different models: a model against itself tells nothing.")


def _is_whole(run: Run) -> bool:
    return run.state == "finished" and run.config.get("split", "heldout") == "heldout" and not run.config.get("limit")


def _name(run: Run) -> str:
    if run.parent_id is not None:
        return f"run {run.parent_id}"
    policy, adapter = (Path(str(run.config.get(name) or "")).name for name in ("policy", "adapter"))
    return f"{policy} with {adapter} (run {run.id})" if adapter else policy


def _draw(first: int, second: int, annotator: str, item: int) -> bytes:
    return hashlib.sha256(f"{first} {second} {item} {annotator}".encode()).digest()


def _sides(draw: bytes) -> tuple[str, str]:
    """Which of the two stands on the left, and on the right."""
    return ("second", "first") if draw[-1] & 1 else ("first", "second")


def _name_draw(draw: bytes) -> str:
    """Its beginning, which tells nothing of the sides."""
    return draw[:8].hex()


def _differs(row: dict) -> bool:
    return row["before"].strip() != row["after"].strip()
