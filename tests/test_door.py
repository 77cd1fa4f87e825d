"""Who may do what, and under whose name."""

import inspect
from collections.abc import Callable

import pytest
from workspaces import ANN, BOB, BY_ID, VIC, make_selected

from m3po import door
from m3po.browsing import Browsing
from m3po.calibration import Calibration
from m3po.door import Door, acting_as
from m3po.errors import NotAllowedError
from m3po.guidelines import Guidelines
from m3po.jobs.comparing.comparisons import Comparisons
from m3po.jobs.planning.dependence import Dependence
from m3po.jobs.planning.preflights import Preflights
from m3po.jobs.playground.playground import Playground
from m3po.jobs.results.judging import Judging
from m3po.jobs.results.lineages import Lineages
from m3po.jobs.results.result_reports import ResultReports
from m3po.jobs.results.side_by_side import SideBySide
from m3po.people import People
from m3po.studio import Studio
from m3po.users import OWNER


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_selected(tmp_path_factory.mktemp("made"), 8)


PARTS = {
    "people": People, "browsing": Browsing, "calibration": Calibration, "dependence": Dependence,
    "guideline": Guidelines, "preflight": Preflights, "sides": SideBySide, "lineage": Lineages,
    "comparisons": Comparisons, "playground": Playground, "judging": Judging, "reports": ResultReports,
}  # fmt: skip


def use_cases_of_parts() -> dict[str, Callable]:
    return {
        f"{part}.{name}": use_case
        for part, kind in PARTS.items()
        for name, use_case in inspect.getmembers(kind, inspect.isfunction)
        if name[0] != "_"
    }


def test_every_use_case_says_who_may_call_it():
    """One that is in no set is the curators' alone: this test makes whoever adds it decide."""
    own = {name for name in dir(Studio) if not name.startswith("_")} - {"open", "create", "close", "as_user"}
    told = set(use_cases_of_parts())
    inside = {"is_last_word", "own_overview"}  # the door calls them
    wanted = own | told - {f"people.{name}" for name in inside}
    kinds = (door.LOOK, door.DECIDE, door.CURATE)
    assert wanted | {"path", "made_at", "config"} == set().union(*kinds)
    assert sum(map(len, kinds)) == len(set().union(*kinds))


def test_nothing_that_takes_a_name_is_stored_under_the_one_of_who_runs_the_app_alone():
    def signed_by_default(use_case) -> list[str]:
        given = inspect.signature(use_case).parameters.values()
        return [parameter.name for parameter in given if parameter.default == OWNER.name]

    assert PARTS.keys() == door.PARTS
    found = {name: signed_by_default(use_case) for name, use_case in use_cases_of_parts().items()}
    signed = {name: [parameter] for name, parameter in door._SIGNED.items()} | {"people.count_flagged": []}
    assert signed == {name: found[name] for name in signed}
    assert {name for name, parameters in found.items() if parameters} <= signed.keys()
    for name, use_case in inspect.getmembers(Studio, inspect.isfunction):
        assert not signed_by_default(use_case) or name in vars(Door), name  # there it is the caller's


@pytest.mark.parametrize("user", [VIC, ANN])
def test_what_is_the_curators_is_refused_in_one_sentence_before_anything_happens(studio, user):
    own = studio.as_user(user)
    for name in sorted(door.CURATE):
        part, _, method = name.rpartition(".")
        with pytest.raises(
            NotAllowedError, match=rf"^{user.name} is an? {user.role} here, and only a curator may .*\.$"
        ):
            getattr(getattr(own, part) if part else own, method)()
    for name in ("db", "workspace", "runner", "server_runs", "review_index", "as_user", "close", "something_new"):
        with pytest.raises(NotAllowedError):
            getattr(own, name)
    assert studio.runs() == [] and studio.people.assignments() == []


def test_a_viewer_looks_and_changes_nothing(studio):
    own = studio.as_user(VIC)
    item = own.review_item(BY_ID)
    assert item.machine_pair and item.candidates[0].mas is not None and own.status()["pairs"] == 8
    for change in (lambda: own.decide(1, "accept"), own.undo, lambda: own.add_edit(1, "text")):
        with pytest.raises(NotAllowedError, match="vic is a viewer here, and only an annotator or a curator"):
            change()
    assert studio.history(1) == []


def test_nobody_known_may_nothing_and_a_decision_is_under_the_callers_name(studio):
    own = Door(studio)
    for ask in (lambda: own.status(), lambda: own.review_item(BY_ID), lambda: own.path, lambda: own.people.overview()):
        with pytest.raises(NotAllowedError, match="Log in first"):
            ask()
    with acting_as(ANN):
        own.decide(1, "tie", annotator="bob", role="adjudicated", blind=True)
        own.add_edit(1, "written by ann", annotator="bob")
        assert own.undo(annotator="cora").annotator == "ann"
        own.decide(1, "tie")
    with acting_as(BOB), pytest.raises(NotAllowedError):
        own.start_export("x")
    with acting_as(BOB):
        assert own.undo(annotator="ann") is None  # nobody undoes another's
    with acting_as(OWNER):
        assert [(d.annotator, d.role, d.blind) for d in own.history(1)][-1] == ("ann", "", False)


def test_a_decision_sent_again_is_found_by_who_made_it_alone(studio):
    key = "a-key-of-the-page"
    made = studio.as_user(ANN).decide(1, "tie", client_id=key)
    assert studio.as_user(ANN).decide(1, "tie", client_id=key).id == made.id and len(studio.history(1)) == 1
    assert studio.as_user(ANN).stored_decision(1, "bob", key).id == made.id
    assert studio.as_user(BOB).stored_decision(1, "ann", key) is None


def test_an_annotator_sees_her_own_figures_alone(studio):
    for user in (ANN, BOB):
        studio.as_user(user).decide(1, "accept" if user is ANN else "tie")
    found = studio.as_user(ANN).people.overview()
    assert [row["annotator"] for row in found["people"]] == ["ann"]
    assert not found["kappas"] and not found["disputes"] and "bob" not in str(found)
    assert len(studio.as_user(VIC).people.overview()["people"]) == 2
