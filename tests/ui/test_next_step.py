"""What the page says is to be done next, as things stand."""

from workspaces import Answer, add_answers, add_instruction, make_workspace

from m3po.store import runs
from m3po.studio import Studio
from m3po.types import ReviewView
from ui.data_view import draw_workspace
from ui.formatting import reason
from ui.review.empty import why_empty

TWO = [Answer("a red boat", 0.9, -2.0), Answer("a car", 0.1, -1.0)]


def test_what_was_scored_after_the_selection_is_to_be_selected_again(tmp_path):
    studio = Studio.open(make_workspace(tmp_path, n=2))
    try:
        waiting = studio.db.write(lambda con: add_instruction(con, "late"))
        studio.select()
        assert studio.review_item(None, waiting).no_pair_reason == "no_candidates"
        assert studio.status()["scored_since"] == 0 and "answers yet" in draw_workspace(studio.status())
        bare = [Answer(answer.text, None, None) for answer in TWO]
        ids = studio.db.write(lambda con: add_answers(con, waiting, bare))
        assert studio.status()["scored_since"] == 0
        assert "2 answers lack a MAS or a log-prob" in draw_workspace(studio.status())
        studio.db.write(lambda con: con.execute(f"DELETE FROM candidates WHERE candidate_id IN ({ids[0]}, {ids[1]})"))
        studio.db.write(lambda con: add_answers(con, waiting, TWO))
        unknown = studio.db.write(lambda con: add_instruction(con, "later"))
        studio.db.write(lambda con: add_answers(con, unknown, TWO))
        for late in (waiting, unknown):
            why = studio.review_item(None, late).no_pair_reason
            assert "was not scored when the pairs were picked" in reason(why)
        assert studio.status()["scored_since"] == 2
        assert "2 instructions were not scored when the pairs were picked" in draw_workspace(studio.status())
        studio.select()
        assert studio.status()["scored_since"] == 0 and "look at the pairs" in draw_workspace(studio.status())
    finally:
        studio.close()


def test_before_the_first_answer_nothing_can_be_reviewed(studio):
    status = studio.status()
    at_work = status | {"runs": [{"state": "running", "kind": "sample"}]}
    assert "can be reviewed already" in draw_workspace(at_work)
    assert "reviewed already" not in draw_workspace(at_work | {"candidates": 0})


def test_an_empty_review_says_what_is_at_work_and_what_comes_next(studio):
    studio.runner.close()  # what is queued stays so
    for kind in ("sample", "score"):
        studio.db.write(lambda con, kind=kind: runs.add_run(con, kind, {}, ""))
    told = why_empty(studio, ReviewView())
    assert told["waiting"] and "Now: Sample, then Score." in told["text"] and "picked" in told["text"]
