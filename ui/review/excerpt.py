"""Where a long answer begins to differ from the others, so that a line of it shows what is its own."""

from __future__ import annotations

import re
from collections.abc import Iterable

FITS = 34  # characters that a closed row shows on a small screen
BEFORE = 3  # words that are shown before the first one that differs

_WORD = re.compile(r"\S+\s*")


def split_shared(text: str, others: Iterable[str], fits: int = FITS) -> tuple[str, str]:
    """`text` as (what it shares with the other that begins most like it, less a few words; the rest).

    Nothing is left out where the difference is in sight anyway, within the first `fits` characters.
    """
    words = _WORD.findall(text)
    shared = max((_common(words, _WORD.findall(other)) for other in others if other != text), default=0)
    start = max(0, min(shared, len(words) - 1) - BEFORE)
    if len("".join(words[: shared + 1])) <= fits or not start:
        return "", text
    head = "".join(words[:start])
    return head, text.lstrip()[len(head) :]


def _common(left: list[str], right: list[str]) -> int:
    """How many words both begin with."""
    count = 0
    for a, b in zip(left, right, strict=False):
        if a.rstrip() != b.rstrip():
            break
        count += 1
    return count
