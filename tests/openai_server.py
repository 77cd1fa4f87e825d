"""An OpenAI-compatible server in a thread, as faithful as tests need it: vLLM's shapes, and its bad days.

    with FakeServer(answers=["Yes.", "No."]) as server:
        server.url            # http://127.0.0.1:PORT/v1
        server.requests       # the bodies of the chat completions, in order of arrival
        server.most_at_once   # requests in flight at the worst moment

A body that vLLM would refuse is refused here: a test that passes has sent a real request.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

KNOWN = {
    "model", "messages", "n", "temperature", "top_p", "max_tokens", "max_completion_tokens", "logprobs",
    "top_logprobs", "seed",
}  # fmt: skip


class FakeServer:
    """Answers `answers[j % len]` to the j-th choice of a request, or what `reply(body, j)` returns: a text, or a dict
    that is laid over the choice. What goes wrong is set by name:

    fail      HTTP statuses that the first requests get, one each; `always` is one that all get
    refuse    called with the body; a sentence it returns comes back as 400 (`refuse_param` names the parameter)
    takes     parameters that the server knows; others are refused as unknown
    flood     bytes that it sends instead of its answer; `sent` are those that went out
    packed    a Content-Encoding that its replies claim to have
    drip      seconds between two bytes of its reply
    key       the key it asks for; `echo_key`: its errors repeat the Authorization header
    """

    def __init__(
        self,
        answers: Sequence[str] = ("Yes.",),
        *,
        reply: Callable[[dict, int], str | dict] | None = None,
        model: str = "org/model@v1",
        fail: Sequence[int] = (),
        always: int | None = None,
        retry_after: str | None = None,
        refuse: Callable[[dict], str | None] | None = None,
        refuse_param: str | None = None,
        takes: set[str] = KNOWN,
        key: str | None = None,
        echo_key: bool = False,
        ignore_n: bool = False,
        log_probs: bool = True,
        hang: float = 0.0,
        hang_first: int = 10**9,
        close: int = 0,
        seconds: float = 0.0,
        raw: bytes | None = None,
        finish: str | None = "stop",
        usage: bool = True,
        flood: int = 0,
        flood_status: int = 200,
        packed: str | None = None,
        drip: float = 0.0,
    ) -> None:
        self.answers, self.reply, self.model = list(answers), reply, model
        self.fail, self.always, self.retry_after = list(fail), always, retry_after
        self.refuse, self.refuse_param, self.takes = refuse, refuse_param, takes
        self.key, self.echo_key = key, echo_key
        self.ignore_n, self.log_probs, self.hang, self.hang_first = ignore_n, log_probs, hang, hang_first
        self.close_first, self.seconds, self.raw, self.finish, self.usage = close, seconds, raw, finish, usage
        self.flood, self.flood_status, self.sent = flood, flood_status, 0
        self.packed, self.drip = packed, drip
        self.requests: list[dict] = []
        self.headers: list[dict] = []
        self.times: list[float] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self.ended = threading.Event()

    def __enter__(self) -> FakeServer:
        server = self

        class Handler(_Handler):
            fake = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    @property
    def spec(self) -> str:
        return f"remote:{self.model}@{self.url}"

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._http.shutdown()
        self._http.server_close()

    def answer(self, body: dict, header: str | None) -> tuple[int, dict, dict] | None:
        """(status, headers, body) of a chat completion; None closes the connection without a word."""
        with self._lock:
            number = len(self.requests)
            self.requests.append(body)
            self.times.append(time.monotonic())
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            status = self.fail.pop(0) if self.fail else self.always
        try:
            if number < self.close_first:
                return None
            if self.hang and number < self.hang_first:
                self.ended.wait(self.hang)
            if self.seconds:
                time.sleep(self.seconds)
            return self._answer(body, header, status)
        finally:
            with self._lock:
                self._now -= 1

    def _answer(self, body: dict, header: str | None, status: int | None) -> tuple[int, dict, dict]:
        echo = f" (you sent {header})" if self.echo_key else ""
        if self.key and header != f"Bearer {self.key}":
            return 401, {}, _error(f"Incorrect API key provided{echo}", "invalid_api_key", None)
        if status:
            headers = {"Retry-After": self.retry_after} if self.retry_after else {}
            return status, headers, _error(f"The server had a bad moment{echo}", "server_error", None)
        unknown = set(body) - self.takes
        if unknown:
            name = sorted(unknown)[0]
            hint = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
            return 400, {}, _error(f"Unsupported parameter: '{name}'.{hint}{echo}", "invalid_request_error", name)
        if body.get("model") != self.model:
            return 404, {}, _error(f"The model `{body.get('model')}` does not exist.{echo}", "NotFoundError", None)
        wrong = _check(body) or (self.refuse(body) if self.refuse else None)
        if wrong:
            return 400, {}, _error(wrong + echo, "BadRequestError", self.refuse_param)
        n = 1 if self.ignore_n else body.get("n", 1)
        choices = [self._choice(body, j) for j in range(n)]
        found = {"id": "chatcmpl-1", "object": "chat.completion", "model": self.model, "choices": choices}
        if self.usage:
            said = sum(len(choice["message"]["content"] or "") for choice in choices)
            prompt = 10 + 100 * sum(part.get("type") == "image_url" for part in _parts(body))
            found["usage"] = {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}
        return 200, {}, found

    def _choice(self, body: dict, j: int) -> dict:
        told = self.reply(body, j) if self.reply else self.answers[(j + body.get("seed", 0)) % len(self.answers)]
        over = {"message": {"role": "assistant", "content": told}} if isinstance(told, str) else told
        text = (over.get("message") or {}).get("content") or ""
        choice = {"index": j, "message": {"role": "assistant", "content": text}, "finish_reason": self.finish}
        if self.log_probs and body.get("logprobs"):
            choice["logprobs"] = {"content": [_token(c, -0.25) for c in text] + [_token("</s>", -0.5)]}
        else:
            choice["logprobs"] = None
        return choice | over


class _Handler(BaseHTTPRequestHandler):
    fake: FakeServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        listed = {"object": "list", "data": [{"id": self.fake.model, "object": "model"}]}
        self._send(200 if self.path == "/v1/models" else 404, {}, json.dumps(listed).encode())

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.fake.headers.append(dict(self.headers))
        if self.path != "/v1/chat/completions":
            self._send(404, {}, json.dumps({"detail": "Not Found"}).encode())
            return
        found = self.fake.answer(json.loads(data), self.headers.get("Authorization"))
        if found is None:
            self.close_connection = True
            return
        status, headers, body = found
        if self.fake.flood:
            self._pour(self.fake.flood_status)
            return
        self._send(status, headers, self.fake.raw if self.fake.raw is not None else json.dumps(body).encode())

    def _send(self, status: int, headers: dict, data: bytes) -> None:
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if self.fake.packed:
                self.send_header("Content-Encoding", self.fake.packed)
            self.end_headers()
            while self.fake.drip and self.command == "POST" and data and not self.fake.ended.wait(self.fake.drip):
                self.wfile.write(data[:1])
                data = data[1:]
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):  # who asked is gone
            self.close_connection = True

    def _pour(self, status: int) -> None:
        self.close_connection = True
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who asked has had enough
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            while self.fake.sent < self.fake.flood:
                self.wfile.write(b" " * 2**16)
                self.fake.sent += 2**16


def token(text: str, p: float, top: dict[str, float] | None = None) -> dict:
    """One entry of logprobs.content: `p` is the token's probability, `top` those of its rivals, itself included."""
    return _token(text, math.log(p), {name: math.log(value) for name, value in (top or {}).items()})


def _token(text: str, logp: float, top: dict[str, float] | None = None) -> dict:
    entry = {"token": text, "logprob": logp, "bytes": list(text.encode())}
    entry["top_logprobs"] = [{"token": t, "logprob": lp, "bytes": list(t.encode())} for t, lp in (top or {}).items()]
    return entry


def _error(message: str, kind: str, parameter: str | None) -> dict:
    return {"error": {"message": message, "type": kind, "param": parameter, "code": None}}


def _parts(body: dict) -> list[dict]:
    lists = [m["content"] for m in body["messages"] if isinstance(m.get("content"), list)]
    return [part for parts in lists for part in parts]


def _check(body: dict) -> str | None:
    """What vLLM would say of a body that is no chat completion; images must decode."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "messages must be a list"
    for message in messages:
        if message.get("role") not in ("system", "user", "assistant"):
            return f"unknown role {message.get('role')!r}"
        if not isinstance(message.get("content"), str | list):
            return "content must be text or a list"
    for part in _parts(body):
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            continue
        if part.get("type") != "image_url":
            return f"unknown part {part!r}"
        head, _, data = part["image_url"]["url"].partition(";base64,")
        if not head.startswith("data:image/"):
            return "the image is no data URI"
        Image.open(io.BytesIO(base64.b64decode(data))).load()
    for name, low, high in (("temperature", 0, 2), ("top_p", 0, 1), ("n", 1, 1024), ("seed", -(2**63), 2**63 - 1)):
        if name in body and not low <= body[name] <= high:
            return f"{name} is out of range"
    if body.get("top_logprobs", 0) > 20 or ("top_logprobs" in body and not body.get("logprobs")):
        return "top_logprobs must be at most 20 and needs logprobs"
    return None
