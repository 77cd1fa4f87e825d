"""Trust in the machine's pairs, measured on what people decided: what-if, agreement, override rates, auto-accept.

Everything is told as plain values, so that the page and the command line show the same.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter, OrderedDict

import numpy as np

from m3po.deciding import DEFAULT_ANNOTATOR
from m3po.errors import BadInputError, UsageError
from m3po.evaluation.calibration import best_of_curve, decisions_needed, find_threshold, override_bins, rate_of
from m3po.jobs.planning import plans
from m3po.selection import RULES
from m3po.settings import SelectConfig
from m3po.store import auto_accept
from m3po.store import flips as store_flips
from m3po.store.connection import Connection
from m3po.store.pools import read_some
from m3po.store.selections import latest_selection, selection_info
from m3po.store.verdicts import SKIP
from m3po.store.workspace import Workspace
from m3po.types import NO_VOTES

FLIPS = ("all", "against", "to", "lost", "new")  # which flips a list shows
GRID = np.round(np.arange(0, 1.0001, 0.05), 2)  # weights
TARGET = 0.05  # of the override rate, where nobody says otherwise
AUDIT = 50  # pairs
MAX_AUDIT = 10_000
_KEPT = 4  # what-ifs that are kept for their lists
_SIDES = ("pair", "chosen", "rejected")
# What people may change by a slider; normalisation, truncated answers and seed stay those of the selection.
KNOBS = ("rule", "weight_chosen", "weight_rejected", "delta", "length_ratio")


class Calibration:
    """The use cases on one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._db = workspace.db
        self._lock = threading.Lock()
        self._flips: OrderedDict[tuple, store_flips.Flips] = OrderedDict()

    # ---- what if ----------------------------------------------------------------------------------------------

    def current(self) -> dict:
        """The settings of the selection that stands (KNOBS) and its `selection_id`; None before the first one."""

        def read(con: Connection) -> dict:
            info = selection_info(con, latest_selection(con))
            config = SelectConfig.of_run(info) if info else SelectConfig()
            return {"selection_id": info and info["id"], **{name: getattr(config, name) for name in KNOBS}}

        return self._db.read(read)

    def what_if(self, *, which: str = "all", limit: int = 20, offset: int = 0, **knobs: object) -> dict:
        """What another setting would pick (KNOBS; those not given stay as they are). Nothing is stored.

        `pairs`, `pairs_before`; `flips` (same instruction, another pair), `lost`, `new`; of all these, where a human
        decided: `against` (the old pair is the human's), `to` (the new one is), `neither`; `fresh`: see
        m3po.store.flips.Flips. `items`: of the `listed` of `which` (one of FLIPS) at most `limit` from `offset` on.
        Raises BadInputError where nothing was selected yet or a value cannot be, UsageError for a list that is none.
        """
        if which not in FLIPS:
            raise UsageError(f"There is no list {which!r}: choose one of {', '.join(FLIPS)}.")
        return self._db.read(lambda con: self._what_if(con, knobs, which, offset, limit))

    def _what_if(self, con: Connection, knobs: dict, which: str, offset: int, limit: int) -> dict:
        selection = latest_selection(con)
        config = self._config(con, selection, knobs)
        flips = self._find(con, selection, config)
        before, after, ids = flips.before, flips.after, flips.instruction_ids
        lost, new = after.chosen == store_flips.NONE, before.chosen == store_flips.NONE
        human = store_flips.human_pairs(con).of(ids)
        decided = human[0] != store_flips.NONE
        was_human = decided & (before.chosen == human[0]) & (before.rejected == human[1])
        is_human = decided & (after.chosen == human[0]) & (after.rejected == human[1])
        masks = {"all": np.ones(len(ids), bool), "against": was_human, "to": is_human, "lost": lost, "new": new}
        listed = np.flatnonzero(masks[which])
        page = listed[offset : offset + limit]
        return {
            "selection_id": selection,
            "config": {name: getattr(config, name) for name in KNOBS},
            "pairs_before": flips.pairs_before,
            "pairs": flips.pairs_after,
            "flips": int(np.count_nonzero(~lost & ~new)),
            "lost": int(np.count_nonzero(lost)),
            "new": int(np.count_nonzero(new)),
            "decided": int(np.count_nonzero(decided)),
            "against": int(np.count_nonzero(was_human)),
            "to": int(np.count_nonzero(is_human)),
            "neither": int(np.count_nonzero(decided & ~was_human & ~is_human)),
            "fresh": flips.fresh,
            "which": which,
            "listed": len(listed),
            "offset": offset,
            "items": _tell(con, flips, page, human, was_human, is_human),
        }

    def _config(self, con: Connection, selection: int | None, knobs: dict) -> SelectConfig:
        unknown = set(knobs) - set(KNOBS)
        if unknown:
            raise UsageError(f"{', '.join(sorted(unknown))} cannot be tried: there are {', '.join(KNOBS)}.")
        info = selection_info(con, selection)
        if info is None:
            raise BadInputError("Nothing was selected yet: press Select on the Data tab, then compare with it.")
        given = {name: value for name, value in knobs.items() if value is not None}
        return dataclasses.replace(SelectConfig.of_run(info), **given)

    def _find(self, con: Connection, selection: int, config: SelectConfig) -> store_flips.Flips:
        """Found once while one pages through the list."""
        given = store_flips.count_given(con) if RULES[config.rule].given else 0  # more may come, whatever was picked
        key = (selection, store_flips.pool_of(con, selection), config, given)
        with self._lock:
            if key in self._flips:
                self._flips.move_to_end(key)
                return self._flips[key]
        found = store_flips.find_flips(con, selection, RULES[config.rule], config)
        with self._lock:
            self._flips[key] = found
            while len(self._flips) > _KEPT:
                self._flips.popitem(last=False)
        return found

    def apply(self, *, selection_id: int | None = None, **knobs: object) -> dict:
        """Make it the selection: what m3po.jobs.planning.plans.select returns. `selection_id`: the one it was compared
        with.

        Raises BadInputError when another selection was made since.
        """

        def read(con: Connection) -> tuple[int | None, SelectConfig]:
            latest = latest_selection(con)
            return latest, self._config(con, latest, knobs)

        latest, config = self._db.read(read)
        if selection_id is not None and latest != selection_id:
            raise BadInputError("The pairs were picked anew since this was compared: look at the numbers again.")
        return plans.select(self._workspace, config)

    # ---- what the decisions say -------------------------------------------------------------------------------

    def report(self, target: float = TARGET) -> dict:
        """Override rates by M3P-Score, the threshold they allow for `target`, the agreement of every rule with the
        decisions, and how the audit stands. Raises UsageError for a target that is no share."""
        if not 0 < target < 1:
            raise UsageError(f"target = {target} is no share: give one between 0 and 1, such as 0.05.")
        return self._db.read(lambda con: self._report(con, target))

    def _report(self, con: Connection, target: float) -> dict:
        selection = latest_selection(con)
        info = selection_info(con, selection)
        if info is None:
            return {"selection_id": None, "target": target, "rates": None, "agreement": None, "auto": None}
        found = _judged(con, selection)
        _, scores, undecided = auto_accept.pair_scores(con, selection)
        undecided = ~undecided
        allowed = find_threshold(found["scores"], found["wrong"], target)
        if allowed:
            allowed["accepts"] = int(np.count_nonzero(undecided & (scores >= allowed["score"])))
        return {
            "selection_id": selection,
            "settings": {name: info[name] for name in KNOBS},
            "target": target,
            "pairs": len(scores),
            "rates": {
                "all": rate_of(int(found["wrong"].sum()), len(found["wrong"])),
                "bins": override_bins(found["scores"], found["wrong"], scores),
                "left_out": found["left_out"],
                "annotators": found["annotators"],
            },
            "threshold": allowed,
            "needed": decisions_needed(target),
            "agreement": self._agreement(con, selection),
            "auto": _auto(con, selection),
        }

    def _agreement(self, con: Connection, selection: int) -> dict:
        """Of every rule with the pairs that people decided on: both answers the same, and each alone."""
        human = store_flips.human_pairs(con)
        config = self._config(con, selection, {})
        pool, _ = store_flips.pool_of(con, selection)
        block = read_some(con, pool, human.instruction_ids, seed=config.seed)
        # What no rule may pick (an answer that a human wrote, a truncated one) no rule can agree with.
        chosen, rejected = human.of(block.instruction_ids)
        open_to = np.isin(chosen, block.candidates.ids) & np.isin(rejected, block.candidates.ids)
        result = {"decisions": len(human.instruction_ids), "compared": int(np.count_nonzero(open_to))}
        if not result["compared"]:
            return result | {"rules": [], "curves": {}}

        def agree(config: SelectConfig) -> dict[str, np.ndarray]:
            picked = store_flips.pick_pairs(con, block, RULES[config.rule], config)
            same = (picked[0] == chosen)[open_to], (picked[1] == rejected)[open_to]
            return dict(zip(_SIDES, (same[0] & same[1], *same), strict=True))

        rules = []
        for rule in RULES:
            if RULES[rule].given and not store_flips.count_given(con):
                continue
            sides = agree(dataclasses.replace(config, rule=rule))
            rules.append({"rule": rule, **{side: _share(values) for side, values in sides.items()}})
        curves = {}
        for weight in ("weight_chosen", "weight_rejected"):
            points = np.unique(np.append(GRID, getattr(config, weight)))
            of_points = [agree(dataclasses.replace(config, rule="m3po", **{weight: float(w)})) for w in points]
            curve = best_of_curve(points, np.array([sides["pair"] for sides in of_points]), seed=config.seed)
            curve |= {side: [float(sides[side].mean()) for sides in of_points] for side in _SIDES[1:]}
            curves[weight] = curve | {"now": getattr(config, weight)}
        return result | {"rules": rules, "curves": curves}

    # ---- accept without eyes ----------------------------------------------------------------------------------

    def accept_above(
        self, score: float | None = None, *, target: float = TARGET, annotator: str = DEFAULT_ANNOTATOR
    ) -> dict:
        """Take the selection's pairs from `score` on without eyes: `export --only auto` and training then include them.
        Without a score the lowest that `target` allows. It is a setting of the selection; no decision is written.
        The score that stands already is left as it is, with its audit.

        Returns `auto` of the report. Raises BadInputError where the decisions allow no threshold yet.
        """
        report = self.report(target)
        if report["selection_id"] is None:
            raise BadInputError("There are no pairs yet: sample, score and select first.")
        allowed = report["threshold"]
        if score is None and allowed is None:
            raise BadInputError(
                f"No score keeps the override rate under {target:.1%} for sure: review more pairs with high scores "
                f"(without an override it takes {report['needed']})."
            )
        if score is not None and not 0 <= score <= 1:
            raise UsageError(f"score = {score} is no M3P-Score: give one from 0 to 1.")
        score = allowed["score"] if score is None else float(score)

        def change(con: Connection) -> dict:
            selection = latest_selection(con)
            if selection != report["selection_id"]:
                raise BadInputError("The pairs were picked anew meanwhile: look at the numbers again.")
            found = _judged(con, selection)
            above = found["scores"] >= score
            basis = {"target": target, "decided": int(above.sum()), "overridden": int(found["wrong"][above].sum())}
            standing = auto_accept.read_threshold(con, selection)
            if standing is None or standing["score"] != score:
                auto_accept.set_threshold(con, selection, score, basis, annotator)
            return _auto(con, selection)

        return self._db.write(change)

    def accept_none(self, *, annotator: str = DEFAULT_ANNOTATOR) -> None:
        """Take the threshold back; pairs that were exported with it stay where they are."""

        def change(con: Connection) -> None:
            selection = latest_selection(con)
            if auto_accept.read_threshold(con, selection):
                auto_accept.set_threshold(con, selection, None, {}, annotator)

        self._db.write(change)

    def draw_audit(self, size: int = AUDIT, *, seed: int = 0, annotator: str = DEFAULT_ANNOTATOR) -> dict:
        """A random slice of what the threshold accepts, for the review filter `audit`: `auto` of the report.

        Raises BadInputError without a threshold, or where it accepts nothing, UsageError for a size that cannot be.
        """
        if not 1 <= size <= MAX_AUDIT:
            raise UsageError(f"An audit of {size} pairs cannot be: give a size from 1 to {MAX_AUDIT:,}.")

        def change(con: Connection) -> dict:
            selection = latest_selection(con)
            threshold = auto_accept.read_threshold(con, selection)
            if threshold is None:
                raise BadInputError("Nothing is accepted without eyes yet: set the threshold first.")
            if not _count_accepted(con, selection, threshold["score"]):
                raise BadInputError("The threshold accepts no pair that nobody looked at: there is nothing to audit.")
            auto_accept.draw_audit(con, threshold, size, seed, annotator)
            return _auto(con, selection)

        return self._db.write(change)


def _judged(con: Connection, selection: int) -> dict:
    """Score and outcome of the pairs that people saw as they are and agree on, and how many of the others there are."""
    found = auto_accept.judged_pairs(con, selection)
    verdict = ~np.isin(found["verdict"].astype(str), NO_VOTES)
    agreed, seen, blind = (found[name].astype(bool) for name in ("agreed", "seen", "blind"))
    counts = agreed & seen & verdict
    return {
        "scores": found["m3p_score"][counts].astype(np.float64),
        "wrong": found["wrong"][counts].astype(bool),
        "annotators": dict(Counter(found["annotator"][counts].astype(str).tolist()).most_common()),
        "left_out": {
            "disagreement": int(np.count_nonzero(~agreed)),
            "another_pair": int(np.count_nonzero(agreed & verdict & ~seen & ~blind)),
            "blind": int(np.count_nonzero(agreed & verdict & blind)),
            "no_verdict": int(np.count_nonzero(agreed & ~verdict)),
        },
    }


def _auto(con: Connection, selection: int) -> dict | None:
    """The threshold that stands, what it accepts, and its audit: `size`, `waiting`, error rate of the decided."""
    threshold = auto_accept.read_threshold(con, selection)
    if threshold is None:
        return None
    basis = rate_of(threshold["overridden"] or 0, threshold["decided"] or 0)
    auto = {name: threshold[name] for name in ("score", "target", "annotator")} | {"basis": basis, "audit": None}
    auto["accepts"] = _count_accepted(con, selection, threshold["score"])
    audit = auto_accept.newest_audit(con, selection)
    if audit:
        size = len(auto_accept.audit_ids(con, audit))
        found = [row for row in auto_accept.read_audit(con, audit) if row["verdict"] != SKIP]
        answered = [row for row in found if row["agreed"] and not row["blind"]]
        decided = [row for row in answered if row["verdict"] not in NO_VOTES]
        auto["audit"] = {
            "size": size,
            "population": audit["population"],
            "seed": audit["seed"],
            "waiting": size - len(found),
            "no_verdict": len(found) - len(decided),
            **rate_of(sum(row["wrong"] for row in decided), len(decided)),
        }
    return auto


def _count_accepted(con: Connection, selection: int, score: float) -> int:
    _, scores, decided = auto_accept.pair_scores(con, selection)
    return int(np.count_nonzero(~decided & (scores >= score)))


def _share(values: np.ndarray) -> dict:
    found = rate_of(int(values.sum()), len(values))
    return {"agree": found["overridden"], "rate": found["rate"], "low": found["low"], "high": found["high"]}


def _tell(
    con: Connection,
    flips: store_flips.Flips,
    page: np.ndarray,
    human: tuple[np.ndarray, np.ndarray],
    was_human: np.ndarray,
    is_human: np.ndarray,
) -> list[dict]:
    """Each flip with its texts; a pair that is not there is None."""
    sides = {
        "before": (flips.before.chosen, flips.before.rejected),
        "after": (flips.after.chosen, flips.after.rejected),
    }
    sides["human"] = human
    ids = [int(i) for i in flips.instruction_ids[page]]
    wanted = sorted({int(i) for pair in sides.values() for values in pair for i in values[page]} - {store_flips.NONE})
    shown, texts = store_flips.tell_flips(con, ids, wanted)
    items = []
    for place in page:
        row = shown[int(flips.instruction_ids[place])]
        item = {name: row[name] for name in ("instruction_id", "source", "external_id", "instruction", "sha256")}
        for side, (chosen, rejected) in sides.items():
            pair = {"chosen": int(chosen[place]), "rejected": int(rejected[place])}
            item[side] = None
            if pair["chosen"] != store_flips.NONE:
                item[side] = pair | {f"{role}_text": texts.get(i, "") for role, i in pair.items()}
        score = float(flips.score[place])
        item["m3p_score"] = None if np.isnan(score) else score
        item["word"] = (
            "against" if was_human[place] else "to" if is_human[place] else "neither" if item["human"] else ""
        )
        items.append(item)
    return items
