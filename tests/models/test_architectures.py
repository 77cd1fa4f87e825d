"""Every architecture goes the whole way with the product's own code: sample, score, train an adapter, load it again."""

from __future__ import annotations

import json
from pathlib import Path

import architectures
import pytest
import tiny
import torch
import video_architectures
import video_parts
from safetensors.torch import load_file

from m3po.errors import BadInputError, ModelError
from m3po.models.policy import Policy
from m3po.settings import ModelOptions
from m3po.text import build_messages
from m3po.training.dpo import train_pairs
from m3po.training.presets import build_train_config
from m3po.types import Turn

# Those with a video part run in a process of their own: see test_video_architectures.py.
BUILDERS = video_architectures.BUILDERS if video_parts.enabled() else architectures.BUILDERS
NEEDS_AN_IMAGE = {"paligemma"}
# Pixels that are fewer than those of the picture, for processors that can be told; the others have one size.
LIMITS = {
    "llava_next": 2048, "idefics3": 1024, "smolvlm": 1024, "internvl": 1024, "llava_onevision": 1024,
    "qwen2_5_vl": 512, "qwen3_vl": 512,
}  # fmt: skip
ANSWERS = ["A red boat and a sun.", "No.", "There are three things, one of them blue."]


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def checkpoint(name: str, tmp_path_factory) -> Path:
    torch.manual_seed(0)
    return BUILDERS[name](tmp_path_factory.mktemp(name) / "policy")


@pytest.fixture(scope="module")
def policy(checkpoint: Path) -> Policy:
    return Policy.load(checkpoint)


def conversations() -> tuple[list, list]:
    """Prompts and images: one image, two images of unlike shapes, and an earlier turn."""
    turns = [Turn("user", "What is it?"), Turn("assistant", "A boat.")]
    prompts = [
        build_messages("Describe the picture.", 1),
        build_messages("What is in both?", 2),
        build_messages("And what color is it?", 1, turns=turns),
    ]
    wide = tiny.build_image(3).resize((72, 32))
    return prompts, [[tiny.build_image(1)], [tiny.build_image(2), wide], [tiny.build_image(4)]]


def test_sampling_is_repeatable_and_sees_the_images(policy: Policy) -> None:
    prompts, images = conversations()
    once = policy.sample(prompts, images, k=3, max_new_tokens=10, seeds=[1, 2, 3])
    again = policy.sample(prompts, images, k=3, max_new_tokens=10, seeds=[1, 2, 3])
    assert once == again and [len(row) for row in once] == [3, 3, 3]
    others = [[tiny.build_image(50 + n).resize(image.size) for n, image in enumerate(row)] for row in images]
    seen = policy.log_probs(prompts, images, [ANSWERS] * 3)
    unlike = policy.log_probs(prompts, others, [ANSWERS] * 3)
    for one, other in zip(seen, unlike, strict=True):
        assert all(abs(a.logp_sum - b.logp_sum) > 1e-3 for a, b in zip(one, other, strict=True))


def test_log_probs_are_those_of_the_librarys_own_generation(policy: Policy) -> None:
    """The oracle shares no line with the product: `generate`, one prompt, made to say the answer token by token."""
    prompts, images = conversations()
    scores = policy.log_probs(prompts, images, [ANSWERS] * 3)
    for prompt, row_images, row in zip(prompts, images, scores, strict=True):
        text = policy.chat.render_prompt(prompt)
        inputs = policy.chat.processor(text=[text], images=[row_images], return_tensors="pt", add_special_tokens=False)
        inputs.pop("labels", None)
        length = inputs["input_ids"].shape[1]
        for score in row:
            said = policy.model.generate(
                **inputs,
                max_new_tokens=score.n_tokens,
                do_sample=False,
                eos_token_id=-1,
                prefix_allowed_tokens_fn=lambda _, ids, told=score.token_ids, n=length: [told[len(ids) - n]],
                output_logits=True,
                return_dict_in_generate=True,
            )
            assert tuple(said.sequences[0, length:].tolist()) == score.token_ids
            logits = torch.cat(said.logits).float()
            wanted = torch.log_softmax(logits, -1).gather(1, torch.tensor(score.token_ids)[:, None])[:, 0]
            assert torch.tensor(score.log_probs) == pytest.approx(wanted, abs=1e-4)


def test_greedy_answers_are_those_of_the_librarys_own_generation(policy: Policy) -> None:
    prompts, images = conversations()
    answers = policy.greedy(prompts, images, max_new_tokens=6)
    for prompt, row_images, answer in zip(prompts, images, answers, strict=True):
        inputs = policy.chat.encode_prompts([policy.chat.render_prompt(prompt)], [row_images])
        said = policy.model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        assert answer.token_ids == tuple(said.tolist())


def test_answers_share_their_prompt_and_get_what_a_forward_over_the_whole_gives(policy: Policy) -> None:
    """Every architecture here takes the quick way; the plain one is the oracle of its cache, masks and positions."""
    prompts, images = conversations()
    plain = Policy(policy.model, policy.chat.processor)
    plain.core.shares = False
    wanted = plain.log_probs(prompts, images, [ANSWERS] * 3)
    found = policy.log_probs(prompts, images, [ANSWERS] * 3)
    assert policy.core.shares is True and plain.core.shares is False
    for row, wanted_row in zip(found, wanted, strict=True):
        for score, wanted_score in zip(row, wanted_row, strict=True):
            assert score.log_probs == pytest.approx(wanted_score.log_probs, abs=1e-4)


def test_a_text_only_instruction_is_scored_or_refused_in_words(policy: Policy, name: str) -> None:
    prompts, images = [build_messages("Say a thing.", 0)], [[]]
    if name in NEEDS_AN_IMAGE:
        with pytest.raises(BadInputError, match="images"):
            policy.log_probs(prompts, images, [["Boat."]])
    else:
        assert policy.log_probs(prompts, images, [["Boat."]])[0][0].logp_sum < 0


def test_max_pixels_makes_a_prompt_shorter_or_is_refused(checkpoint: Path, policy: Policy, name: str) -> None:
    if name not in LIMITS:
        with pytest.raises(ModelError, match="sees every image at 32 x 32 pixels: leave max_pixels out"):
            Policy.load(checkpoint, options=ModelOptions(max_pixels=1024))
        return
    asked = [build_messages("Describe.", 1)], [[tiny.build_image(1).resize((128, 96))]]
    limited = Policy.load(checkpoint, options=ModelOptions(max_pixels=LIMITS[name]))
    texts = [policy.chat.render_prompt(asked[0][0])]
    whole, short = (p.chat.encode_prompts(texts, asked[1])["input_ids"].shape[1] for p in (policy, limited))
    assert short < whole
    assert limited.log_probs(*asked, [ANSWERS])[0][0].logp_sum < 0  # the model counts as many places as its processor
    if "qwen" in name:
        larger = Policy.load(checkpoint, options=ModelOptions(min_pixels=72 * 72))
        assert larger.chat.encode_prompts(texts, asked[1])["input_ids"].shape[1] > whole
    else:
        with pytest.raises(ModelError, match="leave min_pixels out"):
            Policy.load(checkpoint, options=ModelOptions(min_pixels=1024))


class Recorder:
    """The run's side of a training: what is told, and nobody who stops it."""

    stop_requested = False

    def __init__(self) -> None:
        self.events: list[dict] = []

    def emit(self, event: str, **values: object) -> None:
        self.events.append({"event": event, **values})

    def progress(self, *_: object, **__: object) -> None: ...

    def metrics(self, step: int, **values: float) -> None:
        self.events.append({"event": "metrics", "step": step, **values})

    def check_stop(self) -> None: ...


def test_one_dpo_step_moves_an_adapter_in_the_language_model_alone(
    checkpoint: Path, policy: Policy, name: str, tmp_path, monkeypatch
) -> None:
    prompts, images = conversations()
    if name not in NEEDS_AN_IMAGE:
        prompts, images = [*prompts, build_messages("Say a thing.", 0)], [*images, []]
    count = len(prompts)
    rows = []
    for n, (prompt, row_images) in enumerate(zip(prompts, images, strict=True)):
        paths = [tmp_path / f"{n}-{k}.png" for k in range(len(row_images))]
        for path, image in zip(paths, row_images, strict=True):
            image.save(path)
        row = {"instruction_id": n, "name": f"'row-{n}' of tiny", "images": [str(path) for path in paths]}
        row |= {"chosen_id": 2 * n, "rejected_id": 2 * n + 1, "chosen": ANSWERS[0], "rejected": ANSWERS[2]}
        rows.append(row | {"messages": json.dumps(prompt), "human": False})
    settings = {"max_steps": "2", "batch_size": str(count), "learning_rate": "0.01", "lora_r": "4", "warmup_ratio": "0"}
    recorder, trained = Recorder(), []
    load = Policy.load

    def load_and_keep(*given, **options) -> Policy:
        trained.append(load(*given, **options))
        return trained[-1]

    monkeypatch.setattr(Policy, "load", load_and_keep)
    result = train_pairs(build_train_config(str(checkpoint), "demo", settings), rows, tmp_path / "run", recorder)
    monkeypatch.undo()
    assert result["pairs"] == count, recorder.events
    metrics = [event for event in recorder.events if event["event"] == "metrics"]
    # The first step sees the untouched model: what it trains on is what scoring says, tokens, masks and all.
    scores = policy.log_probs(prompts, images, [[ANSWERS[0], ANSWERS[2]]] * count)
    for place, side in enumerate(("chosen", "rejected")):
        mean = sum(row[place].logp_sum for row in scores) / len(scores)
        assert metrics[0][f"logps/{side}"] == pytest.approx(mean, abs=1e-3)
    assert metrics[0]["rewards/margins"] == pytest.approx(0, abs=1e-4)
    assert abs(metrics[1]["rewards/margins"]) > 1e-4

    weights = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert weights and not any("vision" in key or "projector" in key or "connector" in key for key in weights)
    assert any(tensor.abs().max() > 0 for key, tensor in weights.items() if "lora_B" in key)  # it moved
    # The model that was trained, its adapter laid into its layers: every tensor of its own is as it was.
    own = {key.replace(".base_layer.", "."): tensor for key, tensor in trained[0].model.state_dict().items()}
    before = policy.model.state_dict()
    assert {key for key in own if ".lora_" not in key} == set(before)
    assert [key for key, tensor in before.items() if not torch.equal(tensor, own[key])] == []

    tuned = Policy.load(checkpoint, tmp_path / "run" / "adapter")
    plain = policy.log_probs(prompts, images, [[ANSWERS[0]]] * count)
    after = tuned.log_probs(prompts, images, [[ANSWERS[0]]] * count)
    assert all(abs(a[0].logp_sum - b[0].logp_sum) > 1e-4 for a, b in zip(plain, after, strict=True))
    assert len(tuned.sample(prompts, images, k=2, max_new_tokens=6, seeds=list(range(count)))) == count
