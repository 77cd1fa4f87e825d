"""One good row of each format, as its makers write it, and how a test writes and reads a file of such rows."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image
from sources import read_source

from m3po.imported import ImportedRow, RefusedRow

LONG = "x" * 100_001
NUL = "a\0b"


def make_folder(outside: Path) -> Path:
    """The images that the rows name, in a folder beside an image that is none of theirs."""
    root = outside / "set"
    (root / "images").mkdir(parents=True)
    Image.new("RGB", (8, 6), "red").save(root / "a.png")
    Image.new("RGB", (8, 6), "blue").save(root / "images" / "b.png")
    Image.new("RGB", (8, 6), "lime").save(root.parent / "outside.png")
    (root / "broken.png").write_bytes((root / "a.png").read_bytes()[:45])
    return root


def human(text: object) -> dict:
    return {"from": "human", "value": text}


def gpt(text: object) -> dict:
    return {"from": "gpt", "value": text}


def user(text: object) -> dict:
    return {"role": "user", "content": text}


def bot(text: object) -> dict:
    return {"role": "assistant", "content": text}


def parts(*texts: str | None) -> list[dict]:
    """Content parts; None is an image."""
    return [{"type": "image", "text": None} if text is None else {"type": "text", "text": text} for text in texts]


def completion(response: object, helpful: object = "4") -> dict:
    rating = {"Rating": helpful, "Rationale": "because"}
    return {"response": response, "model": "m", "annotations": {"Helpfulness": rating, "Visual Faithfulness": rating}}


def rlhf_text(**fields: object) -> str:
    return json.dumps({"question": "What is it?", "chosen": "Red.", "rejected": "Blue."} | fields)


RLHF = {"ds_name": "RLHF-V", "origin_dataset": "d", "origin_split": "s", "idx": 0, "image_path": "d/x.jpg"}


# One good row a format, as its makers write it.
GOOD: dict[str, dict] = {
    "imagefolder": {"file_name": "a.png", "instruction": "What is it?"},
    "llava": {"image": "a.png", "conversations": [human("<image>\nWhat is it?"), gpt("Red.")]},
    "sharegpt": {"images": ["a.png"], "conversations": [human("Hi."), gpt("Yes?"), human("What is it?"), gpt("Red.")]},
    "trl": {
        "images": ["a.png"], "prompt": [user(parts(None, "What is it?"))],
        "chosen": [bot(parts("Red."))], "rejected": [bot(parts("Blue."))],
    },
    "rlhf_v": {"image": "a.png", "text": rlhf_text(), **RLHF},
    "rlaif_v": {"image": "a.png", "question": "What is it?", "chosen": "Red.", "rejected": "Blue.", **RLHF},
    "vlfeedback": {
        "prompt": "What is it?", "img_path": "a.png", "models": ["m"] * 4,
        "completions": [completion(f"Answer {n}.", str(n)) for n in range(1, 5)],
    },
    "mmpr": {"image": "a.png", "question": "<image>\nWhat is it?", "chosen": "Red.", "rejected": "Blue."},
    "llamafactory": {
        "conversations": [human("<image>What is it?")], "chosen": gpt("Red."), "rejected": gpt("Blue."),
        "images": ["a.png"],
    },
    "ms_swift": {
        "messages": [user("<image>What is it?"), bot("Red.")], "rejected_response": "Blue.", "images": ["a.png"],
    },
    "pope": {"question_id": 1, "image": "a.png", "text": "Is there a dog in the image?", "label": "no"},
    "mme": {
        "question_id": "existence/a.png", "image": "a.png", "question": "Is there a dog in the image?",
        "answer": "No", "category": "existence",
    },
    "m3po": {"images": ["a.png"], "instruction": "What is it?", "candidates": [{"text": "Red."}]},
}  # fmt: skip


def without(row: dict, *keys: str) -> dict:
    return {key: value for key, value in row.items() if key not in keys}


def read(path: Path, format: str = "auto", **options) -> tuple[list[ImportedRow], list[RefusedRow]]:
    found = list(read_source(path, format, **options)[1])
    return [r for r in found if isinstance(r, ImportedRow)], [r for r in found if isinstance(r, RefusedRow)]


def write(folder: Path, rows: list[object], name: str = "rows.jsonl") -> Path:
    """JSON Lines; a str or bytes goes in as it is."""
    raw = [row if isinstance(row, bytes) else row.encode() if isinstance(row, str) else json.dumps(row).encode()
           for row in rows]  # fmt: skip
    (folder / name).write_bytes(b"\n".join(raw) + b"\n")
    return folder / name
