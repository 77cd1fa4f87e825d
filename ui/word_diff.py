"""Which words of two answers differ, so that the eye lands on the hallucinated one."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")
MAX_TOKENS = 1_500  # difflib is quadratic at its worst; longer answers are shown without marks


def diff_words(left: str, right: str) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Both texts as segments `(text, differs)`; joined, the segments are the text again.

    Case counts: `A house` and `a house` differ in one word. White space never differs by itself.
    """
    a, b = _TOKEN.findall(left), _TOKEN.findall(right)
    if len(a) + len(b) > MAX_TOKENS:
        return [(left, False)] * bool(left), [(right, False)] * bool(right)
    a_words = [i for i, token in enumerate(a) if not token.isspace()]
    b_words = [i for i, token in enumerate(b) if not token.isspace()]
    matcher = SequenceMatcher(None, [a[i] for i in a_words], [b[i] for i in b_words], autojunk=False)
    a_same, b_same = set(), set()
    for block in matcher.get_matching_blocks():
        a_same.update(a_words[block.a : block.a + block.size])
        b_same.update(b_words[block.b : block.b + block.size])
    return _segments(a, a_same), _segments(b, b_same)


def _segments(tokens: list[str], same: set[int]) -> list[tuple[str, bool]]:
    """Neighbouring tokens of one kind as one segment; white space joins two differing words, else it is plain."""
    differs = [i not in same and not token.isspace() for i, token in enumerate(tokens)]
    for i, token in enumerate(tokens):
        if token.isspace() and 0 < i < len(tokens) - 1:
            differs[i] = differs[i - 1] and differs[i + 1]
    segments: list[tuple[str, bool]] = []
    for token, flag in zip(tokens, differs, strict=True):
        if segments and segments[-1][1] == flag:
            segments[-1] = (segments[-1][0] + token, flag)
        else:
            segments.append((token, flag))
    return segments
