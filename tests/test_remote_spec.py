"""How a server is named: what is written is what is read, and a mistake gets one sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remote_asking import forget_keys

from m3po.errors import UsageError
from m3po.remote_spec import RemoteModel, names_remote, parse_remote
from m3po.settings import ScoreConfig


@pytest.fixture(autouse=True)
def quick_and_keyless(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_keys(monkeypatch)


@pytest.mark.parametrize(
    ("spec", "model", "url"),
    [
        ("remote:m@http://localhost:8000/v1", "m", "http://localhost:8000/v1"),
        ("remote:org/name@https://host/v1/", "org/name", "https://host/v1"),
        ("remote:org/name@rev@http://[::1]:80/a/b", "org/name@rev", "http://[::1]:80/a/b"),
    ],
)
def test_a_spec_is_read_from_the_right(spec: str, model: str, url: str) -> None:
    assert parse_remote(spec) == RemoteModel(model, url)


@given(
    st.text("ab/@.:-", min_size=1).filter(lambda m: "@http" not in m and "://" not in m),
    st.sampled_from(["http://h", "https://h.org:8/v1"]),
)
def test_any_model_name_comes_back(model: str, url: str) -> None:
    assert parse_remote(f"remote:{model}@{url}") == RemoteModel(model, url)


@pytest.mark.parametrize(
    "spec",
    ["remote:m", "remote:@http://h/v1", "remote:m@localhost:8000", "remote:m@http://", "remote:m@http://h:x/v1",
     "remote:m@http://h/v 1", "remote:m@ftp://h"],
)  # fmt: skip
def test_a_spec_that_is_none_says_how_to_write_one(spec: str) -> None:
    with pytest.raises(UsageError, match="write remote:MODEL@URL"):
        parse_remote(spec)


@pytest.mark.parametrize(
    "address",
    ["http://user:hunter2@h/v1", "https://hunter2@h/v1", "http://h/v1?api_key=hunter2", "http://h/v1#hunter2",
     "http://u:a@http://hunter2@h/v1"],
)  # fmt: skip
def test_credentials_in_an_address_are_refused_and_not_repeated(address: str) -> None:
    for use in (parse_remote, lambda spec: ScoreConfig(policy=None, mas=f"0.5*{spec} + clip:x")):
        if "?" in address or "#" in address or "u:a" in address:
            use = parse_remote
        with pytest.raises(UsageError) as caught:
            use(f"remote:m@{address}")
        assert "hunter2" not in str(caught.value)


def test_what_names_a_server() -> None:
    for spec in ("remote:m@http://h", "remote-rating:m@http://h", "clip:a+0.5*remote:m@http://h", "a, remote:m@x"):
        assert names_remote(spec), spec
    for spec in (None, "", "org/remote", "/data/remote:x", "my-remote:x", "vqa:org/name"):
        assert not names_remote(spec), spec
