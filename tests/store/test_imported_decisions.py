"""Votes of other tools are decisions like any other; a preference that a data set comes with is kept beside them."""

import datetime as dt

import pytest

from m3po.imported import ImportedDecision, ImportedRow, ImportReport
from m3po.jobs.transfer.importing import summary
from m3po.jobs.transfer.reading import BATCH, Ready
from m3po.settings import SelectConfig
from m3po.store import imports, instructions
from m3po.store.imports import add_batch, make_batch
from m3po.studio import Studio

AT = dt.datetime(2025, 3, 1, 12, 30)
GIVEN = ImportedDecision("override", 0, 1, annotator="rlaif_v", given=True)
ADA = ImportedDecision("override", 1, 0, "ada", AT, 12.5, "the boat is red")
BOB = ImportedDecision("tie", annotator="bob")


def row(id: str, *decisions: ImportedDecision, texts=("A red boat.", "A car.")) -> ImportedRow:
    ratings = tuple({"Helpfulness": float(n)} for n in range(len(texts)))
    return ImportedRow(
        "line 1", id, (), f"What is {id}?", split="train", candidates=texts, ratings=ratings, decisions=decisions
    )


@pytest.fixture
def studio(tmp_path):
    studio = Studio.open(Studio.create(tmp_path / "ws"))
    yield studio
    studio.close()


def store(studio, *rows):
    def change(con):
        source = instructions.source_name(con, studio.path / "file", "file")
        return add_batch(con, source, make_batch([(r, []) for r in rows], range(len(rows))))

    return studio.db.write(change)


def tables(studio):
    names = ("candidates", "ratings", "decisions", "given_preferences")
    return studio.db.read(lambda con: {n: con.execute(f"SELECT * FROM {n} ORDER BY ALL").fetchall() for n in names})


def test_a_vote_keeps_its_annotator_time_seconds_and_note(studio):
    store(studio, row("a", ADA, BOB))
    found = {d.annotator: d for d in studio.history(1)}
    ada = found["ada"]
    assert (ada.verdict, ada.at, ada.seconds, ada.note, ada.reason) == ("override", AT, 12.5, ADA.note, "imported")
    texts = {c.id: c.text for c in studio.review_item().candidates}
    assert (texts[ada.chosen], texts[ada.rejected]) == ("A car.", "A red boat.")
    assert found["bob"].verdict == "tie" and found["bob"].chosen is None
    status = studio.status()  # one of two: reviewed, but no majority, so nobody's decision trains
    assert (status["reviewed"], status["disagreeing"], status["human_pairs"]) == (1, 1, 0)
    assert status["decisions"] == {"disagree": 1}


def test_a_verdict_on_a_question_without_answers_is_stored(studio):
    store(studio, row("a", ImportedDecision("bad_question", annotator="bob", at=AT), texts=()))
    assert [(d.annotator, d.verdict, d.at) for d in studio.history(1)] == [("bob", "bad_question", AT)]


def test_what_comes_again_is_stored_once(studio):
    rows = (row("a", ADA, BOB, GIVEN), row("b", GIVEN))
    first = store(studio, *rows)
    before = tables(studio)
    assert [len(before[n]) for n in before] == [4, 4, 2, 2]
    again = store(studio, *rows)
    assert (first.added, again.added, again.already_there) == (2, 0, 2)
    assert tables(studio) == before
    store(studio, row("a", ADA, ImportedDecision("override", 0, 1, "ada", AT + dt.timedelta(days=1))))
    assert len(tables(studio)["decisions"]) == 3 and studio.review_item().decision.annotator in ("ada", "bob")


def test_an_older_vote_that_is_imported_late_does_not_outvote_a_newer_one_of_the_same_person(studio):
    store(studio, row("a"))
    c = studio.review_item().candidates
    studio.decide(1, "override", chosen=c[0].id, rejected=c[1].id, annotator="ada")
    store(studio, row("a", ADA))
    assert studio.review_item().decision.chosen == c[0].id and len(studio.history(1)) == 2


def test_a_given_preference_is_no_review_is_never_undone_and_trains_only_when_asked(studio):
    store(studio, row("a", GIVEN), row("b"))
    item = studio.review_item()
    assert item.given == (item.candidates[0].id, item.candidates[1].id) and item.decision is None
    status = studio.status()
    assert status["reviewed"] == 0 and status["curated_pairs"] == 0 and status["given"]["preferences"] == 1
    assert studio.undo("rlaif_v") is None and studio.undo() is None
    result = studio.select(SelectConfig(rule="given"))
    assert (result["pairs"], result["no_pair"]) == (1, {"no_given": 1})
    assert studio.status()["curated_pairs"] == 1 and studio.status()["reviewed"] == 0
    assert studio.select(SelectConfig())["pairs"] == 0
    studio.decide(1, "override", chosen=item.given[1], rejected=item.given[0])
    assert studio.status()["given"] | {"preferences": 1, "decided": 1, "reviewers_agree": 0} == studio.status()["given"]


def test_an_imported_vote_is_not_undone_by_its_namesake_here(studio):
    store(studio, row("a", ADA))
    assert studio.undo("ada") is None and len(studio.history(1)) == 1


def test_two_answers_that_are_one_candidate_make_no_pair(studio):
    store(studio, row("a", ADA, GIVEN, texts=("A boat.", " A  boat. ")))
    assert [d.verdict for d in studio.history(1)] == ["tie"]
    assert studio.review_item().given is None and len(studio.review_item().candidates) == 1


def test_a_batch_of_ten_thousand_rows_with_votes_is_set_based(studio):
    """Statements do not grow with the rows: DuckDB is asked the same number of times for 10 rows and for many."""
    asked = []

    class Counting:
        def __init__(self, con):
            self.con = con

        def __getattr__(self, name):
            asked.append(name)
            return getattr(self.con, name)

    counts = []
    for start, size in ((0, 10), (10, BATCH)):
        asked.clear()
        rows = [row(f"r{n}", ADA, GIVEN) for n in range(start, start + size)]
        batch = make_batch([(r, []) for r in rows], range(size))
        assert studio.db.write(lambda con, b=batch: imports.add_batch(Counting(con), "s", b)).added == size
        counts.append(len(asked))
    assert counts[0] == counts[1]
    assert studio.status()["reviewed"] == 10 + BATCH


def test_a_vote_dated_in_the_future_does_not_silence_who_decides_here(studio):
    future = dt.datetime(2099, 1, 1)
    store(studio, row("1", ImportedDecision("override", 1, 0, "me", at=future)))
    [id] = studio.db.read(lambda con: con.execute("SELECT instruction_id FROM instructions").fetchall())[0]
    first, second = [c.id for c in studio.review_item(instruction_id=id).candidates]
    assert studio.review_item(instruction_id=id).decision.chosen == second
    studio.decide(id, "override", chosen=first, rejected=second, annotator="me")
    assert studio.review_item(instruction_id=id).decision.chosen == first


def test_what_the_store_refuses_ends_with_a_full_stop(studio):
    ready = Ready(make_batch([], []), ["entry 1"], 1, False)
    [refused] = ready.all_refused(imports.BatchResult(refused=[(0, "its image would be in two splits")]))
    assert (refused.row, refused.reason) == ("entry 1", "its image would be in two splits.")


def test_the_votes_that_are_new_are_counted_by_annotator(studio):
    assert store(studio, row("a", ADA, BOB, GIVEN), row("b", ADA)).votes == {"ada": 2, "bob": 1}
    assert store(studio, row("a", ADA, BOB, GIVEN)).votes == {}
    said = summary(ImportReport("x", 2, 0, decisions=3, annotators=2))
    assert said == "2 rows went in, 3 decisions by 2 annotators came in."
