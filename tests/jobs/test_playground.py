"""The playground as the page and the command line ask it: what may be asked, by whom, and its process's life."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import tiny
from runs_here import open_quietly
from test_remote_sample import make
from trained import train_by_hand
from typer.testing import CliRunner
from workspaces import ANN, CORA, VIC, make_selected

from m3po import ask_command, bridge, cli
from m3po.errors import BadImageError, BadInputError, JobError, ModelError, NotAllowedError, UsageError
from m3po.jobs.planning import scorings
from m3po.jobs.playground import playground as playgrounds
from m3po.jobs.playground.asking_process import KILLED
from m3po.jobs.playground.speakers import Side, usable_scorer
from m3po.models.policy import Policy
from m3po.settings import ScoreConfig
from m3po.studio import Studio
from m3po.text import build_messages
from m3po.workspace_config import WorkspaceConfig


def png(seed: int = 0) -> bytes:
    out = io.BytesIO()
    tiny.build_image(seed).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def studio(tmp_path: Path, tiny_policy: Path):
    studio = open_quietly(make(tmp_path, config=WorkspaceConfig(policy=str(tiny_policy))))
    yield studio
    studio.close()


class Silent:
    """Stands for a process that loads a model and hears nothing meanwhile."""

    alive = True

    def send(self, request: dict) -> None:
        self.request = request

    def end(self) -> None:
        self.alive = False


def test_what_cannot_be_asked_is_refused_in_a_sentence(studio: Studio, tiny_adapter: Path) -> None:
    ask = studio.playground.ask
    own = [Side()]
    for settings, words in (
        ({"temperature": -1}, "temperature = -1 cannot be used: give a number from 0 to 10"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": None}, "temperature is empty: give a number from 0 to 10"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"max_new_tokens": 2.5}, "a whole number"),
        ({"seed": True}, "seed"),
        ({"options": {"dtype": "int3"}}, "dtype"),
    ):
        with pytest.raises(UsageError, match=re.escape(words)):
            ask("What is it?", own, **settings)
    for question, sides, words in (
        ("  ", own, "Type a question"),
        ("x" * 20_001, own, "shorten it"),
        ("half \ud800", own, "surrogate"),
        ("What?", [], "One model or two"),
        ("What?", own * 3, "One model or two"),
        ("What?", [Side(policy="remote:m@http://localhost:1/v1", adapter=str(tiny_adapter))], "takes no adapter"),
    ):
        with pytest.raises(BadInputError, match=words):
            ask(question, sides)
    for side, words in ((Side(policy="./nowhere"), "does not exist"), (Side(adapter="nowhere"), "no adapter_config")):
        with pytest.raises(ModelError, match=words):
            ask("What?", [side])
    with pytest.raises(JobError, match="no run 99"):
        ask("What?", [Side(run=99)])
    with pytest.raises(ModelError, match="nowhere"):
        ask("What?", [Side(policy="./nowhere"), Side(run=99)])
    with pytest.raises(JobError, match="started anew"):
        studio.playground.look("never asked")
    assert studio.playground._process is None, "nothing of this was worth a process"


def test_a_side_that_cannot_answer_leaves_the_other(
    studio: Studio, tiny_adapter: Path, tmp_path: Path, monkeypatch
) -> None:
    part, process = studio.playground, Silent()
    monkeypatch.setattr(part, "_start", lambda offline: process)
    for name, words in (("adapter_model.safetensors", "damaged or cut off"), ("adapter_config.json", "not of peft")):
        damaged = shutil.copytree(tiny_adapter, tmp_path / name)
        (damaged / name).write_bytes((damaged / name).read_bytes()[:50])
        asked = part.ask("What is it?", [Side(adapter=str(damaged)), Side()], mas=False)
        told = part.look(asked)["sides"][0]
        assert told["name"] == f"the workspace's policy with {name}"
        assert words in told["error"] and len(process.request["sides"]) == 1
        part._on_event({"event": "done", "question": asked})
    asked = part.ask("What is it?", [Side(policy="./nowhere"), Side()], mas=False)
    assert len(process.request["sides"]) == 1
    part._on_event({"event": "answer", "question": asked, "side": 0, "text": "A boat.", "tokens": 3})
    part._on_event({"event": "done", "question": asked})
    bad, good = part.look(asked)["sides"]
    assert "does not exist" in bad["error"] and (bad["name"], bad["text"], bad["state"]) == ("nowhere", "", "")
    assert (good["text"], good["error"], good["whole"]) == ("A boat.", "", True)


def test_only_uploads_and_the_workspaces_images_are_read(studio: Studio, tmp_path: Path, monkeypatch) -> None:
    part = studio.playground
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(1))
    for address in (str(secret), f"../{secret.name}", "0" * 64, ""):
        with pytest.raises(BadImageError, match="choose it again"):
            part.ask("What?", [Side()], images=[address])
    with pytest.raises(BadImageError, match="not an image"):
        part.upload(b"no image at all", name="notes.txt")
    monkeypatch.setattr(playgrounds, "MOST_BYTES", 10)
    with pytest.raises(BadImageError, match="scale it down"):
        part.upload(png())
    monkeypatch.undo()
    monkeypatch.setattr(playgrounds, "MOST_UPLOADS", 2)
    kept = [part.upload(png(seed)) for seed in range(3)]
    assert part.uploaded(kept[0]) is None and part.uploaded(kept[2]) == png(2)
    assert "data" in part._image(kept[1])
    found = part.item("item-0")
    assert Path(part._image(found.images[0].sha256)["path"]).is_relative_to(studio.path)
    with pytest.raises(BadInputError, match="No instruction"):
        part.item("item-99")
    with pytest.raises(BadInputError, match="held-out split has no image"):
        part.next_heldout()


def test_remote_false_is_obeyed(studio: Studio) -> None:
    (studio.path / "config.toml").write_text("remote = false\n")
    with pytest.raises(UsageError, match="remote = false"):
        studio.playground.ask("What?", [Side(policy="remote:m@http://localhost:1/v1")])


def test_a_mean_judges_new_answers_unless_a_rating_is_in_it(studio: Studio, monkeypatch) -> None:
    config = studio.workspace.read_config()
    for mas, words in (("0.5*clip:a + 0.5*vqa:b", ""), ("0.5*clip:a + 0.5*column:r", "has a rating"),
                       ("column:r", "is a rating")):  # fmt: skip
        monkeypatch.setattr(scorings, "mas_in_use", lambda db, mas=mas: ScoreConfig(policy=None, mas=mas))
        scorer, why = usable_scorer(studio.workspace, config)
        assert words in why and (scorer is None) == bool(words)


def test_it_is_the_curators_alone(tmp_path: Path) -> None:
    studio = Studio.open(make_selected(tmp_path, 2, WorkspaceConfig(blind=True)))
    try:
        for user in (ANN, VIC):
            part = studio.as_user(user).playground
            for act in (lambda part=part: part.choices(), lambda part=part: part.ask("What?", [{}]),
                        lambda part=part: part.item("item-0"), lambda part=part: part.upload(png()),
                        lambda part=part: part.look("x"), lambda part=part: part.next_heldout()):  # fmt: skip
                with pytest.raises(NotAllowedError):
                    act()
        choices = studio.as_user(CORA).playground.choices()
        assert choices["runs"] == [] and choices["scorer"] == "scorer"
        # What a curator saw here is not judged blind later, should she become an annotator.
        found = studio.as_user(CORA).playground.item("item-0")
        assert not studio.sight.was_hidden(dataclasses.replace(ANN, name="cora"), found.id)
    finally:
        studio.close()


def test_an_items_own_question_goes_with_its_system_text_and_turns(studio: Studio) -> None:
    number = studio.find_instruction("item-0")
    turns = json.dumps([["user", "Look."], ["assistant", "I do."]])
    studio.db.write(
        lambda con: con.execute(
            "UPDATE instructions SET system = 'Be brief.', turns = ? WHERE instruction_id = ?", [turns, number]
        ).fetchall()
    )
    found = studio.playground.item("item-0")
    images = [each.sha256 for each in found.images]
    own = studio.playground._messages(found.instruction, images, found.id)
    assert [message["role"] for message in own] == ["system", "user", "assistant", "user"]
    assert len(studio.playground._messages("Another?", images, found.id)) == 1
    assert len(studio.playground._messages(found.instruction, [], found.id)) == 1


def test_a_finished_run_stands_for_its_policy_and_adapter(tmp_path: Path, tiny_adapter: Path, monkeypatch) -> None:
    studio = open_quietly(make_selected(tmp_path, 3))
    try:
        run = train_by_hand(studio, None, dtype="float32")
        assert studio.playground.choices()["runs"] == [], "without an adapter there is nothing to ask"
        folder = studio.runner.folder(run.id).adapter_path
        folder.mkdir()
        for path in tiny_adapter.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        [choice] = studio.playground.choices()["runs"]
        with monkeypatch.context() as patch:  # its files are not looked at on every listing
            patch.setattr(playgrounds, "has_adapter", lambda runner, run: pytest.fail("looked at again"))
            assert studio.playground.choices()["runs"] == [choice]
        assert (choice["run"], choice["name"]) == (run.id, f"run {run.id} · dpo · 3 pairs")
        config = studio.workspace.read_config()

        def resolve(**side) -> dict:
            return playgrounds.resolve(studio.workspace, studio.runner, config, Side(**side), None)

        after, before = resolve(run=run.id), resolve(run=run.id, before=True)
        assert after["policy"] == before["policy"] == run.config["policy"]
        assert (after["adapter"], before["adapter"]) == (str(folder), None)
        assert (after["name"], after["options"]["dtype"]) == (f"run {run.id}", "float32")
    finally:
        studio.close()


def test_stop_ends_a_process_that_does_not_hear_and_idle_ones_are_let_go(studio: Studio, monkeypatch) -> None:
    part, silent, idle = studio.playground, Silent(), Silent()
    monkeypatch.setattr(part, "_start", lambda offline: silent)
    monkeypatch.setattr(playgrounds, "STOP_SECONDS", 0.01)
    asked = part.ask("What is it?", [Side(), Side()], mas=False)
    part._on_event({"event": "text", "question": asked, "side": 1, "text": "A boat", "tokens": 2})
    part._on_event({"event": "text", "question": "an older one", "side": 0, "text": "no", "tokens": 1})
    part.stop()
    told = part.look(asked)
    assert not silent.alive and silent.request == {"op": "stop", "question": asked}
    assert [(side["text"], side["error"]) for side in told["sides"]] == [("", "Stopped."), ("A boat", "Stopped.")]
    monkeypatch.setattr(part, "_start", lambda offline: idle)
    monkeypatch.setattr(playgrounds, "IDLE_SECONDS", 0.01)
    asked = part.ask("What is it?", [Side()], mas=False)
    part._on_event({"event": "done", "question": asked})
    wait_for(lambda: not idle.alive, 5)
    assert not part.choices()["loaded"] and part.look(asked)["sides"][0]["error"] == "It gave no answer."


def test_a_process_that_cannot_be_started_leaves_no_question_behind(studio: Studio, monkeypatch) -> None:
    def fail(offline: bool):
        raise OSError(28, "No space left on device")

    part, dead, next_one = studio.playground, Silent(), Silent()
    monkeypatch.setattr(part, "_start", lambda offline: dead)
    asked = part.ask("What is it?", [Side()], mas=False)
    part._on_event({"event": "done", "question": asked})
    dead.alive = False
    monkeypatch.setattr(part, "_start", fail)
    with pytest.raises(JobError, match="cannot be started"):
        part.ask("And now?", [Side()], mas=False)
    assert part._process is None and part.look(asked)["done"]
    monkeypatch.setattr(part, "_start", lambda offline: next_one)
    part.ask("And now?", [Side()], mas=False)
    assert next_one.request["op"] == "ask"


class InThisProcess:
    """As the command line finds an app, without its socket."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def call(self, method: str, **arguments: object) -> object:
        return bridge.call(self._studio, method, arguments)


def wait_for(look, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_the_process_answers_is_killed_and_begun_anew_and_ends_with_its_server(
    studio: Studio, tiny_policy: Path, tiny_adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = studio.playground
    address = part.upload(png(3))
    sides = [Side(), Side(adapter=str(tiny_adapter))]
    asked = part.ask("What is it?", sides, images=[address], max_new_tokens=12, mas=False)
    with pytest.raises(JobError, match="is being answered"):
        part.ask("And now?", [Side()])
    told = part.look(asked)
    while not told["done"]:
        told = part.look(asked, told["version"], patience=30.0)
    prompt, image = build_messages("What is it?", 1), tiny.build_image(3)
    for side, adapter in zip(told["sides"], (None, tiny_adapter), strict=True):
        assert side["text"] == Policy.load(tiny_policy, adapter).greedy([prompt], [[image]], 12)[0].text
        assert side["error"] == "" and side["logp_mean"] < 0 and side["state"] == ""
    assert part.choices()["loaded"]

    # The same by the command line, whose file goes to the app; the process still has the models.
    first = part._process
    photo = tmp_path / "photo.png"
    photo.write_bytes(png(3))
    monkeypatch.setattr(ask_command, "connect", lambda path: contextlib.nullcontext(InThisProcess(studio)))
    options = ["--adapter", str(tiny_adapter), "--max-new-tokens", "12", "--json"]
    found = CliRunner().invoke(cli.app, ["ask", str(studio.path), "What is it?", "--image", str(photo), *options])
    assert found.exit_code == 0, found.output
    again = json.loads(found.stdout)
    assert [side["text"] for side in again["sides"]] == [side["text"] for side in told["sides"]]
    assert part._process is first and again["asked"] == "What is it?"

    # The models are still there; killed in the middle of an answer, it is told at both sides.
    asked = part.ask("What is it?", sides, images=[address], max_new_tokens=900, temperature=5.0, mas=False)
    wait_for(lambda: any(side["tokens"] for side in part.look(asked)["sides"]))
    assert part._process is first
    os.kill(first.pid, signal.SIGKILL)
    wait_for(lambda: part.look(asked)["done"])
    assert [side["error"] for side in part.look(asked)["sides"]] == [KILLED, KILLED]

    # The next question starts another one. Where its server is gone its stdin is closed, and it goes too.
    part.ask("What is it?", [Side()], mas=False)
    second = part._process
    assert second.alive and second.pid != first.pid
    second._process.stdin.close()
    wait_for(lambda: not second.alive, 20)


def test_who_stands_beside_whom_on_the_command_line() -> None:
    def sides(**given: str) -> list[dict]:
        names = ("policy", "adapter", "against_policy", "against_adapter")
        return ask_command._sides(*[given.get(name, "") for name in names])

    own = {"policy": "", "adapter": ""}
    assert sides() == [own]
    assert sides(adapter="8") == [{"policy": "", "run": 8, "before": True}, {"policy": "", "run": 8}]
    assert sides(adapter="org/lora") == [own, {"policy": "", "adapter": "org/lora"}]
    assert sides(adapter="8", against_adapter="7") == [{"policy": "", "run": 7}, {"policy": "", "run": 8}]
    other = {"policy": "org/b", "adapter": ""}
    assert sides(policy="org/a", against_policy="org/b") == [other, {"policy": "org/a", "adapter": ""}]
    read = [Side(**side) for side in sides(adapter="8")]
    assert [(side.run, side.before) for side in read] == [(8, True), (8, False)]


def test_answers_on_the_command_line_have_their_figures() -> None:
    side = {
        "name": "run 8",
        "text": "A boat.\nA fish.",
        "error": "",
        "logp_mean": -0.25,
        "by_server": False,
        "mas": 0.5,
    }
    side |= {"seconds": 2.0, "tokens": 8, "finish_reason": "length"}
    failed = side | {"name": "before run 8", "text": "", "error": "It is gone."}
    drawn = ask_command.draw_answers("What?", {"sides": [failed, side], "scorer": "mas"})
    assert drawn == (
        "Question: What?\n\nrun 8:\n  A boat.\n  A fish.\n  [mean log-prob -0.250 nats a token, MAS 0.500 by mas, "
        "8 tokens in 2.0 s, 4.0 a second, cut off by --max-new-tokens]"
    )


def test_a_device_is_no_image() -> None:
    with pytest.raises(BadImageError, match="is no file"):  # it has no end: reading it would take all memory
        ask_command._send(None, Path("/dev/zero"))
