"""The dataset card of an export: where it comes from, how its pairs were picked, and what to beware of.

Questions with their truth have no pairs: their card says what they are instead.
"""

from __future__ import annotations

from collections.abc import Mapping

from m3po.text import counted

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def build_card(facts: Mapping, data_file: str, *, truth: bool = False) -> str:
    """README.md with its YAML front matter. `facts` as selection.json has them (m3po.jobs.transfer.exporting); `truth`:
    the rows are questions to measure on."""
    export = facts["export"]
    title = "Questions with their truth" if truth else "Preference pairs"
    return "\n".join(
        [
            "---",
            f"pretty_name: {title} made with M3PO Studio",
            f"size_categories: [{_size(export['rows'])}]",
            "task_categories: [image-text-to-text]",
            f"tags: [{'evaluation' if truth else 'preference, dpo'}, vision-language, m3po]",
            "configs:",
            "- config_name: default",
            f"  data_files: {data_file}",
            "# license: yours to choose; the licences of the images and of the models that answered bind it",
            "---",
            "",
            f"# {title} made with M3PO Studio",
            "",
            f"{counted(export['rows'], 'row')} in the format `{export['format']}`, in `{data_file}`, "
            f"images as {export['images']}.",
            f"Which rows: `--only {export['only']}`."
            + "".join(f" {n:,} left out: {reason}." for reason, n in export["left_out"].items()),
            "",
            "## Where it comes from",
            "",
            *[f"- {name}: {value}" for name, value in facts["made_of"].items() if value],
            "",
            *(_ABOUT_TRUTH if truth else _about_pairs(facts)),
            "- Images and texts keep the rights of their makers.",
            "",
            "`selection.json` says all of this for programs.",
            "",
        ]
    )


_ABOUT_TRUTH = (
    "## What they are",
    "",
    "Questions to measure a model on, from the splits `tune` and `heldout`; the answers came with the imported data. "
    "No model picked or wrote them.",
    "",
    "## What to know before measuring with it",
    "",
    "- Who trains on them, or on their images, measures nothing.",
)


def _about_pairs(facts: Mapping) -> list[str]:
    counts, selection = facts["counts"], facts["selection"]
    return [
        "## How the pairs were picked",
        "",
        *(_selection(selection) if selection else ["No pick rule was run: there is no machine pair in it."]),
        "",
        "## Who looked at them",
        "",
        *_without_eyes(facts.get("accepted_without_eyes")),
        f"{counts['human']:,} of {counted(counts['pairs'], 'pair')} ({_share(counts['human'], counts['pairs'])}) "
        f"were accepted or corrected by a person, {counts['overridden']:,} of them corrected; "
        f"{counts['pairs'] - counts['human']:,} are the rule's and nobody has looked at them.",
        "",
        "## What to know before training on it",
        "",
        "- The answers are a model's; rejected ones are wrong on purpose, and chosen ones may be wrong too.",
        "- A pair that nobody looked at is as good as its scorer. Scorers overlook what they do not see, and long "
        "answers are harder for them.",
        "- Log-probs belong to one model: a pair that is hard for it may be easy for another.",
    ]


def _without_eyes(threshold: Mapping | None) -> list[str]:
    if not threshold:
        return []
    basis = ""
    if threshold["decided"] is not None:
        basis = f": {threshold['overridden']:,} of the {threshold['decided']:,} pairs that it rests on were overridden"
    return [f"Pairs with an M3P-Score of {threshold['score']:.6g} or more were taken without eyes{basis}.", ""]


def _selection(selection: Mapping) -> list[str]:
    names = (
        "rule",
        "weight_chosen",
        "weight_rejected",
        "delta",
        "length_ratio",
        "normalise",
        "allow_truncated",
        "seed",
    )
    return [
        *[f"- {name}: {selection[name]}" for name in names],
        f"- pairs: {selection['pairs']:,}",
        f"- content hash: `{selection['content_hash']}`",
    ]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "none"


def _size(rows: int) -> str:
    return next((name for limit, name in SIZES if rows < limit), "n>1M")
