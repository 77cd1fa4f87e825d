"""The web server around the page: Gradio mounted in an app of our own, with our image route and closed doors.

Mounting (rather than Blocks.launch) gives an own route before Gradio's, the socket bound before anything is opened,
and a clean end on SIGTERM. Gradio's routes that read files or fetch addresses are not needed here and refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse

from m3po.door import current_user
from m3po.errors import BadImageError, M3poError, WorkspaceError
from m3po.studio import Studio
from m3po.users import Users
from ui.guard import Guard, KnowCaller
from ui.hints import write_script
from ui.login import draw_login
from ui.prefix import StripPrefix, read_prefix
from ui.scripts import preload_scripts, send_script
from ui.theme import build_theme
from ui.users import Sessions, end_login, login_check, user_of

HERE = Path(__file__).parent
SHOWN_SIDE = 1080  # pixels: twice the page's 540, for dense screens
FULL_SIDE = 4096
SIDES = {"small": 320, "full": FULL_SIDE}  # by the address; small: for a gallery
STYLES = (
    "colours", "style", "browse", "calibrate", "people", "deciding", "remarks", "preflight", "train", "runs", "sides",
    "compare", "results", "playground",
)  # fmt: skip
FOREVER = "private, max-age=31536000, immutable"  # an address holds the image's hash: it never changes
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})
QUEUE_LOOKS = 0.02  # seconds


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, so that a taken port is known before anything else is opened. Port 0 picks a free one.

    Raises WorkspaceError with the remedy.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OverflowError:
        listener.close()
        raise WorkspaceError(f"Port {port} does not exist: give --port a number from 0 to 65535.") from None
    except OSError as error:
        listener.close()
        remedy = "close the other program or give another --port" if error.errno in (13, 98, 48) else "check --host"
        raise WorkspaceError(f"Cannot listen on {host} port {port} ({error.strerror}): {remedy}.") from None
    return listener


def address_of(listener: socket.socket) -> str:
    """What to type into a browser on this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"


def hosts_of(host: str) -> frozenset[str] | None:
    """This machine's names where the server listens to this machine alone; None where it was opened to others."""
    return LOOPBACK if host in LOOPBACK else None


def build_server(
    studio: Studio,
    page: gr.Blocks,
    *,
    users: Users | None = None,
    hosts: frozenset[str] | None = None,
    root_path: str = "",
) -> FastAPI:
    """The app that is served: images of `studio`'s workspace, and the page; with `users`, only after login.

    `hosts`: the names under which it answers (None: any). A page elsewhere whose name is pointed at this machine
    (DNS rebinding) comes under its own name, and is refused. `root_path`: where a reverse proxy shows the page, as
    `/path` or `https://host/path`.
    """
    root, prefix = read_prefix(root_path)
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_middleware(Guard, prefix=prefix)
    if hosts is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=sorted(hosts))
    if prefix:
        app.add_middleware(StripPrefix, prefix=prefix)
    auth = login_check(users) if users else None

    def gradio_app() -> FastAPI:
        """Mounted below, after all routes of our own."""
        return app.routes[-1].app

    app.add_middleware(KnowCaller, who=lambda request: user_of(request, users, gradio_app()))

    @app.get("/m3po/image/{sha256}")
    def image(sha256: str, size: str = "shown") -> Response:
        if current_user() is None:
            return PlainTextResponse("Log in first.", status_code=401)
        return _send_image(studio, sha256, SIDES.get(size, SHOWN_SIDE))

    app.get("/m3po/static/{version}/{name}")(send_script)

    @app.get("/m3po/me")
    def caller() -> Response:
        """The same, for a page that is open and finds no answer: its login may have ended."""
        return JSONResponse(tell_caller(), headers={"Cache-Control": "no-store"})

    @app.get("/m3po/me.js")
    def me() -> Response:
        """Who is looking, before anything is drawn: people.css shows each role its own buttons. It decides nothing.
        Where the workspace lies is told to curators alone."""
        user = current_user()
        known = tell_caller()
        if user is not None and users is not None:
            known["login"] = "1"  # there is one, so there is a way out of it
        if user is not None and user.role == "curator":
            known["folder"] = str(studio.path)
        script = f"Object.assign(document.documentElement.dataset, {json.dumps(known)});"
        return Response(script, media_type="text/javascript", headers={"Cache-Control": "no-store"})

    @app.get("/m3po/logout")
    def leave(request: Request) -> Response:
        """Out of this login, and back to the page: relative, so under whatever prefix."""
        answer = RedirectResponse("../", headers={"Cache-Control": "no-store"})
        end_login(request, answer, gradio_app())
        return answer

    gr.mount_gradio_app(
        app,
        page,
        path="/",
        auth=auth,
        auth_message=draw_login() if auth else None,
        root_path=root or None,
        allowed_paths=[],
        blocked_paths=[str(studio.path)],
        favicon_path=str(HERE / "icon.png"),
        show_error=True,
        footer_links=[],
        run_history=False,
        pwa=True,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        theme=build_theme(),
        css_paths=[HERE / f"{name}.css" for name in STYLES],
        head=f"{preload_scripts()}<script src='m3po/me.js'></script>"
        f"<script>{write_script()}{(HERE / 'page.js').read_text(encoding='utf-8')}</script>",
    )
    # Gradio looks 1,000 times a second whether an event waits, which took 6 % of a core at rest.
    page._queue.sleep_when_free = QUEUE_LOOKS
    if users is not None:
        gradio_app().tokens = Sessions(users)
    return app


def tell_caller() -> dict[str, str]:
    """Role and name of who is asking, both empty where nobody is logged in."""
    user = current_user()
    return {"role": user.role if user else "", "user": user.name if user else ""}


def _send_image(studio: Studio, sha256: str, side: int) -> Response:
    """The stored image as it is shown: upright RGB of at most `side` pixels, made once and kept in thumbs/."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        return PlainTextResponse("No such image.", status_code=404)
    try:
        path = studio.thumbnail_path(sha256, side)
    except BadImageError as error:  # linked, and changed or gone since the import
        return PlainTextResponse(str(error), status_code=404)
    except M3poError as error:
        return PlainTextResponse(str(error), status_code=503)
    if path is None:
        return PlainTextResponse("No such image.", status_code=404)
    return FileResponse(path, media_type="image/webp", headers={"Cache-Control": FOREVER})


class _Server(uvicorn.Server):
    """Ends on a signal without raising it again, so that what was opened is closed; tells when it listens."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {s: signal.signal(s, self.handle_exit) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self._on_ready is not None and not self.should_exit:
            self._on_ready()


def serve(app: FastAPI, listener: socket.socket, on_ready: Callable[[], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Open pages do not hold up the end for more than two seconds."""
    config = uvicorn.Config(
        app, log_level="warning", timeout_graceful_shutdown=2, lifespan="on", access_log=False, ws="none"
    )
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    _Server(config, on_ready).run(sockets=[listener])


def _is_news(record: logging.LogRecord) -> bool:
    """A page that is open when the app ends is cut off, as it should be: no screenful of traceback says so."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, asyncio.CancelledError) and "graceful shutdown" not in record.getMessage()
