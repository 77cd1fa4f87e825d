"""What the server gives out, and what it does not; no browser needed."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from m3po.errors import WorkspaceError
from m3po.users import Users, add_user
from ui.build import build
from ui.server import address_of, bind, build_server

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def page(studio):
    return build(studio)


@pytest.fixture
def client(studio, page):
    with TestClient(build_server(studio, page)) as client:
        yield client


def image_of(studio) -> str:
    from m3po.types import ReviewView

    return studio.review_item(ReviewView()).instruction.images[0].sha256


def test_images_of_the_workspace_are_served_for_long(studio, client):
    answer = client.get(f"/m3po/image/{image_of(studio)}")
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/webp"
    assert "immutable" in answer.headers["cache-control"]


def test_gradio_still_looks_at_its_queue_as_often_as_it_is_told(client, page):
    """The name is Gradio's own: a version without it would wake 1,000 times a second again, unseen."""
    assert (
        "sleep_when_free" in inspect.getsource(type(page._queue).start_processing)
        and page._queue.sleep_when_free > 0.01
    )


def test_nothing_else_is_served(studio, client):
    secret = studio.path / "m3po.duckdb"
    assert secret.exists()
    for path in (
        f"/m3po/image/{'0' * 64}",
        "/m3po/image/..%2fm3po.duckdb",
        "/m3po/image/%2e%2e/%2e%2e/etc/passwd",
        f"/gradio_api/file={secret}",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api//file=/etc/passwd",
        f"/gradio_api/file%3D{secret}",
        f"/file={secret}",
        "/file/etc/passwd",
        f"/gradio_api/file={ROOT / 'app.py'}",
        "/gradio_api/file=http://127.0.0.1/",
        "/gradio_api/proxy=http://127.0.0.1/",
        "/static/../../../app.py",
        "/assets/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/docs",
        "/openapi.json",
    ):
        answer = client.get(path)
        assert answer.status_code in (307, 401, 403, 404, 405), (path, answer.status_code)
        assert b"root:" not in answer.content and b"DUCK" not in answer.content, path
    assert client.post("/gradio_api/upload", files={"files": b"x"}).status_code == 403


@pytest.mark.parametrize("root", ["/studio", "/m3po", "https://example.org/a/studio"])
def test_under_a_path_the_same_doors_are_closed_however_often_it_stands_before_them(studio, page, root):
    prefix = root.removeprefix("https://example.org")
    doors = ("/gradio_api/file=/etc/passwd", "/gradio_api/proxy=http://127.0.0.1/", "/openapi.json", "/docs")
    with TestClient(build_server(studio, page, root_path=root)) as client:
        for own in (
            "/m3po/me.js",
            "/m3po/me",
            "/m3po/logout",
            "/config",
        ):  # the proxy may have left the prefix on, or taken it off
            assert [client.get(path).status_code for path in (own, prefix + own)] == [200, 200], own
        for before in ("", prefix, prefix * 2, prefix * 3, f"{prefix}/{prefix}", f"{prefix}%2F{prefix}"):
            for door in doors:
                assert client.get(before + door).status_code == 403, before + door
            assert client.post(f"{before}/gradio_api/upload", files={"files": b"x"}).status_code == 403, before


def test_no_other_site_may_include_what_is_served_here(studio, client):
    """A script's answer is read by whatever page includes it: me.js would tell it who is here, and the folder."""
    for path in ("/m3po/me.js", "/m3po/me", f"/m3po/image/{image_of(studio)}", "/"):
        assert client.get(path).headers["cross-origin-resource-policy"] == "same-origin", path


def test_the_browser_may_ask_nobody_else(client):
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy and "http:" not in policy and "https:" not in policy
    page = client.get("/").text
    assert "googleapis" not in page and "cdnjs" not in page
    assert client.get("/manifest.json").json()["name"] == "M3PO Studio"  # installable


@pytest.fixture
def users(tmp_path):
    add_user(tmp_path / "users", "ann", "secret of ann", "annotator")
    return Users(tmp_path / "users")


def test_images_want_a_login_where_there_are_users(studio, users):
    with TestClient(build_server(studio, build(studio), users=users)) as client:
        url = f"/m3po/image/{image_of(studio)}"
        assert client.get(url).status_code == 401
        assert client.post("/login", data={"username": "ann", "password": "wrong"}).status_code == 400
        assert client.get(url).status_code == 401
        assert client.post("/login", data={"username": "ann", "password": "secret of ann"}).status_code == 200
        assert client.get(url).status_code == 200


def test_a_way_out_ends_this_login_and_no_other_of_the_same_person(studio, users):
    assert 'href: "m3po/logout"' in (ROOT / "ui" / "page.js").read_text()
    logins = []
    with TestClient(build_server(studio, build(studio), users=users)) as client:
        for _ in range(2):
            client.cookies.clear()
            client.post("/login", data={"username": "ann", "password": "secret of ann"})
            logins.append(dict(client.cookies))
        left = client.get("/m3po/logout", follow_redirects=False)
        assert left.headers["location"] == "../" and not dict(client.cookies)
        for login, user in zip(logins, ("ann", ""), strict=True):
            client.cookies.clear()
            client.cookies.update(login)
            assert client.get("/m3po/me").json()["user"] == user


def test_a_decision_carries_the_name_of_who_is_logged_in(studio, users):
    page = build(studio)
    review = next(block for block in page.blocks.values() if getattr(block, "elem_id", None) == "review")
    body = {"component_id": review._id, "fn_name": "review", "session_hash": "s"}
    with TestClient(build_server(studio, page, users=users)) as client:
        show = {"op": "show", "view": {"filter": "all", "order": "id"}}
        assert client.post("/gradio_api/component_server", json={**body, "data": show}).status_code == 401
        client.post("/login", data={"username": "ann", "password": "secret of ann"})
        item = client.post("/gradio_api/component_server", json={**body, "data": show}).json()["item"]
        skip = {"op": "skip", "instruction_id": item["instruction_id"], "chosen": None, "rejected": None}
        assert "error" not in client.post("/gradio_api/component_server", json={**body, "data": skip}).json()
    assert [(d.verdict, d.annotator) for d in studio.history(item["instruction_id"])] == [("skip", "ann")]


def test_a_taken_port_is_a_sentence():
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert address_of(listener) == f"http://127.0.0.1:{port}"
        with pytest.raises(WorkspaceError, match=f"port {port} .*another --port"):
            bind("127.0.0.1", port)
    with pytest.raises(WorkspaceError, match="does not exist"):
        bind("127.0.0.1", 70_000)


def test_app_without_a_workspace_is_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "app.py", "--workspace", str(tmp_path / "none"), "--port", "0", "--no-browser"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert str(tmp_path / "none") in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_page_starts_without_torch():
    code = (
        "import sys, app, ui.build, ui.server, m3po.bridge;"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.strip() == "[]", done.stderr
