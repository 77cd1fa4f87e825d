"""The page under a path of another server: what a reverse proxy in front of it does to addresses is undone here."""

from __future__ import annotations

import re

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from m3po.errors import BadInputError

OWN = re.compile(
    r"/m3po/((image|static)/|(me|me\.js|logout)$)"
)  # our own routes: a prefix of the same name is not theirs


def read_prefix(text: str) -> tuple[str, str]:
    """`/path` or `https://host/path` as (what the page is told, the path alone). Raises BadInputError."""
    address = text.strip().rstrip("/")
    if not re.fullmatch(r"(https?://[\w.:\[\]-]+)?(/[\w.~-]+)*", address) or not (not address or "/" in address):
        raise BadInputError(f"--root-path {text!r} is no path: give one like /studio, or https://host/studio.")
    return address, re.sub(r"^https?://[^/]+", "", address)


class StripPrefix:
    """Takes the prefix off where the proxy left it on; a proxy may also have taken it off itself."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app, self.prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and path == self.prefix:  # what is relative needs the slash
            return await RedirectResponse(f"{self.prefix}/")(scope, receive, send)
        if scope["type"] == "http" and path.startswith(f"{self.prefix}/") and not OWN.match(path):
            raw = scope.get("raw_path", path.encode())
            scope = {**scope, "path": path[len(self.prefix) :], "raw_path": raw[len(self.prefix) :]}
        await self.app(scope, receive, send)
