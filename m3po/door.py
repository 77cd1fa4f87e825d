"""Who may do what: a Studio as one person may use it. Nothing that the page asks goes past here.

Handlers of the page are public endpoints. The page is therefore built on a `Door`, which looks at each call who makes
it and lets nothing through that the table below does not name: a use case that somebody adds is the curators' until it
says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from m3po import blind
from m3po.errors import NotAllowedError
from m3po.neighbours import Neighbours
from m3po.types import (
    ADJUDICATED,
    Candidate,
    Decision,
    PastDecision,
    Reversal,
    ReviewItem,
    ReviewView,
    Run,
    TokenBeliefs,
)
from m3po.users import ROLES, User

# The least role for each use case; whatever is not here, is for curators. The names are Studio's, and "part.name" for
# those of an object that it holds.
LOOK = frozenset({
    "status", "scorers", "runs", "run", "run_metrics", "count_metrics", "run_log", "run_warnings", "results",
    "result_samples", "image", "thumbnail_path", "review_item", "find_instruction", "history", "current_select",
    "default_sample", "default_score", "default_train", "own_models", "train_preview", "config", "people.overview",
    "people.count_flagged",
    "review_neighbours", "review_items", "cancel_search", "source_names", "tag_names", "token_beliefs",
    "browsing.look", "browsing.negatives", "dependence.active", "dependence.gaps", "dependence.survivors",
    "dependence.tests", "dependence.report", "calibration.current", "calibration.what_if", "calibration.report",
    "guideline.current", "guideline.version", "guideline.versions", "preflight.report", "preflight.findings",
    "sides.models", "sides.report", "lineage.runs", "lineage.read", "lineage.diff", "comparisons.report",
    "comparisons.numbers", "reports.read", "judging.report", "judging.newest", "judging.default_scorer",
})  # fmt: skip
DECIDE = frozenset({"decide", "remark", "set_tag", "stored_decision", "undo", "redo", "add_edit"})
CURATE = frozenset({
    "import_source", "preview_import", "start_import", "start_sample", "start_score", "start_scoring", "start_select",
    "select", "use_scorer", "start_pipeline", "start_pilot", "start_demo", "stop_run", "stop_training",
    "stop_everything",
    "resume_run", "start_train",
    "start_evaluate", "export", "start_export", "people.assign", "people.set_overlap", "people.mark_gold",
    "people.unmark_gold", "people.write_history", "people.assignments", "warm_up",
    "start_dependence", "dependence.start", "calibration.apply", "calibration.accept_above", "calibration.accept_none",
    "calibration.draw_audit", "guideline.write", "path", "made_at", "preflight.start", "preflight.exclude",
    "preflight.include", "emit_train", "absorb_train", "start_round", "export_adapter", "start_merge", "sides.next",
    "sides.again", "sides.vote", "comparisons.start", "comparisons.stop", "comparisons.resume", "comparisons.write",
    "playground.choices", "playground.upload", "playground.uploaded", "playground.item", "playground.next_heldout",
    "playground.ask", "playground.look", "playground.stop", "playground.release",
    "reports.write", "judging.start", "build_pope",
})  # fmt: skip
# What tells of single items, by score or by what others decided: not for an annotator who is to judge blind.
TELLS = frozenset(
    {"train_preview"}
    | {name for name in LOOK if name.startswith(("browsing.", "dependence.", "calibration.", "preflight.", "lineage."))}
)
# What tells what others decided on single items: not for an annotator while assigned items, gold or not, wait for her.
DECIDED = frozenset(
    {"train_preview"} | {name for name in LOOK if name.startswith(("calibration.", "preflight.", "lineage."))}
)
# What may name the workspace's folder, as in a run's command: it is told as its last part to all but curators.
NAMES_FOLDER = frozenset({
    "status", "runs", "run", "run_log", "run_warnings", "results", "scorers", "config", "own_models", "default_sample",
    "default_score", "default_train", "train_preview", "preflight.report", "preflight.findings", "sides.models",
    "sides.report", "lineage.read", "lineage.diff", "comparisons.report", "reports.read", "judging.report",
    "judging.newest", "judging.default_scorer",
})  # fmt: skip
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
        if name in TELLS and self._studio.sight.is_blind(user):
            raise NotAllowedError("This tells of single items: it is not shown while you judge blind.")
        if name in DECIDED and self._studio.sight.is_alone(user):
            raise NotAllowedError("This tells what others decided: it is not shown while assigned items wait for you.")
        return user

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in PARTS:
            return _Part(self, name, getattr(self._studio, name))
        user = self.check(name)
        return self._told(user, name, getattr(self._studio, name))

    def _told(self, user: User, name: str, found: Any) -> Any:
        """What a use case answers, or is, without where the workspace lies."""
        if user.role == "curator" or name not in NAMES_FOLDER:
            return found
        folder = self._studio.path
        if callable(found):
            return lambda *given, **options: _without(found(*given, **options), folder)
        return _without(found, folder)

    # ---- what depends on who asks -----------------------------------------------------------------------------

    def review_item(
        self, view: ReviewView | None = None, instruction_id: int | None = None, move: int = 0, client: str = ""
    ) -> ReviewItem | None:
        user = self.check("review_item")
        view = self.view_of(user, view or ReviewView())
        item = self._studio.review_item(view, instruction_id, move, client=_own_client(user, client))
        item = self._studio.sight.shown_to(user, item)
        return replace(item, fixed_order=True) if item and view.filter == "mine" else item

    def review_items(self, view: ReviewView | None, instruction_ids: Sequence[int]) -> list[ReviewItem]:
        user = self.check("review_items")
        found = self._studio.review_items(view and self.view_of(user, view), instruction_ids)
        return self._studio.sight.all_shown_to(user, found)

    def review_neighbours(self, view: ReviewView, instruction_id: int, **counts: int) -> Neighbours:
        user = self.check("review_neighbours")
        around = self._studio.review_neighbours(self.view_of(user, view), instruction_id, **counts)
        return self._studio.sight.neighbours_shown_to(user, around)

    def status(self) -> dict:
        user = self.check("status")
        return self._studio.sight.status_shown_to(user, self._told(user, "status", self._studio.status)())

    # Runs tell that somebody wrote an answer, for which one is started, and their logs and warnings name single items:
    # there are none for an annotator from whom that is hidden.

    def runs(self, *given: Any, **options: Any) -> list[Run]:
        return self._unless_alone("runs", [], *given, **options)

    def run(self, run_id: int) -> Run:
        found = self._unless_alone("run", None, run_id)
        if found is None:
            raise NotAllowedError("Runs may tell what others wrote: none is shown while assigned items wait for you.")
        return found

    def run_metrics(self, run_id: int, most: int = 0) -> dict[str, list[tuple[int, float | None]]]:
        return self._unless_alone("run_metrics", {}, run_id, most)

    def count_metrics(self, run_id: int) -> int:
        return self._unless_alone("count_metrics", 0, run_id)

    def run_warnings(self, run_id: int) -> list[str]:
        return self._unless_alone("run_warnings", [], run_id)

    def run_log(self, run_id: int, lines: int = 40) -> str:
        return self._unless_alone("run_log", "", run_id, lines)

    def _unless_alone(self, name: str, nothing: Any, *given: Any, **options: Any) -> Any:
        """What the use case answers, or `nothing` to an annotator who is alone with her items."""
        user = self.check(name)
        if self._studio.sight.is_alone(user):
            return nothing
        return self._told(user, name, getattr(self._studio, name))(*given, **options)

    def results(self) -> list[dict]:
        """Without how many pairs people decided, to an annotator who is alone with her items."""
        user = self.check("results")
        found = self._told(user, "results", self._studio.results)()
        return [blind.own_result(row) for row in found] if self._studio.sight.is_alone(user) else found

    def scorers(self) -> list[dict]:
        """Without how many answers each scored, where others' are among them."""
        user = self.check("scorers")
        found = self._told(user, "scorers", self._studio.scorers)()
        return [row | {"candidates": 0} for row in found] if self._studio.sight.is_alone(user) else found

    def token_beliefs(self, instruction_ids: list[int]) -> list[TokenBeliefs]:
        user = self.check("token_beliefs")
        told = self._studio.token_beliefs(instruction_ids)
        return self._studio.sight.beliefs_shown_to(user, instruction_ids, told)

    def cancel_search(self, client: str) -> bool:
        return self._studio.cancel_search(_own_client(self.check("cancel_search"), client))

    def view_of(self, user: User, view: ReviewView) -> ReviewView:
        """The view that this person gets: a queue is always one's own, and who judges blind walks by id, through what
        she decided herself: an order would tell her the scores. Raises NotAllowedError where she narrows the view by
        what is hidden from her."""
        blind = self._studio.sight.is_blind(user)
        alone = blind or self._studio.sight.is_alone(user)
        narrowed = view.ranges or view.area or view.survived or view.tag or view.reason or view.run
        if blind and (narrowed or (view.search and _in_answers(view))):
            raise NotAllowedError(
                "You judge blind: take out the filters on scores, reasons, tags, runs and answers' texts."
            )
        if alone and view.search and _in_answers(view):
            raise NotAllowedError("Assigned items wait for you: search in instructions; answers may be others' own.")
        if alone and view.run:  # its pairs are what people decided
            raise NotAllowedError("Assigned items wait for you: take out the filter on a run's pairs.")
        if view.filter == "mine":
            return replace(view, order="id", annotator=user.name)
        if blind:
            name = view.filter if view.filter in BLIND_FILTERS else "all"
            return ReviewView(
                name, "id", view.search, view.search_in, view.source, annotator="" if name == "all" else user.name
            )
        if user.role == "annotator":  # what others decided, she sees item by item, when she may
            own = user.name if alone or view.annotator or view.reason or view.tag else ""
            return replace(view, filter="all" if view.filter == "disagreements" else view.filter, annotator=own)
        return view

    def decide(self, instruction_id: int, verdict: str, *, adjudicate: bool = False, **options: Any) -> Decision:
        """`adjudicate`: a curator wants the last word, which she has where voters disagree; see People.is_last_word."""
        user = self.check("decide")
        options["annotator"] = user.name
        options["role"] = ""
        if user.role == "curator" and self._studio.people.is_last_word(instruction_id, asked=adjudicate):
            options["role"] = ADJUDICATED
        options["blind"] = self._studio.sight.was_hidden(user, instruction_id)
        return self._studio.decide(instruction_id, verdict, **options)

    def remark(self, instruction_id: int, **options: Any) -> Decision:
        user = self.check("remark")
        own = {"annotator": user.name, "curator": user.role == "curator"}
        return self._studio.remark(instruction_id, **(options | own))

    def set_tag(self, instruction_id: int, name: str, *, withdrawn: bool = False, **_: Any) -> None:
        """A curator takes off whatever stands; others what they gave themselves."""
        user = self.check("set_tag")
        of_all = user.role == "curator"
        self._studio.set_tag(instruction_id, name, withdrawn=withdrawn, annotator=user.name, of_all=of_all)

    def tag_names(self, annotator: str = "") -> list[str]:
        """To choose from; who is not to see what others say has her own alone."""
        user = self.check("tag_names")
        return self._studio.tag_names(user.name if self._studio.sight.is_alone(user) else "")

    def stored_decision(self, instruction_id: int, annotator: str, client_id: str) -> Decision | None:
        return self._studio.stored_decision(instruction_id, self.check("stored_decision").name, client_id)

    def undo(self, annotator: str = "", decision_id: int | None = None, *, client_id: str = "") -> Reversal | None:
        user = self.check("undo")
        return self._studio.undo(user.name, decision_id, curator=user.role == "curator", client_id=client_id)

    def redo(self, annotator: str = "", decision_id: int | None = None, *, client_id: str = "") -> Reversal | None:
        user = self.check("redo")
        return self._studio.redo(user.name, decision_id, curator=user.role == "curator", client_id=client_id)

    def add_edit(self, instruction_id: int, text: str, annotator: str = "") -> Candidate:
        user = self.check("add_edit")
        answer = self._studio.add_edit(instruction_id, text, annotator=user.name)
        return self._studio.sight.answer_shown_to(user, instruction_id, answer)

    def history(self, instruction_id: int) -> list[PastDecision]:
        return self._studio.sight.history(self.check("history"), instruction_id)


# Under whose name it is stored, or about whom it is: the argument of each that takes one.
_SIGNED = {
    "people.assign": "created_by", "people.set_overlap": "changed_by", "people.mark_gold": "curator",
    "people.unmark_gold": "curator", "people.count_flagged": "annotator", "calibration.accept_above": "annotator",
    "calibration.accept_none": "annotator", "calibration.draw_audit": "annotator", "guideline.write": "author",
    "preflight.exclude": "annotator", "preflight.include": "annotator", "sides.next": "annotator",
    "sides.again": "annotator", "sides.vote": "annotator", "playground.ask": "asked_by",
}  # fmt: skip

# What lists pairs with their texts and scores or what people decided, and of which items what it answers does.
_LISTS: dict[str, Callable[[Any], list[int]]] = {
    "browsing.negatives": lambda found: [each.instruction_id for each in found[1]],
    "calibration.what_if": lambda found: [each["instruction_id"] for each in found["items"]],
    "preflight.findings": lambda found: [each["instruction_id"] for each in found["pairs"]],
    "playground.item": lambda found: [found.id],  # its answers there have scores
    "playground.next_heldout": lambda found: [found.id],
}


class _Part:
    """An object that the Studio holds, through the same door."""

    def __init__(self, door: Door, name: str, part: Any) -> None:
        self._door, self._name, self._part = door, name, part

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        whole = f"{self._name}.{name}"
        user = self._door.check(whole)
        if whole == "people.overview" and user.role == "annotator":
            return partial(self._part.own_overview, user.name)
        found = self._door._told(user, whole, getattr(self._part, name))
        if whole in _LISTS:
            found = partial(self._note_listed, user, found, _LISTS[whole])
        if self._name == "browsing":
            return lambda view, *more, **options: found(self._door.view_of(user, view), *more, **options)
        if whole in _SIGNED:
            return lambda *given, **options: found(*given, **{**options, _SIGNED[whole]: user.name})
        return found

    def _note_listed(self, user: User, ask: Callable, listed: Callable, *given: Any, **options: Any) -> Any:
        found = ask(*given, **options)
        self._door._studio.sight.note_shown(user, listed(found))
        return found


def _without(value: Any, folder: Path) -> Any:
    """The same with the name of `folder` in the place of its path, in every text that is in it."""
    if isinstance(value, str):
        for path, name in ((_quoted(folder), _quoted(folder.name)), (str(folder), folder.name)):
            value = value.replace(path, name)
        return value
    if isinstance(value, dict):
        return {key: _without(each, folder) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_without(each, folder) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        inside = {each.name: getattr(value, each.name) for each in fields(value)}
        told = _without(inside, folder)
        return value if told == inside else replace(value, **told)
    return value


def _quoted(path: Path | str) -> str:
    """As within the quotes of shlex.quote, with which a command writes it."""
    return str(path).replace("'", "'\"'\"'")


def _own_client(user: User, client: str) -> str:
    """Nobody gives up a search of another's."""
    return f"{user.name} {client}" if client else ""


def _in_answers(view: ReviewView) -> bool:
    """They may be others' own answers, and that an item has one tells that it was decided."""
    return view.search_in != "instructions"


def _named(role: str) -> str:
    return f"an {role}" if role[0] in "aeiou" else f"a {role}"
