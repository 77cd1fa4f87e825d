"""Whether an answer is the true answer, for questions with one right answer (colour, count, place, easy-VQA).

Compared after this normalisation: Unicode NFC, case folded, apostrophes and other punctuation removed (a hyphen
becomes a blank), the articles a / an / the removed, number words zero to twenty written as digits, white space folded.
"""

from __future__ import annotations

import re
import unicodedata

from m3po.evaluation.pope import parse_yes_no

_ARTICLES = {"a", "an", "the"}
_NUMBERS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)}


def normalise_answer(text: str) -> str:
    """The form in which two answers are compared."""
    folded = unicodedata.normalize("NFC", text).casefold()
    folded = re.sub(r"['’`]", "", folded)
    # A point or comma inside a number is part of it: 1.5 is not 15.
    folded = re.sub(r"(?<!\d)[.,]|[.,](?!\d)|[^\w\s.,]|_", " ", folded)
    return " ".join(_DIGITS.get(word, word) for word in folded.split() if word not in _ARTICLES)


def is_right(answer: str, truth: str) -> bool:
    """Equal after normalisation. A truth of only "yes" or "no" is compared with POPE's reading of the answer."""
    wanted = normalise_answer(truth)
    if wanted in ("yes", "no"):
        return parse_yes_no(answer.strip()) == (wanted == "yes")
    return normalise_answer(answer) == wanted


def contains_truth(answer: str, truth: str) -> bool:
    """The normalised truth stands in the normalised answer as whole words: lenient, for "red" against a sentence."""
    wanted = normalise_answer(truth)
    return is_right(answer, truth) or (bool(wanted) and f" {wanted} " in f" {normalise_answer(answer)} ")
