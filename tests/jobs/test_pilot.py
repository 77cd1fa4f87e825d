"""The pilot: which instructions it takes, that its yields are those of every possible draw, and what it reports."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_server import FakeServer
from runs_here import open_quietly, run_here
from workspaces import FOUR, add_answers, add_instruction, open_database

from m3po.errors import BadInputError, ModelError, UsageError
from m3po.jobs.planning import pilot
from m3po.jobs.planning.launches import FIRST
from m3po.jobs.planning.pilot import expect_pairs, write_table, write_time
from m3po.jobs.planning.scorings import scorings_of_pilot
from m3po.models import remote
from m3po.selection import RULES, Scored, normalise, pick
from m3po.settings import NORMALISATIONS, SampleConfig, ScoreConfig, SelectConfig
from m3po.store import candidates, runs, samplers
from m3po.studio import Studio
from m3po.types import Pair

grid = st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0])
answer = st.tuples(st.one_of(st.none(), grid), grid, st.integers(1, 9), st.booleans(), st.integers(1, 3))
configs = st.builds(
    SelectConfig, rule=st.sampled_from(sorted(RULES)), delta=grid, normalise=st.sampled_from(NORMALISATIONS)
)


def build(drawn: list[list[tuple]]) -> list[list[tuple[Scored, int]]]:
    ids = itertools.count()
    return [
        [(Scored(next(ids), n, mas, -5 * belief, tokens, cut), votes) for mas, belief, tokens, cut, votes in answers]
        for n, answers in enumerate(drawn)
    ]


def by_hand(instructions: list, config: SelectConfig, k: int) -> tuple[list[float], list[float]]:
    """Every draw of K of the answers, one by one."""
    everything = normalise([scored for answers in instructions for scored, _ in answers], config)
    shares, distinct = [], []
    for answers in instructions:
        pool = [scored for scored, votes in answers for _ in range(votes)]
        hits, sizes = [], []
        for drawn in itertools.combinations(range(len(pool)), min(k, len(pool))):
            members = list({pool[i].id: pool[i] for i in drawn}.values())
            values = normalise(members, config) if config.normalise == "minmax" else everything
            hits.append(isinstance(pick(members, values, config), Pair))
            sizes.append(len(members))
        shares.append(sum(hits) / len(hits))
        distinct.append(sum(sizes) / len(sizes))
    return shares, distinct


@settings(max_examples=25)
@given(st.lists(st.lists(answer, min_size=1, max_size=3), min_size=1, max_size=3), configs, st.integers(1, 9))
def test_draws_come_near_to_every_possible_draw(drawn: list, config: SelectConfig, k: int) -> None:
    instructions = build(drawn)
    shares, distinct = expect_pairs(instructions, config, k)
    exact, exact_distinct = by_hand(instructions, config, k)
    draws = max(pilot.MIN_DRAWS, pilot.DRAWS // len(instructions))
    for found, wanted in zip(shares, exact, strict=True):  # five standard errors of the draws
        assert abs(found - wanted) <= 5 * math.sqrt(wanted * (1 - wanted) / draws) + 1e-9
    assert distinct == pytest.approx(exact_distinct, abs=0.1)


def test_all_answers_give_what_select_gives() -> None:
    drawn = [[(0.9, 0.2, 5, False, 9), (0.1, 0.9, 5, False, 7)], [(0.5, 0.5, 5, False, 16)]]
    shares, distinct = expect_pairs(build(drawn), SelectConfig(), 16)
    assert (shares, distinct) == ([1.0, 0.0], [2.0, 1.0])
    [first, _], _ = expect_pairs(build(drawn), SelectConfig(), 2)
    assert first == pytest.approx(1 - (9 * 8 + 7 * 6) / (16 * 15), abs=0.03)  # not twice the same answer


def test_under_the_rule_given_the_yield_is_that_of_m3po_and_says_so() -> None:
    """No sampled answer is of a given pair: it would be told as none at all, whatever the model."""
    answers = build([[(0.9, 0.2, 5, False, 9), (0.1, 0.9, 5, False, 7)], [(0.5, 0.5, 5, False, 16)]])
    config = SampleConfig("x", pilot=2)
    given, usual = (
        pilot.build_report(answers, config, SelectConfig(rule=rule), None, 10) for rule in ("given", "m3po")
    )
    assert given["rows"] == usual["rows"] and given["rows"][-1]["pairs"] == 0.5 and given["rule"] == "m3po"
    assert (
        given["message"] == usual["message"] + " The rule given takes no sampled answers: these are the pairs of m3po."
    )


def test_the_instructions_are_drawn_from_all_over_and_by_seed(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    database.write(
        lambda con: [add_instruction(con, f"i{n}", split="train" if n % 5 else "heldout") for n in range(400)]
    )
    first, again, other, many = database.read(
        lambda con: [samplers.pilot_ids(con, *ask) for ask in ((60, 0), (60, 0), (60, 1), (1000, 0))]
    )
    database.close()
    assert first == again == sorted(set(first)) and len(first) == 60 and first != other
    assert len(many) == 320 and set(first) <= set(many)
    quarters = [sum(100 * q < i <= 100 * (q + 1) for i in first) for q in range(4)]
    assert min(quarters) >= 5  # 15 each are expected


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(pilot, "DRAWS", 400)


def run_all(studio: Studio, chain: list) -> list:
    return [run_here(studio, run) for run in chain]


def reply(body: dict, j: int) -> str:
    return ["A red boat.", "A car.", "A boat.", "A fish and a boat."][j % 4]


def open_bare(folder: Path, n: int) -> Studio:
    """A Studio on `n` train instructions that nobody has answered, and no model."""
    path = Studio.create(folder / "ws")
    database = open_database(path)
    database.write(lambda con: [add_instruction(con, f"i{i}", text=f"What is in picture {i}?") for i in range(n)])
    database.close()
    return open_quietly(path)


def test_a_remote_pilot_counts_tokens(tmp_path: Path, quick: None) -> None:
    """Without scores the cost is told and the yield is not."""
    studio = open_bare(tmp_path, 30)
    with FakeServer(reply=reply) as server:
        sampled, told = run_all(studio, studio.start_pilot(SampleConfig(server.spec, pilot=10)))
        assert len(server.requests) == 10 and {body["n"] for body in server.requests} == {16}
        report = told.result
        assert sampled.result["one_by_one"] is False and (report["instructions"], report["of"]) == (10, 30)
        said = 4 * sum(len(reply({}, j)) for j in range(4))
        assert [row["completion_tokens"] for row in report["rows"]] == [said * 30 * k // 16 for k in (2, 4, 8, 16)]
        assert [row["prompt_tokens"] for row in report["rows"]] == [10 * 30] * 4
        assert [round(row["distinct"], 1) for row in report["rows"]][-1] == 4.0
        assert "score with a policy and a scorer" in report["message"] and report["rows"][0]["pairs"] is None
        assert "answer tokens" in write_table(report)
        server.requests.clear()
        again = run_all(studio, studio.start_pilot(SampleConfig(server.spec, pilot=10)))
        assert server.requests == [] and again[-1].result["rows"] == report["rows"]  # its answers are kept
        more = studio.start_sample(SampleConfig(server.spec, k=16))
        assert run_here(studio, more).result["sampled"] == 20  # the rest, by the same sampler
    studio.close()


def test_a_server_without_n_costs_more_prompts(tmp_path: Path, quick: None) -> None:
    studio = open_bare(tmp_path, 4)
    with FakeServer(["a"], ignore_n=True) as server:
        report = run_all(studio, studio.start_pilot(SampleConfig(server.spec, pilot=4)))[-1].result
    assert [row["prompt_tokens"] for row in report["rows"]] == [10 * 4 * k for k in (2, 4, 8, 16)]
    studio.close()


def test_a_local_pilot_reports_yield_and_hours(
    tmp_path: Path, tiny_policy: Path, tiny_mas: Path, tiny_adapter: Path, quick: None
) -> None:
    """Pairs of the pilot at K = 16 are those that selecting its answers gives."""
    from test_remote_sample import make

    studio = open_quietly(make(tmp_path, 1))
    database = studio.db
    image_ids = database.read(lambda con: con.execute("SELECT image_ids FROM instructions").fetchall())[0][0]
    for n in range(7):
        database.write(lambda con, n=n: con.execute(
            "UPDATE instructions SET image_ids = ? WHERE instruction_id = ?",
            [image_ids, add_instruction(con, f"more-{n}", text=f"What is in picture {n}?")],
        ).fetchall())  # fmt: skip
    policy = str(tiny_policy)
    loose = SelectConfig(delta=0.1, length_ratio=0, allow_truncated=True)
    config = SampleConfig(policy, pilot=6, max_new_tokens=3)
    chain = studio.start_pilot(config, ScoreConfig(policy=policy, mas=f"clip:{tiny_mas}"), loose)
    assert [run.kind for run in chain] == ["sample", "score", "pilot"]
    ended = run_all(studio, chain)
    assert [run.state for run in ended] == ["finished"] * 3, [run.message for run in ended]
    report = ended[-1].result
    each = ended[0].result["seconds_each"]
    assert studio.status()["selection"] is None  # nothing is selected by it
    pairs = studio.select(loose)["pairs"]
    last = report["rows"][-1]
    assert last["pairs"] == pytest.approx(pairs / 6) and last["low"] <= last["pairs"] <= last["high"]
    assert last["expected_pairs"] == round(pairs / 6 * 8)
    shares = [row["pairs"] for row in report["rows"]]
    assert shares[0] < shares[-1]
    assert last["device_hours"] == pytest.approx([each * 8 / 3600] * 2)
    assert report["rows"][0]["device_hours"] == pytest.approx([each / 3600, each * 8 / 3600])
    table = write_table(report)
    assert f"Pairs by the rule m3po, MAS of clip:{tiny_mas.name}, log-probs of {tiny_policy.name}; costs" in table
    assert "device time" in table and len({len(line) for line in table.splitlines()[1:6]}) == 1
    assert json.loads(json.dumps(report)) == report
    with pytest.raises(BadInputError, match="use percentile or minmax"):
        studio.select(SelectConfig(normalise="raw"))
    raw = run_all(studio, studio.start_pilot(config, None, SelectConfig(normalise="raw")))[-1]
    assert raw.state == "failed" and "use percentile or minmax" in raw.message

    def shown() -> list:
        return studio.db.read(lambda con: [candidates.active_scorer(con, kind) for kind in ("logp", "mas")])

    before = shown()
    adapted = dataclasses.replace(config, adapter=str(tiny_adapter), pilot=2)
    chain = run_all(studio, studio.start_pilot(adapted, None, loose))
    assert [run.state for run in chain] == ["finished"] * 3, [run.message for run in chain]
    assert chain[1].config["adapter"] == str(tiny_adapter) and "pair has" in chain[2].message
    assert shown() == before and None not in before  # a pilot of another sampler switches nothing
    studio.close()


def test_a_pilot_and_a_limit_are_two_things() -> None:
    with pytest.raises(UsageError, match="not both"):
        SampleConfig("x", pilot=5, limit=5)
    with pytest.raises(UsageError, match="pilot"):
        SampleConfig("x", pilot=-1)
    assert write_time(None) == "-" and write_time([0.5, 2.0]) == "0.5 to 2 h" and write_time([1.0, 1.0]) == "60 min"
    assert write_time([0.0003, 0.0003]) == "1.1 s" and write_time([0.01, 0.02]) == "36 to 72 s"
    assert write_time([30.0, 1234.5]) == "30 to 1,234 h"


def test_other_samplers_answers_do_not_count(tmp_path: Path) -> None:
    database = open_database(tmp_path)

    def change(con):
        i = add_instruction(con, "one")
        add_answers(con, i, FOUR)
        return i, samplers.answers_of(con, 1, [i], 1, 2), samplers.answers_of(con, 2, [i], 1, 2)

    i, own, others = database.write(change)
    database.close()
    assert [row["votes"] for row in own[i]] == [1, 4, 1, 1] and others == {}


@pytest.mark.parametrize(
    ("shown", "used"),
    [
        (None, "clip:org/own"),
        ("clip:org/shown", "clip:org/shown"),
        ("0.7*clip:org/shown + 0.3*siglip:org/b", "0.7*clip:org/shown + 0.3*siglip:org/b"),
        ("column:rating", "clip:org/own"),  # it rates no sampled answer
    ],
)
def test_a_pilot_is_scored_as_the_next_selection_is(shown: str | None, used: str, tmp_path: Path) -> None:
    studio = open_bare(tmp_path, 4)
    studio.config = dataclasses.replace(studio.config, mas="clip:org/own")

    def show(con) -> int:
        scorer = candidates.scorer_id(con, "mas", shown, "fingerprint")
        candidates.activate(con, "mas", scorer)
        return scorer

    before = studio.db.write(show) if shown else None
    chain = studio.start_pilot(SampleConfig("org/policy", pilot=2))
    scored = [run.config["mas"] for run in chain if run.kind == "score"]
    assert scored[-1] == used and [each["mas"] for each in chain[-1].config["scores"]] == [used]
    assert studio.db.read(lambda con: candidates.active_scorer(con, "mas")) == before
    studio.close()


def test_a_pilots_judge_has_the_options_it_had(tmp_path: Path) -> None:
    """With others it would be another scorer than the one that the next selection uses."""
    studio = open_bare(tmp_path, 1)
    judge = ScoreConfig(policy=None, mas="vqa:org/judge", dtype="bfloat16")

    def score(con) -> None:
        add_answers(con, con.sql("SELECT min(instruction_id) FROM instructions").fetchall()[0][0], FOUR)
        scorer = candidates.scorer_id(con, "mas", judge.mas, "fingerprint")
        run = runs.add_run(con, "score", dataclasses.asdict(judge), command="")
        con.execute(
            "INSERT INTO mas_scores (candidate_id, scorer_id, run_id, mas, created_at)"
            " SELECT min(candidate_id), ?, ?, 0.5, now() FROM candidates",
            [scorer, run],
        ).fetchall()
        candidates.activate(con, "mas", scorer)

    studio.db.write(score)
    logp, mas = scorings_of_pilot(studio.db, studio.config, SampleConfig("org/policy", pilot=2, dtype="float32"))
    assert (logp.policy, logp.mas, logp.dtype) == ("org/policy", None, "float32") and mas == judge
    studio.close()


def test_every_part_of_a_mean_is_looked_at_before_anything_is_queued(tmp_path: Path, tiny_mas: Path) -> None:
    studio = open_bare(tmp_path, 1)
    (tmp_path / "empty").mkdir()
    for bad, sentence in ((tmp_path / "nope", "does not exist"), (tmp_path / "empty", "config.json")):
        for spec in (f"0.5*clip:{tiny_mas} + 0.5*clip:{bad}", f"clip:{bad}", f"siglip:{bad}"):
            with pytest.raises(ModelError, match=sentence):
                studio.start_score(ScoreConfig(policy=None, mas=spec))
        with pytest.raises(ModelError, match=sentence):
            studio.start_score(ScoreConfig(policy=None, mas=None, group=f"embed:{bad}"))
    assert studio.runs() == []
    studio.start_score(ScoreConfig(policy=None, mas=f"clip:{tiny_mas}"))
    studio.close()


def test_a_pipeline_asks_a_few_instructions_first_where_nothing_was_sampled_yet(tmp_path: Path) -> None:
    studio = open_bare(tmp_path, 2)
    score = ScoreConfig("org/policy", None)

    def queued(**limit) -> list[tuple]:
        last = studio.start_pipeline(SampleConfig("org/policy", **limit), score, SelectConfig())
        before = seen[-1] if seen else 0
        seen.append(last.id)
        return [(run.kind, run.config.get("limit")) for run in map(studio.run, range(before + 1, last.id + 1))]

    seen: list[int] = []
    whole = [("sample", 0), ("score", 0), ("select", None)]
    assert queued() == [("sample", FIRST), *whole[1:], *whole]
    assert queued(limit=FIRST) == [("sample", FIRST), *whole[1:]]  # few enough
    studio.close()
