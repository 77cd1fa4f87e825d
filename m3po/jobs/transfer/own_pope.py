"""POPE built from a workspace's own held-out images: its questions become held-out instructions with their truth."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from pathlib import Path

from m3po.categories import POPE_CATEGORIES, pope_category
from m3po.errors import JobError, UsageError
from m3po.evaluation.pope_questions import build_questions
from m3po.jobs.transfer.importing import import_source
from m3po.store import instructions
from m3po.store.workspace import Workspace
from m3po.text import counted

SOURCE = "pope-own"


def build_own_pope(workspace: Workspace, per_image: int) -> dict:
    """`added` questions of `images`; `message`. Raises JobError where no held-out image has its objects told,
    UsageError where it was built before: its questions stay, so that figures of before and after compare."""
    if not 1 <= per_image <= 100:
        raise UsageError(f"per_image = {per_image} cannot be used: give 1 to 100.")
    rows = workspace.db.read(lambda con: instructions.heldout_rows(con, "heldout", workspace.images)).to_pylist()
    if any(POPE_CATEGORIES.get(row["category"] or "", ("",))[0] == "own" for row in rows):
        raise UsageError("POPE was built from this workspace's images before: its questions stay as they are.")
    objects: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row["objects"] and len(row["images"]) == 1:
            objects[row["images"][0]] |= set(row["objects"])
    questions = build_questions(objects, per_image)
    if not questions:
        raise JobError(
            "No POPE question can be asked: held-out rows of several images need `objects`, what is in their image."
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{SOURCE}.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for question in questions:
                row = {
                    "id": f"{Path(question.image).stem[:16]}/{question.way}/{question.name}",
                    "images": [question.image],
                    "instruction": question.text,
                    "answer": "yes" if question.there else "no",
                    "category": pope_category(question.way, "own"),
                    "split": "heldout",
                    "candidates": [],
                }
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        report = import_source(workspace, path, format="m3po", strict=True)
    images = len({question.image for question in questions})
    told = f"{counted(report.added, 'question')} about {counted(images, 'image')} went in; half of the answers are yes."
    return {"added": report.added, "images": images, "message": told}
