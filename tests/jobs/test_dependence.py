"""The image-dependence test on tiny real models: the values are those of the models by hand, nothing is overwritten."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image
from runs_here import open_quietly, run_here

from m3po.errors import JobError, UsageError
from m3po.evaluation.intervals import wilson_interval
from m3po.images import blank_image, load_rgb
from m3po.models.alignment import load_scorer
from m3po.models.policy import Policy
from m3po.settings import ScoreConfig, SelectConfig
from m3po.store.dependence import TESTS, draw
from m3po.studio import Studio
from m3po.text import build_messages
from m3po.workspace_config import WorkspaceConfig

N, TEXTS = 5, ("Yes, there is a fish.", "No.", "The picture shows a boat")


@pytest.fixture(scope="module")
def studio(tmp_path_factory, tiny_policy: Path, tiny_mas: Path):
    """Scored, selected, and tested: scored first by the models as they are."""
    folder = tmp_path_factory.mktemp("dependence")
    lines = []
    for n in range(N):
        tiny.build_image(n).save(folder / f"{n}.png")
        lines.append({"id": f"q{n}", "images": [f"{n}.png"], "instruction": f"What is in {n}?", "split": "train",
                      "candidates": [{"text": text} for text in TEXTS]})  # fmt: skip
    lines.append({"id": "bare", "images": [], "instruction": "Hello?", "split": "train",
                  "candidates": [{"text": "a"}, {"text": "b"}]})  # fmt: skip
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    studio = open_quietly(Studio.create(folder / "ws", WorkspaceConfig(str(tiny_policy), str(tiny_mas))))
    assert studio.import_source(folder / "rows.jsonl").added == N + 1
    with pytest.raises(JobError, match="score first"):
        studio.start_dependence()
    run_here(studio, studio.start_score(ScoreConfig(str(tiny_policy), str(tiny_mas))))
    studio.select(SelectConfig(delta=0.0, length_ratio=0.0))
    studio.scores_before = read(studio, "SELECT * FROM logprobs"), read(studio, "SELECT * FROM mas_scores")
    studio.tests = [run_here(studio, run) for run in studio.start_dependence()]
    yield studio
    studio.close()


def read(studio: Studio, sql: str, *parameters) -> list[tuple]:
    return studio.db.read(lambda con: con.execute(sql, parameters).fetchall())


def scores_of(studio: Studio, kind: str) -> dict[tuple[str, str], tuple]:
    """(external id, text) -> what the newest scorer of the kind says."""
    table = "mas_scores" if kind.startswith("mas") else "logprobs"
    value = "s.mas, NULL" if table == "mas_scores" else "s.logp_sum, s.token_logps"
    sql = f"SELECT i.external_id, c.text, {value} FROM {table} s JOIN scorers k USING (scorer_id)"
    sql += " JOIN candidates c USING (candidate_id) JOIN instructions i USING (instruction_id) WHERE k.kind = ?"
    return {(row[0], row[1]): row[2:] for row in read(studio, sql, kind)}


def test_every_run_finished_and_what_was_stored_stays(studio: Studio) -> None:
    assert [run.state for run in studio.tests] == ["finished"] * 4, [run.message for run in studio.tests]
    logps, masses = studio.scores_before
    assert read(studio, "SELECT * FROM logprobs")[: len(logps)] == logps
    assert read(studio, "SELECT * FROM mas_scores")[: len(masses)] == masses
    assert [row["name"] for row in studio.scorers()] == [studio.config.mas]  # no variant is offered as a scorer
    assert len(read(studio, "SELECT DISTINCT kind FROM active_scorers")) == 2
    assert all(run.command.endswith(str(studio.path)) and " dependence " in run.command for run in studio.tests)


def test_blanked_values_are_those_of_the_models_on_a_blank_image(studio, tiny_policy, tiny_mas) -> None:
    policy, scorer = Policy.load(tiny_policy), load_scorer(str(tiny_mas))
    logps, masses = scores_of(studio, "logp_blank"), scores_of(studio, "mas_blank")
    assert len(logps) == len(masses) == N * len(TEXTS)  # nothing of the instruction without an image
    for n in range(2):
        rgb = np.asarray(tiny.build_image(n).convert("RGB"), float)
        grey = round(float(np.mean(np.floor((rgb * [19595, 38470, 7471]).sum(-1) / 65536 + 0.5))))
        blank = Image.new("RGB", tiny.build_image(n).size, (grey,) * 3)
        messages = build_messages(f"What is in {n}?", 1)
        [by_hand] = policy.log_probs([messages], [[blank]], [TEXTS])
        [judged] = scorer.score([messages], [[blank]], [TEXTS])
        for text, scores, judgement in zip(TEXTS, by_hand, judged, strict=True):
            logp_sum, token_logps = logps[f"q{n}", text]
            assert logp_sum == pytest.approx(scores.logp_sum, abs=1e-3)
            assert token_logps == pytest.approx(scores.log_probs, abs=1e-4)
            assert masses[f"q{n}", text][0] == pytest.approx(judgement.score, abs=1e-5)


def test_swapped_values_are_those_of_another_image(studio, tiny_policy, tiny_mas) -> None:
    policy = Policy.load(tiny_policy)
    logps = scores_of(studio, "logp_swap")
    ids = dict(read(studio, "SELECT external_id, instruction_id FROM instructions"))
    stored = [
        studio.workspace.images.path(*row)
        for row in read(studio, "SELECT sha256, suffix FROM images ORDER BY image_id")
    ]
    for n in range(N):
        place = draw(0, ids[f"q{n}"], 0) % N
        other = place if place != n else (place + 1) % N  # images were stored in their order
        assert np.array_equal(np.asarray(load_rgb(stored[n])), np.asarray(tiny.build_image(n).convert("RGB")))
        [by_hand] = policy.log_probs([build_messages(f"What is in {n}?", 1)], [[load_rgb(stored[other])]], [TEXTS])
        for text, scores in zip(TEXTS, by_hand, strict=True):
            assert logps[f"q{n}", text][0] == pytest.approx(scores.logp_sum, abs=1e-3)


def test_the_report_counts_what_survives(studio: Studio) -> None:
    own = {"mas": scores_of(studio, "mas"), "logp": scores_of(studio, "logp")}
    lengths = dict(
        read(studio, "SELECT c.text, min(n_tokens) FROM logprobs JOIN candidates c USING (candidate_id) GROUP BY 1")
    )
    texts = "SELECT i.external_id, c.text, r.text FROM selection_pairs p JOIN instructions i USING (instruction_id)"
    texts += " JOIN candidates c ON c.candidate_id = chosen JOIN candidates r ON r.candidate_id = rejected"
    pairs = [row for row in read(studio, texts) if row[0] != "bare"]
    assert len(pairs) == N
    report, survived_any = studio.dependence.report(), set()
    for test in report["tests"]:
        kind, image = test["signal"], test["image"]
        changed = scores_of(studio, f"{kind}_{image}")

        def gap(scores: dict, pair: tuple, kind=kind) -> float:
            values = [scores[pair[0], text][0] / (lengths[text] if kind == "logp" else 1) for text in pair[1:]]
            return values[0] - values[1]

        preferred = [pair for pair in pairs if gap(own[kind], pair) > 0]
        survived = [pair for pair in preferred if gap(changed, pair) > 0]
        survived_any |= {pair[0] for pair in survived}
        assert (test["scored"], test["preferred"], test["survived"]) == (N, len(preferred), len(survived))
        interval = wilson_interval(len(survived), len(preferred))
        assert test["interval"] == (list(interval) if interval else None)
    assert [(test["signal"], test["image"]) for test in report["tests"]] == list(TESTS)
    assert {pair["id"] for pair in report["pairs"]} == survived_any and report["surviving"] == len(survived_any)
    for pair in report["pairs"]:
        assert pair["survived"] and all(pair[f"{name}_gap"] > 0 for name in pair["survived"])


def test_a_second_start_scores_only_what_is_new(studio: Studio) -> None:
    again = [run_here(studio, run) for run in studio.start_dependence()]
    assert [run.result["scored"] for run in again] == [0] * 4
    found = studio.find_instruction("q0")
    new = studio.add_edit(found, "A new answer.", annotator="ann")
    run_here(studio, studio.runs(limit=1)[0])  # the edit's own scores
    [logp, *_] = [run_here(studio, run) for run in studio.start_dependence()]
    assert logp.result["candidates"] == 1
    [beliefs] = [b for b in studio.token_beliefs([found]) if b.candidate_id == new.id]
    assert len(beliefs.blank_log_probs) == len(beliefs.log_probs)
    kinds = read(studio, "SELECT kind, count(*) FROM scorers GROUP BY 1 ORDER BY 1")
    assert kinds == [("logp", 1), ("logp_blank", 1), ("logp_swap", 1), ("mas", 1), ("mas_blank", 1), ("mas_swap", 1)]


def test_a_limit_draws_pairs_by_seed(studio: Studio) -> None:
    started = studio.start_dependence(limit=2, seed=7)
    for run in started:
        run_here(studio, run)
    runs = [studio.run(run.id) for run in started]
    assert [run.state for run in runs] == ["finished"] * 4, [run.message for run in runs]
    assert [run.result["scored"] for run in runs] == [0, 0, 2, 2]  # blank was scored already, a swap by 7 was not
    drawn = read(studio, "SELECT DISTINCT instruction_id FROM logprobs JOIN scorers USING (scorer_id)"
                 " JOIN candidates USING (candidate_id) WHERE fingerprint LIKE '%|swap:7<%'")  # fmt: skip
    paired = [row[0] for row in read(studio, "SELECT instruction_id FROM selection_pairs WHERE chosen IS NOT NULL")]
    assert {row[0] for row in drawn} == set(sorted(paired, key=lambda number: draw(7, number))[:2])


def test_a_blank_image_keeps_its_size_and_only_its_brightness() -> None:
    halves = Image.new("RGB", (30, 20), (0, 0, 0))
    halves.paste((255, 255, 255), (0, 0, 15, 20))
    blank = blank_image(halves)
    assert blank.size == (30, 20) and blank.getcolors() == [(600, (128, 128, 128))]
    assert blank_image(Image.new("RGB", (3, 3), (255, 0, 0))).getpixel((0, 0)) == (76, 76, 76)


def test_scores_with_another_image_are_never_shown() -> None:
    with pytest.raises(UsageError):
        ScoreConfig(policy="p", mas=None, image="blank")
    with pytest.raises(UsageError):
        ScoreConfig(policy="p", mas=None, image="upside down", activate=False)
    assert not math.isnan(draw(0, 1, 2)) and draw(0, 1, 2) != draw(1, 1, 2)
