"""Judges against a plain forward of the Hugging Face model, with and without a shared image."""

from __future__ import annotations

from pathlib import Path

import architectures
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForImageTextToText, AutoProcessor

from m3po.errors import ModelError
from m3po.models.alignment import load_scorer
from m3po.models.judges import ClaimsScorer, VqaScorer
from m3po.models.policy import Policy
from m3po.models.yes_no import YesNo, yes_no_tokens
from m3po.text import build_messages, split_claims
from m3po.types import Turn

QUESTION = "Is this answer right for this image and instruction? Answer yes or no."
ANSWERS = ["Yes, there is a fish.", "No.", "", "There is a red boat beside it, and a very long green fish."]

# Random weights say neither yes nor no, and the judge warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:.*as a judge means little")


@pytest.fixture(scope="module")
def scorer(tiny_policy: Path) -> VqaScorer:
    return load_scorer(f"vqa:{tiny_policy}")


def ask_plainly(folder: Path, text: str, images: list) -> float:
    """P(yes) by the model's own documented call: template, processor, one forward, softmax, and the token forms."""
    model, processor = AutoModelForImageTextToText.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    content = [{"type": "image"}] * len(images) + [{"type": "text", "text": text}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(
        text=[prompt], images=[images] if images else None, return_tensors="pt", add_special_tokens=False
    )
    inputs.pop("labels", None)
    with torch.no_grad():
        probabilities = model(**inputs).logits[0, -1].double().softmax(-1)
    vocabulary = processor.tokenizer.get_vocab()

    def mass(word: str) -> float:
        forms = {form for w in (word, word.title(), word.upper()) for form in (w, f"Ġ{w}")}
        ids = {vocabulary[form] for form in forms if form in vocabulary}
        assert ids, "the tiny tokenizer has a token for the word"
        return float(probabilities[sorted(ids)].sum())

    return mass("yes") / (mass("yes") + mass("no"))


def test_equals_a_plain_forward(scorer: VqaScorer, tiny_policy: Path) -> None:
    images = [[tiny.build_image(1)], [tiny.build_image(2), tiny.build_image(3)], []]
    prompts = [build_messages("What is it?", 1), build_messages("Both?", 2), build_messages("Hello!", 0)]
    answers = [ANSWERS, ["A boat."], ["Hi", "Ho"]]
    judged = scorer.score(prompts, images, answers)
    bare = QUESTION.replace("this image and instruction", "this instruction")
    for instruction, seen, row, values in zip(["What is it?", "Both?", "Hello!"], images, answers, judged, strict=True):
        for answer, value in zip(row, values, strict=True):
            text = f"Instruction: {instruction}\nAnswer: {answer}\n{QUESTION if seen else bare}"
            assert value.score == pytest.approx(ask_plainly(tiny_policy, text, seen), abs=1e-5)
            assert 0 <= value.score <= 1 and value.minimum is None
    assert len({round(value.score, 5) for row in judged for value in row}) == 7


def test_the_image_runs_through_the_model_once(scorer: VqaScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, image_features = [], type(scorer.judge.core.model.model).get_image_features

    def count(self, pixel_values, *args, **kwargs):
        seen.append(len(pixel_values))
        return image_features(self, pixel_values, *args, **kwargs)

    monkeypatch.setattr(type(scorer.judge.core.model.model), "get_image_features", count)
    scorer.score([build_messages("What is it?", 1)], [[tiny.build_image(1)]], [[*ANSWERS, *ANSWERS]])
    assert sum(seen) == 1


@pytest.mark.parametrize("name", ["paligemma", "gemma3", "idefics3"])
def test_other_architectures_equal_one_by_one(name: str, tmp_path: Path) -> None:
    """Also where a prompt is read in both directions, so that nothing of it may be shared."""
    policy = Policy.load(architectures.BUILDERS[name](tmp_path))
    judge = YesNo(policy)
    image = tiny.build_image(5)
    questions = [build_messages(f"Answer: {answer}\n{QUESTION}", 1) for answer in ANSWERS]
    [together] = judge.ask([questions], [[image]])
    for question, value in zip(questions, together, strict=True):
        with torch.no_grad():
            logits = policy.core.prefill([policy.chat.render_prompt(question)], [[image]]).logits
        mass = logits[0].double().softmax(-1)
        yes, no = float(mass[judge.yes].sum()), float(mass[judge.no].sum())
        assert value == pytest.approx(yes / (yes + no), abs=1e-4)


def test_an_adapter_judges_differently(scorer: VqaScorer, tiny_policy: Path, tiny_adapter: Path) -> None:
    adapted = load_scorer(f"vqa:{tiny_policy},adapter={tiny_adapter}")
    task = ([build_messages("What is it?", 1)], [[tiny.build_image(1)]], [["A boat."]])
    assert adapted.score(*task)[0][0].score != pytest.approx(scorer.score(*task)[0][0].score, abs=1e-4)


def test_what_was_said_before_is_part_of_the_question(scorer: VqaScorer, tiny_policy: Path) -> None:
    messages = build_messages("And now?", 1, system="Be kind.", turns=[Turn("user", "Hi"), Turn("assistant", "Yo")])
    image = tiny.build_image(1)
    [[value]] = scorer.score([messages], [[image]], [["A boat."]])
    text = f"System: Be kind.\nUser: Hi\nAssistant: Yo\nInstruction: And now?\nAnswer: A boat.\n{QUESTION}"
    assert value.score == pytest.approx(ask_plainly(tiny_policy, text, [image]), abs=1e-5)


def test_claims_are_asked_one_by_one(tiny_policy: Path) -> None:
    claims: ClaimsScorer = load_scorer(f"claims:{tiny_policy}")
    answer = "There is a red boat; it swims. The sun is very yellow and the sea is blue."
    image = tiny.build_image(1)
    [[value, nothing]] = claims.score([build_messages("Describe it.", 1)], [[image]], [[answer, " ... "]])
    texts = ["There is a red boat", "it swims.", "The sun is very yellow", "the sea is blue."]
    assert [claim.text for claim in value.claims] == texts
    question = QUESTION.replace("this answer", "this part")
    for claim in value.claims:
        text = f"Instruction: Describe it.\nPart of an answer: {claim.text}\n{question}"
        assert claim.p_yes == pytest.approx(ask_plainly(tiny_policy, text, [image]), abs=1e-5)
        assert claim.upheld == (claim.p_yes >= 0.5)
    assert value.score == sum(claim.upheld for claim in value.claims) / 4
    assert nothing.score == 0.0 and nothing.claims == ()


@pytest.mark.parametrize(
    ("answer", "claims"),
    [
        ("A boat.", ["A boat."]),
        ("It is black and white.", ["It is black and white."]),
        ("The boat is red, and the fish is blue.", ["The boat is red", "the fish is blue."]),
        ("It lies between the red boat and the white house.", ["It lies between the red boat and the white house."]),
        ("One thing here; - ; Another!\nA third", ["One thing here", "Another!", "A third"]),
        ("A b c and d e f and g h i", ["A b c", "d e f", "g h i"]),
        ("", []),
    ],
)
def test_how_an_answer_is_cut_into_claims(answer: str, claims: list[str]) -> None:
    assert split_claims(answer) == claims


@given(st.lists(st.sampled_from(["and", "boat", "red;", "is.", "between", ",", "Both", "é"]), max_size=30))
def test_no_word_of_an_answer_is_lost_but_and(words: list[str]) -> None:
    def bare(text: str) -> list[str]:
        letters = "".join(c if c.isalnum() else " " for c in text)
        return [word for word in letters.split() if word != "and"]

    assert bare(" ".join(split_claims(" ".join(words)))) == bare(" ".join(words))


def test_every_form_of_the_words_counts() -> None:
    class Words:
        all_special_ids = (9,)

        def get_vocab(self):
            words = ("▁Yes", "Yes", "ĠYES", "yesterday", "▁no", "No", "NO.", "not", "yes", "no")
            return {word: n for n, word in enumerate(words)}

    assert yes_no_tokens(Words(), "x") == ([0, 1, 2, 8], [4, 5])  # 9 is special


def test_a_tokenizer_that_cannot_tell_yes_from_no_is_refused() -> None:
    class Bytes:
        all_special_ids = ()

        def get_vocab(self):
            return {"a": 0}

        def __call__(self, text, **_):
            return {"input_ids": [0]}

    with pytest.raises(ModelError, match="cannot be a judge"):
        yes_no_tokens(Bytes(), "x")


def test_a_judge_that_says_neither_is_warned_about(tiny_policy: Path) -> None:
    with pytest.warns(UserWarning, match="as a judge means little"):
        load_scorer(f"vqa:{tiny_policy}").score([build_messages("Hi", 0)], [[]], [["Ho"]])
