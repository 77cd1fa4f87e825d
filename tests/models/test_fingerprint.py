"""A model's name by content: it follows the content, not the path, and needs no torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from m3po.models.fingerprint import model_fingerprint
from m3po.store import candidates
from m3po.store.connection import Database
from m3po.text import earlier_fingerprint


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


def test_an_adapter_that_is_merged_into_large_weights_is_seen(tmp_path: Path) -> None:
    """The middle matrix changes, which neither the first nor the last MiB holds."""
    weights = {name: np.full((1024, 512), 0.5, np.float32) for name in ("a_embed", "b_proj", "c_tower")}
    save_file(weights, tmp_path / "model.safetensors")
    before = model_fingerprint(tmp_path)
    save_file(weights, tmp_path / "model.safetensors")
    assert model_fingerprint(tmp_path) == before
    rng = np.random.default_rng(0)
    weights["b_proj"] += rng.normal(size=(1024, 2)).astype(np.float32) @ rng.normal(size=(2, 512)).astype(np.float32)
    save_file(weights, tmp_path / "model.safetensors")
    after = model_fingerprint(tmp_path)
    assert after != before and earlier_fingerprint(after) == earlier_fingerprint(before)  # as it was not seen before


def test_what_an_earlier_version_stored_is_the_same_model_once(tmp_path: Path) -> None:
    database = Database(tmp_path / "m.duckdb")
    old, new, other = "sha256:" + "0" * 16, f"sha256:{'0' * 16}.{'1' * 16}", f"sha256:{'0' * 16}.{'2' * 16}"
    for ask in (
        lambda con, name: candidates.sampler_id(con, f"{name}+{old}", {"k": 8}),
        lambda con, name: candidates.scorer_id(con, "mas", "vqa:m", f'vqa:{name}?{{"dtype": "float32"}}'),
    ):
        first, again, later, trained = (
            database.write(lambda con, ask=ask, name=name: ask(con, name)) for name in (old, new, new, other)
        )
        assert again == first == later  # bound to what its slices are now
        assert trained not in (first, None)
    database.close()


def test_hub_ids_go_by_name_and_revision() -> None:
    assert model_fingerprint("org/model") == "hub:org/model@main"
    assert model_fingerprint("org/model", revision="v2") == "hub:org/model@v2"


def test_imports_no_torch() -> None:
    code = "import sys, m3po.models.fingerprint; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
