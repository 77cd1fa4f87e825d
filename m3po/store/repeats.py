"""Rows of one batch that have the same id: what the later ones add, worked out at once however many they are."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

TRUTH = ("answer", "objects", "category")


def part_repeats(table: pa.Table) -> tuple[list[int], list[int]]:
    """The `n` of the rows whose id stands in the batch for the first time, and of the others."""
    seen: set[str] = set()
    first, others = [], []
    for n, id in zip(table["n"].to_pylist(), table["id"].to_pylist(), strict=True):
        (others if id in seen else first).append(n)
        seen.add(id)
    return first, others


def fold_truth(
    table: pa.Table, instruction_of: Mapping[int, int], stored: Mapping[int, Mapping]
) -> tuple[pa.Table, list[tuple[int, str]]]:
    """As if the rows came one after another: each must agree with the truth told before it, and may tell more.

    `instruction_of`: the instruction of each `n`; `stored`: the truth of instructions. Returns the rows with what an
    instruction's rows tell that is new in the first of them that tells any, and (n, field) of those that contradict.
    A row that a workspace wrote (`of_source`) tells no truth here, as in m3po.store.imports.
    """
    told = {instruction: dict(truth) for instruction, truth in stored.items()}
    news: list[dict] = [{} for _ in range(len(table))]
    bearer: dict[int, dict] = {}
    contradict = []
    for place, row in enumerate(table.select(["n", "of_source", *TRUTH]).to_pylist()):
        if row["of_source"] is not None:
            continue
        instruction = instruction_of[row["n"]]
        known = told.setdefault(instruction, {})
        says = {name: row[name] for name in TRUTH if row[name] is not None}
        other = next((name for name in says if known.get(name) is not None and _differ(says[name], known[name])), None)
        if other:
            contradict.append((row["n"], other))
            continue
        more = {name: value for name, value in says.items() if known.get(name) is None}
        known |= more
        if more:
            bearer.setdefault(instruction, news[place]).update(more)
    for name in TRUTH:
        values = pa.array([told.get(name) for told in news], table.schema.field(name).type)
        table = table.set_column(table.schema.get_field_index(name), name, values)
    return table, contradict


def _differ(one: str | list[str], other: str | list[str]) -> bool:
    return set(one) != set(other) if isinstance(one, list) else one != other
