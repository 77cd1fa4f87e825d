"""What is said of a training before it starts: whose log-probs picked its pairs, and what it is measured against."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
import workspaces
from runs_here import open_quietly

from m3po.errors import ModelError, UsageError
from m3po.models.fingerprint import loaded_fingerprint
from m3po.settings import ModelOptions, SelectConfig, TrainConfig
from m3po.store import candidates
from m3po.training.presets import build_train_config, train_command


@pytest.fixture
def studio(tmp_path: Path):
    studio = open_quietly(workspaces.make_workspace(tmp_path, n=3))
    studio.db.write(lambda con: workspaces.add_instruction(con, "held", split="heldout"))
    yield studio
    studio.close()


def pick(studio, policy: Path, adapter: Path | None = None, **options) -> None:
    """Pairs picked by the log-probs of these weights."""
    known = loaded_fingerprint(str(policy), adapter and str(adapter), ModelOptions(**options))

    def score(con) -> None:
        scorer = candidates.scorer_id(con, "logp", str(policy), known)
        con.execute(
            "INSERT INTO logprobs SELECT candidate_id, ?, 1, -candidate_id, 5, [], [], [], now()::TIMESTAMP"
            " FROM candidates",
            [scorer],
        )
        candidates.activate(con, "logp", scorer)

    studio.db.write(score)
    assert studio.select(SelectConfig(delta=0, length_ratio=0))["pairs"] == 3


def said(studio, **config) -> list[str]:
    problems = studio.train_preview(TrainConfig(**config))["problems"]
    return [problem for problem in problems if problem.startswith("The log-probs of the pairs")]


def test_pairs_that_other_weights_picked_are_told_before_and_by_the_run(studio, tiny_policy, tiny_adapter, tmp_path):
    policy, adapter = str(tiny_policy), str(tiny_adapter)
    pick(studio, tiny_policy, tiny_adapter)
    [problem] = said(studio, policy=policy)
    assert f"are of {policy} with an adapter, and this run begins with {policy} alone" in problem
    assert "go on from that adapter (--adapter)" in problem
    run = studio.start_train(TrainConfig(policy=policy), evaluate=False)
    assert studio.run_warnings(run.id) == [problem]

    assert said(studio, policy=policy, adapter=adapter) == []
    run = studio.start_train(TrainConfig(policy=policy, adapter=adapter))
    assert studio.run_warnings(run.id) == []
    before, after = (
        next(r for r in studio.results() if r["run"].id == run.id)[f"{when}_run"] for when in ("before", "after")
    )
    assert before.config["adapter"] == adapter  # what it was before the run, not the bare policy
    assert after.config["adapter"] == str(studio.runner.folder(run.id).adapter_path)

    [problem] = said(studio, policy=policy, adapter=str(tiny.build_adapter(tiny_policy, tmp_path / "other", seed=5)))
    assert "with another adapter" in problem and "(--adapter)" not in problem


def test_only_what_changes_what_a_model_says_is_told(studio, tiny_policy, tiny_adapter):
    policy = str(tiny_policy)
    pick(studio, tiny_policy, dtype="bfloat16", max_pixels=900)
    assert said(studio, policy=policy, max_pixels=900, attention="eager") == []
    [problem] = said(studio, policy=policy)
    assert "other model options (max_pixels = 900)" in problem
    [problem] = said(studio, policy=policy, adapter=str(tiny_adapter))
    assert f"are of {policy} alone, and this run begins with {policy} with the adapter" in problem


def test_pairs_given_by_the_data_are_nobodys(studio, tiny_policy, tiny_adapter):
    pick(studio, tiny_policy, tiny_adapter)
    studio.db.write(
        lambda con: con.execute(
            "INSERT INTO given_preferences (instruction_id, verdict, chosen, rejected)"
            " SELECT instruction_id, 'override', min(candidate_id), max(candidate_id) FROM candidates GROUP BY 1"
        ).fetchall()
    )
    studio.select(SelectConfig(rule="given"))
    assert said(studio, policy=str(tiny_policy)) == []


def test_the_command_names_the_adapter_and_one_that_is_none_is_refused(studio, tiny_policy, tmp_path):
    config = build_train_config("p", "demo", {"beta": "0.2"}, adapter="a b")
    assert train_command("ws", config) == (
        "python -m m3po train ws --policy p --adapter 'a b' --preset demo --set beta=0.2"
    )
    with pytest.raises(UsageError, match="no setting"):
        build_train_config("p", "demo", {"adapter": "x"})
    with pytest.raises(ModelError, match=r"no adapter_config\.json"):
        studio.start_train(TrainConfig(policy=str(tiny_policy), adapter=str(tmp_path)))
    assert studio.runs() == [] and json.loads(json.dumps(config.adapter)) == "a b"
