"""The generic format: which column of a file is which of our fields, said by hand or guessed by the columns' names.

A column is named as it stands, or by a path into it: `answers.0.text`; a list on the way without a number gives all of
its items: `completions.response`. With a known format, the fields that are mapped replace what the format reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from m3po.errors import BadInputError, UsageError
from m3po.formats.pairs import give_pair
from m3po.formats.pictures import as_images, as_json_list
from m3po.formats.rows import Fields

# Our fields, and the names under which files commonly have them.
FIELDS = {
    "id": ("id", "question_id", "sample_id", "uid", "idx"),
    "image": ("image", "images", "img_path", "image_path", "file_name", "img", "image_file", "filename", "path", "url"),
    "instruction": ("instruction", "question", "prompt", "query", "text", "input"),
    "system": ("system", "system_prompt"),
    "answer": ("answer", "ground_truth", "label", "gt", "target"),
    "chosen": ("chosen", "preferred", "chosen_response", "accepted"),
    "rejected": ("rejected", "dispreferred", "rejected_response"),
    "candidates": ("candidates", "responses", "completions", "completions.response", "answers"),
    "objects": ("objects",),
    "category": ("category", "type"),
    "split": (),  # a data set's own splits are not ours: only by hand
}
DEPTH = 3


def parse_mapping(assignments: Iterable[str]) -> dict[str, str]:
    """`["instruction=question"]` as a mapping; `["image="]` maps no column. Raises UsageError."""
    mapping = {}
    for assignment in assignments:
        field, equals, column = assignment.partition("=")
        if not equals:
            raise UsageError(f"--map {assignment!r:.80} cannot be read: write field=column, e.g. instruction=question.")
        mapping[field.strip()] = column.strip()
    check_mapping(mapping)
    return mapping


def check_mapping(mapping: Mapping[str, str]) -> dict[str, str]:
    """The mapping without empty entries. Raises UsageError for a field that there is not."""
    for field, column in mapping.items():
        if field not in FIELDS:
            raise UsageError(f"{field!r:.60} is no field of a row: map one of {', '.join(FIELDS)}.")
        if column is not None and not isinstance(column, str):
            raise UsageError(f"The column for {field} must be a name, as in {field}=question.")
    wanted = {field: column.strip() for field, column in mapping.items() if column and column.strip()}
    if ("chosen" in wanted) != ("rejected" in wanted):
        raise UsageError("chosen and rejected belong together: map both or neither.")
    return wanted


def parse_mapped(record: dict, mapping: Mapping[str, str]) -> Fields:
    """What the mapped columns say; `instruction` and `images` alone where they are mapped. Raises BadInputError."""
    values = {field: pick(record, column) for field, column in mapping.items()}
    fields: Fields = {name: values[name] for name in ("id", "system", "answer", "category", "split") if name in values}
    for name in ("id", "answer"):  # a table has texts alone, a data set may have numbers
        if isinstance(values.get(name), float | int) and not isinstance(values[name], bool):
            fields[name] = _number_as_text(values[name])
    if "instruction" in mapping:
        if values["instruction"] is None:
            raise BadInputError(f"it has no instruction: its column {mapping['instruction']!r:.80} is empty; fill it")
        fields["instruction"] = values["instruction"]
    if "image" in mapping:
        fields["images"] = [] if values["image"] in (None, "") else as_images(values["image"], mapping["image"])
        if not fields["images"]:
            fields["warnings"] = [f"The column {mapping['image']!r:.80} is empty: it goes in without an image."]
    if values.get("objects") is not None:
        fields["objects"] = _as_list(values["objects"])
    if "chosen" in mapping:
        fields |= give_pair("mapping", values["chosen"], values["rejected"])
    if values.get("candidates") is not None:
        fields["candidates"] = [*fields.get("candidates", ()), *map(_text_of, _as_list(values["candidates"]))]
    return fields


def pick(record: object, column: str) -> object:
    """The value at a column or at a path into it; None where there is nothing."""
    if isinstance(record, dict) and column in record:
        return record[column]
    head, _, rest = column.partition(".")
    if isinstance(record, str) and record.lstrip()[:1] in ("{", "["):  # JSON in a text, as RLHF-V has it
        try:
            record = json.loads(record)
        except (ValueError, RecursionError):
            return None
    if isinstance(record, list) and not head.isdecimal():
        found = [pick(item, column) for item in record]
        return None if all(item is None for item in found) else found
    if isinstance(record, list):
        value = record[int(head)] if int(head) < len(record) else None
    else:
        value = record.get(head) if isinstance(record, dict) else None
    return pick(value, rest) if rest and value is not None else None if rest else value


def check_columns(mapping: Mapping[str, str], records: list[dict]) -> None:
    """Raise UsageError for a column that none of the records has, by its name or by the beginning of its path."""
    for field, column in mapping.items():
        if records and not any(column in record or column.partition(".")[0] in record for record in records):
            there = ", ".join(columns_of(records))[:300]
            raise UsageError(f"{field}={column:.80}: the file has no such column; it has {there}.")


def columns_of(records: Iterable[dict]) -> list[str]:
    """The columns of some records, with the paths into objects and into lists of objects."""
    found: dict[str, None] = {}

    def walk(value: object, path: str, depth: int) -> None:
        if isinstance(value, list):
            value = next((item for item in value if isinstance(item, dict)), None)
        if isinstance(value, dict) and depth < DEPTH and not value.keys() & {"bytes"}:
            for name, item in value.items():
                found.setdefault(f"{path}{name}")
                walk(item, f"{path}{name}.", depth + 1)

    for record in records:
        walk(record, "", 0)
    return [name for name in found if not name.startswith("__index_level")]


def guess_mapping(columns: Iterable[str]) -> dict[str, str]:
    """Our fields to columns by their names; only what is there, and no column twice."""
    there = {column.lower(): column for column in columns}
    mapping: dict[str, str] = {}
    for field, names in FIELDS.items():
        column = next((there[name] for name in names if name in there and there[name] not in mapping.values()), None)
        if column:
            mapping[field] = column
    if not {"chosen", "rejected"} <= mapping.keys():
        mapping = {field: column for field, column in mapping.items() if field not in ("chosen", "rejected")}
    return mapping


def _number_as_text(value: float) -> str:
    """All its digits, for two ids may differ in the last; a whole number as one writes it."""
    return str(int(value)) if isinstance(value, int) or (value.is_integer() and abs(value) < 2**53) else repr(value)


def _as_list(value: object) -> list:
    if isinstance(value, str):
        listed = as_json_list(value)
        return [value] if listed is None else listed
    return value if isinstance(value, list) else [value]


def _text_of(value: object) -> object:
    """A candidate's text where a data set wraps it in an object."""
    if isinstance(value, dict):
        return next((value[name] for name in ("text", "response", "value", "content") if name in value), value)
    return value
