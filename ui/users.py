"""Who is asking: the users file of --auth, and the name behind a request."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from pathlib import Path

from fastapi import Request

from m3po.errors import BadInputError


def read_users(path: Path) -> dict[str, str]:
    """Names and passwords of a file with one `name:password` a line; `#` starts a comment line.

    Raises BadInputError naming the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadInputError(f"The users file {path} cannot be read ({reason}): give a text file.") from error
    users: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, password = line.partition(":")
        if not colon or not name.strip() or not password:
            raise BadInputError(f"{path} line {number} is not name:password: correct it.")
        if name.strip() in users:
            raise BadInputError(f"{path} line {number} names {name.strip()!r} a second time: remove one of them.")
        users[name.strip()] = password
    if not users:
        raise BadInputError(f"{path} names no user: add a line name:password.")
    return users


def check_password(users: dict[str, str]) -> Callable[[str, str], bool]:
    """A login check that takes equally long whether the name or the password is wrong."""

    def check(name: str, password: str) -> bool:
        known = users.get(name)
        same = hmac.compare_digest((known or "").encode(), password.encode())
        return same and known is not None

    return check


def user_of(request: Request, app: object = None) -> str:
    """The logged-in name, or "" where the app runs without --auth.

    `app` is Gradio's App, which keeps the login tokens; by default the one that the request came to.
    """
    app = app or request.app
    tokens, cookie = getattr(app, "tokens", {}), getattr(app, "cookie_id", "")
    for kind in ("access-token", "access-token-unsecure"):
        if name := tokens.get(request.cookies.get(f"{kind}-{cookie}")):
            return name
    return ""
