"""LLaVA-instruct: `{id, image, conversations: [{from: human | gpt, value}]}`; ShareGPT: the same with `images`.

The last human turn is the instruction and what precedes it goes into `turns`; a system turn may come first.
An answer after the last human turn is taken as an imported candidate and as nothing else: in LLaVA's data it
was written by a model and is no truth to evaluate against. `image` is a path, a list of paths, or missing.
`<image>` in the text is taken out; images go first.
"""

from __future__ import annotations

from m3po.formats.conversations import split_conversation
from m3po.formats.pictures import image_list
from m3po.formats.rows import Fields

COLUMNS = {
    "id": ("id",),
    "image": ("image", "images"),
    "instruction": ("conversations", "messages"),
    "system": ("system",),
    "split": ("split",),
}


def parse(record: dict, source: str) -> Fields:
    """LLaVA-instruct and ShareGPT alike; `messages` of role and content will do for `conversations`."""
    name = "messages" if "messages" in record and record.get("conversations") is None else "conversations"
    system, turns, instruction, answer = split_conversation(record.get(name), name)
    return {
        "id": record.get("id") if record.get("id") != "" else None,
        "images": image_list(record, ("image", "images")),
        "instruction": instruction,
        "system": record.get("system") or system,
        "turns": turns,
        "split": record.get("split"),
        "candidates": [] if answer is None else [answer],
    }


def recognises(record: dict) -> bool:
    """Whether an entry looks like LLaVA's."""
    return "conversations" in record


def recognises_sharegpt(record: dict) -> bool:
    return ("conversations" in record and "images" in record and "image" not in record) or "messages" in record
