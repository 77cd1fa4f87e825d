"""Which code and which packages a run was made by: kept with it, so that it can be told apart from another one."""

from __future__ import annotations

import functools
import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import m3po

# What computes something of a run; read from their metadata, none of them is imported for it.
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "safetensors", "pillow")


def package_versions() -> dict[str, str]:
    """Of Python and of those of PACKAGES that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@functools.cache
def code_version() -> str:
    """The product's version and the first 12 digits of the SHA-256 of its own source, as in `0.1.0+1f0c...`: two
    checkouts with the same files are the same code, whatever git says; read once, when first asked."""
    root = Path(m3po.__file__).parent
    files = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        files.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return f"{m3po.__version__}+{files.hexdigest()[:12]}"
