"""Groups by meaning: joining against a plain search, embeddings against the models by hand, a judge asked both ways."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, CLIPModel

from m3po.errors import ModelError, UsageError
from m3po.models.grouping import group_by_judge, group_by_vectors, join, load_embedder, load_grouper
from m3po.scorer_spec import Grouper, map_grouper, parse_grouper
from m3po.text import build_messages

TEXTS = ["There is a fish.", "A red boat.", "There is a blue fish and a very long sun on the left of the house.", "No."]


PLACES = st.integers(1, 9).flatmap(
    lambda n: st.tuples(
        st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=12)
    )
)  # fmt: skip


@given(PLACES, st.randoms())
def test_what_is_joined_is_one_group_in_any_order(task: tuple[int, list], random) -> None:
    count, pairs = task
    for a in range(count):  # a search by hand: everything that can be walked to
        seen, todo = {a}, [a]
        while todo:
            here = todo.pop()
            new = {y for x, y in [*pairs, *((q, p) for p, q in pairs)] if x == here} - seen
            seen |= new
            todo += new
        assert join(count, pairs)[a] == min(seen)
    mixed = [pair[:: random.choice((1, -1))] for pair in random.sample(pairs, len(pairs))]
    assert join(count, mixed) == join(count, pairs)


def test_near_vectors_are_joined() -> None:
    angles = torch.tensor([0.0, 90.0, 10.0, 95.0, 20.0]).deg2rad()
    vectors = torch.stack([angles.cos(), angles.sin()], 1)
    assert group_by_vectors(vectors, 0.98) == [0, 1, 0, 1, 0]  # 0 and 20 degrees through 10
    assert group_by_vectors(vectors, 0.999) == [0, 1, 2, 3, 4]


def test_a_clip_text_part_embeds(tiny_mas: Path) -> None:
    vectors = load_embedder(str(tiny_mas))(TEXTS)
    model, tokenizer = CLIPModel.from_pretrained(tiny_mas).eval(), AutoTokenizer.from_pretrained(tiny_mas)
    for text, vector in zip(TEXTS, vectors, strict=True):
        inputs = tokenizer([text], return_tensors="pt")
        if inputs["input_ids"].shape[1] > 40:
            assert text == TEXTS[2]  # read in pieces
            continue
        with torch.no_grad():
            by_hand = model.get_text_features(**inputs).pooler_output[0]
        assert torch.allclose(vector, by_hand / by_hand.norm(), atol=1e-5)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(4))


def test_an_encoder_embeds_by_the_mean_of_its_tokens(tmp_path: Path) -> None:
    tokenizer = tiny.build_tokenizer(wrap=True, max_length=64)
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=64, max_position_embeddings=64)  # fmt: skip
    torch.manual_seed(0)
    BertModel(config).eval().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    vectors = load_embedder(str(tmp_path))(TEXTS)
    model = AutoModel.from_pretrained(tmp_path).eval()
    for text, vector in zip(TEXTS, vectors, strict=True):
        with torch.no_grad():
            inputs = tokenizer([text], return_tensors="pt")
            by_hand = model(inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state[0].mean(0)
        assert torch.allclose(vector, by_hand / by_hand.norm(), atol=1e-5)
    with pytest.warns(UserWarning, match="reads 64 tokens"):
        load_embedder(str(tmp_path))(["far too long " * 60])


class Judge:
    """Says yes where the second answer's words are all in the first."""

    def ask(self, questions, images):
        assert images == [[]]
        told = []
        for [message] in questions[0]:
            text = message["content"][0]["text"]
            one, other = (text.split(f"Answer {n}: ")[1].split("\n")[0].split() for n in (1, 2))
            told.append(0.9 if set(other) <= set(one) else 0.1)
        return [told]


def test_a_judge_must_say_so_in_both_directions() -> None:
    answers = ["a red boat", "boat", "boat a red", "no", "red a boat"]
    assert group_by_judge(Judge(), build_messages("What?", 1), answers) == [0, 1, 0, 3, 0]


@pytest.mark.filterwarnings("ignore:.*as a judge means little")
def test_a_real_judge_answers(tiny_policy: Path, tiny_mas: Path) -> None:
    same = load_grouper(f"judge:{tiny_policy}")(build_messages("What?", 1), TEXTS)
    assert len(same) == 4 and all(first <= place for place, first in enumerate(same))
    assert load_grouper(f"embed:{tiny_mas},threshold=0.0001")(build_messages("What?", 1), ["a b", "a b"]) == [0, 0]


def test_groupers_are_named() -> None:
    assert parse_grouper("off") is None
    assert parse_grouper("embed:a/b") == Grouper("embed", "a/b", 0.9)
    assert parse_grouper("embed:a/b,threshold=0.75").text == "embed:a/b,threshold=0.75"
    assert map_grouper("judge:a", lambda name: f"/x/{name}") == "judge:/x/a" and map_grouper("off", str) == "off"
    for text in ("clip:a", "embed:", "a", "embed:a,threshold=2", "embed:a,threshold=x"):
        with pytest.raises(UsageError):
            parse_grouper(text)
    with pytest.raises(ModelError, match="does not exist"):
        load_grouper("embed:./nowhere")
