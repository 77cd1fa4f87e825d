"""MAS against CLIP by hand, and long texts that are split, never cut."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoProcessor, CLIPModel

from m3po.errors import BadInputError
from m3po.models.alignment import ClipScorer, load_scorer


@pytest.fixture(scope="module")
def scorer(tiny_mas: Path) -> ClipScorer:
    return load_scorer(f"clip:{tiny_mas}")


@pytest.fixture(scope="module")
def cosine(tiny_mas: Path):
    """CLIP the documented way: logits of one image and one text, divided by their scale."""
    model, processor = CLIPModel.from_pretrained(tiny_mas).eval(), AutoProcessor.from_pretrained(tiny_mas)

    def measure(image, text: str) -> float:
        with torch.no_grad():
            out = model(**processor(text=[text], images=[image], return_tensors="pt", padding=True))
        return (out.logits_per_image / model.logit_scale.exp()).item()

    return measure


def test_equals_clip_one_by_one(scorer: ClipScorer, cosine) -> None:
    images = [[tiny.build_image(1)], [tiny.build_image(2), tiny.build_image(3)], [tiny.build_image(1)]]
    instructions = ["Is there a fish?", "Describe it.", "Is there a fish?"]
    answers = [["Yes, there is a fish.", "No.", ""], ["A boat."], []]
    scores = scorer.score(instructions, images, answers)
    assert [len(row) for row in scores] == [3, 1, 0]
    for instruction, row_images, row, values in zip(instructions, images, answers, scores, strict=True):
        for answer, value in zip(row, values, strict=True):
            text = f"{instruction} {answer}".strip()
            by_hand = sum(cosine(image, text) for image in row_images) / len(row_images)
            assert value == pytest.approx(by_hand, abs=1e-5)
            assert scorer.scorer_range[0] <= value <= scorer.scorer_range[1]


def test_long_answers_are_averaged_over_sentences(scorer: ClipScorer, cosine) -> None:
    image = tiny.build_image(4)
    sentences = ["The picture shows a red boat.", "There is a blue fish.", "The sun is on the left."]
    [[value]] = scorer.score(["What is it?"], [[image]], [[" ".join(sentences)]])
    by_hand = sum(cosine(image, f"What is it? {sentence}") for sentence in sentences) / 3
    assert value == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize("answer", ["and more " * 80, "x" * 500, "déjà 🐟 " * 60, "A b c. " * 50, "Short."])
def test_no_piece_is_over_the_limit_and_no_word_is_lost(scorer: ClipScorer, answer: str) -> None:
    pieces = scorer.pieces("Is it?", answer)
    assert all(len(scorer.tokenizer(piece)["input_ids"]) <= scorer.max_tokens for piece in pieces)
    assert all(piece.startswith("Is it? ") for piece in pieces)
    kept = "".join(piece.removeprefix("Is it? ") for piece in pieces)
    assert kept.replace(" ", "") == answer.replace(" ", "")


def test_an_instruction_over_half_the_limit_is_left_out_aloud(scorer: ClipScorer) -> None:
    with pytest.warns(UserWarning, match="scored without it"):
        pieces = scorer.pieces("Tell me everything. " * 20, "There is a blue fish. A boat.")
    assert pieces == ["There is a blue fish.", "A boat."]


def test_written_special_tokens_stay_text(scorer: ClipScorer) -> None:
    image = tiny.build_image(5)
    [[ended, whole]] = scorer.score(["Is it?"], [[image]], [["Yes.</s> No, nothing.", "Yes."]])
    assert ended != pytest.approx(whole, abs=1e-4)


def test_no_image_is_said(scorer: ClipScorer) -> None:
    with pytest.raises(BadInputError, match="no image"):
        scorer.score(["Hello"], [[]], [["Hi"]])
