"""An edited answer is scored by the scorers in use, alone; a model that changed since scores nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny
from runs_here import finish_here, open_quietly, run_here

from m3po.settings import ScoreConfig, SelectConfig
from m3po.store import candidates
from m3po.studio import Studio
from m3po.workspace_config import WorkspaceConfig

TEXTS = ("Yes, there is a fish.", "No.", "The picture shows a boat")


@pytest.fixture
def studio(tmp_path: Path, tiny_policy: Path, tiny_mas: Path):
    """Scored by models of its own, which a test may change, and selected."""
    policy, mas = (Path(shutil.copytree(model, tmp_path / model.name)) for model in (tiny_policy, tiny_mas))
    lines = []
    for n in range(3):
        tiny.build_image(n).save(tmp_path / f"{n}.png")
        lines.append({"id": f"q{n}", "images": [f"{n}.png"], "instruction": f"What is in {n}?", "split": "train",
                      "candidates": [{"text": text} for text in TEXTS]})  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    studio = open_quietly(Studio.create(tmp_path / "ws", WorkspaceConfig(str(policy), str(mas))))
    studio.import_source(tmp_path / "rows.jsonl")
    run_here(studio, studio.start_score())
    studio.select(SelectConfig(delta=0.0, length_ratio=0.0))
    yield studio
    studio.close()


def read(studio: Studio, sql: str) -> list[tuple]:
    return studio.db.read(lambda con: con.execute(sql).fetchall())


def change_weights(folder: str) -> None:
    """One byte of the last tensor: what training it anew in place would do to all of them."""
    [path] = Path(folder).glob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


def state(studio: Studio) -> tuple:
    """Everything that an edit must leave alone."""
    human = "candidate_id NOT IN (SELECT candidate_id FROM candidates WHERE origin = 'human')"
    return (
        studio.db.read(candidates.active_scorers),
        read(studio, "SELECT * FROM scorers ORDER BY ALL"),
        read(studio, f"SELECT candidate_id, scorer_id, logp_sum FROM logprobs WHERE {human} ORDER BY ALL"),
        read(studio, f"SELECT candidate_id, scorer_id, mas FROM mas_scores WHERE {human} ORDER BY ALL"),
    )


def edit(studio: Studio, text: str, number: int = 1) -> tuple[int, list]:
    """The new candidate's id, and the runs that it led to, as they ended."""
    before = {run.id for run in studio.runs()}
    found = studio.add_edit(number, text)
    started = sorted((run for run in studio.runs() if run.id not in before), key=lambda run: run.id)
    return found.id, [finish_here(studio, run) for run in started]


def scored(studio: Studio, candidate: int, number: int = 1) -> tuple[bool, bool]:
    """Whether it has a log-prob and a MAS on the page."""
    [found] = [c for c in studio.review_item(instruction_id=number).candidates if c.id == candidate]
    return found.logp_sum is not None, found.mas is not None


def test_an_edit_gets_its_scores_and_nothing_else_does(studio: Studio) -> None:
    late = studio.path.parent / "late.jsonl"  # not scored yet, and nobody asked for it
    late.write_text(json.dumps({"id": "late", "images": ["0.png"], "instruction": "?", "split": "train",
                                "candidates": [{"text": "late"}]}) + "\n")  # fmt: skip
    studio.import_source(late)
    before = state(studio)
    one, [run] = edit(studio, "A fish in a boat.")
    assert run.state == "finished" and run.result["candidates"] == 1
    assert run.command == "" and all(other.command for other in studio.runs() if other.id != run.id)
    assert scored(studio, one) == (True, True) and state(studio) == before


def test_a_model_that_changed_since_scores_no_edit(studio: Studio) -> None:
    before = state(studio)
    for model in (studio.config.policy, studio.config.mas):
        change_weights(model)
    one, [run] = edit(studio, "A fish in a boat.")
    assert run.state == "failed" and "changed on disk" in run.message and "run `score`" in run.message
    assert all(model in run.message for model in (studio.config.policy, studio.config.mas))
    assert scored(studio, one) == (False, False) and state(studio) == before
    item = studio.review_item(instruction_id=1)
    assert item.selected_by == "" and not read(studio, "SELECT * FROM run_warnings")

    run_here(studio, studio.start_score())  # the remedy: everything by the models as they are now
    assert scored(studio, one) == (True, True) and state(studio) != before


def test_where_one_model_changed_the_other_scores(studio: Studio) -> None:
    before = state(studio)
    change_weights(studio.config.mas)
    one, [run] = edit(studio, "A fish in a boat.")
    assert run.state == "finished" and scored(studio, one) == (True, False) and state(studio) == before
    [warning] = studio.run_warnings(run.id)
    assert warning.startswith("An edited answer stays without MAS") and studio.config.mas in warning


def test_the_models_of_config_toml_do_not_stand_in_for_those_in_use(studio: Studio) -> None:
    """Nothing is scored where no scorer is in use, and a model that is gone is not replaced."""
    shutil.rmtree(studio.config.mas)
    one, [run] = edit(studio, "A fish in a boat.")
    assert run.state == "finished" and scored(studio, one) == (True, False)
    studio.db.write(lambda con: candidates.activate(con, "logp", None))
    studio.db.write(lambda con: candidates.activate(con, "mas", None))
    assert edit(studio, "Two fish.")[1] == []


def test_an_edit_gets_the_mean_of_the_parts_in_use(studio: Studio, tiny_policy: Path) -> None:
    mean = f"0.5*clip:{studio.config.mas} + 0.5*vqa:{tiny_policy}"
    for run in studio.start_scoring(ScoreConfig(policy=None, mas=mean)):
        finish_here(studio, run)
    before = state(studio)
    one, started = edit(studio, "A fish in a boat.")
    assert [run.state for run in started] == ["finished"] * 4, [run.message for run in started]
    assert scored(studio, one) == (True, True) and state(studio) == before
    sql = f"SELECT name, mas FROM mas_scores JOIN scorers USING (scorer_id) WHERE candidate_id = {one}"
    parts = dict(read(studio, sql))
    ranges = {row["name"]: (row["range_low"], row["range_high"]) for row in studio.scorers()}
    [whole] = [parts.pop(name) for name in list(parts) if "*" in name]
    scaled = [(mas - ranges[name][0]) / (ranges[name][1] - ranges[name][0]) for name, mas in parts.items()]
    assert len(scaled) == 2 and whole == pytest.approx(sum(scaled) / 2)

    change_weights(studio.config.mas)
    two, started = edit(studio, "No fish at all.")
    assert sorted(run.state for run in started) == ["failed", "finished", "stopped", "stopped"]
    [failed] = [run for run in started if run.state == "failed"]
    assert "stays without MAS, because" in failed.message  # its log-prob came by a run of its own
    assert scored(studio, two) == (True, False) and state(studio) == before


@pytest.mark.parametrize("state", ["finished", "stopped"])
def test_an_edit_that_comes_while_others_are_scored_is_scored_however_that_ends(studio: Studio, state: str) -> None:
    def active() -> list[tuple[int, bool]]:
        return [(run.id, bool(run.config["edits"])) for run in studio.runs(("score",)) if run.active]

    mas = ScoreConfig(policy=None, mas=studio.config.mas)
    first, second = studio.start_score(mas), studio.start_score(mas)
    studio.add_edit(1, "A fish in a boat.")
    third = studio.start_score(mas)
    assert [number for number, _ in active()] == [third.id, second.id, first.id]  # one of these may see to it
    for run in (first, second, third):
        studio.runner._end(run.id, state, "")
    [(own, edits)] = active()
    assert edits and own > third.id

    studio.add_edit(1, "Two boats.")
    studio.runner._end(own, state, "")
    [(again, edits)] = active()  # for what came after the first one's input may have been frozen
    assert edits and again > own
    studio.runner._end(again, state, "")
    assert active() == []  # what had its run is not tried for ever
