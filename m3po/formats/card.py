"""The dataset card of an export: where it comes from, how its pairs were picked, and what to beware of."""

from __future__ import annotations

from collections.abc import Mapping

from m3po.text import counted

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def build_card(facts: Mapping, data_file: str) -> str:
    """README.md with its YAML front matter. `facts` as selection.json has them (m3po.jobs.exporting)."""
    export, counts, selection = facts["export"], facts["counts"], facts["selection"]
    return "\n".join(
        [
            "---",
            "pretty_name: Preference pairs made with M3PO Studio",
            f"size_categories: [{_size(export['rows'])}]",
            "task_categories: [image-text-to-text]",
            "tags: [preference, dpo, vision-language, m3po]",
            "configs:",
            "- config_name: default",
            f"  data_files: {data_file}",
            "# license: yours to choose; the licences of the images and of the models that answered bind it",
            "---",
            "",
            "# Preference pairs made with M3PO Studio",
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
            "## How the pairs were picked",
            "",
            *(_selection(selection) if selection else ["No pick rule was run: there is no machine pair in it."]),
            "",
            "## Who looked at them",
            "",
            f"{counts['human']:,} of {counted(counts['pairs'], 'pair')} ({_share(counts['human'], counts['pairs'])}) "
            "were accepted "
            f"or corrected by a person, {counts['overridden']:,} of them corrected; "
            f"{counts['pairs'] - counts['human']:,} are the rule's and nobody has looked at them.",
            "",
            "## What to know before training on it",
            "",
            "- The answers are a model's; rejected ones are wrong on purpose, and chosen ones may be wrong too.",
            "- A pair that nobody looked at is as good as its scorer. Scorers overlook what they do not see, and long "
            "answers are harder for them.",
            "- Log-probs belong to one model: a pair that is hard for it may be easy for another.",
            "- Images and texts keep the rights of their makers.",
            "",
            "`selection.json` says all of this for programs.",
            "",
        ]
    )


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
