"""The playground's process, its work done here: answers equal those of the jobs, and what fails costs its own side."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path

import pytest
import tiny
import torch
from openai_server import FakeServer
from PIL import Image
from remote_asking import forget_keys
from safetensors.torch import load_file, save_file

from m3po.images import load_rgb
from m3po.jobs.playground import asking
from m3po.jobs.playground.asking import Asker
from m3po.models import memory
from m3po.models.alignment import load_scorer
from m3po.models.policy import Policy
from m3po.settings import ModelOptions
from m3po.text import build_messages

MESSAGES = build_messages("What is in the picture?", 1)
OPTIONS = ModelOptions().model_options()


@pytest.fixture(scope="module")
def asker() -> Asker:
    return Asker()


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "0.png"
    tiny.build_image(3).save(path)
    return path


@pytest.fixture(scope="module")
def other_adapter(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_adapter(tiny_policy, tmp_path_factory.mktemp("models") / "other", seed=5)


def side(policy: object, adapter: object = None) -> dict:
    return {"policy": str(policy), "adapter": adapter and str(adapter), "options": OPTIONS}


def question(picture: Path, *sides: dict, mas: Path | None = None, **settings: object) -> dict:
    asked = {"sides": list(sides), "messages": MESSAGES, "images": [{"path": str(picture), "name": "0.png"}]}
    asked |= {"temperature": 0.0, "max_new_tokens": 12, "seed": 0, "mas": mas and {"name": str(mas), "options": {}}}
    return asked | settings


def ask(asker: Asker, asked: dict, stop_after: int | None = None) -> list[dict]:
    """The events; asked to stop after so many of an answer's texts."""
    events: list[dict] = []

    def stopped() -> bool:
        return stop_after is not None and len([e for e in events if e["event"] == "text"]) >= stop_after

    asker.answer(asked, lambda event, **values: events.append({"event": event, **values}), stopped)
    return events


def answers(events: list[dict]) -> dict[int, dict]:
    return {event["side"]: event for event in events if event["event"] == "answer"}


def errors(events: list[dict]) -> dict[int, str]:
    return {event["side"]: event["error"] for event in events if event["event"] == "error"}


def test_answers_and_figures_are_those_of_the_jobs(
    asker, picture, tiny_policy, tiny_adapter, tiny_mas, monkeypatch
) -> None:
    monkeypatch.setattr(asking, "SLICE", 0.0)  # the sides take turns at every token, on the same weights
    monkeypatch.setattr(asking, "TELL_EVERY", 0.0)
    events = ask(asker, question(picture, side(tiny_policy), side(tiny_policy, tiny_adapter), mas=tiny_mas))
    assert errors(events) == {} and asker._sides.n_loaded == 1
    turns = [event["side"] for event in events if event["event"] == "text"]
    assert turns[:4] == [0, 1, 0, 1]
    image, found = load_rgb(picture), answers(events)
    for place, adapter in enumerate((None, tiny_adapter)):
        policy = Policy.load(tiny_policy, adapter)  # as evaluation and scoring load it: merged
        [answer] = policy.greedy([MESSAGES], [[image]], 12)
        told = found[place]
        assert (told["text"], told["finish_reason"]) == (answer.text, answer.finish_reason)
        assert told["tokens"] == len(answer.token_ids) and told["seconds"] > 0
        [[scores]] = policy.log_probs(
            [MESSAGES], [[image]], [[answer.text]], [[answer.finish_reason == "length"]]
        )  # fmt: skip
        assert told["logp_mean"] == pytest.approx(scores.logp_sum / scores.n_tokens, abs=1e-4)
        [[judged]] = load_scorer(tiny_mas).score([MESSAGES], [[image]], [[answer.text]])
        [mas] = [event["mas"] for event in events if event["event"] == "mas" and event["side"] == place]
        assert mas == pytest.approx(judged.score, abs=1e-6)
        texts = [event["text"] for event in events if event["event"] == "text" and event["side"] == place]
        assert len(texts) == told["tokens"] and texts[-1] == told["text"]
    assert found[0]["text"] != found[1]["text"]


def test_two_adapters_share_the_weights_and_an_upload_is_seen_as_a_file_is(
    asker, picture, tiny_policy, tiny_adapter, other_adapter
) -> None:
    data = {"data": base64.b64encode(picture.read_bytes()).decode(), "name": "that was uploaded"}
    sides = side(tiny_policy, other_adapter), side(tiny_policy, tiny_adapter)
    found = answers(ask(asker, question(picture, *sides, images=[data])))
    assert asker._sides.n_loaded == 1 and found[0]["text"] != found[1]["text"]
    image = load_rgb(picture)
    for place, adapter in enumerate((other_adapter, tiny_adapter)):
        assert found[place]["text"] == Policy.load(tiny_policy, adapter).greedy([MESSAGES], [[image]], 12)[0].text
    # Drawn by seed, as sampling draws.
    drawn = answers(ask(asker, question(picture, side(tiny_policy), temperature=1.0, seed=7)))[0]["text"]
    policy = Policy.load(tiny_policy)
    [[same]] = policy.sample([MESSAGES], [[image]], k=1, temperature=1.0, max_new_tokens=12, seeds=[7])
    assert drawn == same.text


def test_what_fails_is_told_at_its_side(asker, picture, tiny_policy, tiny_adapter, tmp_path, monkeypatch) -> None:
    damaged = shutil.copytree(tiny_adapter, tmp_path / "damaged")
    weights = damaged / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    events = ask(asker, question(picture, side(tiny_policy), side(tiny_policy, damaged)))
    assert list(answers(events)) == [0] and "damaged" in errors(events)[1]
    events = ask(asker, question(picture, side(tmp_path / "nowhere"), side(tiny_policy, tiny_adapter)))
    assert list(answers(events)) == [1] and "does not exist" in errors(events)[0]
    gone = [{"path": str(tmp_path / "gone.png"), "name": "of item 7"}]
    told = errors(ask(asker, question(picture, side(tiny_policy), images=gone)))
    assert told == {0: "Image of item 7 does not exist: correct the path or add the file."}
    # A second policy that would not fit beside the first is refused before its weights are read.
    other = tiny.build_policy(tmp_path / "other", seed=4)
    monkeypatch.setattr(memory, "free_memory", lambda: 1000.0)
    events = ask(asker, question(picture, side(tiny_policy), side(other)))
    assert list(answers(events)) == [0] and "does not fit: it takes about" in errors(events)[1]
    assert "1000" not in errors(events)[1] and asker._sides.n_loaded == 1


def test_an_adapter_of_another_model_is_told_before_any_weights_are_read(
    picture, tiny_policy, tiny_adapter, tmp_path
) -> None:
    shapes, modules = (shutil.copytree(tiny_adapter, tmp_path / name) for name in ("shapes", "modules"))
    weights = load_file(tiny_adapter / "adapter_model.safetensors")
    wider = {name: torch.cat([each, each], 1) if "lora_A" in name else each for name, each in weights.items()}
    save_file(wider, shapes / "adapter_model.safetensors")
    config = json.loads((modules / "adapter_config.json").read_text())
    (modules / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["no_such_proj"]}))
    asker = Asker()
    for misfit, words in ((shapes, "size mismatch"), (modules, "not found in the base model")):
        events = ask(asker, question(picture, side(tiny_policy), side(tiny_policy, misfit)))
        assert words in errors(events)[1] and "choose the one it was trained on" in errors(events)[1]
        loading = [place for place, event in enumerate(events) if event.get("state", "").startswith("Loading")]
        assert not loading or [e["event"] for e in events[: loading[0]]].count("error") == 1
        assert list(answers(events)) == [0]
    assert loading == [], "the weights of the good side stayed"


def test_memory_that_runs_out_costs_one_side_and_no_later_question(
    asker, picture, tiny_policy, tiny_adapter, monkeypatch
) -> None:
    stream, calls = Policy.stream, []

    def first_fails(policy: Policy, *given, **options):
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        yield from stream(policy, *given, **options)

    monkeypatch.setattr(Policy, "stream", first_fails)
    asked = question(picture, side(tiny_policy), side(tiny_policy, tiny_adapter))
    events = ask(asker, asked)
    assert errors(events)[0].startswith("Memory ran out while it answered") and list(answers(events)) == [1]
    assert sorted(answers(ask(asker, asked))) == [0, 1]


def test_stop_ends_both_and_keeps_what_was_said(asker, picture, tiny_policy, tiny_adapter, monkeypatch) -> None:
    monkeypatch.setattr(asking, "SLICE", 0.0)
    monkeypatch.setattr(asking, "TELL_EVERY", 0.0)
    asked = question(picture, side(tiny_policy), side(tiny_policy, tiny_adapter), max_new_tokens=40)
    whole = answers(ask(asker, asked))
    cut = answers(ask(asker, asked, stop_after=4))
    assert [cut[place]["finish_reason"] for place in (0, 1)] == ["stopped", "stopped"]
    assert sum(cut[place]["tokens"] for place in (0, 1)) <= 6
    assert all(whole[place]["text"].startswith(cut[place]["text"]) for place in (0, 1))


def test_a_server_answers_beside_the_weights_here(asker, picture, tiny_policy, monkeypatch) -> None:
    forget_keys(monkeypatch)
    with FakeServer(answers=["A boat."]) as server:
        events = ask(asker, question(picture, side(tiny_policy), side(server.spec)))
        assert answers(events)[1]["text"] == "A boat." and answers(events)[1]["by_server"] and errors(events) == {}
        body = server.requests[-1]
        assert (body["temperature"], body["max_tokens"], body["n"]) == (0.0, 12, 1)
        sent = body["messages"][-1]["content"][0]["image_url"]["url"].partition(",")[2]
        assert Image.open(io.BytesIO(base64.b64decode(sent))).tobytes() == load_rgb(picture).tobytes()
    events = ask(asker, question(picture, side(server.spec)))  # it is gone
    assert "cannot be reached" in errors(events)[0] and "resume" not in errors(events)[0]


def test_a_scorer_that_needs_an_image_says_so(asker, picture, tiny_policy, tiny_mas) -> None:
    text = build_messages("Is the sky blue?", 0)
    events = ask(asker, question(picture, side(tiny_policy), mas=tiny_mas, images=[], messages=text))
    [warning] = [event["message"] for event in events if event["event"] == "warning"]
    assert "no image" in warning and answers(events)[0]["logp_mean"] < 0


def test_a_mean_of_scorers_judges_as_its_parts_do(asker, picture, tiny_policy, tiny_mas) -> None:
    def judge(mas: str) -> float:
        events = ask(asker, question(picture, side(tiny_policy), mas=mas))
        assert [event for event in events if event["event"] == "warning"] == []
        return next(event["mas"] for event in events if event["event"] == "mas")

    parts = {str(tiny_mas): 0.75, f"vqa:{tiny_policy}": 0.25}
    scaled = 0.0
    for name, share in parts.items():
        low, high = load_scorer(name).scorer_range
        scaled += share * (judge(name) - low) / (high - low)
    assert judge(" + ".join(f"{3 if share > 0.5 else 1}*{name}" for name, share in parts.items())) == (
        pytest.approx(scaled, abs=1e-6)
    )
