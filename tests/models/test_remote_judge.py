"""The remote judges against a server that says what the test has it say."""

from __future__ import annotations

import base64
import io
import math
import warnings

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from openai_server import KNOWN, FakeServer, token
from PIL import Image

from m3po.errors import ModelError, UsageError
from m3po.models import remote, remote_judge
from m3po.models.remote_judge import build_question, judge_fingerprint, load_remote_judge, p_yes, read_rating
from m3po.text import build_messages
from m3po.types import Turn

PROMPTS = [build_messages("What is in it?", 1), build_messages("Is it red?", 2, turns=[Turn("user", "Hello."), Turn("assistant", "Hi.")])]  # fmt: skip  # noqa: E501
IMAGES = [[tiny.build_image(0)], [tiny.build_image(1), tiny.build_image(2)]]
ANSWERS = [["A boat.", "A car."], ["Yes."]]


@pytest.fixture(autouse=True)
def quick_and_keyless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.001)
    for name in remote.KEY_NAMES:
        monkeypatch.delenv(name, raising=False)


def text_of(body: dict) -> str:
    return body["messages"][0]["content"][-1]["text"]


def says(*entries: dict) -> dict:
    text = "".join(entry["token"] for entry in entries)
    return {"message": {"role": "assistant", "content": text}, "logprobs": {"content": list(entries)}}


def scores(spec: str, *args, **options) -> list[list[float]]:
    judged = load_remote_judge(spec, **options).score(*(args or (PROMPTS, IMAGES, ANSWERS)))
    return [[judgement.score for judgement in row] for row in judged]


def test_p_yes_sums_every_spelling() -> None:
    entry = token("Yes", 0.5, {"Yes": 0.5, " yes": 0.1, "YES": 0.02, "No": 0.2, "▁no": 0.05, "Maybe": 0.1, "Yesterday": 0.01})  # fmt: skip  # noqa: E501
    assert p_yes(entry) == pytest.approx(0.62 / 0.87)
    assert p_yes(token("Perhaps", 0.9, {"Perhaps": 0.9, "So": 0.1})) is None
    assert p_yes(token("No", 0.9)) == 0.0  # what was drawn counts though it is not listed
    assert p_yes({"token": "yes", "logprob": None}) is None


@given(st.lists(st.tuples(st.sampled_from(["Yes", "yes", " Yes", "No", "no", " No", "x"]), st.floats(1e-9, 1.0)),
                min_size=1, unique_by=lambda pair: pair[0]))  # fmt: skip
def test_p_yes_is_a_probability(rivals: list[tuple[str, float]]) -> None:
    yes = math.fsum(p for t, p in rivals if t.strip().lower() == "yes")
    no = math.fsum(p for t, p in rivals if t.strip().lower() == "no")
    found = p_yes(token(rivals[0][0], rivals[0][1], dict(rivals)))
    assert found is None if yes + no == 0 else found == pytest.approx(yes / (yes + no))


def test_each_answer_is_asked_for_with_its_images() -> None:
    table = {"A boat.": 0.9, "A car.": 0.2, "Yes.": 0.5}

    def reply(body: dict, j: int) -> dict:
        p = next(p for answer, p in table.items() if f"<answer>\n{answer}\n" in text_of(body))
        return says(token("\n", 1.0), token("Yes", p, {"Yes": p, "No": 1 - p}))

    with FakeServer(reply=reply) as server:
        found = scores(server.spec)
    assert found == [pytest.approx([0.9, 0.2]), pytest.approx([0.5])]
    bodies = {text_of(body).split("<answer>\n")[1].split("\n")[0]: body for body in server.requests}
    assert set(bodies) == set(table)
    for answer, n_images in (("A boat.", 1), ("Yes.", 2)):
        content = bodies[answer]["messages"][0]["content"]
        assert [part["type"] for part in content] == ["image_url"] * n_images + ["text"]
    sent = bodies["A car."]["messages"][0]["content"][0]["image_url"]["url"].partition(",")[2]
    assert Image.open(io.BytesIO(base64.b64decode(sent))).tobytes() == IMAGES[0][0].tobytes()
    assert bodies["Yes."]["top_logprobs"] == 20 and bodies["Yes."]["temperature"] == 0
    assert "assistant: Hi." in text_of(bodies["Yes."]) and "the 2 images" in text_of(bodies["Yes."])
    assert "the image," in text_of(bodies["A boat."]) and "<conversation>" not in text_of(bodies["A boat."])


def test_a_reply_of_neither_leaves_the_answer_unscored() -> None:
    def reply(body: dict, j: int) -> dict:
        if "A car." in text_of(body):
            return says(token("Well", 0.9, {"Well": 0.9, "So": 0.1}))
        return says(token("Yes", 0.7, {"Yes": 0.7, "No": 0.3}))

    with FakeServer(reply=reply) as server, pytest.warns(UserWarning, match="'A car.' is not scored.*neither yes nor"):
        [[boat, car], [yes]] = scores(server.spec)
    assert boat == yes == pytest.approx(0.7) and math.isnan(car)


@pytest.mark.parametrize(
    "options",
    [{"log_probs": False}, {"takes": KNOWN - {"logprobs", "top_logprobs"}}, {"takes": KNOWN - {"top_logprobs"}}],
)
def test_a_server_without_log_probs_is_sent_to_the_rating(options: dict) -> None:
    with FakeServer(**options) as server, pytest.raises(ModelError, match="use remote-rating:MODEL@URL"):
        scores(server.spec)


def test_ratings_are_mapped_to_0_and_1() -> None:
    table = {"A boat.": "10", "A car.": " **Rating: 1/10** ", "Yes.": "4."}
    with FakeServer(reply=lambda b, j: next(v for k, v in table.items() if f"\n{k}\n" in text_of(b))) as server:
        judge = load_remote_judge(server.spec.replace("remote:", "remote-rating:"))
        found = judge.score(PROMPTS, IMAGES, ANSWERS)
    assert judge.scorer_range == (0.0, 1.0) and judge.name.startswith("remote-rating:")
    assert [[j.score for j in row] for row in found] == [[1.0, 0.0], [pytest.approx(3 / 9)]]
    assert len(server.requests) == 3 and "logprobs" not in server.requests[0]


@pytest.mark.parametrize(
    ("said", "rating"),
    [("7", 7), ("10", 10), ("7/10", 7), ("7 / 10.", 7), ("Rating: 3", 3), ("score 9", 9), ("**8**", 8), ("", None),
     ("0", None), ("11", None), ("7.5", None), ("7 or 8", None), ("seven", None), ("-3", None), ("100", None),
     ("I give it a 7", None), ("7/5", None)],
)  # fmt: skip
def test_a_rating_is_read_strictly(said: str, rating: int | None) -> None:
    assert read_rating(said) == rating


def test_an_unreadable_rating_is_asked_for_once_more_then_left_out() -> None:
    def reply(body: dict, j: int) -> str:
        again = len(body["messages"]) == 3
        assert not again or "nothing else" in body["messages"][2]["content"]
        return "6" if again and "A boat." in text_of(body) else "I think that it is fine."

    with FakeServer(reply=reply) as server, pytest.warns(UserWarning, match="'I think that it is fine.' is no whole"):
        [[boat, car], [yes]] = scores(server.spec.replace("remote:", "remote-rating:"))
    assert boat == pytest.approx(5 / 9) and math.isnan(car) and math.isnan(yes)
    assert len(server.requests) == 6


def test_it_is_asked_at_once_within_bounds() -> None:
    many = [["a"] * 12], [[IMAGES[0][0]]]
    with FakeServer(["5"], seconds=0.03) as server:
        spec = server.spec.replace("remote:", "remote-rating:")
        [row] = scores(spec, PROMPTS[:1], many[1], many[0], concurrency=4)
    assert row == [pytest.approx(4 / 9)] * 12 and server.most_at_once == 4


def test_one_failure_costs_one_answer_and_many_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer(["5"], refuse=lambda body: "too long" if "A car." in text_of(body) else None) as server:
        spec = server.spec.replace("remote:", "remote-rating:")
        with pytest.warns(UserWarning, match="'A car.' is not scored.*too long"):
            [[boat, car], _] = scores(spec)
        assert boat == pytest.approx(4 / 9) and math.isnan(car)
        server.refuse = lambda body: "no"
        with pytest.raises(ModelError, match="16 answers in a row could not be judged"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores(spec, PROMPTS[:1], IMAGES[:1], [["a"] * 40])
        server.refuse, server.key = None, "other"
        with pytest.raises(ModelError, match="asks for an API key"):
            scores(spec)


def test_large_images_go_as_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_judge, "_LOSSLESS_PIXELS", 100)
    with FakeServer(["5"]) as server:
        scores(server.spec.replace("remote:", "remote-rating:"), PROMPTS[:1], IMAGES[:1], [["x"]])
    assert server.requests[0]["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/jpeg")


def test_an_answer_cannot_break_the_question() -> None:
    question = build_question(build_messages("{sight} {0}?", 0), 0, "{answer} <b>", remote_judge.YES_NO)
    assert "{answer} <b>" in question and "{sight} {0}?" in question and "the facts" in question


def test_a_judge_is_known_by_name_address_and_question(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = ["remote:m@http://h/v1", "remote-rating:m@http://h/v1", "remote:n@http://h/v1", "remote:m@http://i/v1"]
    prints = {judge_fingerprint(spec) for spec in specs}
    assert len(prints) == 4 and judge_fingerprint("remote:m@http://h/v1/") in prints
    monkeypatch.setattr(remote_judge, "YES_NO", "Another question?")
    assert judge_fingerprint(specs[0]) not in prints and judge_fingerprint(specs[1]) in prints
    with pytest.raises(UsageError, match="is no remote judge"):
        load_remote_judge("clip:x")
