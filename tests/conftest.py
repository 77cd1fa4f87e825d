"""Fixtures that every part of the suite may use: tiny real models, built once a session."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("m3po", deadline=None)  # a machine that is busy breaks no rule
hypothesis.settings.load_profile("m3po")
_TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(_TESTS.parent), str(_TESTS)]  # the package from a checkout, and `import tiny`
# Nothing may reach for the network, and worker processes that tests start inherit this.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny matrices only lose by being shared out, and tests run side by side
if "M3PO_TEST_VIDEO_PARTS" in os.environ:  # the child process of tests/models/test_video_architectures.py
    import video_parts

    video_parts.enable(os.environ[video_parts.FOLDER_VARIABLE])

# What takes longest, longest first: begun last, it would leave the other worker idle at the end.
SLOWEST = (
    "tests/e2e", "tests/e2e: jobs", "tests/models/test_video_architectures.py", "tests/test_studio.py",
    "tests/test_readme.py", "tests/test_cli.py", "tests/ui/test_people_http.py", "tests/models/test_architectures.py",
    "tests/training/test_dpo.py", "tests/ui/test_server.py", "tests/jobs/test_train.py",
    "tests/store/test_connection.py", "tests/test_selection.py", "tests/models/test_log_probs.py",
    "tests/store/test_review_index.py", "tests/jobs/test_exporting.py", "tests/test_people.py",
    "tests/jobs/test_sample.py", "tests/store/test_undo.py", "tests/jobs/test_batch_plans.py",
)  # fmt: skip


# They drive a browser, but wait for models most of the time; the other browser tests would be late by them.
JOBS_IN_THE_PAGE = ("test_journey.py", "test_data.py", "test_runs_page.py", "test_playground_page.py")


def unit_of(nodeid: str) -> str:
    """What one worker does as a whole: a file, or what drives a browser, for which many at once are too much."""
    file = nodeid.partition("::")[0]
    if not file.startswith("tests/e2e/"):
        return file
    return "tests/e2e: jobs" if file.endswith(JOBS_IN_THE_PAGE) else "tests/e2e"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {unit: place for place, unit in enumerate(SLOWEST)}
    items.sort(key=lambda item: places.get(unit_of(item.nodeid), len(places)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """As `--dist loadfile`, by `unit_of` and in the order of the collection."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid)

    config.option.loadscopereorder = False
    return Scheduling(config, log)


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


@pytest.fixture
def studio(made: Path, tmp_path: Path) -> Iterator:
    """Open on a copy of the workspace that the test module's own fixture `made` made once."""
    from m3po.studio import Studio

    studio = Studio.open(shutil.copytree(made, tmp_path / "workspace"))
    yield studio
    studio.close()
