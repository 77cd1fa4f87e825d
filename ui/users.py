"""Who is asking: the login check of Gradio's form, and the user behind a request."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

import anyio
from fastapi import Request, Response

from m3po.users import OWNER, User, Users


def login_check(users: Users) -> Callable[[str, str], Awaitable[bool]]:
    """The check behind Gradio's login form. Hashing takes a while: it must not hold up who is logged in."""

    limiter: list[anyio.CapacityLimiter] = []  # made where the loop is: a flood of logins must leave threads for others

    async def check(name: str, password: str) -> bool:
        limiter[:] = limiter or [anyio.CapacityLimiter(2)]
        call = functools.partial(users.check, name, password)
        return await anyio.to_thread.run_sync(call, limiter=limiter[0])

    return check


class Sessions(dict[str, str]):
    """Gradio's login tokens, name by token, each good as long as the account that it was given to is as it was then: a
    new password ends it, and an account that is made anew under the name is another one."""

    def __init__(self, users: Users) -> None:
        super().__init__()
        self._users = users
        self._accounts: dict[str, str | None] = {}

    def __setitem__(self, token: str, name: str) -> None:
        self._accounts[token] = self._users.find_account(name)
        super().__setitem__(token, name)

    def __delitem__(self, token: str) -> None:
        super().__delitem__(token)
        self._accounts.pop(token, None)

    def get(self, token: str | None, default: str | None = None) -> str | None:
        name = super().get(token)
        account = self._users.find_account(name) if name is not None else None
        return name if account is not None and account == self._accounts.get(token) else default


def user_of(request: Request, users: Users | None, app: object) -> User | None:
    """The logged-in user as the users file has them now; None for nobody. Without users it is the owner.

    `app` is Gradio's App, which keeps the login tokens.
    """
    if users is None:
        return OWNER
    tokens = getattr(app, "tokens", {})
    for cookie in _cookies(app):
        if name := tokens.get(request.cookies.get(cookie)):
            return users.find(name)
    return None


def end_login(request: Request, answer: Response, app: object) -> None:
    """Of the browser that asks, and no other of the same person; over plain http, too, where Gradio's own way out ends
    all logins of one's or leaves the token good."""
    tokens = getattr(app, "tokens", {})
    for cookie in _cookies(app):
        if (token := request.cookies.get(cookie)) in tokens:
            del tokens[token]
        answer.delete_cookie(cookie)


def _cookies(app: object) -> list[str]:
    return [f"{kind}-{getattr(app, 'cookie_id', '')}" for kind in ("access-token", "access-token-unsecure")]
