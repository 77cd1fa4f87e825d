"""Where curves go beside the page: files that TensorBoard reads, and services that are asked only where they may be."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from training_here import Recorder, build_rows, train

from m3po.errors import UsageError
from m3po.training.event_files import EventFile, build_event, build_record, checksum
from m3po.training.presets import build_train_config
from m3po.training.trackers import Trackers
from m3po.workspace_config import WorkspaceConfig, read_workspace_config, write_workspace_config

# What tensorboardX 2.6.5 writes for this event (wall_time 1700000000.25, step 300, two scalars).
EVENT = "0900001040fc54d94110ac022a250a0b0a046c6f7373150000003f0a160a0f726577617264732f6d617267696e73150000a0bf"
RECORD = "33000000000000000ca72056" + EVENT + "bd187a64"
SESSION = bytes.fromhex("3a020801")  # its SessionLog of a start


def records(path: Path) -> list[bytes]:
    """The events of a file, each of which must be whole and of the right checksums."""
    data, found = path.read_bytes(), []
    while data:
        length = int.from_bytes(data[:8], "little")
        event, record, data = data[12 : 12 + length], data[: 16 + length], data[16 + length :]
        assert record == build_record(event)
        found.append(event)
    return found


def test_records_are_byte_for_byte_what_tensorboard_s_own_writer_makes():
    assert checksum(b"123456789") == 0xE3069283 and checksum(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    event = build_event(1700000000.25, 300, {"loss": 0.5, "rewards/margins": -1.25})
    assert event.hex() == EVENT and build_record(event).hex() == RECORD


@pytest.mark.slow
def test_a_run_and_the_one_that_goes_on_with_it_each_write_their_file(tiny_policy, tmp_path):
    class Killed(BaseException):
        pass

    rows = build_rows(tmp_path)
    with pytest.raises(Killed):
        train(tiny_policy, rows, tmp_path / "run", Recorder(at=4, fault=Killed()))
    [first] = (tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*")
    train(tiny_policy, rows, tmp_path / "run")
    begun, *steps = records(first)[:4]
    assert b"brain.Event:2" in begun and all(b"rewards/chosen" in step and b"loss" in step for step in steps)
    files = sorted((tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*"))
    told = [record for path in files for record in records(path)]
    assert sum(b"grad_norm" in event for event in told) == 3 + 4  # steps 1-3, and from the checkpoint of step 2: 3-6
    [restart] = [event for event in told if event.endswith(SESSION)]
    assert restart[9:11] == b"\x10\x03"  # TensorBoard forgets step 3 of the first attempt


def use_stand_in(monkeypatch, name: str, *, fail: str = "") -> list:
    """A module in the place of trackio or wandb that notes what it is asked."""
    calls: list = []

    class Run:
        def log(self, values, step):
            calls.append((step, values))
            if fail == "log":
                raise ConnectionError("no route to host\nand more")

        def finish(self):
            calls.append("finish")

    def init(**options):
        if fail == "init":
            raise ValueError("no API key")
        calls.append(options)
        return Run()

    module = ModuleType(name)
    module.init = init
    monkeypatch.setitem(sys.modules, name, module)
    return calls


def follow(folder: Path, recorder: Recorder, **workspace) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.json").exists():
        (folder / "config.json").touch()
    config = build_train_config("/models/llava", adapter="/adapters/first")
    trackers = Trackers(folder, config, WorkspaceConfig(**workspace), recorder)
    for step in (1, 2):
        trackers.log(step, {"loss": 0.5})
    trackers.close()


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_a_service_that_is_configured_gets_the_figures_and_no_place_of_this_machine(tmp_path, monkeypatch, name):
    calls, recorder = use_stand_in(monkeypatch, name), Recorder()
    folder = tmp_path / "my-workspace" / "runs" / "000012"
    follow(folder, recorder, track=name)
    options, *logged = calls
    assert logged == [(1, {"loss": 0.5}), (2, {"loss": 0.5}), "finish"] and recorder.warnings == []
    assert (options["project"], options["name"], options["resume"]) == ("my-workspace", "run 12", "allow")
    assert (options["config"]["policy"], options["config"]["adapter"]) == ("llava", "first")
    assert options["config"]["beta"] == 0.1
    calls.clear()
    follow(folder, recorder, track=name)
    assert calls[0] == options  # resumed, it is the same run there


def test_nothing_is_sent_where_remote_calls_are_forbidden_or_nothing_is_configured(tmp_path, monkeypatch):
    calls, recorder = use_stand_in(monkeypatch, "wandb"), Recorder()
    follow(tmp_path / "a" / "runs" / "1", recorder)
    assert calls == recorder.warnings == []
    follow(tmp_path / "b" / "runs" / "1", recorder, track="wandb", remote=False)
    assert calls == [] and [words.partition(":")[0] for words in recorder.warnings] == [
        "The curves are not sent to wandb"
    ]
    assert "remote = false" in recorder.warnings[0]
    assert list((tmp_path / "b" / "runs" / "1" / "tensorboard").iterdir())


@pytest.mark.parametrize(("fail", "words"), [
    ("init", r"no longer \(no API key\)"), ("log", r"no longer \(no route to host\)"), ("gone", "pip install wandb"),
    ("part", "no longer .*no_such_package"),
])  # fmt: skip
def test_a_service_that_fails_or_is_not_there_is_told_once_and_ends_nothing(tmp_path, monkeypatch, fail, words):
    recorder = Recorder()
    use_stand_in(monkeypatch, "wandb", fail=fail)
    if fail == "gone":
        monkeypatch.setitem(sys.modules, "wandb", None)
    if fail == "part":  # it is there, and a package that it needs is not
        monkeypatch.setattr(sys.modules["wandb"], "init", lambda **_: importlib.import_module("no_such_package"))
    follow(tmp_path / "ws" / "runs" / "1", recorder, track="wandb")
    [warning] = recorder.warnings
    assert re.search(words, warning)


def test_a_disk_that_takes_no_event_file_ends_no_run(tmp_path, monkeypatch):
    recorder = Recorder()
    folder = tmp_path / "ws" / "runs" / "1"
    monkeypatch.setattr(EventFile, "_write", lambda *_: Path("/dev/full").write_text("an event"))
    follow(folder, recorder)
    [warning] = recorder.warnings
    assert "TensorBoard files no longer" in warning and "No space left" in warning


def test_config_toml_names_the_tracker_and_refuses_another(tmp_path):
    path = tmp_path / "config.toml"
    write_workspace_config(path, WorkspaceConfig(track="trackio"))
    assert read_workspace_config(path).track == "trackio"
    write_workspace_config(path, WorkspaceConfig())
    assert read_workspace_config(path).track == "" and "# track" in path.read_text()
    path.write_text('track = "mlflow"\n')
    with pytest.raises(UsageError, match="give trackio or wandb"):
        read_workspace_config(path)
