"""What can be wrong with a pair, kind by kind, and the checks that need no model: words and tokens alone.

What leaves a pair out of a run is raised as PairProblem by the code of the run itself (m3po.training.encoding); what
is said of the others is found here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from m3po.errors import BadInputError
from m3po.text import counted

NEAR_RATIO = 0.95  # of difflib's ratio over tokens: 2 * matching / all
NEAR_WORDS = 5  # from so many words on, answers that differ in one of them are near-equal: not "Yes" and "No"
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class PairKind:
    """A kind of finding: `left_out` says what the run does with such a pair, `fix` what the page offers beside the
    exclusion: "review" or nothing."""

    name: str
    title: str
    left_out: bool
    remedy: str
    fix: str = "review"


KINDS: dict[str, PairKind] = {
    kind.name: kind
    for kind in [
        PairKind(
            "too_long",
            "More tokens than the model reads",
            True,
            "shorten the answer in Review, choose another one there, or set max_pixels where the image takes the room",
        ),
        PairKind(
            "no_completion",
            "Nothing to learn from",
            True,
            "write the answer in Review, or choose another one there",
        ),
        PairKind(
            "refused",
            "Refused by the model's template or processor",
            True,
            "change the model options, or train a model that takes such a conversation and image",
            fix="",
        ),
        PairKind("unreadable", "Image cannot be read", True, "restore its file, or exclude the pair", fix=""),
        PairKind(
            "same_answer",
            "Chosen and rejected are the same tokens",
            True,
            "choose another chosen or rejected answer in Review",
        ),
        PairKind(
            "near_equal",
            "Chosen and rejected are nearly equal",
            False,
            "keep it where the words that differ are the mistake; else choose another answer in Review",
        ),
        PairKind(
            "shared_image",
            "Its image is also in the held-out or tune split",
            False,
            "exclude it, or the figures before and after are partly of what was trained on",
            fix="",
        ),
    ]
}


class PairProblem(BadInputError):
    """Why a pair is left out of a run: a `kind` of KINDS, and words that go on from "it is left out:"."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


@dataclass(frozen=True)
class Finding:
    """A `kind` of KINDS with what is wrong, in words."""

    kind: str
    detail: str


def length_limit(max_length: int, reads: int | None) -> int | None:
    """Tokens that a pair may have: what the model `reads`, where it says so, and no more than the run's max_length."""
    return min(filter(None, (max_length, reads)), default=None)


def check_length(prompt: int, answer: int, limit: int | None, *, asked: bool = False) -> None:
    """Raises PairProblem where `prompt` tokens (its images expanded) and the longer answer's are more than `limit`:
    what the model reads (None: it does not say), or what the run asks for."""
    if limit is not None and prompt + answer > limit:
        whose = "max_length allows" if asked else "the model reads"
        raise PairProblem(
            "too_long",
            f"its {prompt + answer:,} tokens are more than the {limit:,} that {whose} "
            f"({prompt:,} of the prompt with its images, {answer:,} of the longer answer)",
        )


def find_near_equal(chosen: str, rejected: str, chosen_ids: Sequence[int], rejected_ids: Sequence[int]) -> str:
    """How alike two answers are, in words; empty where they are not near-equal.

    They are where difflib's ratio over their tokens is NEAR_RATIO or more, where they have the same words (whatever
    the case and the punctuation), and where of NEAR_WORDS or more words one differs, comes or goes. DPO on such pairs
    moves little but the few tokens that differ, and may lower both answers (Pal et al., arXiv 2402.13228).
    """
    words = [_WORD.findall(text.casefold()) for text in (chosen, rejected)]
    if words[0] == words[1]:
        return "they have the same words" if words[0] else ""
    if max(map(len, words)) >= NEAR_WORDS and differ_by_one(*words):
        return f"of {counted(max(map(len, words)), 'word')} one differs"
    ratio = similarity(chosen_ids, rejected_ids)
    return f"{ratio:.0%} of their tokens are the same" if ratio >= NEAR_RATIO else ""


def similarity(a: Sequence[int], b: Sequence[int]) -> float:
    """difflib's ratio, or an upper bound of it where that is below NEAR_RATIO: it is quadratic, its bounds are not."""
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    for bound in (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio):
        if (value := bound()) < NEAR_RATIO:
            break
    return value


def differ_by_one(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether one word exchanged, put in or taken out makes `b` of `a`."""
    if abs(len(a) - len(b)) > 1 or a == b:
        return False
    start = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return list(a[start + (len(a) >= len(b)) :]) == list(b[start + (len(b) >= len(a)) :])
