"""The API key of a server: it is sent, and never told to anybody."""

from __future__ import annotations

import asyncio
import json
import warnings

import pytest
from openai_server import FakeServer
from remote_asking import SECRET, ask, forget_keys

from m3po.errors import BadInputError, ModelError
from m3po.models.remote import RemoteClient
from m3po.remote_spec import RemoteModel


@pytest.fixture(autouse=True)
def quick_and_keyless(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_keys(monkeypatch)


def test_the_key_is_sent_and_never_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another-key-000")
    monkeypatch.setenv("M3PO_API_KEY", f" {SECRET}\n")
    with FakeServer(reply=lambda b, j: f"My key is {SECRET}.", key=SECRET) as server:
        [found] = ask(server)
    assert server.headers[0]["Authorization"] == f"Bearer {SECRET}"
    assert found.answers[0].text == "My key is [key]."
    for bad in ({"always": 500}, {"refuse": lambda body: "no"}, {"key": "other"}, {"always": 404}, {"always": 418}):
        with FakeServer(echo_key=True, **bad) as server:
            [error] = ask(server)
        assert isinstance(error, BadInputError | ModelError)
        assert SECRET not in str(error) and SECRET not in repr(error.__cause__) + repr(error.__context__)


def test_a_word_that_stands_for_a_key_is_left_in_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M3PO_API_KEY", "EMPTY")
    with FakeServer(["The box is EMPTY."]) as server:
        [found] = ask(server)
    assert found.answers[0].text == "The box is EMPTY."


@pytest.mark.parametrize("key", ["sk-secret\nX-Evil: 1", "sk secret", "sk-sécret"])
def test_a_key_that_is_none_is_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M3PO_API_KEY", key)
    with pytest.raises(ModelError, match="M3PO_API_KEY") as caught:
        RemoteClient(RemoteModel("m", "http://h"))
    assert "cret" not in str(caught.value)


def test_a_key_over_plain_http_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M3PO_API_KEY", SECRET)

    async def open_and_close(url: str) -> None:
        async with RemoteClient(RemoteModel("m", url)):
            pass

    with pytest.warns(UserWarning, match="unencrypted") as caught:
        asyncio.run(open_and_close("http://far.example/v1"))
    assert SECRET not in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(open_and_close("http://127.0.0.1:1/v1"))
        asyncio.run(open_and_close("https://far.example/v1"))


@pytest.mark.parametrize("spell", ["\\/", "\\u002f", "\\u002F"])
def test_a_key_that_comes_back_in_another_spelling_is_cut_out(monkeypatch: pytest.MonkeyPatch, spell: str) -> None:
    key = "sk-se/cret-0123456789"
    monkeypatch.setenv("M3PO_API_KEY", key)
    said = json.dumps({"choices": [{"message": {"content": f"Your key: {key}"}, "finish_reason": "stop"}]})
    said = said.replace("/", spell)

    async def ask(server: FakeServer) -> dict:
        async with RemoteClient(RemoteModel("org/model@v1", server.url)) as client:
            return await client.chat({"messages": [{"role": "user", "content": "Hello"}]})

    with FakeServer(raw=said.encode()) as server:
        found = asyncio.run(ask(server))
    assert key not in str(found) and "[key]" in str(found)
    with FakeServer(raw=said.encode(), model="other") as server, pytest.raises(ModelError) as refused:
        asyncio.run(ask(server))
    assert "[key]" in str(refused.value) and "0123456789" not in str(refused.value)
