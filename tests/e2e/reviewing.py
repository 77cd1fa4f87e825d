"""What the browser tests do on the review page: press keys, wait for what comes of them, read what is shown."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


def idle(page) -> None:
    """Until the line of commands is empty, and the eye has the item: a key before that is not used."""
    page.wait_for_function(
        "(({ busy, item, painted }) => !busy && item === painted)(document.querySelector('#review-root').dataset)"
    )


def shown(page) -> str:
    return page.get_attribute("#review-root", "data-item")


def pair(page) -> tuple[str, str]:
    return tuple(page.get_attribute(f"[data-role={role}]", "data-candidate-id") for role in ("chosen", "rejected"))


def press(page, key: str) -> None:
    """Press and wait until the answer is drawn."""
    draws = int(page.get_attribute("#review-root", "data-draws") or 0)
    page.keyboard.press(key)
    page.wait_for_function(f"Number(document.querySelector('#review-root').dataset.draws || 0) > {draws}")
    idle(page)  # what was drawn may have been asked for before


def move(page, key: str) -> None:
    """Press a key that goes to another item and wait for that; what it stores may still be under way."""
    before = shown(page)
    page.keyboard.press(key)
    page.wait_for_function(
        f"(({{ item, painted }}) => item !== '{before}' && item === painted)"
        "(document.querySelector('#review-root').dataset)"
    )


def asked(page) -> list[str]:
    """What the page sends from now on."""
    bodies = []
    page.on("request", lambda request: "component_server" in request.url and bodies.append(request.post_data or ""))
    return bodies


@contextlib.contextmanager
def nothing_comes_of(page) -> Iterator[None]:
    """No key in it is used: what one does has begun when its press is over, so there is nothing to wait for."""
    draws, sent = page.get_attribute("#review-root", "data-draws"), asked(page)
    yield
    idle(page)
    assert page.get_attribute("#review-root", "data-draws") == draws
    assert [body for body in sent if not body.startswith('{"data":{"op":"deck"')] == []  # Review looks by itself


def show(page, name: str) -> None:
    page.select_option("#review-filter", name)  # the page is busy before this returns
    idle(page)


def verdict(page) -> str | None:
    found = page.query_selector("#review-state [data-verdict]")
    return found.get_attribute("data-verdict") if found else None


def undo_everything(page) -> None:
    for _ in range(60):
        page.keyboard.press("u")
        idle(page)
        if "nothing to undo" in page.inner_text("#review-message"):
            return
    raise AssertionError("there is always something more to undo")
