"""Where the demo's models lie: tracked beside the package, made by data/build_demo.py."""

from __future__ import annotations

from pathlib import Path

from m3po.errors import ModelError

DATA = Path(__file__).resolve().parents[2] / "data"


def demo_models() -> tuple[Path, Path]:
    """Folders of the demo's policy and MAS scorer. Raises ModelError when they are not there."""
    policy, mas = DATA / "policy", DATA / "mas"
    for folder in (policy, mas):
        if not (folder / "config.json").is_file():
            raise ModelError(f"{folder} is missing: clone the repository whole, or run data/build_demo.py.")
    return policy, mas
