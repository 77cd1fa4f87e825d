"""A client for OpenAI-compatible servers (vLLM, llama.cpp, a hosted one): bounded, patient, and discreet.

Plain httpx: the Hugging Face client would send that site's token to whoever is asked. The API key comes from the
environment alone; it is cut out of whatever a server says, so that it reaches no error, log, answer or table. Nothing
follows a redirect, which would take the key along. No torch: nothing is computed here.
"""

from __future__ import annotations

import asyncio
import email.utils
import functools
import json
import os
import random
import re
import ssl
import time
import warnings
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import httpx

from m3po.errors import BadInputError, ModelError
from m3po.models.proxy import find_proxy, is_near, proxy_name
from m3po.remote_spec import RemoteModel

T = TypeVar("T")
KEY_NAMES = ("M3PO_API_KEY", "OPENAI_API_KEY")
ATTEMPTS = 8  # with doubling waits about a minute: longer than a hiccup, shorter than a restart
FIRST_ATTEMPTS = 4  # while nobody has answered yet: a mistyped address is told in seconds
TIMEOUT_ATTEMPTS = 3
MIN_PATIENCE = 16  # instructions or answers in a row that a server may fail to do before the run is given up
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds
LONGEST_RETRY_AFTER = 120.0
CONNECT_SECONDS, READ_SECONDS = 10.0, 300.0  # until it is there, and until the next piece comes
WHOLE_SECONDS = 600.0  # until all of a reply is there: a server may send a byte a minute
REPLY_BYTES = 4 * 2**20  # a reply's frame, its errors, whatever else a server adds
TOKEN_BYTES = 512  # and for each token that was asked for, with each of its rivals: in JSON mostly about 100
_AGAIN = {408, 425, 429, 500, 502, 503, 504, 529}
_SECRET_LENGTH = 8  # shorter keys ("EMPTY", "none") are no secrets, and words that an answer may well hold
_HIDDEN = "[key]"
_NO_REASON = "no reason given"
# What a refusal calls a parameter, where that is not its name alone.
_CALLED = {"n": {"n", "best_of"}, "logprobs": {"logprobs", "top_logprobs"}}


class FailedRequest(BadInputError):
    """This one request got no answer, though the server is there."""


class RefusedRequest(FailedRequest):
    """The server takes this one request not: `parameter` is what it names, where it names one."""

    def __init__(self, sentence: str, parameter: str | None, said: str) -> None:
        super().__init__(sentence)
        self.parameter, self.said = parameter, said


@dataclass(frozen=True)
class _Reply:
    """What came back, read whole; of an error that is longer than a reply may be, its beginning."""

    status_code: int
    headers: Mapping[str, str]
    text: str


class RemoteClient:
    """Requests to one server, at most `concurrency` at a time; use it as an async context manager."""

    def __init__(self, remote: RemoteModel, *, concurrency: int = 8) -> None:
        self.remote = remote
        self.concurrency = concurrency
        self.lacks: set[str] = set()
        self._heard = False
        self._renamed: dict[str, str] = {}
        self._by = ""
        self._key = read_key()

    async def __aenter__(self) -> RemoteClient:
        address, proxy = urlsplit(self.remote.url), find_proxy(self.remote.url)
        self._by = f", asked through the proxy {proxy_name(proxy)}" if proxy else ""
        if self._key and address.scheme == "http" and not is_near(address.hostname or ""):
            by = f"{self._by}, which can read it" if proxy else ""
            warnings.warn(f"The API key goes to {self.remote.url} unencrypted{by}: use https there.", stacklevel=1)
        # Packed replies are not asked for: two kilobytes may unpack to gigabytes.
        headers = {"Accept-Encoding": "identity"}
        headers |= {"Authorization": f"Bearer {self._key}"} if self._key else {}
        timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS, pool=None)
        limits = httpx.Limits(max_connections=self.concurrency, max_keepalive_connections=self.concurrency)
        self._http = httpx.AsyncClient(
            headers=headers,
            timeout=timeout,
            limits=limits,
            follow_redirects=False,
            verify=_certificates(),
            proxy=proxy,
            trust_env=False,
        )
        self._slots = asyncio.Semaphore(self.concurrency)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def chat(self, body: dict, optional: Sequence[str] = ()) -> dict:
        """The reply to one chat completion of this model, tried again where that may help.

        A server that refuses one of the `optional` parameters is asked without it, from then on where that helped
        (`lacks` says which); one that wants max_tokens under its newer name gets it so. Raises RefusedRequest for a
        request that the server does not take, FailedRequest for one that it cannot answer though it is there, and
        ModelError when there is nothing to go on with: no server, no such model, no right.
        """
        names = {name: name for name in body} | self._renamed
        lacks = self.lacks.intersection(optional)
        while True:
            asked = {names[name]: value for name, value in body.items() if name not in lacks}
            try:
                async with self._slots:
                    reply = await self._try(
                        f"{self.remote.url}/chat/completions", {"model": self.remote.model, **asked}
                    )
            except RefusedRequest as refusal:
                said = refusal.said.lower()
                if "max_tokens" in asked and "max_completion_tokens" in said:  # newer models of OpenAI
                    names["max_tokens"] = "max_completion_tokens"
                    continue
                words = set(re.findall(r"\w+", said)) | {refusal.parameter}
                left_out = next((n for n in optional if n in asked and words & _CALLED.get(n, {n})), None)
                if left_out is None:
                    raise
                lacks.add(left_out)
                continue
            if "max_tokens" in body:
                self._renamed["max_tokens"] = names["max_tokens"]
            for name in lacks - self.lacks:
                self.lacks.add(name)
                warnings.warn(f"{self.remote.url} takes no {name}: it goes on without.", stacklevel=1)
            return reply

    async def _try(self, address: str, body: dict) -> dict:
        timeouts = 0
        for attempt in range(1, ATTEMPTS + 1):
            wait = None
            try:
                reply = await self._send(address, body)
            except (httpx.TimeoutException, TimeoutError) as error:
                timeouts += 1
                problem = f"did not answer within {READ_SECONDS:.0f} s, {timeouts} times"
                if isinstance(error, TimeoutError):
                    problem = f"did not end its answer within {WHOLE_SECONDS:.0f} s, {timeouts} times"
                if timeouts == TIMEOUT_ATTEMPTS:
                    raise await self._after_timeouts(problem) from None
            except httpx.TransportError as error:
                problem = f"cannot be reached ({self._clean(str(error)) or type(error).__name__})"
                if attempt == (ATTEMPTS if self._heard else FIRST_ATTEMPTS):
                    raise self._gone(problem) from None
            except httpx.HTTPError as error:
                raise self._gone(f"cannot be asked ({self._clean(str(error))})") from None
            else:
                if reply.status_code == 200:
                    return self._read(reply)
                if reply.status_code not in _AGAIN:
                    raise self._refusal(reply)
                problem = f"answered {reply.status_code}: {self._said(reply)[0]}"
                wait = _retry_after(reply.headers.get("retry-after"))
                if attempt == ATTEMPTS:
                    raise FailedRequest(f"{self.remote.url} {problem}, {ATTEMPTS} times.")
            await asyncio.sleep(wait if wait is not None else _backoff(attempt))
        raise AssertionError("the last attempt returns or raises")

    async def _send(self, address: str, body: dict) -> _Reply:
        """Read piece by piece: a server that never ends would fill the memory. Raises FailedRequest for one,
        TimeoutError where the reply is not whole in time, and ModelError for one that is packed."""
        most, data = most_bytes(body), bytearray()
        async with asyncio.timeout(WHOLE_SECONDS), self._http.stream("POST", address, json=body) as reply:
            self._heard = True
            packed = reply.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")
            if packed and reply.status_code == 200:
                raise ModelError(
                    f"{self.remote.url} compresses its replies, though it was asked not to, and such are not unpacked "
                    "here: turn compression off there or in the proxy before it."
                )
            if packed:  # its status says what there is to know
                return _Reply(reply.status_code, reply.headers, "")
            async for piece in reply.aiter_raw():
                data += piece
                if len(data) <= most:
                    continue
                if reply.status_code != 200:
                    del data[most:]
                    break
                raise FailedRequest(
                    f"{self.remote.url} sent more than {most / 2**20:.0f} MiB in reply to one request, which is more "
                    "than the answers asked for can take: see to the server."
                )
            return _Reply(reply.status_code, reply.headers, data.decode("utf-8", "replace"))

    async def _after_timeouts(self, problem: str) -> Exception:
        """One slow answer costs one instruction; a server that says nothing at all ends the run."""
        look = self._http.stream("GET", f"{self.remote.url}/models", timeout=CONNECT_SECONDS)
        try:
            async with asyncio.timeout(3 * CONNECT_SECONDS), look:
                pass  # it answers: what it says is not read
        except (httpx.HTTPError, TimeoutError):
            return self._gone(problem)
        return FailedRequest(f"{self.remote.url} {problem}.")

    def _gone(self, problem: str) -> ModelError:
        return ModelError(
            f"The server {self.remote.url}{self._by} {problem}: see that it runs and is reachable from here, then "
            "resume this run; what was finished is kept."
        )

    def _read(self, reply: _Reply) -> dict:
        try:
            found = self._cut_key(json.loads(reply.text))  # read first: JSON may spell the key in many ways
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("choices"), list):
            if isinstance(found, dict) and found.get("error"):  # some proxies send their errors as 200
                raise FailedRequest(f"{self.remote.url} answered with an error: {self._said(reply)[0]}.")
            raise ModelError(
                f"{self.remote.url} does not answer as an OpenAI-compatible server does: check the address, which "
                "mostly ends in /v1."
            )
        return found

    def _cut_key(self, value: object) -> object:
        if isinstance(value, str):
            return self._without_key(value, secrets_only=True)
        if isinstance(value, dict):
            return {self._cut_key(name): self._cut_key(item) for name, item in value.items()}
        return [self._cut_key(item) for item in value] if isinstance(value, list) else value

    def _refusal(self, reply: _Reply) -> Exception:
        status, where = reply.status_code, self.remote.url
        said, parameter = self._said(reply)
        if status in (401, 403):
            named = " or ".join(KEY_NAMES)
            how = "rejects the API key" if self._key else "asks for an API key"
            return ModelError(
                f"{where} {how} ({status}): set {named} in the environment in which the app or command is started, "
                "then resume this run."
            )
        if status == 404:
            return ModelError(
                f"{where} has no model {self.remote.model!r} or no chat completions (404: {said}): check the name, as "
                f"{where}/models lists it, and the address, which mostly ends in /v1."
            )
        if 300 <= status < 400:
            return ModelError(f"{where} redirects elsewhere ({status}): name the address that it leads to.")
        if status in (400, 413, 422):
            return RefusedRequest(f"{where} refused the request ({status}): {said}.", parameter, said)
        return ModelError(f"{where} refused the request ({status}: {said}): check the address and the model's name.")

    def _said(self, reply: _Reply) -> tuple[str, str | None]:
        """The server's own words in one short line, and the parameter that it names; OpenAI's and vLLM's shapes."""
        text, parameter = reply.text, None
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        except RecursionError:  # brackets in brackets: nothing that one could read, or find a key in
            return _NO_REASON, None
        if isinstance(found, dict):
            inner = found.get("error") if isinstance(found.get("error"), dict) else found
            words = inner.get("message") or inner.get("detail") or found.get("error")
            try:
                text = words if isinstance(words, str) else json.dumps(self._cut_key(found), ensure_ascii=False)
            except RecursionError:
                text = ""
            parameter = inner.get("param") if isinstance(inner.get("param"), str) else None
        return self._clean(text), parameter

    def _clean(self, text: str) -> str:
        """One line of printable text without the key."""
        line = " ".join(self._without_key(text).split())
        return "".join(c for c in line if c.isprintable())[:300].rstrip(". ") or _NO_REASON

    def _without_key(self, text: str, *, secrets_only: bool = False) -> str:
        if not self._key or (secrets_only and len(self._key) < _SECRET_LENGTH):
            return text
        for form in {self._key, json.dumps(self._key)[1:-1]}:
            text = text.replace(form, _HIDDEN)
        return text


def most_bytes(body: dict) -> int:
    """How long the reply to a chat completion may be: its answers' tokens, with their log-probs, and some more."""
    tokens = body.get("n", 1) * (body.get("max_tokens") or body.get("max_completion_tokens") or 0)
    return REPLY_BYTES + TOKEN_BYTES * tokens * (1 + body.get("top_logprobs", 0))


def wait_for(work: Coroutine[object, object, T]) -> T:
    """The result of `work`, also where this thread has an event loop of its own already, as in a notebook."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def read_key() -> str | None:
    """The API key from the environment. Raises ModelError for one that no server could have given; it is not shown."""
    for name in KEY_NAMES:
        key = os.environ.get(name, "").strip()
        if key:
            if not re.fullmatch(r"[\x21-\x7e]+", key):
                raise ModelError(f"The API key in {name} holds a blank or a letter that no key has: set it again.")
            return key
    return None


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Read once: it takes longer than a request."""
    return httpx.create_ssl_context()


def _backoff(attempt: int) -> float:
    """Seconds: doubled each time, between half and the whole of it, so that many do not come back at once."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait as the header says, in seconds or as a date; None where it says nothing usable."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER) if seconds == seconds else None
