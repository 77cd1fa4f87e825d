"""A model of the hub that cannot be had is told in seconds, and whether resuming can help."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from m3po.errors import ModelError, UnusableModelError
from m3po.models import hub
from m3po.models.hub import check_hub

HEADERS = {"X-Repo-Commit": "0" * 40, "ETag": '"x"', "Content-Length": "2"}


class Hub(BaseHTTPRequestHandler):
    """Answers as huggingface.co does: the model's name says how."""

    def do_HEAD(self) -> None:
        self.server.asked.append(self.path)
        kind = self.path.split("/")[2]
        status = {"here": 200, "nowhere": 401, "gated": 403, "busy": 503, "odd": 404}[kind]
        self.send_response(status)
        code = {"nowhere": "RepoNotFound", "gated": "GatedRepo", "odd": "EntryNotFound"}.get(kind)
        for name, value in (HEADERS if status == 200 else {"X-Error-Code": code} if code else {}).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    http.asked = []
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    go_online(monkeypatch, f"http://127.0.0.1:{http.server_address[1]}")
    yield http
    http.shutdown()
    http.server_close()


def go_online(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "ONCE_MORE", 0.05)
    check_hub.cache_clear()


def test_a_model_that_is_there_is_asked_for_once(server: ThreadingHTTPServer) -> None:
    check_hub("org/here")
    check_hub("org/here")
    assert server.asked == ["/org/here/resolve/main/config.json"]


def test_a_model_that_is_not_there_can_never_be_had(server: ThreadingHTTPServer) -> None:
    with pytest.raises(UnusableModelError, match=r"There is no model org/nowhere.*start a new run with the right name"):
        check_hub("org/nowhere")


def test_one_that_wants_its_terms_accepted_says_so(server: ThreadingHTTPServer) -> None:
    with pytest.raises(ModelError, match=r"accept its terms.*then resume this run") as caught:
        check_hub("org/gated")
    assert not isinstance(caught.value, UnusableModelError)


@pytest.mark.parametrize("name", ["org/busy", "org/odd", "two//slashes"])
def test_what_else_a_hub_says_is_left_to_its_library(server: ThreadingHTTPServer, name: str) -> None:
    check_hub(name)


def test_a_hub_that_cannot_be_reached_is_told_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        go_online(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(ModelError, match=r"cannot be reached.*then resume this run"):
            check_hub("org/name")
    assert time.monotonic() - began < 5


def test_nothing_is_asked_where_downloading_is_off(server: ThreadingHTTPServer, monkeypatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    check_hub("org/here")
    assert server.asked == []
