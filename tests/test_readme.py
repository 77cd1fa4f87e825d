"""The README's ways in, command by command as they stand there, on tiny checkpoints and a stand-in for the server."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import tiny
import transformers  # noqa: F401  its log goes for good to what stderr is now: in a test that would be closed after it
from openai_server import FakeServer, token
from runs_here import let_commands_work_here

from m3po.cli import main
from m3po.demo.models import demo_models
from m3po.demo.workspace import write_demo_source

ROOT = Path(__file__).resolve().parents[1]
URL = "http://localhost:8000/v1"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def commands(heading: str) -> list[list[str]]:
    """The `python -m m3po` lines of the code block under a heading, without their comments."""
    section = (ROOT / "README.md").read_text().split(f"### {heading}\n", 1)[1]
    block = re.search(r"```\n(.*?)```", section, re.DOTALL)[1]
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    found = [words[3:] for words in lines if words[:3] == ["python", "-m", "m3po"]]
    assert found, f"no command under {heading}"
    return found


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run every command under a heading in a folder of its own, by the command line's own main, the workers' work in
    this process, too; returns what each printed.

    `texts` are put in the place of others in every word, `words` in that of whole words.
    """

    def run_all(heading: str, texts: Mapping = {}, words: Mapping = {}, key: str = "") -> list[str]:
        let_commands_work_here(monkeypatch)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("M3PO_API_KEY", key)
        printed = []
        for command in commands(heading):
            for name, place in texts.items():
                command = [word.replace(name, place) for word in command]
            monkeypatch.setattr(sys, "argv", ["m3po", *(words.get(word, word) for word in command)])
            with pytest.raises(SystemExit) as ended:
                main()
            out, err = capsys.readouterr()
            assert ended.value.code == 0, f"{' '.join(command)}: {out}{err}"
            assert "Traceback" not in err
            printed.append(out)
        return printed

    return run_all


def test_llava_on_own_images(run, tmp_path):
    policy, mas = demo_models()
    write_demo_source(tmp_path / "my-images", n_train=6, n_tune=0, n_heldout=2)
    printed = run(
        "LLaVA-1.5-7B on your images",
        {"llava-hf/llava-1.5-7b-hf": str(policy), "openai/clip-vit-large-patch14": str(mas)},
    )
    went_in, pilot, sampled, scored, selected, trained = printed[1:]
    assert "rows went in" in went_in and "instructions sampled" in sampled
    # The pilot may have scored every answer that the same few instructions got a second time.
    done = r"The candidates of [1-9]\d* instructions are scored\.|Nothing to score: every candidate has its scores\."
    assert re.fullmatch(done, scored.strip()), scored
    assert re.findall(r"^ *(\d+)  +[\d.]+%  +[\d.]+% to ", pilot, re.MULTILINE) == ["2", "4", "8", "16"], pilot
    assert re.search(r"^[1-9]\d* pairs picked", selected), selected
    assert "before" in trained and "after" in trained


def test_a_server_answers_and_judges(run, tmp_path):
    policy, _ = demo_models()
    write_demo_source(tmp_path / "my-images", n_train=4, n_tune=0, n_heldout=0)

    def reply(body: dict, j: int) -> str | dict:
        if "top_logprobs" not in body:
            return ("A red boat.", "A blue fish.")[j % 2]
        p = 0.9 if "boat" in str(body["messages"]) else 0.2
        return {"logprobs": {"content": [token("Yes", p, {"Yes": p, "No": 1 - p})]}}

    name = "Qwen/Qwen2.5-VL-7B-Instruct"
    with FakeServer(reply=reply, model=name, key="a-key-of-the-test") as server:
        printed = run("Qwen2.5-VL behind a vLLM server", {URL: server.url}, {name: str(policy)}, "a-key-of-the-test")
        assert server.requests
    assert "rows went in" in printed[1] and "instructions sampled" in printed[2]
    assert re.search(r"^[1-9]\d* pairs picked", printed[-1]), printed[-1]


def test_own_rows_own_adapter(run, tmp_path):
    policy, _ = demo_models()
    shutil.copytree(policy, tmp_path / "my-model")
    tiny.build_adapter(policy, tmp_path / "my-adapter")
    tiny.build_siglip(tmp_path / "my-siglip")
    write_demo_source(tmp_path, n_train=6, n_tune=0, n_heldout=0)
    rows = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    rows = [{"question": row["instruction"], "photo": row["file_name"], "split": "train"} for row in rows]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    printed = run("My JSONL, my adapter")
    assert f"{len(rows)} rows went in" in printed[1]
    assert re.search(r"^[1-9]\d* pairs picked", printed[4]), printed[4]
    written = json.loads(next((tmp_path / "pairs").glob("*.json")).read_text())
    assert written
