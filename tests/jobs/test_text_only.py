"""Instructions without an image: judges score their answers, and what needs an image says how many it leaves out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import workspaces
from openai_server import FakeServer, token
from runs_here import open_quietly, run_here
from test_remote_sample import make

from m3po.jobs.planning import plans
from m3po.settings import ScoreConfig
from m3po.studio import Studio


@pytest.fixture
def studio(tmp_path: Path):
    """Five instructions with four answers each; the first alone has an image."""
    studio = open_quietly(make(tmp_path))
    studio.db.write(
        lambda con: [
            workspaces.add_answers(con, i, workspaces.FOUR)
            for (i,) in con.execute("SELECT instruction_id FROM instructions").fetchall()
        ]
    )
    yield studio
    studio.close()


def masses(studio: Studio, scorer: str) -> list[float]:
    sql = "SELECT mas FROM mas_scores JOIN scorers USING (scorer_id) WHERE name = ?"
    return [mas for (mas,) in studio.db.read(lambda con: con.execute(sql, [scorer]).fetchall())]


def test_a_remote_judge_scores_them(studio: Studio) -> None:
    def reply(body: dict, j: int) -> dict:
        p = 0.9 if "boat" in str(body["messages"]) else 0.2
        return {"logprobs": {"content": [token("Yes", p, {"Yes": p, "No": 1 - p})]}}

    with FakeServer(reply=reply) as server:
        run = run_here(studio, studio.start_score(ScoreConfig(policy=None, mas=server.spec)))
        assert run.state == "finished" and studio.run_warnings(run.id) == []
        assert sorted(masses(studio, server.spec)) == pytest.approx([0.2] * 5 + [0.9] * 15)
        again = plans.prepare(studio.workspace, studio.start_score(ScoreConfig(policy=None, mas=server.spec)))
        assert again["message"] == "Nothing to score: every candidate has its scores."


def test_a_clip_leaves_them_out_in_words_and_asks_for_them_never_again(studio: Studio, tiny_mas: Path) -> None:
    config = ScoreConfig(policy=None, mas=f"clip:{tiny_mas}")
    for count in (4, 0):  # candidates with an image that lack a score
        run = run_here(studio, studio.start_score(config))
        [warning] = studio.run_warnings(run.id)
        assert run.state == "finished" and re.search("4 instructions without an image get no MAS", warning)
        assert (run.result.get("candidates", 0), len(masses(studio, config.mas))) == (count, 4)
    assert run.message == "Nothing to score: what has an image has its scores."


def test_they_get_log_probs_beside_a_clip(studio: Studio, tiny_policy: Path, tiny_mas: Path) -> None:
    config = ScoreConfig(policy=str(tiny_policy), mas=f"clip:{tiny_mas}")
    _, table = plans.prepare(studio.workspace, studio.start_score(config))
    wanted = [(any(row["want_logp"]), any(row["want_mas"])) for row in table.to_pylist()]
    assert wanted == [(True, True), *[(True, False)] * 4]
