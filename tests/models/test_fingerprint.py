"""A model's name by content: it follows the content, not the path, and needs no torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from m3po.models.fingerprint import model_fingerprint


def test_follows_content_not_path(tiny_policy: Path, tiny_adapter: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_policy, tmp_path / "copy")
    name = model_fingerprint(tiny_policy)
    assert model_fingerprint(copy) == name
    (copy / "README.md").write_text("says nothing about what is computed")
    assert model_fingerprint(copy) == name
    for file in ("config.json", "chat_template.jinja", "tokenizer.json"):
        other = shutil.copytree(tiny_policy, tmp_path / file)
        (other / file).write_text((other / file).read_text() + " ")
        assert model_fingerprint(other) != name, file
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert model_fingerprint(copy) != name
    assert model_fingerprint(tiny_policy, tiny_adapter) not in (name, model_fingerprint(tiny_adapter))


def test_reads_the_ends_of_large_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"a" * 3_000_000)
    name = model_fingerprint(tmp_path)
    for place in (0, 2_999_999):
        changed = bytearray(b"a" * 3_000_000)
        changed[place] = 98
        path.write_bytes(changed)
        assert model_fingerprint(tmp_path) != name
    path.write_bytes(b"a" * 3_000_001)
    assert model_fingerprint(tmp_path) != name


def test_hub_ids_go_by_name_and_revision() -> None:
    assert model_fingerprint("org/model") == "hub:org/model@main"
    assert model_fingerprint("org/model", revision="v2") == "hub:org/model@v2"


def test_imports_no_torch() -> None:
    code = "import sys, m3po.models.fingerprint; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
