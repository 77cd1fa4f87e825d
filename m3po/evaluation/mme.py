"""MME (Fu et al. 2023, arXiv 2306.13394): two yes/no questions an image, 10 categories perception, 4 cognition.

A category's score is accuracy (of its questions) + accuracy+ (of its images, both questions right), each in per cent:
at most 200. Perception and cognition are the sums over their categories. Answers are read as the published script does:
"yes", else "no", among the first four characters in lower case; any other answer is wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from m3po.categories import MME_CATEGORIES, MME_COGNITION, MME_PERCEPTION, mme_category
from m3po.evaluation.figures import Metric, Ratio, rate_of_rows, ratio_of_rows

SUMS = {"perception": MME_PERCEPTION, "cognition": MME_COGNITION}
BENCHMARK = "MME"


def parse_answer(text: str) -> bool | None:
    """True for yes, False for no, None for neither."""
    start = text.lower()[:4]
    if "yes" in start:
        return True
    return False if "no" in start else None


def _metrics() -> list[Metric]:
    found = [
        Metric(
            f"mme_{name}", f"MME {name}", "points", True,
            f"Sum of the scores of the categories of {name} that were asked, at most 200 each ({len(members)} in all).",
            BENCHMARK,
        )
        for name, members in SUMS.items()
    ]  # fmt: skip
    for key, name in MME_CATEGORIES.items():
        label = f"MME {name.replace('_', ' ')}"
        found += [
            Metric(f"{key}_score", label, "points", True, "Accuracy + accuracy+, at most 200.", BENCHMARK),
            Metric(
                f"{key}_accuracy", f"{label}: accuracy", "fraction", True, "Questions answered right.", BENCHMARK, True
            ),
            Metric(
                f"{key}_accuracy_plus", f"{label}: accuracy+", "fraction", True,
                "Images whose two questions are both answered right.", BENCHMARK, True,
            ),
        ]  # fmt: skip
    return found


METRICS = _metrics()


def pair_questions(rows: Sequence[Mapping]) -> list[tuple[Mapping, Mapping]]:
    """The two questions of each image, from the rows of one category in id order. An image of which one question has no
    answer is left out, whole: its score cannot be told."""
    by_image: dict[tuple, list[Mapping]] = defaultdict(list)
    for row in rows:
        by_image[tuple(row.get("images") or ())].append(row)
    return [(asked[n], asked[n + 1]) for asked in by_image.values() for n in range(0, len(asked) - 1, 2)]


def count_categories(groups: Mapping[str, Sequence[Mapping]]) -> dict[str, Ratio]:
    """The figures of each category and the two sums; `groups`: rows by category, in id order, each with `images`."""
    found: dict[str, Ratio] = {}
    images: dict[str, list[dict]] = {}
    for key in MME_CATEGORIES:
        pairs = pair_questions(groups.get(key, ()))
        if not pairs:
            continue
        questions = [row for pair in pairs for row in pair]
        images[key] = [
            {"instruction_id": first.get("instruction_id"), "right": _right(first) + _right(second)}
            for first, second in pairs
        ]
        found[f"{key}_accuracy"] = rate_of_rows(questions, lambda row: bool(_right(row)))
        found[f"{key}_accuracy_plus"] = rate_of_rows(images[key], lambda image: image["right"] == 2)
        found[f"{key}_score"] = ratio_of_rows(images[key], lambda image: (_points(image), 1))
    for name, members in SUMS.items():
        asked = [images[key] for key in map(mme_category, members) if key in images]
        if asked:
            found[f"mme_{name}"] = _add_categories(asked)
    return found


def _add_categories(categories: Sequence[Sequence[dict]]) -> Ratio:
    """The sum of the categories' mean points, as the mean over all images of what each adds, in two ways.

    `swaps`: its points by its category's share, (all images) / (its category's) times; whatever the others are.
    `counts`: the sum plus how far that is from the category's mean, so that a resample of images varies as the sum does
    (a linearised statistic; Efron and Tibshirani 1993, chapter 21): how many images of a category it happens to draw
    moves nothing. Not for swaps: the means are the model's own, and one changed image would seem to change them all.
    """
    everything = sum(map(len, categories))
    means = [sum(map(_points, each)) / len(each) for each in categories]
    images = [
        {**image, "share": everything / len(each), "mean": mean}
        for each, mean in zip(categories, means, strict=True)
        for image in each
    ]
    resampled = ratio_of_rows(
        images, lambda image: (sum(means) + (_points(image) - image["mean"]) * image["share"], 1.0)
    )
    swapped = ratio_of_rows(images, lambda image: (_points(image) * image["share"], 1.0))
    return replace(resampled, swaps=swapped.counts)


def is_right(row: Mapping, text: str) -> bool:
    """Whether `text` is the answer to the question `row`."""
    return parse_answer(text.strip()) is (row["answer"].strip().lower() == "yes")


def _right(row: Mapping) -> int:
    return int(is_right(row, row["text"]))


def _points(image: Mapping) -> int:
    """Of one image: 50 a right answer, and 100 more where both are."""
    return 50 * image["right"] + 100 * (image["right"] == 2)
