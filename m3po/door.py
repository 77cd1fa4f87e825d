"""Who may do what: a Studio as one person may use it. Nothing that the page asks goes past here.

Handlers of the page are public endpoints. The page is therefore built on a `Door`, which looks at each call who makes
it and lets nothing through that the table below does not name: a use case that somebody adds is the curators' until it
says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any

from m3po.errors import NotAllowedError
from m3po.neighbours import Neighbours
from m3po.types import Candidate, Decision, ReviewItem, ReviewView
from m3po.users import ROLES, User

# The least role for each use case; whatever is not here, is for curators. The names are Studio's, and "part.name" for
# those of an object that it holds.
LOOK = frozenset({
    "status", "scorers", "runs", "run", "run_metrics", "run_log", "run_warnings", "results", "result_samples", "image",
    "thumbnail_path", "review_item", "find_instruction", "history", "current_select", "default_sample", "default_score",
    "default_train", "own_models", "local_policy", "train_preview", "path", "config", "people.overview",
    "review_neighbours", "cancel_search", "source_names", "token_beliefs",
    "browsing.look", "browsing.negatives", "dependence.active", "dependence.gaps", "dependence.survivors",
    "dependence.tests", "dependence.report",
})  # fmt: skip
DECIDE = frozenset({"decide", "stored_decision", "undo", "add_edit"})
CURATE = frozenset({
    "import_source", "preview_import", "start_import", "start_sample", "start_score", "start_scoring", "start_select",
    "select", "use_scorer", "start_pipeline", "start_pilot", "start_demo", "stop_run", "resume_run", "start_train",
    "start_evaluate", "export", "start_export", "people.assign", "people.set_overlap", "people.mark_gold",
    "people.unmark_gold", "people.write_history", "people.assignments", "warm_up",
    "start_dependence", "dependence.start", "calibration.current", "calibration.what_if", "calibration.apply",
    "calibration.report", "calibration.accept_above", "calibration.accept_none", "calibration.draw_audit",
})  # fmt: skip
# What tells of single items, by score or by what others decided: not for an annotator who is to judge blind.
TELLS = frozenset(
    {"train_preview", "token_beliefs"} | {name for name in LOOK if name.startswith(("browsing.", "dependence."))}
)
PARTS = frozenset(name.split(".")[0] for name in LOOK | DECIDE | CURATE if "." in name)
BLIND_FILTERS = frozenset({"all", "unreviewed", "reviewed", "flagged", "mine"})

_caller: ContextVar[User | None] = ContextVar("caller", default=None)


def current_user() -> User | None:
    """Whose request this thread or task works on; None where nobody is known, and then nothing is allowed."""
    return _caller.get()


@contextmanager
def acting_as(user: User | None) -> Iterator[None]:
    """For the time of a request, or while the page is laid out: who it is."""
    token = _caller.set(user)
    try:
        yield
    finally:
        _caller.reset(token)


def least_role(name: str) -> str:
    return "viewer" if name in LOOK else "annotator" if name in DECIDE else "curator"


class Door:
    """A Studio for whoever `who` says is calling: Studio's own use cases, each checked, items as that person may see
    them, and every decision under that person's name."""

    def __init__(self, studio: Any, who: Callable[[], User | None] = current_user) -> None:
        self._studio = studio
        self._who = who

    @property
    def user(self) -> User:
        """Raises NotAllowedError where nobody is logged in."""
        user = self._who()
        if user is None:
            raise NotAllowedError("Log in first: reload the page.")
        return user

    def check(self, name: str) -> User:
        """Who is calling; raises NotAllowedError, in one sentence, where they may not."""
        user, least = self.user, least_role(name)
        if ROLES.index(user.role) < ROLES.index(least):
            who = "only a curator" if least == "curator" else "only an annotator or a curator"
            raise NotAllowedError(f"{user.name} is {_named(user.role)} here, and {who} may do this.")
        if name in TELLS and self._studio.people.is_blind(user):
            raise NotAllowedError("This tells of single items, which you are to judge without it: vote first.")
        return user

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in PARTS:
            return _Part(self, name, getattr(self._studio, name))
        self.check(name)
        return getattr(self._studio, name)

    # ---- what depends on who asks -----------------------------------------------------------------------------

    def review_item(
        self, view: ReviewView | None = None, instruction_id: int | None = None, move: int = 0, client: str = ""
    ) -> ReviewItem | None:
        user = self.check("review_item")
        view = self.view_of(user, view or ReviewView())
        item = self._studio.review_item(view, instruction_id, move, client=_own_client(user, client))
        return self._studio.people.shown_to(user, item)

    def review_neighbours(self, view: ReviewView, instruction_id: int, **counts: int) -> Neighbours:
        user = self.check("review_neighbours")
        around = self._studio.review_neighbours(self.view_of(user, view), instruction_id, **counts)
        return self._studio.people.neighbours_shown_to(user, around)

    def cancel_search(self, client: str) -> bool:
        return self._studio.cancel_search(_own_client(self.check("cancel_search"), client))

    def view_of(self, user: User, view: ReviewView) -> ReviewView:
        """The view that this person gets: a queue is always one's own, and who judges blind walks by id, through what
        she decided herself: an order would tell her the scores. Raises NotAllowedError where she narrows the view by
        what is hidden from her."""
        blind = self._studio.people.is_blind(user)
        if blind and (
            view.ranges or view.area or view.survived or view.tag or view.reason or (view.search and _in_answers(view))
        ):
            raise NotAllowedError("You judge blind: take out the filters on scores, reasons, tags and answers' texts.")
        if view.filter == "mine":
            return replace(view, order="id", annotator=user.name)
        if blind:
            name = view.filter if view.filter in BLIND_FILTERS else "all"
            return ReviewView(
                name, "id", view.search, view.search_in, view.source, annotator="" if name == "all" else user.name
            )
        if user.role == "annotator":  # what others decided, she sees item by item, when she may
            own = user.name if view.annotator or view.reason else ""
            return replace(view, filter="all" if view.filter == "disagreements" else view.filter, annotator=own)
        return view

    def decide(self, instruction_id: int, verdict: str, *, adjudicate: bool = False, **options: Any) -> Decision:
        """`adjudicate`: a curator's last word, as is every decision of hers on an item that has one."""
        user = self.check("decide")
        options["annotator"] = user.name
        options["role"] = ""
        if user.role == "curator" and (adjudicate or self._studio.people.is_adjudicated(instruction_id)):
            options["role"] = "adjudicated"
        options["blind"] = self._studio.people.was_hidden(user, instruction_id)
        return self._studio.decide(instruction_id, verdict, **options)

    def stored_decision(self, instruction_id: int, annotator: str, client_id: str) -> Decision | None:
        return self._studio.stored_decision(instruction_id, self.check("stored_decision").name, client_id)

    def undo(self, annotator: str = "") -> Decision | None:
        return self._studio.undo(annotator=self.check("undo").name)

    def add_edit(self, instruction_id: int, text: str, annotator: str = "") -> Candidate:
        return self._studio.add_edit(instruction_id, text, annotator=self.check("add_edit").name)

    def history(self, instruction_id: int) -> list[Decision]:
        return self._studio.people.history(self.check("history"), instruction_id)


# Under whose name it is stored: the argument of each that takes one.
_SIGNED = {
    "assign": "created_by", "set_overlap": "changed_by", "mark_gold": "curator", "unmark_gold": "curator",
    "accept_above": "annotator", "accept_none": "annotator", "draw_audit": "annotator",
}  # fmt: skip


class _Part:
    """An object that the Studio holds, through the same door."""

    def __init__(self, door: Door, name: str, part: Any) -> None:
        self._door, self._name, self._part = door, name, part

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        user = self._door.check(f"{self._name}.{name}")
        if (self._name, name) == ("people", "overview") and user.role == "annotator":
            return partial(self._part.own_overview, user.name)
        found = getattr(self._part, name)
        if self._name == "browsing":
            return lambda view, *more, **options: found(self._door.view_of(user, view), *more, **options)
        return partial(found, **{_SIGNED[name]: user.name}) if name in _SIGNED else found


def _own_client(user: User, client: str) -> str:
    """Nobody gives up a search of another's."""
    return f"{user.name} {client}" if client else ""


def _in_answers(view: ReviewView) -> bool:
    """They may be others' own answers, and that an item has one tells that it was decided."""
    return view.search_in != "instructions"


def _named(role: str) -> str:
    return f"an {role}" if role[0] in "aeiou" else f"a {role}"
