"""What a human may decide, and how it is stored: checked, then appended in one short transaction."""

from __future__ import annotations

from m3po.errors import BadInputError
from m3po.store import candidates, decisions, guidelines, instructions, review, selections, tags, undos, votes
from m3po.store.candidate_rows import candidates_of
from m3po.store.connection import Connection, Database
from m3po.store.items import Items, as_candidate
from m3po.text import check_note, check_typed, check_word, same_answer_key
from m3po.types import DEFAULT_REASONS, IMPORTED, TRAINING_VERDICTS, VERDICTS, Candidate, Decision, Reversal
from m3po.users import OWNER

DEFAULT_ANNOTATOR = OWNER.name
MAX_ANSWER_CHARACTERS = 100_000
MAX_NOTE_CHARACTERS = 10_000
MAX_TAG = 60  # characters
_NAME = "The annotator's name"


def decide(
    database: Database,
    items: Items,
    instruction_id: int,
    verdict: str,
    *,
    chosen: int | None = None,
    rejected: int | None = None,
    annotator: str = DEFAULT_ANNOTATOR,
    seconds: float | None = None,
    note: str = "",
    reason: str = "",
    selection_id: int | None = None,
    client_id: str = "",
    role: str = "",
    blind: bool = False,
) -> Decision:
    """Store a verdict with what was shown; it is on disk when this returns.

    `client_id` is the caller's own name of this decision: sent again, it is the same row, and nothing is stored.

    `accept` without ids accepts the pair that stands; `seconds` is the time spent on the item; `selection_id`
    is the selection that was shown (None: whichever stands). `role` ADJUDICATED makes it the last word on the item.
    Whether a pair is `accept` or `override` is found here: accept is what the machine picked, though it was not seen.
    `blind`: scores and pick were hidden, and had been until then.

    Raises BadInputError for a verdict without the pair it needs, for ids that are no candidates of this instruction,
    for text that cannot be stored, for a reason that no version of the guideline has, and when another selection was
    made meanwhile.
    """
    check_typed(annotator, _NAME)
    _check_remarks(reason, note)
    if verdict not in VERDICTS:
        raise BadInputError(f"There is no verdict {verdict!r}: choose one of {', '.join(VERDICTS)}.")

    # Before the transaction: what is kept of an item must be known to be no older than the newest selection.
    item = database.read(lambda con: items.read(con, [instruction_id])).get(instruction_id)

    def change(con: Connection) -> Decision:
        if client_id:
            known = decisions.decision_of_key(con, instruction_id, annotator or DEFAULT_ANNOTATOR, client_id)
            if known:
                return decisions.as_decision(known)
        _check_reason(con, reason)
        if item is None:
            raise BadInputError(f"There is no instruction {instruction_id}: reload the page.")
        if item.instruction.split != "train":
            raise BadInputError("This item is held out to measure on: only the train split is reviewed.")
        if selection_id is not None and selection_id != item.selection_id:
            raise BadInputError("The pairs were picked anew since this was drawn: look at it again, then decide.")
        given = (chosen, rejected)
        if verdict == "accept" and given == (None, None) and (pair := review.standing_pair(con, item)):
            given = (pair.chosen, pair.rejected)
        said = verdict
        if verdict in TRAINING_VERDICTS:
            machine = item.machine_pair
            said = "accept" if machine and given == (machine.chosen, machine.rejected) else "override"
        _check_pair(verdict, *given, {candidate.id for candidate in item.candidates})
        new = decisions.NewDecision(
            instruction_id=instruction_id,
            verdict=said,
            chosen=given[0],
            rejected=given[1],
            annotator=annotator or DEFAULT_ANNOTATOR,
            seconds=seconds,
            note=note,
            reason=reason,
            selection_id=item.selection_id,
            shown=review.shown_state(item.machine_pair, item.candidates),
            role=role,
            blind=blind,
        )
        return _store(con, new, client_id)

    return database.write(change, lane="decision")


def _store(con: Connection, new: decisions.NewDecision, client_id: str) -> Decision:
    """Append, under the caller's own name of it where there is one."""
    stored = decisions.add_decision(con, new)
    if client_id:
        decisions.remember_key(con, stored["decision_id"], new.instruction_id, new.annotator, client_id)
    return decisions.as_decision(stored)


def remark(
    database: Database,
    instruction_id: int,
    *,
    reason: str | None = None,
    note: str | None = None,
    annotator: str = DEFAULT_ANNOTATOR,
    curator: bool = False,
    client_id: str = "",
) -> Decision:
    """Store the annotator's decision on an item once more, with this reason or note (None: as it was): it is made on
    what the first was made on, and an undo takes it back as any other. What changes nothing stores nothing. `curator`:
    where the last word on the item is theirs, it goes with that.

    Raises BadInputError where they decided nothing, and for a reason or note as `decide` does.
    """
    check_typed(annotator, _NAME)
    _check_remarks(reason or "", note or "")
    name = annotator or DEFAULT_ANNOTATOR

    def change(con: Connection) -> Decision:
        if client_id and (known := decisions.decision_of_key(con, instruction_id, name, client_id)):
            return decisions.as_decision(known)
        _check_reason(con, reason or "")
        own = votes.own_decision(con, instruction_id, name, last_word=curator)
        if own is None:
            raise BadInputError("There is no decision of yours here that it could go with: decide first.")
        said = (own["reason"] or "", own["note"] or "")
        says = (said[0] if reason is None else reason, said[1] if note is None else note)
        if says == said:
            return decisions.as_decision(own)
        new = decisions.say_again(own, *says)
        return _store(con, new, client_id)

    return database.write(change, lane="decision")


def set_tag(
    database: Database,
    instruction_id: int,
    name: str,
    *,
    withdrawn: bool = False,
    annotator: str = DEFAULT_ANNOTATOR,
    of_all: bool = False,
) -> None:
    """Put a tag on an item, or take the annotator's own off again; `of_all`: whoever gave it. What is so already stores
    nothing. Raises BadInputError for a tag that cannot be."""
    check_typed(annotator, _NAME)
    name, me = same_answer_key(name), annotator or DEFAULT_ANNOTATOR
    check_typed(name, "A tag")
    if not withdrawn:  # what was put on by an earlier rule comes off
        check_word(name, "A tag", MAX_TAG)

    def change(con: Connection) -> None:
        if not instructions.exists(con, instruction_id):
            raise BadInputError(f"There is no instruction {instruction_id}: reload the page.")
        holders = {each.annotator for each in tags.tags_of(con, instruction_id) if each.name == name}
        if not withdrawn and me not in holders:
            tags.set_tag(con, instruction_id, name, me, me, withdrawn=False)
        for holder in sorted(holders) if withdrawn else ():
            if of_all or holder == me:
                tags.set_tag(con, instruction_id, name, holder, me, withdrawn=True)

    database.write(change, lane="decision")


def find_stored(database: Database, instruction_id: int, annotator: str, client_id: str) -> Decision | None:
    """What is stored already under the caller's own name of a decision; see `decide`."""
    name = annotator or DEFAULT_ANNOTATOR
    found = database.read(lambda con: decisions.decision_of_key(con, instruction_id, name, client_id))
    return decisions.as_decision(found) if found else None


def _check_remarks(reason: str, note: str) -> None:
    check_typed(reason, "The reason")
    check_typed(note, "The note")
    check_note(note, "The note")
    if len(note) > MAX_NOTE_CHARACTERS:
        raise BadInputError(f"The note has {len(note):,} characters: shorten it to {MAX_NOTE_CHARACTERS:,}.")


def _check_reason(con: Connection, reason: str) -> None:
    """One that the guideline has, or had: it may have changed since the reason was chosen."""
    if reason and reason not in DEFAULT_REASONS and reason not in guidelines.all_reasons(con):
        newest = guidelines.newest(con)
        listed = ", ".join(newest.reasons if newest else DEFAULT_REASONS)
        raise BadInputError(f"There is no reason {reason!r:.70}: choose one of {listed}, or add it to the guideline.")


def _check_pair(verdict: str, chosen: int | None, rejected: int | None, known: set[int]) -> None:
    for candidate in (chosen, rejected):
        if candidate is not None and candidate not in known:
            raise BadInputError(f"Candidate {candidate} is not an answer to this instruction: reload the page.")
    if verdict in TRAINING_VERDICTS:
        if chosen is None or rejected is None:
            raise BadInputError("This item has no pair yet: make one answer chosen and another rejected.")
        if chosen == rejected:
            raise BadInputError("Chosen and rejected are the same answer: pick two different ones.")


def undo(
    database: Database,
    annotator: str = DEFAULT_ANNOTATOR,
    decision_id: int | None = None,
    *,
    curator: bool = False,
    client_id: str = "",
) -> Reversal | None:
    """Take back the newest of the annotator's own decisions that is not undone, or the one of that id; returns it, or
    None when there is none. `curator`: last words, and by its id anybody's, may be taken back. `client_id`: the
    caller's own name of this undo: sent again, it takes back no more.

    Raises BadInputError for an id that is no decision of theirs, or one that is imported or undone already, and for
    what a curator alone may do.
    """
    check_typed(annotator, _NAME)
    me = annotator or DEFAULT_ANNOTATOR

    def change(con: Connection) -> Reversal | None:
        if client_id and (known := undos.reversed_by_key(con, me, client_id, redo=False)):
            return undos.as_reversal(con, known)
        if decision_id is None:
            found = undos.newest_standing(con, me, last_words=curator)
        else:
            found = _find_own(con, decision_id, me, curator)
            if found["undo_id"] is not None:
                who = found["undone_by"] if curator else "you" if found["undone_by"] == me else "a curator"
                raise BadInputError(f"This decision is undone already, by {who}.")
            if found["role"] and not curator:
                raise BadInputError("The last word on an item is a curator's: only a curator takes it back.")
        if found is None:
            return None
        undo_id = undos.revoke(con, found, me)
        if client_id:
            decisions.remember_key(con, undo_id, found["instruction_id"], me, client_id)
        return undos.as_reversal(con, found)

    return database.write(change, lane="decision")


def redo(
    database: Database,
    annotator: str = DEFAULT_ANNOTATOR,
    decision_id: int | None = None,
    *,
    curator: bool = False,
    client_id: str = "",
) -> Reversal | None:
    """Make stand again what the annotator's newest undo took back of their own, unless they decided something since, or
    the undone decision of that id; returns the new, equal one, or None when there is none. It stands where the undone
    one stood: what its annotator decided later stays. `client_id` as for `undo`.

    Raises BadInputError for an id that is no decision of theirs or is not undone, and for what a curator alone may do.
    """
    check_typed(annotator, _NAME)
    me = annotator or DEFAULT_ANNOTATOR

    def change(con: Connection) -> Reversal | None:
        if client_id and (known := undos.reversed_by_key(con, me, client_id, redo=True)):
            return undos.as_reversal(con, known)
        if decision_id is None:
            found = undos.newest_undone(con, me, last_words=curator)
        else:
            found = _find_own(con, decision_id, me, curator)
            if found["undo_id"] is None or found["redone"]:
                raise BadInputError("This decision is not undone, or was redone since: there is nothing to redo.")
        if found is None:
            return None
        if not curator and found["undone_by"] != me:
            raise BadInputError("A curator took this decision back: decide the item anew.")
        if not curator and found["role"]:
            raise BadInputError("The last word on an item is a curator's: decide it as your own vote.")
        redone = decisions.read_decision(con, undos.restore(con, found, me))
        if client_id:
            decisions.remember_key(con, redone["decision_id"], redone["instruction_id"], me, client_id)
        return undos.as_reversal(con, redone)

    return database.write(change, lane="decision")


def _find_own(con: Connection, decision_id: int, me: str, curator: bool) -> dict:
    """Others' are refused like those that are not there: who judges blind learns nothing of them."""
    found = undos.find_decision(con, decision_id)
    if found is None or found["revokes"] is not None or (found["annotator"] != me and not curator):
        raise BadInputError("There is no such decision of yours: look at the item's history again.")
    if found["reason"] == IMPORTED:
        raise BadInputError("This vote came with a file and is not undone here: decide the item to overrule it.")
    return found


def add_edit(database: Database, instruction_id: int, text: str, annotator: str = DEFAULT_ANNOTATOR) -> Candidate:
    """Keep an answer that a human wrote as a candidate; a text that is one already is that one.

    Raises BadInputError for an empty or over-long text.
    """
    check_typed(annotator, _NAME)
    text = text.strip()
    if not text:
        raise BadInputError("The edited answer is empty: write one, or press Esc to keep the old one.")
    check_typed(text, "The edited answer")
    if len(text) > MAX_ANSWER_CHARACTERS:
        raise BadInputError(f"The edited answer has {len(text):,} characters: shorten it to {MAX_ANSWER_CHARACTERS:,}.")

    def change(con: Connection) -> Candidate:
        if not instructions.exists(con, instruction_id):
            raise BadInputError(f"There is no instruction {instruction_id}: reload the page.")
        candidate_id = candidates.add_human(con, instruction_id, text, annotator or DEFAULT_ANNOTATOR)
        found = candidates_of(con, [instruction_id], selections.latest_selection(con))
        return as_candidate(next(row for row in found[instruction_id] if row["candidate_id"] == candidate_id), {})

    # In the lane of the sampler's answers: an equal text arriving at this moment must not become a second candidate.
    return database.write(change, lane="bulk")
