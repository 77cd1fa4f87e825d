"""The scoring worker: what is asked for and nothing else, equal to the models called by hand, resumable."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
import torch

from m3po.images import load_rgb
from m3po.jobs.folder import RunFolder
from m3po.jobs.schemas import SCORE_INPUT
from m3po.jobs.score import run
from m3po.jobs.worker import Worker
from m3po.models.alignment import load_scorer
from m3po.models.fingerprint import model_fingerprint
from m3po.models.policy import Policy
from m3po.text import build_messages

TEXTS = ["Yes, there is a fish.", "No.", "", "The picture shows a boat"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("images")
    rows = []
    for n in range(8):
        tiny.build_image(n).save(folder / f"{n}.png")
        texts = TEXTS[: 1 + n % 4]
        rows.append(
            {
                "instruction_id": 50 + n,
                "name": f"'row-{n}' of tiny",
                "images": [str(folder / f"{n}.png")],
                "messages": json.dumps(build_messages(f"What is in picture {n}?", 1)),
                "candidate_ids": [100 * n + place for place in range(len(texts))],
                "texts": texts,
                "truncated": [place == 3 for place in range(len(texts))],
                "want_logp": [True] * len(texts),
                "want_mas": [True] * len(texts),
            }
        )
    return rows


def score(path: Path, rows: list[dict], **config: object) -> tuple[RunFolder, dict, dict[int, dict]]:
    """Run the worker's code here; returns its folder, its result, and the output rows by candidate."""
    folder = RunFolder(path)
    folder.write_config({"policy": None, "mas": None, "logp_scorer": 1, "mas_scorer": 2, **config})
    pq.write_table(pa.Table.from_pylist(rows, schema=SCORE_INPUT), folder.input_path)
    job = Worker(folder)
    try:
        result = run(job)
    finally:
        os.close(job._lock)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    out = [row for shard in folder.shards() for row in pq.read_table(shard).to_pylist()]
    by_candidate = {row["candidate_id"]: row for row in out}
    assert len(by_candidate) == len(out)
    return folder, result, by_candidate


def events(folder: RunFolder, name: str) -> list[dict]:
    return [event for event in folder.read_events()[0] if event["event"] == name]


def test_equals_the_models_by_hand(tmp_path: Path, tiny_policy: Path, tiny_mas: Path, rows: list[dict]) -> None:
    folder, result, out = score(tmp_path, rows, policy=str(tiny_policy), mas=f"clip:{tiny_mas}", batch_size=3)
    assert result["scored"] == 8 and result["candidates"] == len(out) == 20
    assert result["policy_fingerprint"] and result["mas_fingerprint"]
    assert [(event["low"], event["high"]) for event in events(folder, "scorer")] == [(-1.0, 1.0)]
    policy, scorer = Policy.load(tiny_policy), load_scorer(tiny_mas)
    for row in rows[:4]:
        image = load_rgb(row["images"][0])
        messages = json.loads(row["messages"])
        [scores] = policy.log_probs([messages], [[image]], [row["texts"]], [row["truncated"]])
        [masses] = scorer.score([messages], [[image]], [row["texts"]])
        for candidate, by_hand, mas in zip(row["candidate_ids"], scores, masses, strict=True):
            written = out[candidate]
            assert written["instruction_id"] == row["instruction_id"]
            assert written["token_ids"] == list(by_hand.token_ids)
            assert written["token_offsets"] == list(by_hand.offsets)
            assert written["token_logps"] == pytest.approx(by_hand.log_probs, abs=1e-4)
            assert written["logp_sum"] == pytest.approx(by_hand.logp_sum, abs=1e-3)
            assert written["n_tokens"] == by_hand.n_tokens
            assert written["mas"] == pytest.approx(mas.score, abs=1e-5)
            assert (written["token_ids"][-1] == 3) == (candidate % 100 != 3)


def test_only_what_is_asked_for(tmp_path: Path, tiny_policy: Path, tiny_mas: Path, rows: list[dict]) -> None:
    asked = [dict(row) for row in rows[:4]]
    asked[1] |= {"want_logp": [False, False]}
    asked[2] |= {"want_mas": [False, True, False], "want_logp": [True, False, False]}
    asked[3] |= {"want_mas": [False] * 4, "want_logp": [False] * 4}
    _, _, out = score(tmp_path / "both", asked, policy=str(tiny_policy), mas=str(tiny_mas))
    has = {candidate: (row["logp_sum"] is not None, row["mas"] is not None) for candidate, row in out.items()}
    assert has == {
        0: (True, True),
        100: (False, True),
        101: (False, True),
        200: (True, False),
        201: (False, True),
    }
    folder, result, out = score(tmp_path / "mas", rows[:2], mas=str(tiny_mas))
    assert result["policy_fingerprint"] is None
    assert all(row["logp_sum"] is None and row["token_ids"] is None and row["mas"] is not None for row in out.values())
    folder, _, out = score(tmp_path / "logp", rows[:2], policy=str(tiny_policy))
    assert all(row["logp_sum"] is not None and row["mas"] is None for row in out.values())
    assert not events(folder, "scorer")


def test_resume_skips_finished_instructions(
    tmp_path: Path, tiny_policy: Path, tiny_mas: Path, rows: list[dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"policy": str(tiny_policy), "mas": str(tiny_mas)}
    _, _, whole = score(tmp_path / "whole", rows, **models)
    folder, _, _ = score(tmp_path / "run", rows[:5], **models)
    log_probs, scored = Policy.log_probs, []

    def watch(self, prompts, *args):
        scored.extend(prompts)
        return log_probs(self, prompts, *args)

    monkeypatch.setattr(Policy, "log_probs", watch)
    _, result, resumed = score(folder.path, rows, **models)
    assert len(scored) == 3 and result["scored"] == 8
    assert resumed.keys() == whole.keys()
    for candidate, row in whole.items():
        assert resumed[candidate]["logp_sum"] == pytest.approx(row["logp_sum"], abs=1e-3)
        assert resumed[candidate]["mas"] == pytest.approx(row["mas"], abs=1e-5)


def test_one_bad_candidate_costs_only_itself(
    tmp_path: Path, tiny_policy: Path, tiny_mas: Path, rows: list[dict]
) -> None:
    bad = [dict(row) for row in rows[:4]]
    bad[1] |= {"texts": ["far too long " * 2000, "No."]}
    bad[2] |= {"images": [bad[2]["images"][0] + ".missing"]}
    folder, result, out = score(tmp_path, bad, policy=str(tiny_policy), mas=str(tiny_mas))
    assert result["skipped"] == 1 and set(out) == {0, 100, 101, 300, 301, 302, 303}
    assert out[100]["logp_sum"] is None and out[100]["mas"] is not None and out[101]["logp_sum"] is not None
    messages = " ".join(event["message"] for event in events(folder, "warning"))
    assert "to 'row-1' of tiny has no log-prob" in messages and "Instruction 'row-2' of tiny is skipped" in messages


def test_without_an_image_there_is_no_mas(tmp_path: Path, tiny_policy: Path, tiny_mas: Path, rows: list[dict]) -> None:
    text_only = {**rows[1], "images": [], "messages": json.dumps(build_messages("Hello!", 0))}
    _, _, out = score(tmp_path, [rows[0], text_only], policy=str(tiny_policy), mas=str(tiny_mas))
    assert out[0]["mas"] is not None
    assert out[100]["mas"] is None and out[100]["logp_sum"] < 0


@pytest.mark.filterwarnings("ignore:.*as a judge means little")
def test_judges_and_groups_go_the_same_way(tmp_path: Path, tiny_policy: Path, tiny_mas: Path, rows: list[dict]) -> None:
    text_only = {**rows[1], "images": [], "messages": json.dumps(build_messages("Hello!", 0))}
    long = {**rows[2], "texts": ["far too long " * 300, "No.", "Yes, a fish."]}
    asked = [rows[0], text_only, long]
    folder, result, out = score(tmp_path / "claims", asked, mas=f"claims:{tiny_policy}")
    assert result["mas_fingerprint"].startswith("claims:sha256:") and result["skipped"] == 0
    assert [(event["low"], event["high"]) for event in events(folder, "scorer")] == [(0.0, 1.0)]
    assert set(out) == {0, 100, 101, 201, 202}  # without an image too; the long one costs only itself
    assert "to 'row-2' of tiny has no MAS" in " ".join(event["message"] for event in events(folder, "warning"))
    for row in out.values():
        assert row["mas"] == sum(claim["upheld"] for claim in row["claims"]) / len(row["claims"])
    _, _, whole = score(tmp_path / "vqa", asked[:2], mas=f"vqa:{tiny_policy}")
    assert set(whole) == {0, 100, 101} and all(0 < row["mas"] < 1 and not row["claims"] for row in whole.values())
    _, result, grouped = score(tmp_path / "group", rows[1:4], group=f"embed:{tiny_mas},threshold=0.0001")
    assert result["candidates"] == 9 and result["mas_fingerprint"] is None
    assert {row["same_as"] for row in grouped.values()} <= set(grouped)


@pytest.mark.filterwarnings("ignore:.*as a judge means little")
def test_a_judge_is_loaded_as_the_options_say(
    tmp_path: Path, tiny_policy: Path, rows: list[dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    load, loaded = Policy.load, []
    monkeypatch.setattr(Policy, "load", lambda *given, **more: loaded.append(load(*given, **more)) or loaded[-1])
    plain, half = (
        score(tmp_path / dtype, rows[:2], mas=f"vqa:{tiny_policy}", dtype=dtype, trust_remote_code=dtype != "auto")
        for dtype in ("auto", "bfloat16")
    )
    score(tmp_path / "group", rows[:1], group=f"judge:{tiny_policy}", dtype="bfloat16")
    assert [policy.model.dtype for policy in loaded] == [torch.float32, torch.bfloat16, torch.bfloat16]
    assert plain[1]["mas_fingerprint"] == f"vqa:{model_fingerprint(tiny_policy)}" != half[1]["mas_fingerprint"]
    assert [len(events(folder, "warning")) for folder, _, _ in (plain, half)] == [0, 1]
    assert any("run with your rights" in event["message"] for event in events(half[0], "warning"))
