"""All that is known of a review item but for decisions, each read once and kept as long as nothing but decisions is
stored: a page asks for the same items when it fetches them ahead, when one is decided, and for every reviewer again.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from m3po.store.candidate_rows import Bearings, candidates_of, read_bearings
from m3po.store.candidates import scorer_info
from m3po.store.connection import Connection, Database, scalar
from m3po.store.decisions import given_pairs
from m3po.store.instructions import Images, read_instructions
from m3po.store.pair_changes import changes_of
from m3po.store.samplers import sampler_names
from m3po.store.selections import latest_selection, pairs_of
from m3po.types import Candidate, Claim, Instruction, Pair, PairChange

KEPT_ITEMS = 500
KEPT_CHARACTERS = 10_000_000  # of all their texts together


@dataclass(frozen=True)
class Item:
    """An instruction with its answers and the machine's pair, by the newest selection; `no_pair_reason` where there is
    none. `given`: (chosen, rejected) as its data set has them. `selected_by`: see m3po.types.ReviewItem."""

    instruction: Instruction
    candidates: tuple[Candidate, ...]
    selection_id: int | None
    machine_pair: Pair | None
    no_pair_reason: str | None
    given: tuple[int, int] | None
    selected_by: str
    changes: tuple[PairChange, ...]  # what the runs did to its pairs, newest first

    @property
    def characters(self) -> int:
        return len(self.instruction.instruction) + sum(len(candidate.text) for candidate in self.candidates)


class Items:
    """The items that were asked for lately, of one database."""

    def __init__(self, database: Database, images: Images) -> None:
        self._database, self._images = database, images
        self._lock = threading.Lock()
        self._of = -1  # the bulk writes that were stored when what is kept was read
        self._kept: OrderedDict[int, Item] = OrderedDict()
        self._characters = 0
        self._common: _Common | None = None

    def read(self, con: Connection, instruction_ids: Sequence[int]) -> dict[int, Item]:
        """Those that there are, by id. `con` is that of a Database.read or write under way."""
        written = self._database.state[0]
        with self._lock:
            if written > self._of:
                self._of, self._characters, self._common = written, 0, None
                self._kept.clear()
            current = written == self._of
            found = {i: self._kept[i] for i in instruction_ids if current and i in self._kept}
            for i in found:
                self._kept.move_to_end(i)
            common = self._common if current else None
        missing = [i for i in dict.fromkeys(instruction_ids) if i not in found]
        if missing:
            common = common or _read_common(con)
            fresh = _read(con, missing, common, self._images)
            self._keep(written, common, fresh)
            found |= fresh
        return found

    def _keep(self, written: int, common: _Common, fresh: dict[int, Item]) -> None:
        with self._lock:
            if written != self._of:  # another thread knows of newer ones
                return
            self._common = common
            for number, item in fresh.items():
                if number not in self._kept:
                    self._kept[number] = item
                    self._characters += item.characters
            while len(self._kept) > KEPT_ITEMS or self._characters > KEPT_CHARACTERS:
                self._characters -= self._kept.popitem(last=False)[1].characters


@dataclass(frozen=True)
class _Common:
    """What all items are read by. `samplers`: their names; `selected_by`: the selection's MAS scorer where another one
    is active; `any_given`: whether any data set came with preferences."""

    bearings: Bearings
    samplers: dict[int, str]
    selected_by: str
    any_given: bool


def _read_common(con: Connection) -> _Common:
    at, selected_by = read_bearings(con, latest_selection(con)), ""
    if at.selected_mas is not None and at.selected_mas != at.mas:
        selected_by = scorer_info(con, at.selected_mas)["name"]
    any_given = bool(scalar(con, "SELECT count(*) FROM given_preferences"))
    return _Common(at, sampler_names(con), selected_by, any_given)


def _read(con: Connection, instruction_ids: list[int], common: _Common, images: Images) -> dict[int, Item]:
    instructions = read_instructions(con, instruction_ids, images)
    if not instructions:
        return {}
    there, at = list(instructions), common.bearings
    answers, pairs = candidates_of(con, there, at.selection, at), pairs_of(con, at.selection, there)
    given = given_pairs(con, there) if common.any_given else {}
    changes = changes_of(con, there)
    found = {}
    for number, instruction in instructions.items():
        candidates = tuple(as_candidate(row, common.samplers) for row in answers[number])
        machine = _machine_pair(pairs.get(number))
        frozen = machine is not None or any(c.good is not None for c in candidates)
        reason = None if machine else _reason(pairs.get(number), candidates, instruction.split, at.selection)
        found[number] = Item(
            instruction=instruction,
            candidates=candidates,
            selection_id=at.selection,
            machine_pair=machine,
            no_pair_reason=reason,
            given=given.get(number),
            selected_by=common.selected_by if frozen else "",
            changes=changes.get(number, ()),
        )
    return found


def as_candidate(row: dict, samplers: Mapping[int, str]) -> Candidate:
    """A row of `candidates_of`; `samplers`: their names."""
    return Candidate(
        id=row["candidate_id"],
        **{name: row[name] for name in _OF_ROW},
        claims=tuple(Claim(**claim) for claim in row["claims"]),
        samplers=tuple((samplers[each], votes) for each, votes in row["given_by"] if each in samplers),
    )


_OF_ROW = tuple(field.name for field in dataclasses.fields(Candidate) if field.name not in ("id", "claims", "samplers"))


def _machine_pair(row: dict | None) -> Pair | None:
    if row is None or row["chosen"] is None:
        return None
    return Pair(row["chosen"], row["rejected"], row["m3p_score"], row["logp_margin"], row["mas_gap"])


def _reason(row: dict | None, candidates: tuple[Candidate, ...], split: str, selection: int | None) -> str:
    if row is not None and row["no_pair_reason"] not in ("no_candidates", "no_mas", "no_logprob"):
        return row["no_pair_reason"]
    # Sampled or scored since the last selection, or never selected: say what is missing now.
    if split != "train":
        return "not_train"
    if not candidates:
        return "no_candidates"
    if all(c.mas is None for c in candidates):
        return "no_mas"
    if all(c.logp_sum is None for c in candidates):
        return "no_logprob"
    return "not_selected" if selection is None else "not_scored_then"
