"""Several people on one workspace: assignments with their queues, gold items, and what everybody said.

Whose request may do what is decided in m3po.door, what an annotator sees of it in m3po.sight.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from m3po import assigning, history_file
from m3po.errors import BadInputError, UsageError
from m3po.evaluation.agreement import Agreement, collect, krippendorff_alpha, mean_kappa, pairwise
from m3po.evaluation.intervals import wilson_interval
from m3po.store import assignments, decisions, votes
from m3po.store.connection import Connection
from m3po.store.review_index import ReviewIndex
from m3po.store.selections import latest_selection
from m3po.store.verdicts import UNDECIDED
from m3po.store.workspace import Workspace
from m3po.types import ADJUDICATED, NO_VOTES
from m3po.users import OWNER, Users

SHOWN_DISPUTES = 50


class People:
    """The use cases about people on one workspace; `users` are those of --auth, None where there is no login."""

    def __init__(self, workspace: Workspace, index: ReviewIndex) -> None:
        self._db = workspace.db
        self._index = index
        self.users: Users | None = None
        self._agreement: tuple[object, dict] = (None, {})

    # ---- assignments ------------------------------------------------------------------------------------------

    def assign(
        self,
        annotators: Sequence[str],
        *,
        items: int,
        overlap: float = 0.0,
        gold: int = 0,
        stratify: str = "m3p_score",
        blind: bool = False,
        seed: int = 0,
        created_by: str = OWNER.name,
    ) -> dict:
        """Give `items` that nobody decided and nobody has been given to `annotators`: a share of `overlap` goes to each
        of them, the others are dealt out in turn; `gold` items go on top to each. Returns the assignment, as
        `assignments` tells it. Raises UsageError or BadInputError for what cannot be."""
        annotators = list(dict.fromkeys(name.strip() for name in annotators if name.strip()))
        self._check_names(annotators, blind)
        if items < 1 or gold < 0:
            raise UsageError("Give --items a number from 1 and --gold one from 0.")
        assigning.check_share(overlap)
        if stratify not in assigning.STRATA:
            raise UsageError(f"There are no strata by {stratify!r}: give {', '.join(assigning.STRATA)}.")
        config = {"annotators": annotators, "items": items, "overlap": overlap, "gold": gold, "stratify": stratify}
        config |= {"blind": blind, "seed": seed}

        def change(con: Connection) -> int:
            known_gold = assignments.gold_ids(con)
            if gold > len(known_gold):
                raise BadInputError(
                    f"There are {len(known_gold)} gold items, not {gold}: mark more (Review, or `m3po gold`)."
                )
            chosen, strata = self._pick(con, items, stratify, seed, known_gold)
            first = assigning.seeded(known_gold, seed + 1).argsort(kind="stable")[:gold]
            golden = [int(known_gold[i]) for i in first]
            assignment_id = assignments.add_assignment(con, created_by, config)
            n_shared = round(overlap * items)
            for name, own in assigning.deal(chosen, strata, annotators, n_shared).items():
                queue = assigning.queue_order(own + golden, name, seed)
                places = [(name, item, place, item in set(golden)) for place, item in enumerate(queue)]
                assignments.add_places(con, assignment_id, places, False)
            return assignment_id

        assignment_id = self._db.write(change)
        return next(row for row in self.assignments() if row["assignment_id"] == assignment_id)

    def _check_names(self, annotators: list[str], blind: bool) -> None:
        if not annotators:
            raise UsageError("Name the annotators that the items are for.")
        for name in annotators:
            user = self.users.find(name) if self.users else None
            if self.users and (user is None or user.role == "viewer"):
                raise BadInputError(f"{name!r} is no annotator or curator of the users file: add them there first.")
            curator = user or (OWNER if name == OWNER.name else None)
            if blind and curator is not None and curator.role != "annotator":
                raise BadInputError(f"{name!r} is a curator, who sees everything: only annotators can judge blind.")

    def _pick(self, con: Connection, items: int, stratify: str, seed: int, gold: np.ndarray) -> tuple[list, list]:
        """Ids of `items` in a stratified order, of those that are open, and the stratum of each."""
        index = self._index
        with index.lock:
            index.refresh(con)
            free = index.said.verdict == UNDECIDED
            ids, scores = index.ids[free], index.measures["m3p_score"][free]
        wanted = np.isin(ids, assignments.answered(con)) & ~np.isin(ids, assignments.ever_assigned(con))
        wanted &= ~np.isin(ids, gold)
        ids, scores = ids[wanted], scores[wanted]
        if len(ids) < items:
            raise BadInputError(
                f"Only {len(ids)} items have answers, no decision and no annotator yet: assign at most as many."
            )
        strata: Sequence[object] | np.ndarray = np.zeros(len(ids))
        if stratify == "m3p_score":
            strata = assigning.deciles(scores)
        elif stratify == "source":
            strata = assignments.sources_of(con, ids)
        order = assigning.stratified_order(ids, strata, seed)[:items]
        return [int(ids[i]) for i in order], [strata[i] for i in order]

    def set_overlap(self, assignment_id: int, overlap: float, changed_by: str = OWNER.name) -> dict:
        """Change the share of an assignment's items that everybody judges. More are added to the queues; of those that
        are too many, who has not decided one loses it, unless nobody else has it."""
        assigning.check_share(overlap)
        there = {row["assignment_id"]: row for row in self.assignments()}
        if assignment_id not in there:
            raise BadInputError(f"There is no assignment {assignment_id}; there are {sorted(there) or 'none'}.")
        annotators = there[assignment_id]["annotators"]
        seed = there[assignment_id]["seed"]

        def change(con: Connection) -> None:
            queue = [row for row in assignments.queue_rows(con, assignment_id) if not row["gold"]]
            owners: dict[int, list[dict]] = {}
            for row in queue:
                owners.setdefault(row["instruction_id"], []).append(row)
            ids = np.array(sorted(owners), np.int64)
            order = ids[np.argsort(assigning.seeded(ids, seed), kind="stable")].tolist()
            order.sort(key=lambda item: -len(owners[item]))  # shared ones stay shared
            n_shared = round(overlap * len(order))
            last = {name: max((r["place"] for r in queue if r["annotator"] == name), default=0) for name in annotators}
            for name in annotators:
                missing = [i for i in order[:n_shared] if name not in {row["annotator"] for row in owners[i]}]
                more = assigning.queue_order(missing, name, seed)
                places = [(name, item, last[name] + 1 + n, False) for n, item in enumerate(more)]
                assignments.add_places(con, assignment_id, places, False)
            for place, item in enumerate(order[n_shared:]):
                undecided = [row for row in owners[item] if not row["decided"]]
                if len(undecided) == len(owners[item]):  # nobody decided: one keeps it, in turn
                    undecided.pop(place % len(undecided))
                gone = [(row["annotator"], item, row["place"], False) for row in undecided]
                assignments.add_places(con, assignment_id, gone, True)
            assignments.set_overlap(con, assignment_id, overlap, changed_by)

        self._db.write(change)
        return next(row for row in self.assignments() if row["assignment_id"] == assignment_id)

    def assignments(self) -> list[dict]:
        """Newest first: `assignment_id, annotators, items, overlap, gold, stratify, blind, seed, created_by`, and
        `created_at` (UTC)."""
        found = self._db.read(assignments.read_assignments)
        kept = ("assignment_id", "created_by", "created_at")
        return [
            row["config"]
            | {name: row[name] for name in kept}
            | ({} if row["overlap"] is None else {"overlap": row["overlap"]})
            for row in found
        ]

    # ---- gold items -------------------------------------------------------------------------------------------

    def mark_gold(self, instruction_id: int, curator: str = OWNER.name) -> dict:
        """Make the decision that stands on an item its known right one: it becomes the curator's last word, and others
        are measured by it. Raises BadInputError where nothing stands that says what is right."""

        def change(con: Connection) -> dict:
            current = decisions.current_decision(con, instruction_id)
            if current is None or not current["agreed"] or current["verdict"] in NO_VOTES:
                raise BadInputError("A gold item needs a decision that stands: decide it first, then mark it.")
            decision_id = current["decision_id"]
            if current["role"] != ADJUDICATED:
                decision_id = decisions.repeat(con, current, curator, role=ADJUDICATED)
            assignments.mark_gold(con, instruction_id, decision_id, curator, withdrawn=False)
            return assignments.gold_item(con, instruction_id)

        return self._db.write(change, lane="decision")

    def unmark_gold(self, instruction_id: int, curator: str = OWNER.name) -> None:
        """The item measures nobody any more; the decision stays. Raises BadInputError when it is no gold item."""

        def change(con: Connection) -> None:
            found = assignments.gold_item(con, instruction_id)
            if found is None:
                raise BadInputError("This is no gold item.")
            assignments.mark_gold(con, instruction_id, found["decision_id"], curator, withdrawn=True)

        self._db.write(change, lane="decision")

    # ---- disagreements ----------------------------------------------------------------------------------------

    def is_last_word(self, instruction_id: int, *, asked: bool) -> bool:
        """Whether a curator's decision on an item would be final: where a last word stands, and, when one is `asked`
        for, where voters disagree. An item that nobody disputes gets an ordinary vote, whatever view shows it."""

        def read(con: Connection) -> bool:
            if not self._index.may_be_decided(con, [instruction_id]):
                return False
            return votes.is_adjudicated(con, instruction_id) or (asked and votes.is_disputed(con, instruction_id))

        return self._db.read(read)

    # ---- figures ----------------------------------------------------------------------------------------------

    def overview(self) -> dict:
        """`people`: a row an annotator (store.votes.figures and pace, gold accuracy, agreement); `alpha`, `kappas`
        [(one, other, Agreement)], `disputed`: how many items; `disputes`: the first of them; `assignments`, `gold`."""

        def read(con: Connection) -> tuple:
            state = (decisions.state(con), latest_selection(con))  # changes whenever a rating may have
            if self._agreement[0] != state:
                ratings = collect(votes.ratings(con, latest_selection(con)))
                kappas = [(one, other, found) for (one, other), found in pairwise(ratings).items()]
                self._agreement = (state, {"alpha": krippendorff_alpha(ratings), "kappas": kappas})
            total, found = votes.disputed(con, SHOWN_DISPUTES)
            return votes.figures(con), self._agreement[1], total, found, len(assignments.gold_ids(con))

        people, agreement, total, found, gold = self._db.read(read)
        people = [_with_pace(row) | {"agreement": mean_kappa(row["annotator"], agreement["kappas"])} for row in people]
        return agreement | {
            "people": people, "disputed": total, "disputes": found, "assignments": self.assignments(), "gold": gold,
        }  # fmt: skip

    def own_overview(self, name: str) -> dict:
        """The same for one annotator about herself: nobody else's figures, and no item that others disagree about."""
        own = [_with_pace(row) for row in self._db.read(votes.figures) if row["annotator"] == name]
        nobody = {"alpha": Agreement(None, None, 0), "kappas": [], "disputed": 0, "disputes": [], "gold": 0}
        sizes = self._db.read(lambda con: assignments.queue_sizes(con, name))
        own_work = [
            row | {"annotators": [name], "items": sizes.get(row["assignment_id"], 0)}
            for row in self.assignments()
            if name in row["annotators"]
        ]
        for row in own_work:
            del row["gold"], row["overlap"]  # how many of them test her is not hers to know, nor to reckon
        return nobody | {"people": [row | {"agreement": None} for row in own], "assignments": own_work}

    def count_flagged(self, annotator: str) -> int:
        """How many of the items assigned to somebody they flagged: they wait for their vote still (m3po.sight)."""
        return self._db.read(lambda con: self._index.person(con, annotator)).n_flagged

    def write_history(self, out: Path | str) -> dict:
        """Every decision ever made, in a .csv or .jsonl file: see m3po.history_file."""
        return history_file.write_history(self._db, out)


def _with_pace(row: dict) -> dict:
    """Items an hour from the seconds spent (breaks cut), seconds left at that pace, gold accuracy and its interval."""
    pace = 3600 * row["timed"] / row["seconds"] if row["seconds"] else None
    left = row["assigned"] - row["done"]
    return row | {
        "per_hour": pace,
        "left": left,
        "seconds_left": 3600 * left / pace if pace and left else None,
        "gold_accuracy": row["gold_right"] / row["gold_seen"] if row["gold_seen"] else None,
        "gold_interval": wilson_interval(row["gold_right"], row["gold_seen"]),
    }
