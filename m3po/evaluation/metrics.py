"""Every figure of an evaluation: its name, meaning and direction (METRICS), and how it follows from the answers.

Which rows feed which figure is decided by the truth's category:

* `describe`, or a row with `objects` but neither answer nor category: CHAIR and object recall.
* `exist_random` (any absent object), `exist_popular` (a frequent one) and `exist_partner_absent` (absent, but it
  usually comes along): yes/no, each against as many rows of `exist_present`, so that half of the right answers are yes:
  POPE's random, popular and adversarial splits.
* `color`, `count`, `where`, `easy_vqa`: the right answer, and nothing else, after normalisation.
* any other category with an answer: the same, all together.
* `pope_random`, `pope_gqa_popular`, ..., `mme_existence`, ...: the questions of a benchmark (m3po.evaluation.pope and
  mme), each measured by its own protocol, and in no other figure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from m3po.categories import BENCHMARKS, OWN_PRESENT, OWN_WAYS
from m3po.evaluation import mme, pope
from m3po.evaluation.chair import Vocabulary, count_caption
from m3po.evaluation.exact import contains_truth, is_right
from m3po.evaluation.figures import Metric, Ratio, rate_of_rows, ratio_of_rows
from m3po.evaluation.pope import count_set, read_yes_no, yes_no_metrics

DESCRIBE = "describe"
PRESENT = OWN_PRESENT
RANDOM, POPULAR, PARTNER_ABSENT = OWN_WAYS
EXIST = (PRESENT, RANDOM, POPULAR, PARTNER_ABSENT)
EXACT_CATEGORIES = ("easy_vqa", "color", "count", "where")


METRICS: dict[str, Metric] = {
    metric.key: metric
    for metric in [
        Metric("chair_s", "CHAIRs", "fraction", False, "Descriptions that name at least one object that is not there."),
        Metric("chair_i", "CHAIRi", "fraction", False, "Object mentions in descriptions that are not in the image."),
        Metric("object_recall", "Object recall", "fraction", True, "Objects in the image that the description names."),
        Metric("describe_words", "Description length, words", "words", None, "Mean words in a description."),
        Metric(
            "partner_absent_accuracy", "Partner absent: accuracy", "fraction", True,
            "Questions after an absent object that usually comes along, answered no.",
        ),
        Metric(
            "partner_absent_yes_rate", "Partner absent: says yes", "fraction", False,
            "Questions after an absent object that usually comes along, answered yes: a confident hallucination.",
        ),
        *yes_no_metrics("yes_no_partner", "POPE adversarial", "on absent partners against as many present ones"),
        *yes_no_metrics("yes_no_popular", "POPE popular", "on frequent absent objects, as many present ones"),
        *yes_no_metrics("yes_no_random", "POPE random", "on random absent objects against as many present ones"),
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
        *pope.METRICS,
        *mme.METRICS,
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
    rows = list(rows)
    summary = Summary(counts={"rows": len(rows), "without_truth": 0})
    for row in rows:
        group = group_of(row)
        name = (row.get("category") or group) if group else "without_truth"
        summary.counts[name] = summary.counts.get(name, 0) + 1
    ratios = count_rows(rows, vocabulary)
    if "chair_i" in ratios:
        hallucinated, mentioned = ratios["chair_i"].counts.sum(axis=0)
        summary.counts.update(mentions=int(mentioned), hallucinated_mentions=int(hallucinated))
    for prefix in ("yes_no_partner", "yes_no_popular", "yes_no_random"):
        if f"{prefix}_accuracy" in ratios:
            summary.counts[f"{prefix}_rows"] = len(ratios[f"{prefix}_accuracy"].counts)
    for key, ratio in ratios.items():
        summary.metrics[key] = ratio.value
        interval = ratio.interval
        if interval is not None:
            summary.intervals[key] = interval
    return summary


def count_rows(rows: Iterable[Mapping], vocabulary: Sequence[str] = ()) -> dict[str, Ratio]:
    """The figures that `rows` feed (see summarise), in the order of METRICS. Which rows feed which figure depends on
    their ids and truth alone, never on the answers: those of two models can be compared row by row."""
    rows = sorted(rows, key=lambda row: row.get("instruction_id") or 0)
    groups: dict[str, list[Mapping]] = defaultdict(list)
    for row in rows:
        if group := group_of(row):
            groups[group].append(row)
    found = _count_captions(groups[DESCRIBE], build_vocabulary(rows, vocabulary))
    found |= _count_yes_no(groups)
    for category in EXACT_CATEGORIES:
        found[f"{category}_accuracy"] = rate_of_rows(groups[category], _right)
    found["answer_accuracy"] = rate_of_rows(groups["answer"], _right)
    found |= pope.count_sets(groups) | mme.count_categories(groups)
    found["answer_contains"] = rate_of_rows(groups["answer"], lambda row: contains_truth(row["text"], row["answer"]))
    return {key: found[key] for key in METRICS if key in found and len(found[key].counts)}


def build_vocabulary(rows: Iterable[Mapping], more: Sequence[str] = ()) -> Vocabulary:
    """All objects that the truth of `rows` names, and `more`."""
    return Vocabulary({name for row in rows for name in row.get("objects") or ()} | set(more))


def group_of(row: Mapping) -> str | None:
    """Which figures the truth of a row feeds; None for a row without truth."""
    category, answer = row.get("category") or "", row.get("answer") or ""
    if category == DESCRIBE or (not category and not answer):
        return DESCRIBE if row.get("objects") is not None else None
    if not answer.strip():
        return None
    return category if category in (*EXIST, *EXACT_CATEGORIES, *BENCHMARKS) else "answer"


def _right(row: Mapping) -> bool:
    return is_right(row["text"], row["answer"])


def _count_captions(rows: list[Mapping], vocabulary: Vocabulary) -> dict[str, Ratio]:
    captions = [{**row, "said": count_caption(row["text"], row["objects"], vocabulary)} for row in rows]
    return {
        "chair_s": rate_of_rows(captions, lambda row: row["said"].hallucinated > 0),
        "chair_i": ratio_of_rows(captions, lambda row: (row["said"].hallucinated, row["said"].mentioned)),
        "object_recall": ratio_of_rows(captions, lambda row: (row["said"].found, row["said"].true)),
        "describe_words": ratio_of_rows(rows, lambda row: (len(row["text"].split()), 1)),
    }


def _count_yes_no(groups: Mapping[str, list[Mapping]]) -> dict[str, Ratio]:
    """Absent objects, drawn in three ways, each against as many present ones: half yes, half no, as POPE asks."""
    read = {name: read_yes_no(groups[name]) for name in EXIST}
    partner = read[PARTNER_ABSENT]
    found = {
        "partner_absent_accuracy": rate_of_rows(partner, lambda row: not row["yes"]),
        "partner_absent_yes_rate": rate_of_rows(partner, lambda row: row["yes"]),
    }
    for prefix, way in (("yes_no_partner", PARTNER_ABSENT), ("yes_no_popular", POPULAR), ("yes_no_random", RANDOM)):
        n = min(len(read[way]), len(read[PRESENT]))
        found |= count_set(prefix, _thin(read[way], n) + _thin(read[PRESENT], n))
    return found


def _thin(rows: list, n: int) -> list:
    """`n` of the rows, spread evenly by id rather than drawn: the same ones before and after a training."""
    return [rows[i * len(rows) // n] for i in range(n)]
