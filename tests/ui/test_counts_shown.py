"""Counts on the page count what is there, wherever it came from."""

import json

from m3po.settings import TrainConfig
from ui.data_view import draw_workspace
from ui.review.view import draw_item
from ui.train_view import draw_preview


def test_imported_candidates_are_counted_with_their_instructions(studio, tmp_path):
    rows = [{"id": f"bare{i}", "images": ["0.png"], "instruction": f"bare {i}", "split": "train"} for i in range(2)]
    (tmp_path / "bare.jsonl").write_text("".join(json.dumps(row | {"candidates": []}) + "\n" for row in rows))
    assert studio.import_source(tmp_path / "bare.jsonl").added == 2
    status = studio.status()
    assert (status["answered_instructions"], status["answered_train"], status["sampled_instructions"]) == (3, 3, 0)
    assert "<b>12</b>" in draw_workspace(status) and ">of 3 instructions<" in draw_workspace(status)
    scored = status | {"scored_candidates": 12, "selection": {"id": 1}}
    assert "2 instructions have no answers yet" in draw_workspace(scored)
    assert "have no answers" not in draw_workspace(scored | {"answered_train": 5})


def test_candidates_are_other_ones_only_beside_a_pair_or_half_of_one(studio):
    item = studio.review_item()
    assert ">4 candidates<" in draw_item(item)["review-candidates"]
    assert ">3 other candidates<" in draw_item(item, {"chosen": item.candidates[0].id})["review-candidates"]
    studio.decide(item.instruction.id, "override", chosen=item.candidates[0].id, rejected=item.candidates[1].id)
    assert ">2 other candidates<" in draw_item(studio.review_item())["review-candidates"]


def test_where_reviewers_disagree_is_reviewed_and_counted_beside_it(studio):
    item = studio.review_item()
    one, other = item.candidates[0].id, item.candidates[1].id
    studio.decide(item.instruction.id, "override", chosen=one, rejected=other, annotator="ann")
    preview = studio.train_preview(TrainConfig(policy="/nowhere"))
    assert "<b>1 / 3</b>" in draw_workspace(studio.status()) and "disagree" not in draw_workspace(studio.status())
    assert preview["human"] == 1 and "Left out" not in draw_preview(preview)
    studio.decide(item.instruction.id, "override", chosen=other, rejected=one, annotator="bob")
    preview = studio.train_preview(TrainConfig(policy="/nowhere"))
    assert "<b>1 / 3</b>" in draw_workspace(studio.status()) and "1 disagree" in draw_workspace(studio.status())
    assert preview["human"] == 0 and "reviewers disagree" in draw_preview(preview)
