"""The upload of an export to the hub, against a stand-in on this machine."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants
import pytest
import yaml
from exports import fill, open_pairs

from m3po.errors import StorageError, UsageError
from m3po.studio import Studio
from m3po.workspace_config import WorkspaceConfig


@pytest.fixture
def studio(tmp_path):
    yield from open_pairs(tmp_path)


class Hub(BaseHTTPRequestHandler):
    """What the hub's API does for create_repo and upload_folder, in memory."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.headers["Authorization"] != "Bearer hf_test":
            return self.answer(401, {"error": "Invalid credentials"})
        if self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            return self.answer(200, {"url": f"{self.server.address}/datasets/me/birds"})
        if self.path == "/api/validate-yaml":  # as the hub does with a dataset card
            front = json.loads(body)["content"].split("---\n")[1]
            assert yaml.safe_load(front)["configs"][0]["data_files"] == "data.jsonl"
            return self.answer(200, {"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            files = json.loads(body)["files"]
            modes = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
            return self.answer(200, {"files": modes})
        if "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"{self.server.address}/datasets/me/birds/commit/1"
            return self.answer(200, {"commitUrl": url, "commitOid": "1" * 40, "success": True})
        return self.answer(404, {"error": f"no {self.path}"})

    def answer(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.created, server.files = [], {}
    server.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    yield server
    server.shutdown()
    server.server_close()


def test_push_uploads_every_file_of_the_folder(studio, tmp_path, hub):
    result = studio.export(tmp_path / "out", format="mmpr", push="me/birds")
    assert result["pushed"] == f"{hub.address}/datasets/me/birds"
    assert (hub.created[0]["name"], hub.created[0]["visibility"]) == ("birds", "private")
    local = {str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert hub.files == local and len(local) == 5


def test_push_uploads_nothing_that_somebody_keeps_beside_it(studio, tmp_path, hub):
    out = tmp_path / "out"
    studio.export(out, format="mmpr")
    local = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    for name in ("notes.txt", "images/mine[1].png", "images/private/passport.png"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(b"mine")
    studio.export(out, format="mmpr", push="me/birds")
    assert set(hub.files) == local


def test_a_push_that_is_refused_keeps_what_was_written_and_says_why(studio, tmp_path, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(StorageError, match=r"out is written, but the upload to me/birds failed .*HF_TOKEN"):
        studio.export(tmp_path / "out", format="mmpr", push="me/birds")
    assert (tmp_path / "out" / "data.jsonl").is_file()
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UsageError, match="HF_TOKEN"):
        studio.start_export(tmp_path / "out", format="mmpr", push="me/birds")


def test_a_workspace_that_forbids_remote_calls_pushes_nothing(tmp_path, hub):
    studio = fill(Studio.open(Studio.create(tmp_path / "closed", WorkspaceConfig(remote=False))), tmp_path)
    try:
        with pytest.raises(UsageError, match="remote = false"):
            studio.export(tmp_path / "out", format="mmpr", push="me/birds")
        assert not hub.created and not (tmp_path / "out").exists()
    finally:
        studio.close()


def test_forbidding_remote_calls_counts_at_once(studio, tmp_path, hub):
    (studio.path / "config.toml").write_text("remote = false\n")
    with pytest.raises(UsageError, match="remote = false"):
        studio.start_export(tmp_path / "out", push="me/pairs")
    with pytest.raises(UsageError, match="remote = false"):
        studio.start_import("hub:me/pairs")
