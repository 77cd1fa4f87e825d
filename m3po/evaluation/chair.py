"""Object hallucination in descriptions: CHAIR (Rohrbach et al. 2018, arXiv 1809.02156).

CHAIRi = hallucinated mentions / all mentions, CHAIRs = captions with at least one hallucinated mention / captions;
recall = distinct true objects mentioned / true objects. As in the published script every mention counts for CHAIRi.

One thing is decided otherwise: a negated mention ("there is no fish", "without a red hat") claims nothing, so it is
neither a hallucination nor recall. The published script counts it, because MS-COCO captions hardly ever negate.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

_IRREGULAR = {
    "man": "men", "woman": "women", "child": "children", "person": "people", "mouse": "mice", "goose": "geese",
    "foot": "feet", "tooth": "teeth", "ox": "oxen", "fish": "fish", "sheep": "sheep", "deer": "deer",
    "knife": "knives", "leaf": "leaves", "wolf": "wolves", "shelf": "shelves", "calf": "calves", "loaf": "loaves",
    "scarf": "scarves", "half": "halves", "life": "lives", "wife": "wives", "potato": "potatoes",
    "tomato": "tomatoes", "aircraft": "aircraft",
}  # fmt: skip
_SINGULAR = {plural: singular for singular, plural in _IRREGULAR.items()}
# A negator reaches over at most this many words between it and the name ("no very small red fish").
_NEGATION_REACH = 3
_NEGATORS = {"no", "not", "without", "never", "neither", "nor", "cannot"}
_NOT_A_NEGATION = {"only", "just", "merely"}  # "not only a fish" does claim a fish


def _fold(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def word_forms(name: str) -> set[str]:
    """`name` (one or several words, singular or plural) with its last word in singular and plural, lower case."""
    folded = _fold(name)
    if not folded:
        return set()
    head, _, last = folded.rpartition(" ")
    forms = {last, _plural(last), _singular(last)}
    if last in _SINGULAR or _singular(last) != last:
        forms.add(_plural(_singular(last)))
    return {f"{head} {form}".strip() for form in forms}


def _plural(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _SINGULAR:
        return word
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    if re.search(r"(s|x|z|ch|sh)$", word):
        return word + "es"
    return word + "s"


def _singular(word: str) -> str:
    if word in _SINGULAR:
        return _SINGULAR[word]
    if word in _IRREGULAR or re.search(r"(ss|us|is|as)$", word):
        return word
    if re.search(r"[^aeiou]ies$", word) and len(word) > 4:
        return word[:-3] + "y"
    if re.search(r"(sses|xes|zes|ches|shes|uses)$", word):
        return word[:-2]
    if word.endswith("s") and len(word) > 3:
        return word[:-1]
    return word


class Vocabulary:
    """The object names that are looked for. Names that are forms of one another ("dog", "dogs") are one object."""

    def __init__(self, names: Iterable[str]) -> None:
        self._canonical: dict[str, str] = {}
        # Sorted, so that what is canonical does not depend on the order in which rows come.
        for name in sorted({_fold(name) for name in names} - {""}, key=lambda n: (len(n), n)):
            forms = word_forms(name)
            canonical = next((self._canonical[form] for form in sorted(forms) if form in self._canonical), name)
            for form in forms:
                self._canonical.setdefault(form, canonical)
        # The longest name wins: a "teddy bear" is not a bear.
        longest_first = sorted(self._canonical, key=lambda form: (-len(form), form))
        alternatives = "|".join(r"[\s-]+".join(map(re.escape, re.split(r"[\s-]+", f))) for f in longest_first)
        self._pattern = re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)") if alternatives else None
        self._by_words = {" ".join(re.split(r"[\s-]+", form)): name for form, name in self._canonical.items()}

    def __len__(self) -> int:
        return len(set(self._canonical.values()))

    def canonical(self, name: str) -> str:
        """The object that `name` is a form of; an unknown name is its own."""
        folded = _fold(name)
        return self._canonical.get(folded, folded)

    def mentions(self, text: str) -> list[str]:
        """Objects named in `text`, in order, once a mention; negated mentions are left out."""
        if self._pattern is None:
            return []
        folded = _fold(text)
        found = []
        for match in self._pattern.finditer(folded):
            if not _negated(folded[: match.start()]):
                found.append(self._by_words[" ".join(re.split(r"[\s-]+", match.group()))])
        return found


def _negated(before: str) -> bool:
    """Whether the words right before a name negate it; a negation does not reach over punctuation or "but"."""
    clause = re.split(r"[.,;:!?]|\b(?:but|and|except)\b", before)[-1]
    words = clause.replace("’", "'").split()[-_NEGATION_REACH - 1 :]
    for position, word in enumerate(words):
        if word in _NEGATORS or word.endswith("n't"):
            following = words[position + 1] if position + 1 < len(words) else ""
            return following not in _NOT_A_NEGATION
    return False


@dataclass(frozen=True)
class CaptionCounts:
    """What one description says: mentions, hallucinated mentions, distinct true objects found, true objects."""

    mentioned: int
    hallucinated: int
    found: int
    true: int


def count_caption(text: str, objects: Iterable[str], vocabulary: Vocabulary) -> CaptionCounts:
    """Count the mentions of one description against the `objects` that are in its image."""
    truth = {vocabulary.canonical(name) for name in objects if _fold(name)}
    mentions = vocabulary.mentions(text)
    return CaptionCounts(
        mentioned=len(mentions),
        hallucinated=sum(name not in truth for name in mentions),
        found=len(truth & set(mentions)),
        true=len(truth),
    )
