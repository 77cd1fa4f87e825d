"""Several samplers in one workspace: which are one and the same, whose answer is whose, and what each is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from openai_server import FakeServer
from runs_here import open_quietly, run_here
from workspaces import add_instruction, open_database

from m3po.errors import UsageError
from m3po.jobs.planning import plans
from m3po.models import remote
from m3po.settings import SampleConfig, SelectConfig
from m3po.store import candidates
from m3po.store.samplers import name_sampler
from m3po.studio import Studio
from m3po.text import build_messages, override_prompt
from m3po.types import ReviewView, Turn


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.001)
    path = Studio.create(tmp_path / "ws")
    database = open_database(path)
    database.write(lambda con: [add_instruction(con, f"i{n}", text=f"What is in picture {n}?") for n in range(4)])
    database.close()
    studio = open_quietly(path)
    yield studio
    studio.close()


def sample(studio: Studio, spec: str, **options):
    run = run_here(studio, studio.start_sample(SampleConfig(spec, **({"k": 4, "max_new_tokens": 9} | options))))
    assert run.state == "finished", run.message
    return run


def test_what_an_older_version_stored_is_the_same_sampler() -> None:
    """Its identity as it stood in every workspace so far, letter for letter."""
    _, identity = plans.identify(SampleConfig("p", k=8, limit=3, batch_size=2, concurrency=99, pilot=0, system=""))
    assert json.dumps(identity, sort_keys=True) == (
        '{"adapter": null, "k": 8, "max_new_tokens": 128, "seed": 0, "temperature": 1.0, "top_p": 1.0}'
    )
    _, other = plans.identify(SampleConfig("p", system="Be brief.", prompt="Think. {instruction}"))
    assert other == identity | {"system": "Be brief.", "prompt": "Think. {instruction}"}


def test_a_workspace_sampled_before_goes_on_with_its_sampler(studio: Studio) -> None:
    with FakeServer(["a", "b"]) as server:
        fingerprint, _ = plans.identify(SampleConfig(server.spec))
        old = '{"adapter": null, "k": 4, "max_new_tokens": 9, "seed": 0, "temperature": 1.0, "top_p": 1.0}'
        studio.db.write(lambda con: con.execute(
            "INSERT INTO samplers (fingerprint, config, created_at) VALUES (?, ?, now()::TIMESTAMP)", [fingerprint, old]
        ).fetchall())  # fmt: skip
        studio.db.write(lambda con: con.execute("INSERT INTO sampled VALUES (1, 1, 0), (1, 2, 0)").fetchall())
        assert sample(studio, server.spec).result["sampled"] == 2
    assert [row["sampler"] for row in studio.status()["samplers"]] == [1]


def test_each_sampler_has_its_own_answers_and_quota(studio: Studio, tmp_path: Path) -> None:
    with FakeServer(["a boat", "a car", "a boat", "a fish"]) as server:
        sample(studio, server.spec)
        sample(studio, server.spec, temperature=0.5, limit=3)
        sample(studio, server.spec, temperature=0.5, limit=3)  # nothing more: its three are there
        sample(studio, server.spec, k=8, limit=1)
        sample(studio, server.spec, system="Be brief.", limit=2)
    rows = studio.status()["samplers"]
    assert [(r["instructions"], r["answers"], r["distinct"]) for r in rows] == [(4, 16, 12), (3, 12, 9), (1, 8, 3), (2, 8, 6)]  # fmt: skip  # noqa: E501
    assert [r["pair_share"] for r in rows] == [None] * 4 and len({r["name"] for r in rows}) == 4
    assert rows[3]["settings"]["system"] == "Be brief." and "system" not in rows[0]["settings"]
    first = studio.review_item(ReviewView("all", "id")).candidates
    boat = next(c for c in first if c.text == "a boat")
    assert boat.votes == 2 + 2 + 4 + 2 and [votes for _, votes in boat.samplers] == [2, 2, 4, 2]
    assert boat.samplers[1][0] == rows[1]["name"] and "T 0.5" in rows[1]["name"]
    studio.export(tmp_path / "out.jsonl")
    exported = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    told = next(c for c in exported[3]["candidates"] if c["text"] == "a car")["samplers"]
    assert [(s["sampler"], s["votes"], s["settings"]["temperature"]) for s in told] == [(1, 1, 1.0)]


def test_a_sampler_that_gave_nothing_is_not_listed(studio: Studio) -> None:
    studio.db.write(lambda con: candidates.sampler_id(con, "hub:mistyped@main", {"k": 4}, "org/mistyped"))
    with FakeServer(["a"]) as server:
        sample(studio, server.spec, limit=1)
    assert [row["instructions"] for row in studio.status()["samplers"]] == [1]


def test_the_share_of_pairs_is_that_of_its_own_answers(studio: Studio) -> None:
    with FakeServer(reply=lambda body, j: f"{'hot' if body['temperature'] > 1 else 'cold'} answer {j}") as server:
        sample(studio, server.spec, k=2)
        sample(studio, server.spec, k=2, temperature=1.5, limit=2)

    def score(con) -> None:
        logp, mas = (candidates.scorer_id(con, kind, kind, kind) for kind in ("logp", "mas"))
        candidates.activate_scorers(con, logp, mas)
        # The cold sampler's answers make the pair of instructions 1, 3, 4; on 2 one of each sampler is best and worst.
        good = {(1, "cold answer 0"), (2, "hot answer 0"), (3, "cold answer 0"), (4, "cold answer 1")}
        bad = {(1, "cold answer 1"), (2, "cold answer 0"), (3, "cold answer 1"), (4, "cold answer 0")}
        for i, instruction, text in con.execute("SELECT candidate_id, instruction_id, text FROM candidates").fetchall():
            value = 0.9 if (instruction, text) in good else 0.1 if (instruction, text) in bad else 0.5
            con.execute("INSERT INTO mas_scores VALUES (?, ?, 1, ?, now()::TIMESTAMP, NULL)", [i, mas, value])
            con.execute("INSERT INTO logprobs VALUES (?, ?, 1, -1.0, 5, [], [], [], now()::TIMESTAMP)", [i, logp])

    studio.db.write(score)
    assert studio.status()["samplers"][0]["pair_share"] is None
    assert studio.select(SelectConfig(rule="rm_dpo", delta=0.1))["pairs"] == 4
    assert [row["pair_share"] for row in studio.status()["samplers"]] == [0.75, 0.0]


def test_what_was_sampled_since_the_selection_lowers_no_share(studio: Studio) -> None:
    def score(con) -> None:
        logp, mas = (candidates.scorer_id(con, kind, kind, kind) for kind in ("logp", "mas"))
        candidates.activate_scorers(con, logp, mas)
        for i, text in con.execute("SELECT candidate_id, text FROM candidates").fetchall():
            con.execute(
                "INSERT INTO mas_scores VALUES (?, ?, 1, ?, now()::TIMESTAMP, NULL)", [i, mas, text == "a boat"]
            )
            con.execute("INSERT INTO logprobs VALUES (?, ?, 1, -1.0, 5, [], [], [], now()::TIMESTAMP)", [i, logp])

    with FakeServer(["a boat", "a car"]) as server:
        sample(studio, server.spec, k=2, limit=2)
        studio.db.write(score)
        studio.select(SelectConfig(rule="rm_dpo", delta=0.1))
        assert [row["pair_share"] for row in studio.status()["samplers"]] == [1.0]
        sample(studio, server.spec, k=2)
    assert [(row["instructions"], row["pair_share"]) for row in studio.status()["samplers"]] == [(4, 1.0)]


def test_the_prompt_is_changed_for_the_sampler_alone(studio: Studio) -> None:
    with FakeServer(["a"]) as server:
        sample(studio, server.spec, limit=1, system="Be brief.", prompt="Think, {then} answer: {instruction}")
    assert server.requests[0]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Think, {then} answer: What is in picture 0?"},
    ]
    table = studio.db.read(lambda con: candidates.unscored(con, 1, None, studio.workspace.images))
    assert json.loads(table["messages"][0].as_py())[0]["content"][-1]["text"] == "What is in picture 0?"
    command = studio.runs()[0].command
    assert "--system 'Be brief.'" in command and "--prompt 'Think, {then} answer: {instruction}'" in command


def test_only_the_last_turn_is_put_into_the_template() -> None:
    turns = [Turn("user", "Hello {instruction}"), Turn("assistant", "Hi.")]
    messages = build_messages("Which {instruction}?", 1, system="Old.", turns=turns)
    changed = override_prompt(messages, system="New.", template="<{instruction}>")
    assert [m["content"][-1]["text"] for m in changed] == [
        "New.",
        "Hello {instruction}",
        "Hi.",
        "<Which {instruction}?>",
    ]
    assert changed[1]["content"][0] == {"type": "image"}
    assert messages[0]["content"][0]["text"] == "Old." and override_prompt(messages) == messages


@pytest.mark.parametrize("template", ["no place", "{instruction} and {instruction}", "{ instruction }"])
def test_a_template_has_one_place(template: str) -> None:
    with pytest.raises(UsageError, match=r"write \{instruction\} once"):
        SampleConfig("p", prompt=template)


def test_a_sampler_has_a_name_in_a_few_words() -> None:
    _, settings = plans.identify(
        SampleConfig("p", adapter="/somewhere/lora/", top_p=0.9, seed=3, prompt="{instruction}!")
    )
    named = name_sampler("/models/llava-7b", settings)
    assert named == "llava-7b, K 8, T 1.0, top-p 0.9, adapter lora, seed 3, prompt '{instruction}!'"
    assert name_sampler("remote:a/b@v1@http://h:80/v1", {}).startswith("b@v1 at h:80, K ?")
    assert name_sampler(None, {}).startswith("unknown policy")
