"""HTML made so that text cannot become markup.

Instructions and answers are model output: data, never HTML. `tag` escapes every child and attribute; only what
`tag` itself returned (a `Markup`) goes through unescaped.
"""

from __future__ import annotations

import html
import re

VOID = frozenset({"br", "hr", "img", "input"})
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*")
# Control characters that HTML forbids, and the overrides that reorder the text around them.
_INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]")


class Markup(str):
    """A string that is HTML already."""

    __slots__ = ()


def escape(value: object) -> Markup:
    """`value` as text for element content or a quoted attribute; a Markup stays as it is."""
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(clean(str(value)), quote=True))


def clean(text: str) -> str:
    """`text` with a sign in the place of each character that would hide or reorder what is around it."""
    return _INVISIBLE.sub("\ufffd", text)


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """One element. None and False leave a child or an attribute out, True writes the attribute's bare name.

    Attribute names: `class_` is class, other underscores become hyphens (`data_role` -> data-role).
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no element name")
    parts = [f"<{name}"]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        parts.append(f" {key}" if value is True else f' {key}="{escape(str(value))}"')
    parts.append(">")
    if name not in VOID:
        parts += [escape(child) for child in children if child is not None and child is not False]
        parts.append(f"</{name}>")
    return Markup("".join(parts))


def join(children: object, separator: str = "") -> Markup:
    """Escaped children one after another."""
    shown = [child for child in children if child is not None and child is not False]  # type: ignore[attr-defined]
    return Markup(escape(separator).join(escape(child) for child in shown))  # type: ignore[attr-defined]
