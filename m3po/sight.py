"""What an annotator sees of the items and the counts: what is hidden before her vote, and from when on it is not."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from m3po import blind
from m3po.errors import NotAllowedError
from m3po.neighbours import Neighbours, stamp_of
from m3po.store import assignments, decisions, votes, writers
from m3po.store.connection import Connection
from m3po.store.open_views import OpenViews
from m3po.store.personal import Personal
from m3po.store.review_index import ReviewIndex
from m3po.store.workspace import Workspace
from m3po.types import NO_VOTES, Candidate, PastDecision, ReviewItem, TokenBeliefs
from m3po.users import OWNER, User


@dataclass(frozen=True)
class _Hidden:
    """What is taken from an annotator's item: scores and the pick, what others did, the machine's order of answers, and
    the order of items by scores."""

    blind: bool
    alone: bool
    shuffled: bool
    by_id: bool


class Sight:
    """A workspace as each person may see it; nothing is hidden from curators and viewers."""

    def __init__(self, workspace: Workspace, index: ReviewIndex) -> None:
        self._workspace = workspace
        self._db = workspace.db
        self._index = index
        self._open_views = OpenViews(workspace.db)

    def close(self) -> None:
        """Store what waits to be; before the database is closed."""
        self._open_views.close()

    def is_blind(self, user: User) -> bool:
        """Whether this annotator must not see scores, the machine's pick or others' decisions before the vote: always
        where config.toml says so, else as long as something of a blind assignment waits for them."""
        return user.role == "annotator" and self._judges_blind(self._person(user.name))

    def is_alone(self, user: User) -> bool:
        """Whether nothing may tell this annotator what others decided: while she judges blind, or something assigned to
        her waits for her vote. Which of it that is, would tell which of her items are gold."""
        return user.role == "annotator" and self._works_alone(self._person(user.name))

    def _judges_blind(self, person: Personal) -> bool:
        return self._workspace.blind or person.has_blind_work

    def _works_alone(self, person: Personal) -> bool:
        return self._workspace.blind or person.has_work

    def _person(self, name: str) -> Personal:
        return self._db.read(lambda con: self._index.person(con, name))

    def shown_to(self, user: User, item: ReviewItem | None) -> ReviewItem | None:
        """The item as this user may see it, with everybody's votes where they may see those."""
        return item and self.all_shown_to(user, [item])[0]

    def all_shown_to(self, user: User, items: Sequence[ReviewItem]) -> list[ReviewItem]:
        """`shown_to` each."""
        written_by = self._writers_of(items)
        if user.role == "annotator":
            return self._shown_to_annotator(user.name, items, written_by)
        found = []
        for item in items:
            if blind.tells(item, user.name, written_by):
                self.note_shown(user, [item.instruction.id])  # she may be an annotator some day
            several, gold = self._db.read(lambda con, item=item: _votes_and_gold(con, item))
            found.append(blind.with_votes(item, several, gold=gold and user.role == "curator"))
        return found

    def note_shown(self, user: User, instruction_ids: Iterable[int]) -> None:
        """Items that this user was shown elsewhere than on Review, with their texts and what blindness hides."""
        for each in instruction_ids if user is not OWNER else ():
            self._open_views.add(user.name, each)

    def answer_shown_to(self, user: User, instruction_id: int, answer: Candidate) -> Candidate:
        """What this user wrote, as `shown_to` shows it: the text may be an answer that is scored already."""
        if user.role == "annotator" and self._hidden(self._person(user.name), instruction_id).blind:
            return blind.bare_answer(answer)
        return answer

    def _shown_to_annotator(
        self, name: str, items: Sequence[ReviewItem], written_by: Mapping[int, Collection[str]]
    ) -> list[ReviewItem]:
        person = self._person(name)
        hiding = {item.instruction.id: self._hidden(person, item.instruction.id) for item in items}
        own_votes = self._own_votes(person, [number for number, hidden in hiding.items() if hidden.alone])
        progress = blind.own_progress(person, alone=self._works_alone(person))
        found = []
        for item in items:
            number, hidden = item.instruction.id, hiding[item.instruction.id]
            item = _in_her_order(dataclasses.replace(item, **progress), person, hidden)
            if _voted(person, number):
                several, _ = self._db.read(lambda con, item=item: _votes_and_gold(con, item))
                found.append(blind.with_votes(item, several))
                continue
            if hidden.alone:
                own = own_votes.get(number)
                item = blind.without_others(item, name, own and decisions.as_decision(own), written_by)
            if hidden.blind:
                item = blind.without_scores(item)
            elif blind.tells(item, name, written_by):
                self._open_views.add(name, number)
            found.append(item)
        return found

    def _writers_of(self, items: Sequence[ReviewItem]) -> dict[int, set[str]]:
        """As in m3po.store.writers, of what these items hold."""
        written = [item.instruction.id for item in items if any(c.origin == "human" for c in item.candidates)]
        return self._db.read(lambda con: writers.writers_of(con, written)) if written else {}

    def _own_votes(self, person: Personal, instruction_ids: Sequence[int]) -> dict[int, dict]:
        """What stands of this person's own, adjudications aside, on those of the items that have it."""
        said = [each for each in instruction_ids if person.said(each)]
        return self._db.read(lambda con: votes.own_votes(con, said, person.annotator)) if said else {}

    def neighbours_shown_to(self, user: User, around: Neighbours) -> Neighbours:
        """What lies around an item, with the stamps and the progress of the items as this user is shown them: a stamp
        tells nothing of a decision that is hidden, and changes with the vote that ends the hiding."""
        if user.role != "annotator":
            return around
        person = self._person(user.name)
        hiding = {each: self._hidden(person, each) for each in around.stamps}
        own_votes = self._own_votes(person, [each for each, hidden in hiding.items() if hidden.alone])
        stamps = {}
        for instruction_id, hidden in hiding.items():
            decision_id, tags = around.decided.get(instruction_id), around.tags.get(instruction_id, ())
            if hidden.alone:
                own_vote = own_votes.get(instruction_id)
                decision_id = own_vote and own_vote["decision_id"]
                tags = [each for each in tags if each.annotator == user.name]
            excluded = instruction_id in around.excluded and not (hidden.alone or hidden.blind)
            how = {"blind": hidden.blind, "shuffled": hidden.shuffled, "excluded": excluded}
            how["measured"] = 0 if hidden.alone or hidden.blind else around.measured
            stamps[instruction_id] = stamp_of(around.selection_id, decision_id, tags, **how)
        own = {"stamps": stamps, "decided": {}, "tags": {}, "excluded": frozenset()}
        return dataclasses.replace(around, **own, **blind.own_progress(person, alone=self._works_alone(person)))

    def beliefs_shown_to(
        self, user: User, instruction_ids: Sequence[int], told: list[TokenBeliefs]
    ) -> list[TokenBeliefs]:
        """Of the answers' tokens those of answers that `shown_to` leaves. Raises NotAllowedError where an item is shown
        without scores."""
        if user.role != "annotator":
            return told
        person = self._person(user.name)
        hiding = {each: self._hidden(person, each) for each in instruction_ids}
        if any(hidden.blind for hidden in hiding.values()):
            raise NotAllowedError("You judge blind: an answer's tokens are coloured after your vote.")

        alone = [each for each, hidden in hiding.items() if hidden.alone]
        written_by = self._db.read(lambda con: writers.writers_of(con, alone)) if alone else {}
        return [each for each in told if user.name in written_by.get(each.candidate_id, {user.name})]

    def status_shown_to(self, user: User, status: dict) -> dict:
        """The workspace's counts; to an annotator who is alone with her items, her own in the place of everybody's."""
        if not self.is_alone(user):
            return status
        person = self._person(user.name)
        return blind.own_counts(status, person, picks=not self._judges_blind(person))

    def _hidden(self, person: Personal, instruction_id: int) -> _Hidden:
        hidden = self._judges_blind(person)
        voted = _voted(person, instruction_id)
        return _Hidden(
            blind=hidden and not voted,
            alone=not voted and (hidden or person.is_assigned(instruction_id)),
            by_id=hidden,
            shuffled=hidden or person.is_blind(instruction_id),  # the vote that ends the blindness moves no answer
        )

    def was_hidden(self, user: User, instruction_id: int) -> bool:
        """Whether a vote of this user now is a blind one: all is hidden, they never voted on the item before, and
        neither Review nor a list of pairs (the door's `_LISTS`) ever sent it to them with anything that is hidden now,
        whatever role they had then."""
        if not self.is_blind(user) or self._open_views.has(user.name, instruction_id):
            return False
        return not self._db.read(lambda con: votes.ever_voted(con, instruction_id, user.name))

    def history(self, user: User, instruction_id: int) -> list[PastDecision]:
        """Every decision on an item, newest first; to an annotator from whom others' are hidden, her own."""
        found = self._db.read(lambda con: decisions.history(con, instruction_id))
        if user.role != "annotator":
            return found
        alone = self._hidden(self._person(user.name), instruction_id).alone
        return blind.without_names(found, user.name) if alone else found


def _in_her_order(item: ReviewItem, person: Personal, hidden: _Hidden) -> ReviewItem:
    """The item with its answers in the order that she gets them in."""
    item = dataclasses.replace(item, fixed_order=hidden.by_id)
    return blind.shuffled(item, person.annotator) if hidden.shuffled else item


def _voted(person: Personal, instruction_id: int) -> bool:
    return person.said(instruction_id) not in ("", *NO_VOTES)


def _votes_and_gold(con: Connection, item: ReviewItem) -> tuple[tuple, bool]:
    if item.decision is None:
        return (), False
    instruction_id, final = item.instruction.id, bool(item.decision.role)
    several = votes.votes_of(con, instruction_id) if final or votes.count_voters(con, instruction_id) > 1 else ()
    return several, final and assignments.gold_item(con, instruction_id) is not None
