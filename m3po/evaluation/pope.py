"""Yes/no questions about objects, as POPE asks and counts them (Li et al. 2023, arXiv 2305.10355).

The reading of an answer is the published script's, word for word, so that figures compare across papers: only the
words `No`, `no` and `not` of the first sentence mean no. "There isn't a boat" is therefore a yes; a model that
speaks so is misread by the protocol, not by us.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


def parse_yes_no(text: str) -> bool:
    """True for yes. First sentence (up to the first full stop), commas removed, split at blanks."""
    words = text.split(".")[0].replace(",", "").split(" ")
    return not ("No" in words or "not" in words or "no" in words)


@dataclass(frozen=True)
class YesNoCounts:
    """Confusion counts; yes is the positive class. `a / b` is None where b is 0: nothing to measure."""

    true_yes: int = 0
    false_yes: int = 0
    true_no: int = 0
    false_no: int = 0

    @property
    def total(self) -> int:
        return self.true_yes + self.false_yes + self.true_no + self.false_no

    @property
    def accuracy(self) -> float | None:
        return _ratio(self.true_yes + self.true_no, self.total)

    @property
    def precision(self) -> float | None:
        return _ratio(self.true_yes, self.true_yes + self.false_yes)

    @property
    def recall(self) -> float | None:
        return _ratio(self.true_yes, self.true_yes + self.false_no)

    @property
    def f1(self) -> float | None:
        return _ratio(2 * self.true_yes, 2 * self.true_yes + self.false_yes + self.false_no)

    @property
    def yes_ratio(self) -> float | None:
        """Share of the *answers* that are yes (not of the labels)."""
        return _ratio(self.true_yes + self.false_yes, self.total)


def count_yes_no(labels_and_answers: Iterable[tuple[bool, bool]]) -> YesNoCounts:
    """Count (label is yes, answer is yes) pairs."""
    cells = {(True, True): 0, (False, True): 0, (False, False): 0, (True, False): 0}
    for label, answer in labels_and_answers:
        cells[bool(label), bool(answer)] += 1
    return YesNoCounts(cells[True, True], cells[False, True], cells[False, False], cells[True, False])


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
