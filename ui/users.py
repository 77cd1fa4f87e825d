"""Who is asking: the login check of Gradio's form, and the user behind a request."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

import anyio
from fastapi import Request

from m3po.users import OWNER, User, Users


def login_check(users: Users) -> Callable[[str, str], Awaitable[bool]]:
    """The check behind Gradio's login form. Hashing takes a while: it must not hold up who is logged in."""

    limiter: list[anyio.CapacityLimiter] = []  # made where the loop is: a flood of logins must leave threads for others

    async def check(name: str, password: str) -> bool:
        limiter[:] = limiter or [anyio.CapacityLimiter(2)]
        call = functools.partial(users.check, name, password)
        return await anyio.to_thread.run_sync(call, limiter=limiter[0])

    return check


def user_of(request: Request, users: Users | None, app: object) -> User | None:
    """The logged-in user as the users file has them now; None for nobody. Without users it is the owner.

    `app` is Gradio's App, which keeps the login tokens.
    """
    if users is None:
        return OWNER
    tokens, cookie = getattr(app, "tokens", {}), getattr(app, "cookie_id", "")
    for kind in ("access-token", "access-token-unsecure"):
        if name := tokens.get(request.cookies.get(f"{kind}-{cookie}")):
            return users.find(name)
    return None
