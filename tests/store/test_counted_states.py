"""What the page asks whether something is new: what is told as waiting, and what is read again."""

import pytest
from workspaces import FOUR, Answer, add_answers, add_instruction, make_workspace, open_database

from m3po.console import draw_dependence
from m3po.deciding import decide
from m3po.errors import BadInputError
from m3po.selection import RULES
from m3po.settings import SelectConfig
from m3po.store import candidates, dependence, selections
from m3po.store.instructions import Images
from m3po.store.items import Items
from m3po.studio import Studio


@pytest.fixture
def database(tmp_path):
    database = open_database(tmp_path)
    yield database
    database.close()


def test_an_answer_that_no_rule_may_pick_is_not_waited_for(database):
    def fill(con):
        add_answers(con, add_instruction(con, "1"), FOUR)
        return add_instruction(con, "2")

    def count(con):
        scorers = (candidates.active_scorer(con, kind) for kind in ("logp", "mas"))
        return selections.count_scored_since(con, selections.latest_selection(con), *scorers)

    bare = database.write(fill)
    database.write(lambda con: selections.create_selection(con, RULES["m3po"], SelectConfig()))
    database.write(lambda con: add_answers(con, bare, [Answer("by a person", 0.5, -1.0, origin="human")]))
    assert database.read(count) == 0
    database.write(lambda con: add_answers(con, bare, [Answer("by a model", 0.5, -1.0)]))
    assert database.read(count) == 1


def test_gaps_are_read_again_when_the_own_scores_come(database):
    """Scores with another image may be there before those with its own."""

    def fill(con):
        instruction = add_instruction(con, "1")
        ids = add_answers(con, instruction, [Answer("a", None, None), Answer("b", None, None)])
        con.execute("INSERT INTO given_preferences (instruction_id, verdict, chosen, rejected, annotator, imported_at)"
                    " VALUES (?, 'override', ?, ?, 'trl', now()::TIMESTAMP)", [instruction, *ids])  # fmt: skip
        selections.create_selection(con, RULES["given"], SelectConfig(rule="given"))
        blank = dependence.changed_scorer(con, "mas", "scorer", "scorer-1", "blank", 0)
        score(con, blank, ids)
        return ids

    def score(con, scorer, ids):
        rows = [[candidate_id, scorer, 1.0 / (n + 1)] for n, candidate_id in enumerate(ids)]
        con.executemany("INSERT INTO mas_scores (candidate_id, scorer_id, run_id, mas) VALUES (?, ?, 1, ?)", rows)

    def look(con):
        return dependence.state_of_gaps(con), len(dependence.read_gaps(con)["mas", "blank"].ids)

    ids = database.write(fill)
    before = database.read(look)
    database.write(lambda con: score(con, candidates.active_scorer(con, "mas"), ids))
    after = database.read(look)
    assert (before[1], after[1]) == (0, 1) and before[0] != after[0]


def test_the_mark_of_what_came_with_a_file_is_no_reason_for_a_person(database, tmp_path):
    database.write(lambda con: add_answers(con, add_instruction(con, "1"), FOUR))
    with pytest.raises(BadInputError, match="imported"):
        decide(database, Items(database, Images(tmp_path)), 1, "tie", reason="imported")
    assert database.read(lambda con: con.execute("SELECT count(*) FROM decisions").fetchall()) == [(0,)]


def test_a_mas_that_has_no_image_is_said_to_be_left_out(tmp_path):
    studio = Studio.open(make_workspace(tmp_path, n=1))
    try:
        assert studio.dependence.report()["left_out"] == ""
        rating = "column:Helpfulness"
        studio.db.write(lambda con: candidates.activate(con, "mas", candidates.scorer_id(con, "mas", rating, rating)))
        report = studio.dependence.report()
        assert report["left_out"].startswith(f"MAS is left out: {rating} is")
        assert report["left_out"] in draw_dependence(report)
    finally:
        studio.close()
