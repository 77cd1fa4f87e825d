"""A Studio with imported, unscored candidates: enough for every decision, made in a moment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from m3po.settings import WorkspaceConfig
from m3po.studio import Studio


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    lines = []
    for i in range(3):
        Image.new("RGB", (24, 18), (90 * i, 40, 40)).save(tmp_path / f"{i}.png")
        texts = [f"answer {k} to {i}" for k in range(4)]
        lines.append({"id": f"q{i}", "images": [f"{i}.png"], "instruction": f"question {i}", "split": "train",
                      "candidates": [{"text": text} for text in texts]})  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    opened = Studio.open(Studio.create(tmp_path / "workspace", WorkspaceConfig()))
    assert opened.import_source(tmp_path / "rows.jsonl").added == 3
    yield opened
    opened.close()
