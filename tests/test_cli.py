"""The command line as a user calls it: exit codes, one sentence on stderr, JSON, and beside a running app."""

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from typer.main import get_command
from workspaces import make_images, make_workspace

from m3po.bridge import Listener
from m3po.cli import app, follow, main
from m3po.jobs.runner import JobRunner
from m3po.settings import RULES
from m3po.store import runs
from m3po.studio import Studio
from m3po.training.presets import build_train_config, train_command

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("init", "import", "sample", "score", "scorers", "select", "export", "train", "evaluate", "status")


def run_process(*words):
    """`python -m m3po` as a process of its own; returns stdout."""
    done = subprocess.run([sys.executable, "-m", "m3po", *map(str, words)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def m3po(monkeypatch, capsys):
    """The command line's own main in this process (starting Python seventy times takes minutes); gives (stdout, stderr)
    after checking the exit code."""

    def run(*words, code=0):
        monkeypatch.setattr(sys, "argv", ["m3po", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert ended.value.code == code, out + err
        assert "Traceback" not in err
        return out, err

    return run


@pytest.fixture
def here(m3po):
    """The same, of which only stderr is looked at."""
    return lambda *words, code: m3po(*words, code=code)[1]


def write_metadata(folder, rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def source(tmp_path):
    make_images(tmp_path / "source", 3)
    rows = [{"file_name": f"{i}.png", "instruction": "What is it?", "split": "train"} for i in range(3)]
    return write_metadata(tmp_path / "source", [*rows, {"file_name": "gone.png", "instruction": "And this?"}])


def test_a_pilot_has_its_own_k(tmp_path, here):
    path = Studio.create(tmp_path / "ws")
    err = here("sample", path, "--policy", "./nowhere", "--pilot", 5, "--k", 4, code=2)
    assert "samples 16 answers" in err and "leave out --k" in err
    for k in ([], ["--k", 16]):
        assert "nowhere does not exist" in here("sample", path, "--policy", "./nowhere", "--pilot", 5, *k, code=1)


def test_the_help_of_select_names_every_rule():
    parameters = {p.name: p for p in get_command(app).commands["select"].params}
    assert parameters["rule"].help.split(", ") == list(RULES)


def test_import_with_a_preview_and_columns_by_hand(tmp_path, source, m3po):
    workspace = tmp_path / "ws"
    m3po("init", workspace)
    (source / "mine.csv").write_text("bild,frage\n0.png,Was?\ngone.png,Und?\n")
    _, err = m3po("import", workspace, source / "mine.csv", code=1)
    assert "no known format" in err and "--map instruction=question" in err
    columns = ("--map", "image=bild", "--map", "instruction=frage")
    out, _ = m3po("import", workspace, source / "mine.csv", *columns, "--preview")
    assert "instruction  <- frage" in out and "line 3: refused: image gone.png" in out
    out, _ = m3po("import", workspace, source / "mine.csv", *columns, "--preview", "--json")
    assert [row["row"] for row in json.loads(out)["rows"]] == ["line 2", "line 3"]
    out, _ = m3po("import", workspace, source / "mine.csv", *columns)
    assert out.startswith("1 row went in")


@pytest.mark.parametrize("name", ["~nobody-has-this-name/x.jsonl", "nul\0.jsonl"])
def test_a_name_that_is_no_place_is_said_in_a_sentence(here, tmp_path, name):
    Studio.create(tmp_path / "ws")
    commands = (["import", name], ["import", "x.jsonl", "--images", name], ["export", name], ["history", name])
    for command, *words in commands:
        err = here(command, tmp_path / "ws", *words, code=2)
        assert ("names no place" in err or "null byte" in err) and "Unexpected" not in err


@pytest.mark.parametrize(
    "words", [["status", "{}"], ["init", "{}"], ["init", "ws", "--policy", "{}"], ["sample", "ws", "--policy", "{}"],
              ["sample", "ws", "--policy", "policy", "--adapter", "{}"], ["score", "ws", "--mas", "vqa:{}"]],
)  # fmt: skip
def test_a_folder_of_nobody_is_said_in_a_sentence(here, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    Studio.create(tmp_path / "ws")
    err = here(*[word.format("~nobody-has-this-name/x") for word in words], code=2)
    assert "names no place" in err and "Unexpected" not in err


def test_every_command_is_there(m3po):
    out, _ = m3po("--help")
    assert all(re.search(rf"^\W*{command} ", out, re.MULTILINE) for command in COMMANDS)


def test_init_import_status_and_export(tmp_path, source, m3po):
    workspace = tmp_path / "ws"
    m3po("init", workspace)
    out, err = m3po("import", workspace, source)
    assert "3 rows went in" in out and "1 was refused" in out
    assert "line 4" in err and "gone.png" in err
    out, _ = m3po("import", workspace, source, "--json")
    assert json.loads(out)["added"] == 0 and json.loads(out)["already_there"] == 3
    out, _ = m3po("status", workspace, "--json")
    assert json.loads(out)["instructions"]["train"] == 3
    out, _ = m3po("select", workspace)
    assert "3 no_candidates" in out
    m3po("export", workspace, tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["no_pair_reason"] for row in rows] == ["no_candidates"] * 3
    assert all(Path(row["images"][0]).is_file() for row in rows)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("status", "{tmp}/nowhere"), "is not a workspace"),
        (("import", "{ws}", "{tmp}/nowhere"), "nowhere"),
        (("sample", "{ws}", "--policy", "{tmp}/empty"), "empty"),
        (("score", "{ws}", "--mas", "column:Humour"), "no rating 'Humour'"),
        (("train", "{ws}", "--policy", "x"), "no pair to train on"),
        (("evaluate", "{ws}", "--policy", "x"), "split is empty"),
        (("score", "{ws}", "--policy", "x", "--quantise", "4bit"), "quantise = 4bit needs"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_1(tmp_path, source, here, words, sentence):
    workspace = tmp_path / "ws"
    (tmp_path / "empty").mkdir()
    path = Studio.create(workspace)
    studio = Studio.open(path)
    studio.import_source(source)
    studio.close()
    err = here(*[word.format(tmp=tmp_path, ws=workspace) for word in words], code=1)
    assert sentence in err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("sample", "{ws}"), "config.toml"),
        (("score", "{ws}"), "config.toml"),
        (("train", "{ws}"), "config.toml"),
        (("evaluate", "{ws}"), "config.toml"),
        (("import", "{ws}", "{tmp}", "--format", "zip"), "choose auto, imagefolder"),
        (("import", "{ws}", "{tmp}", "--split", "test"), "choose one of train"),
        (("import", "{ws}", "hub:no/such:split:twice"), "is no data set of the hub"),
        (("import", "{ws}", "hub:../etc"), "is no data set of the hub"),
        (("init", "{tmp}/new", "--policy", "{tmp}/nowhere"), "nowhere does not exist: check the path"),
        (("init", "{tmp}/new", "--policy", "my-model/"), "my-model/ does not exist: check the path"),
        (("init", "{tmp}/new", "--demo", "--mas", "1*clip:a + 1*vqa:./nowhere"), "nowhere does not exist"),
        (("sample", "{ws}", "--policy", "x", "--k", "0"), "k = 0"),
        (("sample", "{ws}", "--policy", "x", "--temperature", "nan"), "temperature"),
        (("score", "{ws}", "--policy", "x", "--batch-size", "-1"), "batch_size"),
        (("score", "{ws}", "--mas", "blip:x"), "no kind of scorer 'blip'"),
        (("scorers", "{ws}", "--use", "3"), "There is no scorer 3"),
        (("select", "{ws}", "--rule", "best"), "choose one of m3po"),
        (("select", "{ws}", "--delta", "1.5"), "delta = 1.5"),
        (("export", "{ws}", "{tmp}/out", "--format", "xml"), "choose one of m3po, trl"),
        (("export", "{ws}", "{tmp}/out", "--only", "nobody"), "choose one of all"),
        (("train", "{ws}", "--policy", "x", "--preset", "huge"), "choose one of demo"),
        (("train", "{ws}", "--policy", "x", "--method", "ppo"), "choose one of dpo"),
        (("train", "{ws}", "--policy", "x", "--set", "beta"), "key=value"),
        (("train", "{ws}", "--policy", "x", "--set", "foo=1"), "no setting of a training run"),
        (("evaluate", "{ws}", "--policy", "x", "--split", "train"), "choose tune or heldout"),
    ],
)
def test_a_value_that_an_option_does_not_take_is_exit_2(tmp_path, here, words, sentence):
    Studio.create(tmp_path / "ws")
    err = here(*[word.format(tmp=tmp_path, ws=tmp_path / "ws") for word in words], code=2)
    assert sentence in err.strip().splitlines()[-1]
    assert not (tmp_path / "new").exists()


def test_model_options_reach_the_job(tmp_path, here, monkeypatch):
    """What is queued is what was asked for; the run itself is not waited for."""
    asked = []

    class Client:
        def call(self, method, **arguments):
            asked.append((method, arguments))
            run = {"id": 1, "state": "finished", "message": "", "done": 0, "result": {"metrics": {}}}
            return [] if method == "warnings" else [run] if method == "score" else run

    monkeypatch.setattr("m3po.cli.connect", lambda path: contextlib.nullcontext(Client()))
    words = ("--dtype", "bfloat16", "--device-map", "cuda:1", "--attention", "sdpa", "--quantise", "4bit")
    words += ("--max-pixels", "900", "--min-pixels", "100", "--trust-remote-code")
    wanted = {"dtype": "bfloat16", "device_map": "cuda:1", "attention": "sdpa", "quantise": "4bit", "max_pixels": 900}
    wanted |= {"min_pixels": 100, "trust_remote_code": True}
    for command in ("sample", "score", "evaluate"):
        here(command, tmp_path, *words, code=0)
        method, arguments = asked[-2]
        assert method == command and arguments | wanted == arguments
    config = build_train_config("p", "demo", {name: str(value) for name, value in wanted.items()})
    assert config.model_options() == wanted
    assert "--set trust_remote_code=True" in train_command("ws", config)


def test_the_estimate_and_warnings_are_told_once_while_the_run_is_at_work(capsys, monkeypatch):
    monkeypatch.setattr("m3po.console.POLL_SECONDS", 0)
    states = [("queued", ""), ("running", "Loading"), *[("running", "Memory: 1 GiB of weights")] * 2, ("finished", "")]
    runs = iter([{"id": 1, "kind": "sample", "state": state, "message": text} for state, text in states])
    lists = iter([[], ["first"], ["first", "second"], ["first", "second"], ["first", "second"]])

    class Client:
        def call(self, method, **_):
            return next(runs) if method == "run" else next(lists)

    assert follow(Client(), next(runs))["state"] == "finished"
    assert capsys.readouterr().err.splitlines() == ["warning: first", "Memory: 1 GiB of weights", "warning: second"]


def test_wrong_usage_is_exit_2(tmp_path, m3po):
    m3po("init", tmp_path / "ws")
    _, err = m3po("select", tmp_path / "ws", "--rule", "best", code=2)
    assert "choose one of m3po" in err
    m3po("sample", code=2)
    m3po("fly", tmp_path, code=2)


def test_import_where_nothing_goes_in_is_exit_1(tmp_path, m3po):
    m3po("init", tmp_path / "ws")
    folder = write_metadata(tmp_path / "bad", [{"file_name": "none.png", "instruction": "?"}])
    _, err = m3po("import", tmp_path / "ws", folder, code=1)
    assert "none.png" in err


def test_the_command_line_asks_the_app_that_has_the_workspace_open(tmp_path, source, m3po):
    studio = Studio.open(make_workspace(tmp_path), address="http://127.0.0.1:1")
    listener = Listener(studio, "http://127.0.0.1:1")
    try:
        assert json.loads(run_process("status", studio.path, "--json"))["candidates"] == 24
        m3po("import", studio.path, source)
        assert studio.status()["instructions"]["train"] == 9  # the app sees it at once
        m3po("select", studio.path)
        assert studio.status()["pairs"] == 6
        out, _ = m3po("export", studio.path, tmp_path / "out.parquet", "--format", "trl", "--json")
        assert json.loads(out)["rows"] == 6 and (tmp_path / "out.parquet").is_file()
        # The app's answer says that it was wrong usage.
        _, err = m3po("export", studio.path, tmp_path / "x", "--only", "nobody", code=2)
        assert "choose one of all" in err
    finally:
        listener.close()
        studio.close()
    assert "6 pairs" in run_process("status", studio.path)  # and opens it itself once the app is gone


def test_a_hung_app_is_named(tmp_path, monkeypatch):
    from m3po import bridge
    from m3po.errors import WorkspaceError

    monkeypatch.setattr(bridge, "CONNECT_SECONDS", 0.3)
    studio = Studio.open(make_workspace(tmp_path), address="http://127.0.0.1:7860")  # open, but not listening
    try:
        with pytest.raises(WorkspaceError, match=r"127\.0\.0\.1:7860.*does not answer"), bridge.connect(studio.path):
            pass
    finally:
        studio.close()


def test_commands_at_the_same_time_all_get_their_answer(tmp_path, source, m3po):
    """The first opens the workspace and serves the others, until the last of them has gone."""
    path = make_workspace(tmp_path)
    commands = [["status", path], ["import", path, source], ["export", path, tmp_path / "out.jsonl"]]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "m3po", *map(str, words)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for words in commands
    ]
    for process in running:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, (out, err)
    out, _ = m3po("status", path, "--json")
    assert json.loads(out)["instructions"]["train"] == 9


def test_a_guest_is_not_cut_off_when_the_command_that_serves_it_is_done(tmp_path):
    from m3po import bridge

    path = make_workspace(tmp_path)
    first = bridge.Local(path)
    with bridge.connect(path) as guest:
        assert isinstance(guest, bridge.Client)
        closing = threading.Thread(target=first.close)
        closing.start()
        for _ in range(5):
            time.sleep(0.1)
            assert guest.call("status")["candidates"] == 24
        assert closing.is_alive()  # it waits for its guest
    closing.join(20)
    assert not closing.is_alive()
    with bridge.connect(path) as second:
        assert isinstance(second, bridge.Local)


def test_init_takes_models_from_where_one_stands_and_refuses_what_is_no_name(tmp_path, m3po, monkeypatch):
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    m3po("init", "ws", "--policy", "models")
    assert str(tmp_path / "models") in (tmp_path / "ws" / "config.toml").read_text()
    _, err = m3po("init", tmp_path / "other", "--policy", "a\nb", code=2)
    assert "control characters" in err and not (tmp_path / "other").exists()


def test_a_run_is_resumed_by_its_number(tmp_path, m3po):
    path = make_workspace(tmp_path)
    _, err = m3po("resume", path, 7, code=1)
    assert "There is no run 7" in err


def test_an_export_never_touches_a_workspace_or_a_device(tmp_path, m3po):
    path = make_workspace(tmp_path)
    other = Studio.create(tmp_path / "other")
    for target in (other / "m3po.duckdb", other / "images" / "new.jsonl"):
        _, err = m3po("export", path, target, code=1)
        assert "inside the workspace" in err and str(other) in err
    config = (path / "config.toml").read_bytes()
    for target in (path / "m3po.duckdb", path / "config.toml", path / "new.jsonl"):
        _, err = m3po("export", path, target, code=1)
        assert "inside the workspace" in err
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    _, err = m3po("export", path, pipe, code=1)
    assert "not a regular file" in err and pipe.is_fifo()
    m3po("status", path)
    assert config == (path / "config.toml").read_bytes()


def test_stop_ends_a_training_with_its_evaluations_or_whatever_waits(tmp_path, m3po, monkeypatch):
    monkeypatch.setattr(JobRunner, "tick", lambda runner: None)  # nothing begins: only what is queued counts
    path = make_workspace(tmp_path)
    studio = Studio.open(path)

    def add(con) -> list[int]:
        before = runs.add_run(con, "evaluate", {"policy": "p"}, "")
        train = runs.add_run(con, "train", {"policy": "p", "before_run": before}, "")
        after = runs.add_run(con, "evaluate", {"policy": "p"}, "", parent=train, after=train)
        return [before, train, after, runs.add_run(con, "sample", {"policy": "p"}, "")]

    ids = studio.db.write(add)
    studio.close()
    assert "3 runs asked to stop" in m3po("stop", path, ids[1])[0]
    assert "Nothing of it waits" in m3po("stop", path, ids[1])[0]
    assert json.loads(m3po("stop", path, "--all", "--json")[0]) == {"stopped": 1}
    for words in ((), (ids[1], "--all")):
        assert "Name the run to stop, or give --all" in m3po("stop", path, *words, code=2)[1]
    studio = Studio.open(path)
    assert {studio.run(run_id).state for run_id in ids} == {"stopped"}
    studio.close()
