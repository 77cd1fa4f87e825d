"""POPE's questions for any images whose objects are known (Li et al. 2023, arXiv 2305.10355, section 5).

Of each image the same number of objects that are there and, in each of three ways, of objects that are not: drawn at
random, the most frequent ones of all images (popular), and those that most often come along with what is there
(adversarial).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import PurePath

from m3po.categories import POPE_WAYS

PER_IMAGE = 3  # questions of each label, an image and way


@dataclass(frozen=True)
class Question:
    """Whether `name` is in `image`; of the set `way`."""

    image: str
    way: str
    name: str
    there: bool

    @property
    def text(self) -> str:
        article = "an" if self.name[:1].lower() in "aeiou" else "a"
        return f"Is there {article} {self.name} in the image?"


def build_questions(objects: Mapping[str, Iterable[str]], per_image: int = PER_IMAGE) -> list[Question]:
    """`objects`: what is in each image, all of it. At most `per_image` questions of each label, fewer where an image
    shows fewer objects or all but few of those known; never more of one label than of the other. What is drawn is a
    hash of image and name: the same images give the same questions."""
    there = {image: sorted(set(names)) for image, names in objects.items()}
    frequent = Counter(name for names in there.values() for name in names)
    together = Counter(pair for names in there.values() for pair in permutations(names, 2))
    questions = []
    for image, names in sorted(there.items()):
        absent = sorted(set(frequent) - set(names))
        n = min(per_image, len(names), len(absent))
        orders = {
            "random": lambda name, image=image: _draw(image, name),
            "popular": lambda name: (-frequent[name], name),
            "adversarial": lambda name, names=names: (-sum(together[name, known] for known in names), name),
        }
        present = sorted(names, key=lambda name, image=image: _draw(image, name))[:n]
        for way in POPE_WAYS:
            questions += [Question(image, way, name, True) for name in present]
            questions += [Question(image, way, name, False) for name in sorted(absent, key=orders[way])[:n]]
    return questions


def _draw(image: str, name: str) -> bytes:
    """By the image's content address, so that a workspace draws the same wherever it lies."""
    return hashlib.sha256(f"{PurePath(image).stem} {name}".encode()).digest()
