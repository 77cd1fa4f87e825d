"""The architectures whose processors have a video part go the whole way too, in one process that has torchvision.

What is tested is tests/models/test_architectures.py; here its results are told, architecture by architecture.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import video_architectures
import video_parts

ROOT = Path(__file__).resolve().parents[2]
MODULE = "tests/models/test_architectures.py"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, list[tuple[str, str]]]:
    """(test, what failed, or nothing) by architecture, as the child process found them."""
    try:
        folder = video_parts.install()
    except RuntimeError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"NOT TESTED: Qwen-VL, SmolVLM, InternVL and LLaVA-OneVision. {error}")
    report = tmp_path_factory.mktemp("video") / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", MODULE]
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # tiny matrices only lose by being shared out
    environment = os.environ | threads | {video_parts.FOLDER_VARIABLE: str(folder)}
    child = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert report.is_file(), child.stdout + child.stderr
    found: dict[str, list[tuple[str, str]]] = {name: [] for name in video_architectures.BUILDERS}
    for case in ElementTree.parse(report).iter("testcase"):
        test, _, name = case.get("name").removesuffix("]").partition("[")
        found[name].append(
            (test, "\n".join(part.text or part.get("message") for part in case if part.tag != "system-out"))
        )
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(video_architectures.BUILDERS))
def test_goes_the_whole_way(outcomes: dict[str, list[tuple[str, str]]], name: str) -> None:
    assert len(outcomes[name]) >= 5
    failed = [f"{test}: {why}" for test, why in outcomes[name] if why]
    assert not failed, "\n".join(failed)
