"""remote = false: nothing leaves the machine, whichever way it is asked for and whenever it was."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai_server import FakeServer
from runs_here import open_quietly, run_here
from workspaces import make_workspace

from m3po.bridge import call
from m3po.door import acting_as
from m3po.errors import UsageError, WorkspaceError
from m3po.jobs.folder import RunFolder
from m3po.jobs.worker import OFFLINE, obey
from m3po.settings import SampleConfig, ScoreConfig
from m3po.store import candidates
from m3po.studio import Studio
from m3po.users import OWNER
from m3po.workspace_config import WorkspaceConfig, read_workspace_config

FORBIDDEN = r"would leave this machine, which remote = false in the workspace's config\.toml forbids"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers here share the test's environment: what they set in it is put back."""
    for name in OFFLINE:
        monkeypatch.setenv(name, "1")
    for name in ("M3PO_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(["A boat.", "No."]) as server:
        yield server


def forbid(studio: Studio, yes: bool = True) -> None:
    path = studio.path / "config.toml"
    lines = [line for line in path.read_text().splitlines() if "remote = false" not in line]
    path.write_text("\n".join([*lines, *(["remote = false"] if yes else [])]) + "\n")
    assert read_workspace_config(path).remote is not yes


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    studio = open_quietly(make_workspace(tmp_path, config=WorkspaceConfig(remote=False)))
    yield studio
    studio.close()


def test_nothing_is_queued(studio: Studio, server: FakeServer) -> None:
    judge = server.spec.replace("remote:", "remote-rating:")
    ways = [
        lambda: studio.start_sample(SampleConfig(server.spec)),
        lambda: studio.start_score(ScoreConfig(policy=None, mas=server.spec)),
        lambda: studio.start_score(ScoreConfig(policy="x", mas=judge)),
        lambda: studio.start_pipeline(SampleConfig(server.spec), ScoreConfig(policy="x", mas=None)),
        lambda: studio.start_pipeline(SampleConfig("x"), ScoreConfig(policy="x", mas=f"0.5*clip:x+0.5*{judge}")),
        lambda: call(studio, "sample", {"policy": server.spec}),
        lambda: call(studio, "score", {"mas": judge}),
    ]
    for way in ways:
        with pytest.raises(UsageError, match=FORBIDDEN):
            way()
    assert studio.runs() == [] and server.requests == []


def test_the_page_is_refused_too(studio: Studio, server: FakeServer) -> None:
    from ui.build import build

    page = build(studio)
    ids = {block.elem_id: number for number, block in page.blocks.items() if getattr(block, "elem_id", None)}
    for button in ("data-sample", "data-all"):
        [function] = [f for f in page.fns.values() if (ids[button], "click") in f.targets]
        values = [getattr(block, "value", None) for block in function.inputs]
        place = [block.elem_id for block in function.inputs].index("sample-policy")
        values[place] = server.spec
        mas = [block.elem_id for block in function.inputs]
        if "data-mas" in mas:
            values[mas.index("data-mas")] = "clip:x"
        with acting_as(OWNER):
            assert "forbids" in str(function.fn(*values))
    assert studio.runs() == [] and server.requests == []


def test_the_switch_counts_for_runs_that_were_there_before(studio: Studio, server: FakeServer) -> None:
    forbid(studio, False)
    waiting = studio.start_sample(SampleConfig(server.spec, k=2))
    stopped = studio.start_sample(SampleConfig(server.spec, k=2, seed=1))
    forbid(studio)
    failed = run_here(studio, waiting)  # queued before: refused when its turn comes
    assert failed.state == "failed" and "forbids" in failed.message and server.requests == []
    studio.stop_run(stopped.id)
    for run in (waiting, stopped):
        with pytest.raises(UsageError, match=FORBIDDEN):
            studio.resume_run(run.id)
    forbid(studio, False)
    assert run_here(studio, studio.resume_run(waiting.id)).state == "finished" and server.requests


def test_the_worker_itself_refuses(studio: Studio, server: FakeServer) -> None:
    """Also one whose input was frozen, or that somebody starts by hand."""
    forbid(studio, False)
    run = studio.start_sample(SampleConfig(server.spec, k=2))
    prepare = studio.runner.prepare
    studio.runner.prepare = lambda queued: (prepared := prepare(queued), forbid(studio))[0] and prepared
    failed = run_here(studio, run)
    assert failed.state == "failed" and "forbids" in failed.message
    done = subprocess.run(
        [sys.executable, "-m", "m3po.jobs.sample", str(studio.runner.folder(run.id).path)],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1 and "forbids" in done.stderr
    assert server.requests == []


def test_an_edit_is_kept_though_its_judge_may_not_be_asked(studio: Studio, server: FakeServer, monkeypatch) -> None:
    monkeypatch.setattr("m3po.jobs.planning.scorings.active_policy", lambda db: {})
    studio.db.write(
        lambda con: candidates.activate(con, "mas", candidates.scorer_id(con, "mas", server.spec, "remote-judge"))
    )
    edit = studio.add_edit(1, "A boat with a red sail.")
    assert edit.origin == "human" and studio.runs() == []


@pytest.mark.parametrize("remote", [True, False])
def test_a_worker_downloads_only_where_it_may(tmp_path: Path, remote: bool) -> None:
    """The hub is a server of ours that counts who asks."""
    path = Studio.create(tmp_path / "ws", WorkspaceConfig(remote=remote))
    RunFolder(path / "runs" / "000001").write_config({"policy": "org/name"})
    code = (
        "import sys; from m3po.jobs.folder import RunFolder; from m3po.jobs.worker import obey\n"
        "obey(RunFolder(sys.argv[1]))\n"
        "import huggingface_hub\n"
        "try: huggingface_hub.hf_hub_download('org/name', 'config.json')\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    with FakeServer() as hub:
        seen: list[str] = []
        hub._http.RequestHandlerClass.do_HEAD = lambda handler: (seen.append(handler.path), handler._send(404, {}, b""))
        environment = {k: v for k, v in os.environ.items() if k not in OFFLINE}
        environment |= {"HF_ENDPOINT": hub.url.removesuffix("/v1"), "HF_HOME": str(tmp_path / "hf")}
        done = subprocess.run(
            [sys.executable, "-c", code, str(path / "runs" / "000001")],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert bool(seen) is remote, (seen, done.stdout)


def test_an_emptied_config_lets_no_worker_out(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs" / "000001")
    folder.write_config({"policy": "org/name"})
    for change, words in ((lambda path: path.write_text("\n"), "is empty"), (Path.unlink, "cannot be read")):
        change(tmp_path / "config.toml")
        with pytest.raises(WorkspaceError, match=words):
            obey(folder)


def test_a_config_that_cannot_be_read_forbids(studio: Studio, server: FakeServer) -> None:
    (studio.path / "config.toml").write_text('remote = "no"')
    with pytest.raises(WorkspaceError, match="remote must be true or false"):
        studio.start_sample(SampleConfig(server.spec))
    assert server.requests == []
