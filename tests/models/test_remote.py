"""The client of OpenAI-compatible servers against one that behaves, and one that has every kind of bad day."""

from __future__ import annotations

import asyncio
import email.utils
import json
import math
import socket
import time
import warnings

import pytest
import tiny
from openai_server import KNOWN, FakeServer, token
from remote_asking import SECRET, ask, forget_keys

from m3po.errors import BadInputError, ModelError
from m3po.images import encode_rgb
from m3po.models import remote
from m3po.models.remote import FailedRequest, RefusedRequest, RemoteClient, wait_for
from m3po.models.remote_policy import _read_choice, image_url, with_images
from m3po.remote_spec import RemoteModel
from m3po.text import build_messages


@pytest.fixture(autouse=True)
def quick_and_keyless(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_keys(monkeypatch)


# --- the spec -----------------------------------------------------------------------------------------------------


# --- a server that behaves ----------------------------------------------------------------------------------------


def test_k_answers_with_their_log_probs_and_what_they_cost() -> None:
    with FakeServer(["A boat.", "A fish", "No."]) as server:
        [found] = ask(server)
    [body] = server.requests
    assert body["n"] == 3 and body["logprobs"] is True and body["max_tokens"] == 16 and body["model"] == server.model
    assert [(a.text, a.finish_reason) for a in found.answers] == [(t, "stop") for t in server.answers]
    for answer in found.answers:
        assert answer.n_tokens == len(answer.text) + 1
        assert answer.logp_sum == pytest.approx(-0.25 * len(answer.text) - 0.5)
    assert (found.prompt_tokens, found.completion_tokens) == (10, len("A boat.A fishNo."))
    assert "Authorization" not in server.headers[0]


def test_images_arrive_whole_and_in_their_places(tmp_path) -> None:
    tiny.build_image(1).save(tmp_path / "a.png")
    tiny.build_image(2).save(tmp_path / "b.jpg")
    parts = [image_url(*encode_rgb(tmp_path / name)) for name in ("a.png", "b.jpg")]
    assert [p["image_url"]["url"][:16] for p in parts] == ["data:image/png;b", "data:image/jpeg;"]
    messages = build_messages("Which?", 2, system="Be brief.")
    sent = with_images(messages, parts)
    assert sent[0] == {"role": "system", "content": "Be brief."}
    assert sent[1]["content"] == [*parts, {"type": "text", "text": "Which?"}]
    for images in (parts[:1], [*parts, parts[0]]):
        with pytest.raises(BadInputError, match="image parts"):
            with_images(messages, images)


def test_requests_in_flight_are_bounded() -> None:
    with FakeServer(seconds=0.03) as server:
        found = ask(server, times=12, concurrency=3)
    assert len(found) == 12 and server.most_at_once == 3


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ({"ignore_n": True}, "gives one answer whatever n asks for"),
        ({"takes": KNOWN - {"n"}}, "takes no n"),
        ({"refuse": lambda b: "best_of must be 1" if b.get("n", 1) > 1 else None}, "takes no n"),
    ],
)
def test_a_server_without_n_is_asked_k_times(options: dict, warned: str) -> None:
    with FakeServer(["a", "b", "c"], **options) as server, pytest.warns(UserWarning, match=warned):
        first, second = ask(server, times=2, concurrency=1)
    assert sorted(a.text for a in first.answers) == sorted(a.text for a in second.answers) == ["a", "b", "c"]
    seeds = [body["seed"] for body in server.requests if body.get("n", 1) == 1]
    assert len(set(seeds)) == len(seeds)  # one seed for all would give one answer K times
    assert sum(body.get("n", 1) > 1 for body in server.requests) <= 2  # it is not tried again and again


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({"log_probs": False}, None),
        ({"takes": KNOWN - {"logprobs", "top_logprobs"}}, "logprobs"),
        ({"takes": KNOWN - {"seed"}}, "seed"),
        ({"takes": KNOWN - {"max_tokens"}}, "max_tokens"),
        ({"takes": {"model", "messages", "temperature", "top_p", "max_completion_tokens"}}, "max_tokens"),
    ],
)
def test_a_server_that_lacks_something_else_works_too(options: dict, changed: str | None) -> None:
    with FakeServer(["a"], **options) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first, second = ask(server, times=2, concurrency=1)
    assert [len(found.answers) for found in (first, second)] == [3, 3]
    if changed is None or "logprobs" not in server.takes:
        assert second.answers[0].logp_sum is None and second.answers[0].n_tokens is None
    if changed:
        assert changed in server.requests[0] and changed not in server.requests[-1]
    if changed == "max_tokens":
        assert server.requests[-1]["max_completion_tokens"] == 16


def test_one_odd_refusal_teaches_nothing() -> None:
    """A message that speaks of n for another reason must not cost K prompts an instruction ever after."""
    with FakeServer(refuse=lambda body: "n/a: the prompt is too long") as server:
        [error] = ask(server)
        assert isinstance(error, RefusedRequest) and "prompt is too long" in str(error)
        server.refuse = None
        server.requests.clear()
        ask(server)
    assert server.requests[0]["n"] == 3


def test_how_an_answer_ended_is_kept() -> None:
    ends = {"s": "stop", "l": "length", "e": "eos_token"}
    with FakeServer(list(ends), reply=lambda b, j: _choice("sle"[j], ends["sle"[j]])) as server:
        [found] = ask(server)
    assert [a.finish_reason for a in found.answers] == ["stop", "length", "stop"]
    with FakeServer(reply=lambda b, j: _choice("x" * (16 if j else 3), None)) as server:
        [found] = ask(server)
    assert [a.finish_reason for a in found.answers] == ["stop", "length", "length"]


def test_withheld_answers_are_left_out() -> None:
    def reply(body: dict, j: int) -> dict:
        return [_choice("fine", "stop"), _choice("half", "content_filter"), _choice(None, "stop")][j]

    with FakeServer(reply=reply) as server, pytest.warns(UserWarning, match="withheld"):
        [found] = ask(server)
    assert [a.text for a in found.answers] == ["fine"]
    with FakeServer(reply=lambda b, j: _choice(None, "abort")) as server, pytest.warns(UserWarning):
        [error] = ask(server)
    assert isinstance(error, BadInputError) and "gave no answer" in str(error)


def test_a_log_prob_that_is_no_number_is_none() -> None:
    bad = [{"token": "a", "logprob": -math.inf}], [{"token": "a"}], ["a"], [], "a", None
    for content in bad:
        over = {"logprobs": {"content": content}}
        with FakeServer(reply=lambda b, j, over=over: _choice("a", "stop") | over) as server:
            [found] = ask(server, k=1)
        assert found.answers[0].logp_sum is None, content


def _choice(text: str | None, reason: str | None) -> dict:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": reason}
    if text:
        choice["logprobs"] = {"content": [{"token": c, "logprob": -0.1} for c in text]}
    return choice


# --- a server that does not ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [{"fail": [429, 500, 503, 502]}, {"close": 3}])
def test_it_is_tried_again(bad: dict) -> None:
    with FakeServer(["a"], **bad) as server:
        [found] = ask(server)
    assert len(found.answers) == 3 and len(server.requests) == (5 if "fail" in bad else 4)


def test_retry_after_is_honoured() -> None:
    with FakeServer(fail=[429], retry_after="0.4") as server:
        ask(server)
    assert server.times[1] - server.times[0] >= 0.4
    at = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert remote._retry_after(at) == pytest.approx(30, abs=2)
    assert remote._retry_after("86400") == remote.LONGEST_RETRY_AFTER
    assert remote._retry_after("soon") is None and remote._retry_after(None) is None


def test_waits_double_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.5)
    for attempt, longest in ((1, 0.5), (2, 1.0), (5, 8.0), (12, remote.LONGEST_WAIT)):
        waits = {remote._backoff(attempt) for _ in range(50)}
        assert longest / 2 <= min(waits) < max(waits) <= longest and len(waits) > 40


def test_errors_that_last_cost_the_instruction() -> None:
    with FakeServer(always=500) as server:
        [error] = ask(server)
    assert isinstance(error, BadInputError) and "500" in str(error) and "bad moment" in str(error)
    assert len(server.requests) == remote.ATTEMPTS


def test_a_server_that_was_there_is_waited_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []
    monkeypatch.setattr(remote, "_backoff", lambda attempt: waits.append(attempt) or 0.0)
    with FakeServer(close=99) as server:
        [error] = ask(server)
        assert isinstance(error, ModelError) and waits == list(range(1, remote.FIRST_ATTEMPTS))
    waits.clear()
    with FakeServer(reply=lambda b, j: setattr(server, "close_first", 99) or "a") as server:
        _, error = ask(server, times=2, concurrency=1)
        assert isinstance(error, ModelError) and waits == list(range(1, remote.ATTEMPTS))


def test_a_server_that_is_not_there_ends_it() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = FakeServer()
    server.url = f"http://127.0.0.1:{port}/v1"
    [error] = ask(server)
    assert isinstance(error, ModelError) and "cannot be reached" in str(error) and "resume" in str(error)
    assert server.url in str(error) and "\n" not in str(error)


def test_a_hanging_answer_costs_its_instruction_while_the_server_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "READ_SECONDS", 0.1)
    with FakeServer(["a"], hang=5.0) as server:
        [error] = ask(server)
    assert isinstance(error, BadInputError) and "did not answer within" in str(error)
    assert len(server.requests) == remote.TIMEOUT_ATTEMPTS
    with FakeServer(["a"], hang=5.0, hang_first=1) as server:
        [found] = ask(server)
    assert len(found.answers) == 3


@pytest.mark.parametrize(
    ("server", "key", "sentence"),
    [
        (FakeServer(key="other"), None, "asks for an API key (401): set M3PO_API_KEY or OPENAI_API_KEY"),
        (FakeServer(key="other"), SECRET, "rejects the API key (401)"),
        (FakeServer(always=403), SECRET, "rejects the API key (403)"),
        (FakeServer(always=301), None, "redirects elsewhere (301)"),
        (FakeServer(always=404), None, "has no model 'org/model@v1'"),
        (FakeServer(always=405), None, "refused the request (405"),
        (FakeServer(raw=b"<html>Welcome</html>"), None, "does not answer as an OpenAI-compatible server"),
        (FakeServer(raw=b'{"id": 1}'), None, "does not answer as an OpenAI-compatible server"),
    ],
)
def test_what_cannot_go_on_says_why_and_what_to_do(server, key, sentence, monkeypatch) -> None:
    if key:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    with server:
        [error] = ask(server)
    assert isinstance(error, ModelError) and sentence in str(error) and server.url in str(error)
    assert len(server.requests) == 1 and "\n" not in str(error)


def test_another_model_is_named() -> None:
    with FakeServer() as server:
        [error] = ask(server, model="org/other")
    assert isinstance(error, ModelError) and "'org/other'" in str(error) and "/models" in str(error)


def test_an_error_sent_as_success_costs_the_instruction() -> None:
    with FakeServer(raw=b'{"error": {"message": "upstream broke"}}') as server:
        [error] = ask(server)
    assert isinstance(error, BadInputError) and "upstream broke" in str(error)


# --- the key ------------------------------------------------------------------------------------------------------


def test_it_can_be_asked_where_a_loop_is_running() -> None:
    """As in a notebook."""

    async def ask() -> int:
        return 7

    async def cell() -> int:
        return wait_for(ask())

    assert asyncio.run(cell()) == 7


@pytest.mark.parametrize(
    "choice",
    [
        {"message": {"content": "half \ud83d of a pair"}, "finish_reason": "stop"},
        {"message": {"content": "A boat."}, "finish_reason": ["stop"]},
        {"message": {"content": "x" * 500_000}, "finish_reason": "stop"},
    ],
)
def test_an_answer_that_cannot_be_stored_is_none(choice: dict) -> None:
    assert _read_choice(choice, 10) is None


def test_a_log_prob_of_hundreds_of_digits_is_none() -> None:
    content = [{"token": "a", "logprob": -(10**400)}]
    answer = _read_choice({"message": {"content": "A"}, "finish_reason": "stop", "logprobs": {"content": content}}, 10)
    assert (answer.text, answer.logp_sum) == ("A", None)


@pytest.mark.parametrize("status", [200, 400])
def test_a_reply_without_an_end_is_not_read_to_its_end(status: int) -> None:
    with FakeServer(flood=10**12, flood_status=status) as server:
        (error,) = ask(server)
        assert isinstance(error, RefusedRequest if status == 400 else FailedRequest)
        assert status == 400 or "sent more than 4 MiB in reply to one request" in str(error)
        assert len(str(error)) < 500
        assert server.sent < 40 * 2**20  # the cap and what sockets hold
        assert len(server.headers) == 1  # asked once: it would say it all again


def test_a_long_answer_with_all_its_rivals_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "REPLY_BYTES", 4096)  # what is left is for the tokens
    rivals = {f"token number {n} ": 0.01 for n in range(20)}
    entries = [token("a token of many letters " + 30 * "x", 0.5, rivals) for _ in range(200)]
    body = {"messages": [{"role": "user", "content": "?"}], "max_tokens": 200, "logprobs": True, "top_logprobs": 20}

    async def work(server: FakeServer) -> dict:
        async with RemoteClient(RemoteModel(server.model, server.url)) as client:
            return await client.chat(body)

    with FakeServer(reply=lambda _body, _j: _choice(200 * 50 * "x", "length") | _told(entries)) as server:
        reply = asyncio.run(work(server))
    assert len(reply["choices"][0]["logprobs"]["content"]) == 200
    assert len(json.dumps(reply)) > 50 * remote.REPLY_BYTES  # else this shows nothing


def _told(entries: list[dict]) -> dict:
    return {"logprobs": {"content": entries}}
