"""What each key of the review page does: one command in, one answer out, nothing kept.

The page sends what it shows (instruction, pair, selection) with every command, so a decision is about what the
annotator saw. The answer comes after the commit. The page may be further by then: what goes on to the next item is sent
in the background (`lean`), and is answered with no more than that it is stored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from m3po.deciding import DEFAULT_ANNOTATOR
from m3po.errors import NotAllowedError
from m3po.studio import Studio
from m3po.types import TRAINING_VERDICTS, Reversal, ReviewItem, ReviewView
from ui.framed import say_error
from ui.review.answers import draw_answer, read_deck
from ui.review.commands import Command, LoginError, PageError, StaleError, read_command
from ui.review.empty import why_empty
from ui.review.history import draw_history

MAX_BATCH = 50
VERDICT_KEYS = frozenset({"skip", "tie", "all_wrong", "all_right", "bad_question", "flag"})
STAYING = frozenset({"mark", "swap", "edit", "reason", "note", "tag", "untag"})  # the others go on to the next item
DECIDING = STAYING | {"accept", *VERDICT_KEYS}
LOOKING = frozenset({"open", "show", "next", "previous", "jump", "cancel", "sources", "history"})  # the others write
CHANGED = "The pick or the candidates changed since this was drawn: look at it again, then decide."
SHRINKING = frozenset({"unreviewed", "audit", "mine", "disagreements"})  # views that a decided item leaves
MAX_EDIT = 20_000  # characters


class ReviewHandler:
    """Commands of the review page on one Studio."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self._ops = {
            "open": self._open,
            "show": self._show,
            "next": lambda c: self._move(c, 1),
            "previous": lambda c: self._move(c, -1),
            "jump": self._jump,
            "accept": self._accept,
            "mark": self._mark,
            "swap": self._swap,
            "edit": self._edit,
            "undo": self._undo,
            "redo": self._redo,
            "history": self._history,
            "reason": lambda c: self._remark(c, reason=c.reason),
            "note": lambda c: self._remark(c, note=c.note),
            "tag": lambda c: self._tag(c, withdrawn=False),
            "untag": lambda c: self._tag(c, withdrawn=True),
            "cancel": lambda c: {"cancelled": self.studio.cancel_search(c.client)},
            "sources": lambda c: self._names(),
            "gold": self._gold,
            **dict.fromkeys(VERDICT_KEYS, self._verdict),
        }

    def on_command(self, data: object, annotator: str = "") -> dict:
        """The page's next state as JSON; `error` is set, and nothing has moved, when the command failed.

        `batch` takes `commands`, in their order, and answers each; its `deck` asks for the items around one.
        """
        if isinstance(data, dict) and data.get("op") == "batch":
            commands = data["commands"][:MAX_BATCH] if isinstance(data.get("commands"), list) else []
            answers = [self._run(command, annotator) for command in commands]
            return {"answers": answers, "deck": self._run(data["deck"], annotator) if data.get("deck") else None}
        return self._run(data, annotator)

    def _run(self, data: object, annotator: str) -> dict:
        try:
            command = read_command(data, annotator)
            if command.op == "deck":
                return self._deck(command, data)
            if command.op not in self._ops:
                raise PageError(f"The page asked for {command.op!r}, which does not exist; reload it.")
            return self._obey(command)
        except LoginError as error:  # the page keeps it for who decided it (ui/static/outbox.js)
            return {"error": str(error), "level": "hint", "login": error.login}
        except PageError as error:
            return {"error": str(error), "level": "hint"}
        except Exception as error:
            return {"error": say_error(error, "review", data), "level": "error"}

    def _obey(self, command: Command) -> dict:
        deciding = command.op in DECIDING
        if command.op not in LOOKING:
            self._check_login(command)
        try:
            return self._ops[command.op](command)
        except PageError as error:
            # what is stored already may well look as if it had been decided elsewhere
            if deciding and (answer := self._known(command)):
                return answer
            if not isinstance(error, StaleError):
                raise
            fresh = self._answer(command, self.studio.review_item(command.view, command.instruction_id))
            return {**fresh, "error": str(error), "level": "hint"}

    # What is shown

    def _open(self, c: Command) -> dict:
        """Where one left off: in the own queue, else at the first item that nobody decided; the first of the view where
        all are decided."""
        queue = dataclasses.replace(c, view=ReviewView("mine", c.view.order, annotator=c.annotator))
        plain = dataclasses.replace(c.view, order=ReviewView().order) == ReviewView()
        if plain and (first := self.studio.review_item(queue.view)) is not None:
            return self._answer(queue, first) | {"filter": "mine"}
        unreviewed = dataclasses.replace(c.view, filter="unreviewed")
        waiting = self.studio.review_item(unreviewed, client=c.client) if c.view.filter == "all" else None
        start = waiting.instruction.id if waiting else None
        return self._answer(c, self.studio.review_item(c.view, start, client=c.client))

    def _show(self, c: Command) -> dict:
        item = self.studio.review_item(c.view, c.instruction_id, client=c.client)
        if item is None and c.instruction_id is not None:
            item = self.studio.review_item(c.view, client=c.client)
        return self._answer(c, item)

    def _move(self, c: Command, step: int) -> dict:
        item = self.studio.review_item(c.view, c.instruction_id, move=step if c.instruction_id is not None else 0)
        if item is not None and item.instruction.id == c.instruction_id:
            end = "This is the last one of this view." if step > 0 else "This is the first one of this view."
            return self._answer(c, item, message=end, keep_pending=True)
        return self._answer(c, item)

    def _jump(self, c: Command) -> dict:
        wanted = c.text.strip()
        found = self.studio.find_instruction(wanted) if wanted else None
        if found is None:
            raise PageError(f"No instruction has the id {wanted[:80]!r}." if wanted else "Type an id to jump to.")
        return self._answer(c, self.studio.review_item(c.view, found))

    def _names(self) -> dict:
        """What a view can be narrowed to, and a tag chosen from."""
        reasons = list(self.studio.guideline.current().reasons)
        try:
            runs = self.studio.lineage.runs()
        except NotAllowedError:  # what runs did tells what others decided
            runs = []
        names = {"sources": self.studio.source_names(), "tags": self.studio.tag_names()}
        return {**names, "reasons": reasons, "runs": runs}

    def _deck(self, c: Command, data: Mapping) -> dict:
        if c.instruction_id is None:
            raise PageError("Nothing is shown that something could lie around.")
        return read_deck(self.studio, c.view, c.instruction_id, data.get("known"), self._me(c))

    # Decisions

    def _check_login(self, c: Command) -> None:
        """Another tab of the browser may have logged in as somebody else: what one did is not done by the other."""
        me = self._me(c)
        if not c.by or c.by == me:
            return
        if c.op in DECIDING:
            raise LoginError(f"This was decided by {c.by}, and {me} is logged in now: it was not stored.", c.annotator)
        raise LoginError(
            f"This page was {c.by}'s, and {me} is logged in now: nothing was changed; reload it.", c.annotator
        )

    def _known(self, c: Command) -> dict | None:
        """The answer to a decision that is stored already: its first answer was lost on the way."""
        if not c.client_id or c.instruction_id is None:
            return None
        stored = self.studio.stored_decision(c.instruction_id, self._me(c), c.client_id)
        if stored is None:
            return None
        if c.op in STAYING:
            return self._again(c)
        return self._after(c, self.studio.review_item(c.view, c.instruction_id))

    def _accept(self, c: Command) -> dict:
        item = self._shown(c)
        if item.pair is None and item.machine_pair is None:
            raise PageError("There is no pair to accept: make one chosen and one rejected, or decide otherwise.")
        pair, decision = item.pair or item.machine_pair, item.decision
        mine = decision is not None and decision.annotator == self._me(c)
        stands = mine and decision.verdict in TRAINING_VERDICTS and not decision.stale
        # what is disputed is to get the last word there
        stands = stands and not (decision.disagreeing and c.view.filter == "disagreements")
        stands = stands and c.reason in ("", decision.reason) and c.note in ("", decision.note)
        if not (stands and (decision.chosen, decision.rejected) == (pair.chosen, pair.rejected)):
            self._store(c, item, pair.chosen, pair.rejected)
        return self._after(c, item)

    def _verdict(self, c: Command) -> dict:
        item = self._shown(c)
        self._decide(c, item, c.op, None, None)
        return self._after(c, item)

    def _mark(self, c: Command) -> dict:
        """Make a candidate chosen or rejected. A full pair is stored at once; half a pair waits on the page."""
        item = self._shown(c)
        if not c.role or c.candidate_id not in {candidate.id for candidate in item.candidates}:
            raise PageError("There is no such candidate here.")
        other_role = "rejected" if c.role == "chosen" else "chosen"
        if item.pair is not None:
            roles = {"chosen": item.pair.chosen, "rejected": item.pair.rejected}
            if roles[c.role] == c.candidate_id:
                return self._answer(c, item, message=f"It is the {c.role} one already.")
            if roles[other_role] == c.candidate_id:  # the present other side: they change places
                roles[other_role] = roles[c.role]
            roles[c.role] = c.candidate_id
        else:
            roles = {role: i for role, i in c.pending.items() if i != c.candidate_id}
            roles[c.role] = c.candidate_id
            if len(roles) < 2:
                return self._answer(c, item, pending=roles)
        self._store(c, item, roles["chosen"], roles["rejected"])
        return self._again(c)

    def _swap(self, c: Command) -> dict:
        item = self._shown(c)
        if item.pair is None:
            if c.pending:
                flipped = {("rejected" if r == "chosen" else "chosen"): i for r, i in c.pending.items()}
                return self._answer(c, item, pending=flipped)
            raise PageError("There is no pair to swap: make one answer chosen and another rejected.")
        self._store(c, item, item.pair.rejected, item.pair.chosen)
        return self._again(c)

    def _edit(self, c: Command) -> dict:
        item = self._shown(c)
        text = c.text.strip()
        if not text:
            raise PageError("An empty answer cannot be chosen: write one, or press Esc.")
        if len(text) > MAX_EDIT:
            raise PageError(f"The answer has {len(text):,} characters: shorten it to {MAX_EDIT:,}.")
        candidate = self.studio.add_edit(item.instruction.id, text, annotator=c.annotator)
        pair = item.pair
        if pair is not None and candidate.id == pair.chosen:
            return self._answer(c, item, message="The text is unchanged.")
        rejected = pair.rejected if pair else c.pending.get("rejected", c.candidate_id)
        if rejected not in {known.id for known in item.candidates}:
            rejected = None
        if pair is not None and candidate.id == rejected:
            rejected = pair.chosen
        if rejected is None or rejected == candidate.id:
            return self._again(c, pending={"chosen": candidate.id})
        self._store(c, item, candidate.id, rejected)
        return self._again(c)

    def _remark(self, c: Command, **said: str) -> dict:
        """A reason or a note with what one has decided here."""
        item = self._shown(c)
        self.studio.remark(item.instruction.id, **said, annotator=c.annotator, client_id=c.client_id)
        return self._stay(c)

    def _tag(self, c: Command, *, withdrawn: bool) -> dict:
        """On the item, whatever stands on it: set twice it is set once."""
        if c.instruction_id is None:
            raise PageError("Nothing is shown that a tag could be put on.")
        self.studio.set_tag(c.instruction_id, c.text, withdrawn=withdrawn, annotator=c.annotator)
        return self._stay(c)

    def _undo(self, c: Command) -> dict:
        decision = self.studio.undo(annotator=c.annotator, decision_id=c.of, client_id=c.client_id)
        if decision is None:
            raise PageError("There is nothing to undo.")
        return self._answer_about(c, "Undone", decision)

    def _redo(self, c: Command) -> dict:
        decision = self.studio.redo(annotator=c.annotator, decision_id=c.of, client_id=c.client_id)
        if decision is None:
            raise PageError("There is nothing to redo: nothing was undone since your latest decision.")
        return self._answer_about(c, "Redone", decision)

    def _answer_about(self, c: Command, done: str, decision: Reversal) -> dict:
        """The item of a decision that was undone or redone, wherever it is."""
        item = self.studio.review_item(c.view, decision.instruction_id)
        told = "its reason or note" if decision.remark else decision.verdict.replace("_", " ")
        words = f"{decision.annotator}'s " * (decision.annotator != self._me(c)) + told
        later = ", but a later decision stands" * decision.replaced
        return self._answer(c, item, message=f"{done}: {words}{later}.")

    def _history(self, c: Command) -> dict:
        item = self.studio.review_item(c.view, c.instruction_id) if c.instruction_id is not None else None
        if item is None:
            raise PageError("Nothing is shown that could have a history.")
        past = self.studio.history(item.instruction.id)
        return {"history": draw_history(item, past, self._me(c))}

    def _gold(self, c: Command) -> dict:
        """Make what stands the known right decision, or take that back."""
        item = self._shown(c)
        if item.gold == c.gold:
            return self._again(c) | {
                "message": "It is a gold item already." if c.gold else "It is no gold item any more."
            }
        if not c.gold:
            self.studio.people.unmark_gold(item.instruction.id)
            return self._again(c) | {"message": "No gold item any more; the decision stays."}
        self.studio.people.mark_gold(item.instruction.id)
        return self._again(c) | {"message": "A gold item now: this decision is final, and others are measured by it."}

    # Helpers

    def _shown(self, c: Command) -> ReviewItem:
        """The item the command is meant for; refused when it is no longer what the page shows."""
        item = None
        if c.instruction_id is not None and c.lean and c.op not in STAYING:  # only that it is stored is answered
            item = next(iter(self.studio.review_items(None, [c.instruction_id])), None)
        elif c.instruction_id is not None:
            item = self.studio.review_item(c.view, c.instruction_id)
        if item is None:
            raise PageError("Nothing is shown that could be decided.")
        shown = (item.pair.chosen, item.pair.rejected) if item.pair else (None, None)
        if shown != (c.chosen, c.rejected):
            raise StaleError(CHANGED)
        if c.knows_decision and c.decision_id != (item.decision.id if item.decision else None):
            raise StaleError("This item was decided elsewhere since it was drawn: look at it again, then decide.")
        return item

    def _store(self, c: Command, item: ReviewItem, chosen: int, rejected: int) -> None:
        """Stored as `accept` where the machine picked the same, else as `override` (m3po.deciding)."""
        self._decide(c, item, "override", chosen, rejected)

    def _decide(self, c: Command, item: ReviewItem, verdict: str, chosen: int | None, rejected: int | None) -> None:
        last_word = {"adjudicate": True} if c.view.filter == "disagreements" else {}
        self.studio.decide(
            item.instruction.id,
            verdict,
            chosen=chosen,
            rejected=rejected,
            annotator=c.annotator,
            seconds=c.seconds,
            reason=c.reason,
            note=c.note,
            selection_id=c.selection_id,
            client_id=c.client_id,
            **last_word,
        )

    def _after(self, c: Command, item: ReviewItem) -> dict:
        """The item after the one just decided; at the end of the view, what is left of it."""
        if c.lean:
            return {"stored": True}
        if item.next_id is not None:
            return self._answer(c, self.studio.review_item(c.view, item.next_id))
        if c.view.filter in SHRINKING:
            return self._answer(c, self.studio.review_item(c.view), message="That was the last one of this view.")
        return self._answer(
            c, self.studio.review_item(c.view, item.instruction.id), message="That was the last one of this view."
        )

    def _again(self, c: Command, pending: Mapping[str, int] | None = None) -> dict:
        return self._answer(c, self.studio.review_item(c.view, c.instruction_id), pending=pending)

    def _stay(self, c: Command) -> dict:
        """The same item, half a pair with it."""
        return self._answer(c, self.studio.review_item(c.view, c.instruction_id), keep_pending=True)

    def _answer(
        self,
        c: Command,
        item: ReviewItem | None,
        *,
        message: str = "",
        pending: Mapping[str, int] | None = None,
        keep_pending: bool = False,
    ) -> dict:
        unasked = c.op in ("open", "show") and c.instruction_id is None
        if item is None or (unasked and item.selection_id is None and not item.candidates):
            empty = why_empty(self.studio, c.view)
            return {"item": None, "parts": {}, "message": message, "empty": empty}
        same = item.instruction.id == c.instruction_id
        if pending is None:
            pending = c.pending if same and (keep_pending or c.op == "show") and item.pair is None else {}
        me = self._me(c)
        return {**draw_answer(item, pending, me, self.studio.guideline.current()), "message": message, "by": me}

    def _me(self, c: Command) -> str:
        return c.annotator or DEFAULT_ANNOTATOR
