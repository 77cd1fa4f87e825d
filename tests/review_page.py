"""A page of the review without a browser, on a Studio with imported candidates that nobody scored."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from m3po.studio import Studio
from m3po.types import ReviewView
from m3po.workspace_config import WorkspaceConfig
from ui.review.handlers import ReviewHandler

BY_ID = {"filter": "all", "order": "id"}


def open_imported(folder: Path) -> Studio:
    """Three instructions with four answers each: enough for every decision, made in a moment."""
    lines = []
    for i in range(3):
        Image.new("RGB", (24, 18), (90 * i, 40, 40)).save(folder / f"{i}.png")
        texts = [f"answer {k} to {i}" for k in range(4)]
        lines.append({"id": f"q{i}", "images": [f"{i}.png"], "instruction": f"question {i}", "split": "train",
                      "candidates": [{"text": text} for text in texts]})  # fmt: skip
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    opened = Studio.open(Studio.create(folder / "workspace", WorkspaceConfig()))
    assert opened.import_source(folder / "rows.jsonl").added == 3
    return opened


class Page:
    """What deck.js keeps: the item shown and its pair, sent along with every command."""

    def __init__(self, studio: Studio) -> None:
        self.studio, self.handler, self.item = studio, ReviewHandler(studio), {}
        self.send("show", instruction_id=None)

    def send(self, op: str, **values) -> dict:
        keys = ("instruction_id", "selection_id", "chosen", "rejected", "pending")
        answer = self.handler.on_command(
            {**{k: self.item.get(k) for k in keys}, "op": op, "view": BY_ID, **values}, "ann"
        )
        if answer.get("item"):
            self.item = answer["item"]
        return answer

    @property
    def ids(self) -> list[int]:
        item = self.studio.review_item(ReviewView("all", "id"), self.item["instruction_id"])
        return [c.id for c in item.candidates]

    def history(self) -> list[tuple]:
        return [(d.verdict, d.chosen, d.rejected) for d in self.studio.history(self.item["instruction_id"])]
