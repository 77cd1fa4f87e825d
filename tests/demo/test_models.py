"""The tracked model folders load offline, keep the chat template's promise, and see."""

import random
from pathlib import Path

import pytest
import torch
import transformers

from m3po.demo.language import ask_everything, mentioned_kinds
from m3po.demo.scenes import render_scene, sample_scene

DATA = Path(__file__).parents[2] / "data"
USER = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe the picture."}]}
SYSTEM = {"role": "system", "content": "Be brief."}
SCENES = [sample_scene(4_000_000 + i) for i in range(24)]


@pytest.fixture(scope="module")
def policy():
    processor = transformers.AutoProcessor.from_pretrained(DATA / "policy")
    model = transformers.AutoModelForImageTextToText.from_pretrained(DATA / "policy", dtype=torch.float32)
    return model.eval(), processor


@pytest.fixture(scope="module")
def scorer():
    processor = transformers.AutoProcessor.from_pretrained(DATA / "mas")
    return transformers.CLIPModel.from_pretrained(DATA / "mas", dtype=torch.float32).eval(), processor


@pytest.mark.parametrize("before", [[USER], [SYSTEM, USER]])
@pytest.mark.parametrize("answer", ["A red boat.", " a leading space", "Zürich 🐟\n", "<b>", ""])
def test_a_prompt_is_a_prefix_of_the_conversation(policy, before, answer):
    processor = policy[1]
    image = render_scene(SCENES[0], 96, 1)
    for content in (answer, [{"type": "text", "text": answer}]):
        prompt = processor.apply_chat_template(before, add_generation_prompt=True)
        whole = processor.apply_chat_template([*before, {"role": "assistant", "content": content}])
        assert whole.startswith(prompt)
        a = processor(text=prompt, images=image).input_ids[0]
        b = processor(text=whole, images=image).input_ids[0]
        assert b[: len(a)] == a
        assert b[-1] == processor.tokenizer.eos_token_id
        assert processor.tokenizer.decode(b[len(a) : -1]) == answer


def test_any_text_survives_both_tokenizers(policy, scorer):
    text = "Ünïcode 🐟, tabs\tand  two spaces\n“quoted” <html> 船"
    for processor in (policy[1], scorer[1]):
        ids = processor.tokenizer(text, add_special_tokens=False).input_ids
        assert processor.tokenizer.decode(ids) == text


def test_the_policy_names_what_is_there(policy):
    model, processor = policy
    prompt = processor.apply_chat_template([USER], add_generation_prompt=True)
    images = [render_scene(scene) for scene in SCENES]
    inputs = processor(text=[prompt] * len(images), images=images, return_tensors="pt")
    ids = model.generate(**inputs, do_sample=False)
    assert torch.isin(ids[:, -1], torch.tensor([0, 3])).all()
    answers = processor.batch_decode(ids[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
    hit = sum(len(mentioned_kinds(a) & set(s.kinds)) for a, s in zip(answers, SCENES, strict=True))
    assert hit / sum(len(s.kinds) for s in SCENES) > 0.75


def test_the_scorer_ranks_right_above_wrong(scorer):
    model, processor = scorer
    won = []
    for scene in SCENES:
        pixels = processor.image_processor(render_scene(scene), return_tensors="pt")
        image = model.visual_projection(model.vision_model(**pixels).pooler_output)
        for q in ask_everything(scene, random.Random(scene.seed)):
            texts = [f"{q.instruction} {t}" for t in (q.answer, *(w for _, w in q.wrong))]
            batch = processor.tokenizer(texts, padding=True, return_tensors="pt")
            text = model.text_projection(model.text_model(batch.input_ids, batch.attention_mask).pooler_output)
            scores = torch.cosine_similarity(image, text)
            won += (scores[0] > scores[1:]).tolist()
    assert sum(won) / len(won) > 0.8
    assert model.config.text_config.max_position_embeddings >= 77


def test_the_models_are_small():
    files = [p for name in ("policy", "mas") for p in (DATA / name).rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) < 20 * 2**20
