"""What every request goes through: closed doors, headers that keep the browser away from elsewhere, and who calls.

Plain ASGI: Starlette's function middleware reports a browser that leaves before its answer came as an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from m3po.door import acting_as
from m3po.users import User

# Routes of Gradio that read or write files of this machine or fetch other addresses for a visitor.
CLOSED = re.compile(
    r"^(/gradio_api)?/(file[=/]|proxy=|upload|stream/|monitoring|deep_link|call/|openapi|docs|redoc|runs|vibe|custom_component)"
)
# Gradio compiles templates in the browser, hence unsafe-eval; nothing may come from or go to elsewhere.
POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # What answers without asking where the question comes from (m3po/me.js, an image) is no other site's to include.
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Closes the doors that the page does not use, and sends HEADERS with all else.

    Gradio takes `prefix` off again where it is left: a door is closed however often that stands before it.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app, self.prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path = re.sub(r"/{2,}", "/", unquote(scope["path"]))
        while self.prefix and not CLOSED.match(path) and path.startswith(f"{self.prefix}/"):
            path = path[len(self.prefix) :]
        if CLOSED.match(path):
            return await PlainTextResponse("Not served here.", status_code=403)(scope, receive, send)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, send_guarded)


class KnowCaller:
    """The one place where a name comes in: whatever works on the request finds it by m3po.door.current_user."""

    def __init__(self, app: ASGIApp, who: Callable[[Request], User | None]) -> None:
        self.app, self.who = app, who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        with acting_as(self.who(Request(scope))):
            await self.app(scope, receive, send)
