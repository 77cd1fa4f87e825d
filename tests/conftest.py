"""Fixtures that every part of the suite may use: tiny real models, built once a session."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

_TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(_TESTS.parent), str(_TESTS)]  # the package from a checkout, and `import tiny`
# Nothing may reach for the network, and worker processes that tests start inherit this.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "M3PO_TEST_VIDEO_PARTS" in os.environ:  # the child process of tests/models/test_video_architectures.py
    import video_parts

    video_parts.enable(os.environ[video_parts.FOLDER_VARIABLE])


@pytest.fixture(scope="session")
def tiny_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random LLaVA."""
    import tiny

    return tiny.build_policy(tmp_path_factory.mktemp("models") / "policy")


@pytest.fixture(scope="session")
def tiny_mas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random CLIP."""
    import tiny

    return tiny.build_mas(tmp_path_factory.mktemp("models") / "mas")


@pytest.fixture(scope="session")
def tiny_adapter(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a LoRA adapter for `tiny_policy`."""
    import tiny

    return tiny.build_adapter(tiny_policy, tmp_path_factory.mktemp("models") / "adapter")
