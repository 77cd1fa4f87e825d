"""Yes/no questions about objects, as POPE asks them (Li et al. 2023, arXiv 2305.10355).

The reading of an answer is the published script's, word for word, so that figures compare across papers: only the
words `No`, `no` and `not` of the first sentence mean no. "There isn't a boat" is therefore a yes; a model that
speaks so is misread by the protocol, not by us.

Each of POPE's sets is a file of questions, half of them about objects that are there; its figures are of its own
questions and no others. A row belongs to one by its category: `pope_random`, `pope_gqa_adversarial`, ...
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from m3po.categories import POPE_CATEGORIES, POPE_DATASETS
from m3po.evaluation.figures import Metric, Ratio, rate_of_rows, ratio_of_rows


def parse_yes_no(text: str) -> bool:
    """True for yes. First sentence (up to the first full stop), commas removed, split at blanks."""
    words = text.split(".")[0].replace(",", "").split(" ")
    return not ("No" in words or "not" in words or "no" in words)


def yes_no_metrics(prefix: str, name: str, against: str, **more: object) -> list[Metric]:
    """The five figures of a set of yes/no questions; `against` says of which, `more` is the metrics'."""
    return [
        Metric(
            f"{prefix}_accuracy", f"{name}: accuracy", "fraction", True, f"Right yes/no answers {against}.", **more
        ),
        Metric(
            f"{prefix}_precision", f"{name}: precision", "fraction", True,
            f"Of the answers yes, those whose object is there, {against}.", **more
        ),
        Metric(
            f"{prefix}_recall", f"{name}: recall", "fraction", True,
            f"Of the objects that are there, those answered yes, {against}.", **more
        ),
        Metric(
            f"{prefix}_f1", f"{name}: F1", "fraction", True,
            f"Harmonic mean of precision and recall, {against}.", **more
        ),
        Metric(
            f"{prefix}_yes_ratio", f"{name}: yes-ratio", "fraction", None,
            f"Share of the answers that are yes, {against}; the labels decide what it should be (about one half).",
            **more
        ),
    ]  # fmt: skip


METRICS = [
    metric
    for category, (dataset, way) in POPE_CATEGORIES.items()
    for metric in yes_no_metrics(
        category,
        f"{POPE_DATASETS[dataset]} {way or 'set not named'}",
        "to the questions of this set",
        benchmark=POPE_DATASETS[dataset],
    )
]


def count_sets(groups: Mapping[str, Sequence[Mapping]]) -> dict[str, Ratio]:
    """The figures of each set; `groups`: rows by category."""
    found: dict[str, Ratio] = {}
    for category in POPE_CATEGORIES:
        found |= count_set(category, read_yes_no(groups.get(category, ())))
    return found


def read_yes_no(rows: Iterable[Mapping]) -> list[Mapping]:
    """The rows with `label` and `yes`: what is true, and what was answered."""
    return [
        {**row, "label": parse_yes_no(row["answer"].strip()), "yes": parse_yes_no(row["text"].strip())} for row in rows
    ]


def count_set(prefix: str, rows: list[Mapping]) -> dict[str, Ratio]:
    """Figures of yes/no questions as ratios; F1 is 2 TP / (2 TP + FP + FN) = 2 TP / (labels + answers)."""

    def both(row: Mapping) -> int:
        return int(row["label"] and row["yes"])

    return {
        f"{prefix}_accuracy": rate_of_rows(rows, lambda row: row["label"] == row["yes"]),
        f"{prefix}_precision": ratio_of_rows(rows, lambda row: (both(row), int(row["yes"])), trials=True),
        f"{prefix}_recall": ratio_of_rows(rows, lambda row: (both(row), int(row["label"])), trials=True),
        f"{prefix}_f1": ratio_of_rows(rows, lambda row: (2 * both(row), row["label"] + row["yes"])),
        f"{prefix}_yes_ratio": rate_of_rows(rows, lambda row: row["yes"]),
    }
