"""MAS against CLIP by hand, and long texts that are split, never cut."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoProcessor, CLIPModel, SiglipModel

from m3po.errors import BadInputError, ModelError
from m3po.models.alignment import load_scorer
from m3po.models.contrastive import ClipScorer, SiglipScorer
from m3po.text import build_messages


def ask(scorer, instructions: list[str], images: list, answers: list) -> list[list]:
    prompts = [build_messages(text, len(row)) for text, row in zip(instructions, images, strict=True)]
    return scorer.score(prompts, images, answers)


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
    scores = ask(scorer, instructions, images, answers)
    assert [len(row) for row in scores] == [3, 1, 0]
    for instruction, row_images, row, values in zip(instructions, images, answers, scores, strict=True):
        for answer, value in zip(row, values, strict=True):
            text = f"{instruction} {answer}".strip()
            by_hand = sum(cosine(image, text) for image in row_images) / len(row_images)
            assert value.score == pytest.approx(by_hand, abs=1e-5) and value.minimum is None
            assert scorer.scorer_range[0] <= value.score <= scorer.scorer_range[1]


def test_long_answers_are_averaged_over_sentences(scorer: ClipScorer, cosine) -> None:
    image = tiny.build_image(4)
    sentences = ["The picture shows a red boat.", "There is a blue fish.", "The sun is on the left."]
    [[value]] = ask(scorer, ["What is it?"], [[image]], [[" ".join(sentences)]])
    by_hand = [cosine(image, f"What is it? {sentence}") for sentence in sentences]
    assert value.score == pytest.approx(sum(by_hand) / 3, abs=1e-5)
    assert value.minimum == pytest.approx(min(by_hand), abs=1e-5)


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
    [[ended, whole]] = ask(scorer, ["Is it?"], [[image]], [["Yes.</s> No, nothing.", "Yes."]])
    assert ended.score != pytest.approx(whole.score, abs=1e-4)


def test_no_image_is_said(scorer: ClipScorer) -> None:
    with pytest.raises(BadInputError, match="no image"):
        ask(scorer, ["Hello"], [[]], [["Hi"]])


# ---- SigLIP ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_siglip(tmp_path_factory.mktemp("models") / "siglip")


@pytest.fixture(scope="module")
def siglip(tiny_siglip: Path) -> SiglipScorer:
    return load_scorer(f"siglip:{tiny_siglip}")


@pytest.fixture(scope="module")
def probability(tiny_siglip: Path):
    """SigLIP the documented way: the sigmoid of its own logits, the text padded to the whole length."""
    model, processor = SiglipModel.from_pretrained(tiny_siglip).eval(), AutoProcessor.from_pretrained(tiny_siglip)

    def measure(image, text: str) -> float:
        inputs = processor(text=[text], images=[image], padding="max_length", max_length=24, return_tensors="pt")
        inputs.pop("attention_mask", None)  # the released tokenizers give none
        with torch.no_grad():
            return torch.sigmoid(model(**inputs).logits_per_image).item()

    return measure


def test_siglip_equals_its_own_logits(siglip: SiglipScorer, probability) -> None:
    images = [[tiny.build_image(1)], [tiny.build_image(2), tiny.build_image(3)]]
    answers = [["Yes, a fish.", "No."], ["A boat."]]
    scores = ask(siglip, ["Is it?", "What?"], images, answers)
    for instruction, row_images, row, values in zip(["Is it?", "What?"], images, answers, scores, strict=True):
        for answer, value in zip(row, values, strict=True):
            by_hand = [probability(image, f"{instruction} {answer}") for image in row_images]
            assert value.score == pytest.approx(sum(by_hand) / len(by_hand), abs=1e-5)
    assert len({round(v.score, 4) for row in scores for v in row}) == 3  # the fixture tells answers apart
    assert siglip.scorer_range == (0.0, 1.0)


def test_siglip_splits_what_is_over_its_limit(siglip: SiglipScorer, probability) -> None:
    image = tiny.build_image(4)
    sentences = ["The picture shows a red boat.", "There is a blue fish.", "A sun."]
    [[value]] = ask(siglip, ["What?"], [[image]], [[" ".join(sentences)]])
    by_hand = [probability(image, f"What? {sentence}") for sentence in sentences]
    assert value.score == pytest.approx(sum(by_hand) / 3, abs=1e-5)
    assert value.minimum == pytest.approx(min(by_hand), abs=1e-5)


def test_the_config_says_which_it_is(tiny_siglip: Path, tiny_mas: Path, tiny_policy: Path) -> None:
    assert type(load_scorer(tiny_siglip)) is SiglipScorer and type(load_scorer(tiny_mas)) is ClipScorer
    with pytest.raises(ModelError, match=f"holds a siglip model: write siglip:{tiny_siglip}"):
        load_scorer(f"clip:{tiny_siglip}")
    with pytest.raises(ModelError, match="write vqa:"):
        load_scorer(tiny_policy)
