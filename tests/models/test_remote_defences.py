"""What a server, or what stands before it, may not do to the client: see the key, fill the memory, hold it for ever."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import warnings

import pytest
from openai_server import FakeServer
from test_remote import SECRET, ask

from m3po.errors import ModelError
from m3po.models import remote
from m3po.models.proxy import find_proxy, is_near, proxy_name
from m3po.models.remote import FailedRequest, RefusedRequest, RemoteClient
from m3po.models.remote_judge import p_yes
from m3po.models.remote_policy import _read_choice
from m3po.remote_spec import RemoteModel

PROXIES = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"]


@pytest.fixture(autouse=True)
def quick_and_bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.001)
    for name in (*remote.KEY_NAMES, *PROXIES, *map(str.lower, PROXIES)):
        monkeypatch.delenv(name, raising=False)


def test_a_server_on_this_machine_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M3PO_API_KEY", SECRET)
    with FakeServer(key=SECRET) as server, FakeServer() as between:
        for name in ("HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, between.url.removesuffix("/v1"))
        [found] = ask(server)
        assert len(found.answers) == 3 and between.headers == []


def test_another_one_is_asked_through_the_proxy_and_the_warning_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M3PO_API_KEY", SECRET)

    async def chat() -> None:
        async with RemoteClient(RemoteModel("m", "http://far.example/v1")) as client:
            await client.chat({"messages": [{"role": "user", "content": "Hello"}]})

    with FakeServer() as between:
        address = between.url.removesuffix("/v1")
        monkeypatch.setenv("HTTP_PROXY", address.replace("//", "//me:hunter2@"))
        with pytest.warns(UserWarning, match="unencrypted") as told, pytest.raises(ModelError):
            asyncio.run(chat())  # it knows no such path: it is no proxy
        assert between.headers[0]["Host"] == "far.example"
    sentence = str(told[0].message)
    assert f"through the proxy {address}, which can read it" in sentence and "hunter2" not in sentence
    with (
        pytest.raises(ModelError, match=f"asked through the proxy {address} cannot be reached") as gone,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        asyncio.run(chat())
    assert "hunter2" not in str(gone.value)


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "https://far.example/v1", None),
        ({"HTTPS_PROXY": "http://p:3128"}, "https://far.example/v1", "http://p:3128"),
        ({"https_proxy": "p:3128"}, "https://far.example/v1", "http://p:3128"),
        ({"HTTPS_PROXY": "http://p:3128"}, "http://far.example/v1", None),
        ({"ALL_PROXY": "http://p:3128"}, "http://far.example/v1", "http://p:3128"),
        ({"ALL_PROXY": "http://p:3128", "NO_PROXY": "far.example"}, "http://far.example:8000/v1", None),
        ({"ALL_PROXY": "http://p:3128", "NO_PROXY": "*"}, "http://far.example/v1", None),
        ({"ALL_PROXY": "http://p:3128", "NO_PROXY": "near.example"}, "http://localhost:8000/v1", None),
    ],
)
def test_which_proxy_is_used(environment: dict, url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = find_proxy(url)
    assert (proxy_name(found) if found else None) == proxy


@pytest.mark.parametrize(
    "address", ["socks5://me:hunter2@p:1", "http://me:hunter2@p:port", "http://p:99999", "http://"]
)
def test_a_proxy_that_cannot_be_used_is_said(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)
    with pytest.raises(ModelError, match="cannot be used: give http://HOST:PORT") as told:
        find_proxy("https://far.example/v1")
    assert "hunter2" not in str(told.value)


def test_what_is_this_machine() -> None:
    assert all(map(is_near, ["localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "0.0.0.0"]))
    assert not any(map(is_near, ["", "127.evil.example", "localhost.evil.example", "10.0.0.1", "::2"]))


def test_a_packed_reply_is_not_unpacked() -> None:
    """A bomb of two kilobytes, packed twice, would take gigabytes."""
    bomb = gzip.compress(gzip.compress(b" " * 10**7))
    with FakeServer(raw=bomb, packed="gzip, gzip") as server:
        [error] = ask(server)
    assert server.headers[0]["Accept-Encoding"] == "identity"
    assert isinstance(error, ModelError) and "compresses its replies" in str(error) and len(server.requests) == 1
    with FakeServer(raw=bomb, packed="gzip", refuse=lambda body: "no") as server:
        [error] = ask(server)
    assert isinstance(error, RefusedRequest) and "no reason given" in str(error)


def test_a_reply_that_drips_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WHOLE_SECONDS", 0.1)
    started = time.monotonic()
    with FakeServer(drip=0.02) as server:
        [error] = ask(server)
    assert isinstance(error, FailedRequest) and "did not end its answer within" in str(error)
    assert len(server.requests) == remote.TIMEOUT_ATTEMPTS and time.monotonic() - started < 5


@pytest.mark.parametrize("nested", ['{"error":' * 50_000, '{"error":' * 400 + "1" + "}" * 400])
def test_a_nested_refusal_costs_one_request(nested: str) -> None:
    with FakeServer(raw=nested.encode(), refuse=lambda body: "no") as server:
        [error] = ask(server)
    assert isinstance(error, RefusedRequest) and "refused the request (400)" in str(error) and len(str(error)) < 500


@pytest.mark.parametrize("value", [50.0, True, False, 0.01, -(10**400), float("nan"), float("-inf"), "-1", None])
def test_a_log_prob_that_is_none_is_not_kept(value: object) -> None:
    content = [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": value}]
    told = {"message": {"content": "A"}, "finish_reason": "stop", "logprobs": {"content": content}}
    answer = _read_choice(told, 10)
    assert (answer.text, answer.logp_sum, answer.n_tokens) == ("A", None, None)
    assert p_yes({"token": "Yes", "logprob": value}) is None


def test_a_sure_token_may_lie_a_rounding_above_zero() -> None:
    content = [{"token": "a", "logprob": 1e-6}]
    told = {"message": {"content": "A"}, "finish_reason": "stop", "logprobs": {"content": content}}
    assert _read_choice(told, 10).logp_sum == 0.0


@pytest.mark.parametrize("count", [True, -1, 2.5, "7", 2**50])
def test_a_count_of_tokens_that_is_none_is_not_kept(count: object) -> None:
    said = {"choices": [{"message": {"content": "A"}, "finish_reason": "stop"}] * 3}
    said["usage"] = {"prompt_tokens": count, "completion_tokens": 7}
    with FakeServer(raw=json.dumps(said).encode()) as server:
        [found] = ask(server)
    assert (found.prompt_tokens, found.completion_tokens) == (None, 7)


def test_an_answer_with_a_nul_is_left_out() -> None:
    """It could be exported, and never imported again."""
    assert _read_choice({"message": {"content": "A\0B"}, "finish_reason": "stop"}, 10) is None
