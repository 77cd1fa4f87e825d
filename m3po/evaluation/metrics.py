"""Every figure of an evaluation: its name, meaning and direction (METRICS), and how it follows from the answers.

Which rows feed which figure is decided by the truth's category:

* `describe`, or a row with `objects` but neither answer nor category: CHAIR and object recall.
* `exist_random` (any absent object) and `exist_partner_absent` (absent, but it usually comes along): yes/no, each
  against as many rows of `exist_present`, so that half of the right answers are yes: POPE's random and
  adversarial splits.
* `color`, `count`, `where`, `easy_vqa`: the right answer, and nothing else, after normalisation.
* any other category with an answer: the same, all together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from m3po.evaluation.chair import Vocabulary, count_caption
from m3po.evaluation.exact import contains_truth, is_right
from m3po.evaluation.intervals import bootstrap_interval, ratio_of, wilson_interval
from m3po.evaluation.pope import YesNoCounts, count_yes_no, parse_yes_no

DESCRIBE = "describe"
PRESENT, RANDOM, PARTNER_ABSENT = "exist_present", "exist_random", "exist_partner_absent"
EXACT_CATEGORIES = ("easy_vqa", "color", "count", "where")


@dataclass(frozen=True)
class Metric:
    """What a figure is. `unit` is "fraction" (0 to 1; shown in per cent) or "words".

    `higher_is_better` None: neither direction is good by itself.
    """

    key: str
    label: str
    unit: str
    higher_is_better: bool | None
    description: str


def _yes_no_metrics(prefix: str, name: str, against: str) -> list[Metric]:
    return [
        Metric(f"{prefix}_accuracy", f"{name}: accuracy", "fraction", True, f"Right yes/no answers {against}."),
        Metric(
            f"{prefix}_precision", f"{name}: precision", "fraction", True,
            f"Of the answers yes, those whose object is there, {against}.",
        ),
        Metric(
            f"{prefix}_recall", f"{name}: recall", "fraction", True,
            f"Of the objects that are there, those answered yes, {against}.",
        ),
        Metric(f"{prefix}_f1", f"{name}: F1", "fraction", True, f"Harmonic mean of precision and recall, {against}."),
        Metric(
            f"{prefix}_yes_ratio", f"{name}: yes-ratio", "fraction", None,
            f"Share of the answers that are yes, {against}; the labels decide what it should be (about one half).",
        ),
    ]  # fmt: skip


METRICS: dict[str, Metric] = {
    metric.key: metric
    for metric in [
        Metric("chair_s", "CHAIRs", "fraction", False, "Descriptions that name at least one object that is not there."),
        Metric("chair_i", "CHAIRi", "fraction", False, "Object mentions in descriptions that are not in the image."),
        Metric("object_recall", "Object recall", "fraction", True, "Objects in the image that the description names."),
        Metric("describe_words", "Description length", "words", None, "Mean words in a description."),
        Metric(
            "partner_absent_accuracy", "Partner absent: accuracy", "fraction", True,
            "Questions after an absent object that usually comes along, answered no.",
        ),
        Metric(
            "partner_absent_yes_rate", "Partner absent: says yes", "fraction", False,
            "Questions after an absent object that usually comes along, answered yes: a confident hallucination.",
        ),
        *_yes_no_metrics("yes_no_partner", "Yes/no, partner", "on absent partners against as many present ones"),
        *_yes_no_metrics("yes_no_random", "Yes/no, random", "on random absent objects against as many present ones"),
        Metric(
            "easy_vqa_accuracy", "easy-VQA accuracy", "fraction", True, "easy-VQA questions answered exactly right.",
        ),
        Metric("color_accuracy", "Colour accuracy", "fraction", True, "Colour questions answered exactly right."),
        Metric("count_accuracy", "Count accuracy", "fraction", True, "Count questions answered exactly right."),
        Metric("where_accuracy", "Where accuracy", "fraction", True, "Place questions answered exactly right."),
        Metric(
            "answer_accuracy", "Answer accuracy", "fraction", True,
            "Other questions whose answer equals the truth, apart from case, punctuation, articles and white space.",
        ),
        Metric(
            "answer_contains", "Truth in answer", "fraction", True,
            "Other questions whose answer contains the truth as whole words: lenient, a denial counts as well.",
        ),
    ]
}  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """`metrics`: key -> value, None where nothing could be measured (0 of 0). `counts`: rows by category, and what was
    left out. `intervals`: key -> (low, high) at 95 %: Wilson's for single trials, bootstrap over rows otherwise."""

    metrics: dict[str, float | None] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __iter__(self):
        """Allows `metrics, counts = summarise(rows)`."""
        return iter((self.metrics, self.counts))


def summarise(rows: Iterable[Mapping], vocabulary: Sequence[str] = ()) -> Summary:
    """Figures of `rows`: mappings with `text` (the model's answer), and of the truth `answer`, `objects`, `category`,
    each possibly None; `instruction_id` makes the choice of the partner set's present half the same every time.

    A figure appears only if some row feeds it. Rows without truth are left out and counted as `without_truth`.
    CHAIR looks for the union of all rows' `objects` and `vocabulary`.
    """
    rows = sorted(rows, key=lambda row: row.get("instruction_id") or 0)
    names = {name for row in rows for name in row.get("objects") or ()} | set(vocabulary)
    groups: dict[str, list[Mapping]] = defaultdict(list)
    summary = Summary(counts={"rows": len(rows), "without_truth": 0})
    for row in rows:
        group = _group_of(row)
        if group is None:
            summary.counts["without_truth"] += 1
            continue
        groups[group].append(row)
        name = row.get("category") or group
        summary.counts[name] = summary.counts.get(name, 0) + 1

    _add_chair(summary, groups[DESCRIBE], Vocabulary(names))
    _add_yes_no(summary, groups)
    for category in EXACT_CATEGORIES:
        _add_rate(
            summary,
            f"{category}_accuracy",
            [is_right(row["text"], row["answer"]) for row in groups[category]],
        )
    other = groups["answer"]
    _add_rate(summary, "answer_accuracy", [is_right(row["text"], row["answer"]) for row in other])
    _add_rate(summary, "answer_contains", [contains_truth(row["text"], row["answer"]) for row in other])
    ordered = {key: summary.metrics[key] for key in METRICS if key in summary.metrics}
    return Summary(ordered, summary.counts, summary.intervals)


def _group_of(row: Mapping) -> str | None:
    category, answer = row.get("category") or "", row.get("answer") or ""
    if category == DESCRIBE or (not category and not answer):
        return DESCRIBE if row.get("objects") is not None else None
    if not answer.strip():
        return None
    return category if category in (PRESENT, RANDOM, PARTNER_ABSENT, *EXACT_CATEGORIES) else "answer"


def _add_rate(summary: Summary, key: str, hits: list[bool]) -> None:
    if hits:
        summary.metrics[key] = sum(hits) / len(hits)
        summary.intervals[key] = wilson_interval(sum(hits), len(hits))


def _add_chair(summary: Summary, rows: list[Mapping], vocabulary: Vocabulary) -> None:
    if not rows:
        return
    captions = [count_caption(row["text"], row["objects"], vocabulary) for row in rows]
    _add_rate(summary, "chair_s", [caption.hallucinated > 0 for caption in captions])
    counts = np.array([[c.hallucinated, c.mentioned, c.found, c.true] for c in captions])
    summary.counts.update(mentions=int(counts[:, 1].sum()), hallucinated_mentions=int(counts[:, 0].sum()))
    for key, part, whole in (("chair_i", 0, 1), ("object_recall", 2, 3)):
        total = counts[:, whole].sum()
        summary.metrics[key] = float(counts[:, part].sum() / total) if total else None
        _add_interval(summary, key, bootstrap_interval(counts, ratio_of(part, whole)))
    words = np.array([[len(row["text"].split()), 1] for row in rows])
    summary.metrics["describe_words"] = float(words[:, 0].mean())
    _add_interval(summary, "describe_words", bootstrap_interval(words, ratio_of(0, 1)))


def _add_yes_no(summary: Summary, groups: Mapping[str, list[Mapping]]) -> None:
    """Absent objects, random and partner, each against as many present ones: half yes, half no, as POPE asks."""
    present = _labels_and_answers(groups[PRESENT])
    random, partner = _labels_and_answers(groups[RANDOM]), _labels_and_answers(groups[PARTNER_ABSENT])
    if partner:
        says_yes = [answer for _, answer in partner]
        _add_rate(summary, "partner_absent_accuracy", [not yes for yes in says_yes])
        _add_rate(summary, "partner_absent_yes_rate", says_yes)
    for prefix, absent in (("yes_no_partner", partner), ("yes_no_random", random)):
        n = min(len(absent), len(present))
        if n:
            _add_set(summary, prefix, _thin(absent, n) + _thin(present, n))
            summary.counts[f"{prefix}_rows"] = 2 * n


def _thin(rows: list, n: int) -> list:
    """`n` of the rows, spread evenly by id rather than drawn: the same ones before and after a training."""
    return [rows[i * len(rows) // n] for i in range(n)]


def _labels_and_answers(rows: list[Mapping]) -> list[tuple[bool, bool]]:
    return [(parse_yes_no(row["answer"].strip()), parse_yes_no(row["text"].strip())) for row in rows]


def _add_set(summary: Summary, prefix: str, pairs: list[tuple[bool, bool]]) -> None:
    counts: YesNoCounts = count_yes_no(pairs)
    for name in ("accuracy", "precision", "recall", "f1", "yes_ratio"):
        summary.metrics[f"{prefix}_{name}"] = getattr(counts, name)
    right, yes = counts.true_yes + counts.true_no, counts.true_yes + counts.false_yes
    trials = {
        "accuracy": (right, counts.total),
        "precision": (counts.true_yes, yes),
        "recall": (counts.true_yes, counts.true_yes + counts.false_no),
        "yes_ratio": (yes, counts.total),
    }
    for name, (hits, total) in trials.items():
        _add_interval(summary, f"{prefix}_{name}", wilson_interval(hits, total))
    cells = np.array([[2 * (label and answer), label + answer] for label, answer in pairs], dtype=float)
    _add_interval(summary, f"{prefix}_f1", bootstrap_interval(cells, ratio_of(0, 1)))


def _add_interval(summary: Summary, key: str, interval: tuple[float, float] | None) -> None:
    if interval is not None:
        summary.intervals[key] = interval
