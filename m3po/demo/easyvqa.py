"""easy-VQA, the published package, as images with questions and answers in sentences.

The package ships 64-pixel images of one coloured shape each and one-word answers. A model that speaks in sentences is
easier to look at, so the words are put into sentences here. The package's own split is kept: its train images for
training, its test images for everything that is measured or shown.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

SHAPES = ("circle", "rectangle", "triangle")
SHAPE_COLOURS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")

_WHAT_COLOUR = re.compile(r"what (?:color is|is the color of) the (\w+)\?")
_NEGATED = re.compile(r"\bnot?\b")
_NAMED = re.compile(r"\b(" + "|".join(SHAPES + SHAPE_COLOURS) + r")\b")


@dataclass(frozen=True)
class EasyImage:
    """One image of the package: its file, its single shape and colour, and (question, one-word answer) pairs."""

    path: Path
    shape: str
    colour: str
    questions: tuple[tuple[str, str], ...]


def subject(question: str) -> str | None:
    """The thing a yes/no question asks about: 'a red shape', 'a circle'; None for other questions."""
    if question.startswith("what"):
        return None
    named = _NAMED.search(question)
    if named is None:
        return None
    word = named.group(1)
    return f"a {word} shape" if word in SHAPE_COLOURS else f"a {word}"


def is_negated(question: str) -> bool:
    """True for 'is there not a circle?' and its like, whose 'yes' means absence."""
    return bool(_NEGATED.search(question))


def to_sentence(question: str, answer: str) -> str:
    """The one-word `answer` to `question` as a short sentence.

    A negated question is answered by "Yes, it is missing." or "No, it is there.": free of a second negation.
    """
    colour_of = _WHAT_COLOUR.fullmatch(question)
    if colour_of:
        return f"The {colour_of.group(1)} is {answer}."
    if answer in SHAPES:
        return f"It is a {answer}."
    if is_negated(question):
        return "Yes, it is missing." if answer == "yes" else "No, it is there."
    thing = subject(question)
    return f"Yes, there is {thing}." if answer == "yes" else f"No, there is no {thing.removeprefix('a ')}."


def wrong_words(question: str, answer: str) -> tuple[str, ...]:
    """Every one-word answer of the same sort that is wrong."""
    for group in (("yes", "no"), SHAPES, SHAPE_COLOURS):
        if answer in group:
            return tuple(word for word in group if word != answer)
    raise ValueError(f"easy-VQA has no answer {answer!r}")


def _truth(questions: list[tuple[str, str]]) -> tuple[str, str]:
    """Shape and colour of an image, from what its questions say."""
    shapes, colours = set(SHAPES), set(SHAPE_COLOURS)
    for question, answer in questions:
        for group in (shapes, colours):
            if answer in group:
                group &= {answer}
        if answer in ("yes", "no"):
            word = _NAMED.search(question).group(1)
            present = (answer == "yes") != is_negated(question)
            group = shapes if word in SHAPES else colours
            group &= {word} if present else group - {word}
        elif (named := re.search(r"the (\w+) shape", question)) and named.group(1) in SHAPE_COLOURS:
            colours &= {named.group(1)}
        elif (named := _WHAT_COLOUR.fullmatch(question)) and named.group(1) in SHAPES:
            shapes &= {named.group(1)}
    return (shapes.pop() if len(shapes) == 1 else ""), (colours.pop() if len(colours) == 1 else "")


@cache
def load_easy_vqa(split: str) -> tuple[EasyImage, ...]:
    """Images of `split` ('train' or 'test') whose shape and colour follow from their questions, in the package's order.

    Raises ModuleNotFoundError where the package easy-vqa is not installed.
    """
    spec = find_spec("easy_vqa")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("The demo uses the package easy-vqa: pip install easy-vqa")
    folder = Path(spec.origin).parent / "data" / split
    grouped: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for question, answer, index in json.loads((folder / "questions.json").read_text()):
        grouped[index].append((question, answer))
    images = []
    for index, questions in sorted(grouped.items()):
        shape, colour = _truth(questions)
        if shape and colour:
            images.append(EasyImage(folder / "images" / f"{index}.png", shape, colour, tuple(questions)))
    return tuple(images)
