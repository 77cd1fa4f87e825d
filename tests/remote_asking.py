"""How tests ask a stand-in for a server, without its waits and without a key of this machine."""

from __future__ import annotations

import asyncio

import pytest
from openai_server import FakeServer

from m3po.models import remote
from m3po.models.remote import RemoteClient
from m3po.models.remote_policy import RemotePolicy, with_images
from m3po.remote_spec import RemoteModel
from m3po.text import build_messages

SECRET = "sk-do-not-tell-0123456789"


def forget_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries at once, and no key of whoever runs the tests; for a fixture."""
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.001)
    for name in remote.KEY_NAMES:
        monkeypatch.delenv(name, raising=False)


def ask(server: FakeServer, *, times: int = 1, concurrency: int = 8, model: str | None = None, **options) -> list:
    """`times` instructions sampled at once: RemoteAnswers, or the error that each ended with."""
    settings = {"k": 3, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 16} | options

    async def work() -> list:
        async with RemoteClient(RemoteModel(model or server.model, server.url), concurrency=concurrency) as client:
            policy = RemotePolicy(client)
            messages = with_images(build_messages("What is it?", 0), [])
            return await asyncio.gather(
                *[policy.sample(messages, seed=100 * n, **settings) for n in range(times)], return_exceptions=True
            )

    return asyncio.run(work())
