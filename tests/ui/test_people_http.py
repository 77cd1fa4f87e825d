"""Roles, blind review and many people at once, over HTTP as browsers ask: the page's own buttons are not in the way."""

from __future__ import annotations

import dataclasses
import json
import threading

import httpx
import pytest
import uvicorn
from fastapi.testclient import TestClient

from benchmarks.twenty_reviewers import Reviewer, compare, read_history, review_component, work_together, write_rows
from m3po.settings import SelectConfig
from m3po.store import candidates
from m3po.store.changes import state_of_store
from m3po.users import Users, add_user, remove_user
from m3po.workspace_config import write_workspace_config
from ui.build import build
from ui.server import address_of, bind, build_server

ROLES = {"ann": "annotator", "bob": "annotator", "cora": "curator", "vic": "viewer"}


KNOBS = {"rule": "m3po", "weight_chosen": 0.8, "weight_rejected": 0.5, "delta": 0.3, "length_ratio": 0}
# What the tabs of curators send when a button is pressed, by the server function that takes it.
WRITES = {
    "calibrate": [{"op": "apply", "knobs": KNOBS, "selection_id": 1}, {"op": "accept", "score": 0.5},
                  {"op": "accept_none"}, {"op": "audit", "size": 1}],
    "browse": [{"op": "start", "limit": 1}],
}  # fmt: skip


@pytest.fixture
def users(tmp_path, monkeypatch):
    monkeypatch.setattr("m3po.users._N", 2)  # the hash's own cost is tested elsewhere
    for name, role in ROLES.items():
        add_user(tmp_path / "users", name, f"secret of {name}", role)
    return Users(tmp_path / "users")


@pytest.fixture
def page(studio):
    return build(studio)


@pytest.fixture
def server(studio, page, users):
    return build_server(studio, page, users=users)


def events(page) -> dict:
    """What the server does for the page, by number; what the browser does by itself is no endpoint."""
    return {number: event for number, event in page.fns.items() if event.fn}


def log_in(server, name):
    client = TestClient(server)
    assert client.post("/login", data={"username": name, "password": f"secret of {name}"}).status_code == 200
    return client


def reviewer(server, name) -> Reviewer:
    client = log_in(server, name)
    return Reviewer(name, client, review_component(client))


def state_of(studio) -> tuple:
    def read(con):
        more = [
            con.execute(f"SELECT count(*) FROM {name}").fetchall()[0]
            for name in ("assigned", "gold_items", "runs", "audits")
        ]
        return (state_of_store(con), *more)

    return studio.db.read(read)


@pytest.mark.parametrize("name", ["vic", "ann"])
def test_every_event_of_the_page_is_an_endpoint_and_none_changes_anything_for_who_may_not(
    studio, page, server, name, tmp_path
):
    """Every handler there is, called by hand with the form's own values, as the button that is not shown would."""
    studio.decide(1, "tie", annotator="cora")
    before, client = state_of(studio), log_in(server, name)
    values = {"people-names": "ann", "people-history-path": str(tmp_path / "h.csv"), "people-items": 1,
              "export-path": str(tmp_path / "out.jsonl"), "import-path": str(tmp_path / "rows.jsonl")}  # fmt: skip
    said = ""
    for number, event in events(page).items():
        data = [values.get(getattr(c, "elem_id", None), getattr(c, "value", None)) for c in event.inputs]
        data = [None if callable(value) else value for value in data]
        body = {"fn_index": number, "data": data, "session_hash": name}
        answer = client.post("/gradio_api/run/predict", json=body)
        assert answer.status_code == 200 or "may do this" in answer.text, (event.name, answer.text[:300])
        said += answer.text
    for block in page.blocks.values():
        for function in getattr(block, "server_fns", None) or []:
            commands = [{"run_id": 1, "op": op} for op in ("stop", "resume")]
            if name == "vic":
                commands += [{"op": op, "instruction_id": 1, "view": {"filter": "all", "order": "id"}, "text": "x"}
                             for op in ("tie", "skip", "flag", "undo", "redo", "edit", "gold", "accept")]  # fmt: skip
            commands.append({"op": "gold", "instruction_id": 1, "chosen": None, "rejected": None})
            commands += WRITES.get(function.__name__, [])
            for command in commands:
                body = {"component_id": block._id, "fn_name": function.__name__, "session_hash": name, "data": command}
                answer = client.post("/gradio_api/component_server", json=body)
                assert answer.status_code == 200 and ("item" not in answer.json() or "error" in answer.json()), command
                said += answer.text
                if command in WRITES.get(function.__name__, []):
                    assert answer.json()["error"].endswith("only a curator may do this."), command
    assert state_of(studio) == before and not list(tmp_path.glob("*.csv")) and not (tmp_path / "out.jsonl").exists()
    assert said.count("only a curator may do this") > 12


@pytest.mark.parametrize("name", ["ann", "cora"])
def test_an_event_with_nothing_in_it_gets_a_sentence_and_is_no_bug(page, server, name, caplog):
    client = log_in(server, name)
    previews = [number for number, event in events(page).items() if event.name.startswith("on_preview")]
    for number in previews:
        body = {"fn_index": number, "data": [None] * len(page.fns[number].inputs), "session_hash": name}
        answer = client.post("/gradio_api/run/predict", json=body)
        words = "only a curator may do this" if name == "ann" else "Give the path of a folder or file"
        assert answer.status_code == 200 and words in answer.text
    assert previews and not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


def test_what_is_no_command_gets_a_sentence(page, server, caplog):
    client = log_in(server, "cora")
    for block in page.blocks.values():
        for function in getattr(block, "server_fns", None) or []:
            if function.__name__ not in ("review", "browse", "calibrate"):
                continue
            for data in (
                [],
                {"op": {}},
                {"op": []},
                {"op": "open", "by": "\ud800"},
                {"op": "open", "view": {"text": ["\udfff"]}},
            ):
                body = {"component_id": block._id, "fn_name": function.__name__, "session_hash": "x", "data": data}
                sent = json.dumps(body).encode()
                answer = client.post(
                    "/gradio_api/component_server", content=sent, headers={"content-type": "application/json"}
                )
                assert answer.status_code == 200 and "that is no command" in answer.json()["error"], (data, answer.text)
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


def score(con):
    """MAS from 0.7644 down, log-probs of -2.44 nats a token: easy to look for."""
    mas, logp = (candidates.scorer_id(con, kind, f"oracle-{kind}", kind) for kind in ("mas", "logp"))
    candidates.activate(con, "mas", mas)
    candidates.activate(con, "logp", logp)
    con.execute(
        "INSERT INTO mas_scores (candidate_id, scorer_id, run_id, mas)"
        " SELECT candidate_id, ?, 1, 0.7654 - candidate_id / 1000 FROM candidates",
        [mas],
    )
    con.execute(
        "INSERT INTO logprobs SELECT candidate_id, ?, 1, -4.88, 2, [7, 3], [-2.44, -2.44], [0, 6], now()::TIMESTAMP"
        " FROM candidates",
        [logp],
    )


def ask(who: Reviewer, page, name: str, data: dict) -> str:
    """What a server function of the page answers, whichever component has it."""
    [block] = [b for b in page.blocks.values() if name in {f.__name__ for f in getattr(b, "server_fns", None) or []}]
    body = {"component_id": block._id, "fn_name": name, "session_hash": who.name, "data": data}
    return who.http.post("/gradio_api/component_server", json=body).text


# Of scores, of picks, of what bob did: what a curator hears of an item in its parts, its tokens and on Browse.
SECRETS = ("0.76", "2.44", "bob", "overridden", 'data-role=\\"chosen', '"decidable": true')


def converse(who: Reviewer, page) -> str:
    """All that is told about the items to somebody who decides nothing, as JSON."""
    heard = []
    for op in ("open", "show", "next", "previous", "deck", "jump", "undo", "redo", "history"):
        for name, order in (
            ("all", "m3p_score"),
            ("unreviewed", "mas_gap"),
            ("no_pair", "id"),
            ("disagreements", "id"),
        ):
            heard.append(who.send(op=op, instruction_id=1, text="1", view={"filter": name, "order": order}))
    asked = {"instruction_ids": [1, 2, 3]}
    told = [ask(who, page, "belief", asked | {"kind": kind}) for kind in ("logp", "image")]
    told += [ask(who, page, "browse", {"op": op, "view": {}}) for op in ("look", "gallery", "tests")]
    told += [
        ask(who, page, "calibrate", {"op": "open"}),
        ask(who, page, "calibrate", {"op": "what_if", "knobs": KNOBS}),
    ]
    return "\n".join([json.dumps(heard), *told])


def test_what_was_not_sent_cannot_be_seen(studio, page, server):
    """Blind, the whole conversation until the vote is searched for scores, picks and others' decisions."""
    studio.db.write(score)
    assert studio.select(SelectConfig(rule="rm_dpo", delta=0.0, length_ratio=0))["pairs"] == 3
    write_workspace_config(studio.path / "config.toml", dataclasses.replace(studio.config, blind=True))
    bob, ann, cora = (reviewer(server, name) for name in ("bob", "ann", "cora"))
    view = {"view": {"filter": "all", "order": "id"}}
    shown = bob.send(op="show", **view)
    ids = [int(key) for key in shown["item"]["texts"]]
    for role, candidate in (("chosen", ids[1]), ("rejected", ids[2])):
        half = {"chosen": ids[1]} if role == "rejected" else {}
        shown_as = {key: shown["item"][key] for key in ("instruction_id", "selection_id")}
        answer = bob.send(op="mark", role=role, candidate_id=candidate, pending=half, **shown_as, **view)
    assert answer["item"]["chosen"] == ids[1] and "0.76" in answer["parts"]["review-candidates"]  # bob voted: he sees
    skip = {"op": "skip", "instruction_id": 1, "selection_id": shown["item"]["selection_id"]}
    seen, sent = converse(cora, page), json.dumps(ann.send(**skip, **view)) + converse(ann, page)
    assert [secret for secret in SECRETS if secret not in seen] == []  # each is told to who may see it
    assert [secret for secret in (*SECRETS, "oracle") if secret in sent] == []
    assert "answer 1 to 0" in sent and "Which is best" in sent
    assert sent.count("while you judge blind") == 5 and sent.count("after your vote") == 6  # every way was asked
    order = [list(ann.send(op="show", instruction_id=i, **view)["item"]["texts"]) for i in (1, 2, 3)]
    assert all(len(texts) == 4 for texts in order)


def test_the_page_is_told_the_role_and_nobody_without_login_is_told_anything(server, studio, page):
    with TestClient(server) as stranger:
        assert '"role": ""' in stranger.get("/m3po/me.js").text
        assert stranger.get("/m3po/me").json() == {"role": "", "user": ""}
        assert stranger.post("/gradio_api/run/predict", json={"fn_index": 0, "data": [None]}).status_code == 401
    told = log_in(server, "vic").get("/m3po/me.js")
    assert '"role": "viewer"' in told.text and told.headers["cache-control"] == "no-store"
    with TestClient(build_server(studio, page)) as alone:
        assert '"role": "curator", "user": "me"' in alone.get("/m3po/me.js").text


def test_who_is_removed_from_the_file_is_out_at_once_and_a_new_account_does_not_let_in_the_old_one(
    studio, server, users
):
    client, other = log_in(server, "bob"), log_in(server, "ann")
    image = f"/m3po/image/{studio.review_item().instruction.images[0].sha256}"
    vote = {"component_id": review_component(other), "fn_name": "review", "session_hash": "bob"}
    vote["data"] = {"op": "tie", "instruction_id": 1}

    def is_out() -> bool:
        found = [client.get(image), client.post("/gradio_api/component_server", json=vote), client.get("/config")]
        return [answer.status_code for answer in found] == [401] * 3 and '"role": ""' in client.get("/m3po/me.js").text

    assert client.get(image).status_code == 200
    remove_user(users.path, "bob")
    assert is_out()
    add_user(users.path, "bob", "secret of bob", "curator")  # another person, perhaps
    assert is_out()
    client = log_in(server, "bob")
    assert client.get(image).status_code == 200
    add_user(users.path, "bob", "another password of bob", "curator")
    assert is_out()
    assert other.get(image).status_code == 200 and studio.history(1) == []


def test_where_the_workspace_lies_is_told_to_curators_alone(studio, page, server):
    place = str(studio.path)
    told = {}
    for name in ROLES:
        client = log_in(server, name)
        told[name] = client.get("/config").text + client.get("/m3po/me.js").text + client.get("/").text
        for number, event in events(page).items():
            if "tick" in event.name or "load" in event.name:
                data = [getattr(each, "value", None) for each in event.inputs]
                body = {"fn_index": number, "data": [None if callable(v) else v for v in data], "session_hash": name}
                told[name] += client.post("/gradio_api/run/predict", json=body).text
    assert {name for name, text in told.items() if place in text} == {"cora"}
    assert all(studio.path.name in text for text in told.values())
    with TestClient(build_server(studio, page)) as alone:
        assert place in alone.get("/m3po/me.js").text


def test_twenty_people_at_once_lose_nothing_and_store_nothing_twice(studio, page, tmp_path, users):
    assert studio.import_source(write_rows(tmp_path, 60)).added == 60
    studio.select(SelectConfig(rule="given"))
    names = [f"person{n:02}" for n in range(20)]
    for name in names:
        add_user(users.path, name, "a password of theirs")
    studio.people.assign(names, items=60, overlap=1.0, stratify="none")
    app = build_server(studio, page, users=users)
    with bind("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        url = address_of(listener)
        reviewers = []
        try:
            for name in names:
                client = httpx.Client(base_url=url, timeout=60, trust_env=False)
                client.post("/login", data={"username": name, "password": "a password of theirs"}).raise_for_status()
                component = reviewers[0].component if reviewers else review_component(client)
                reviewers.append(Reviewer(name, client, component))
            work_together(reviewers, 3.0)
        finally:
            server.should_exit = True
            thread.join(30)
            for one in reviewers:
                one.http.close()
    assert [error for one in reviewers for error in one.errors] == []
    found = compare(reviewers, read_history(studio, tmp_path))
    assert found["decisions"] >= 40 and found["lost"] == found["twice"] == 0, found
    assert all(one.stored for one in reviewers)
