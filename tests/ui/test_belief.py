"""Tokens as they are coloured: the text stays what it was, every token in its class, and nothing is markup."""

from __future__ import annotations

import html
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workspaces import Answer, add_answers, add_instruction, open_database

from m3po.store import beliefs, candidates
from m3po.types import TokenBeliefs
from ui.review.belief import END, MAX_ASKED, draw_tokens, level_of, read_belief, split_tokens


@st.composite
def answers(draw) -> TokenBeliefs:
    text = draw(st.text(max_size=40))
    offsets = sorted(draw(st.lists(st.integers(0, len(text)), min_size=1, max_size=30)))
    values = st.floats(-30, 0, allow_nan=False)
    log_probs = draw(st.lists(values, min_size=len(offsets), max_size=len(offsets)))
    blanks = draw(st.none() | st.lists(values, min_size=len(offsets), max_size=len(offsets)))
    return TokenBeliefs(1, 2, text, tuple(offsets), tuple(log_probs), tuple(blanks) if blanks else None)


@given(answers())
def test_the_tokens_are_the_text_and_their_log_probs_its_sum(answer: TokenBeliefs) -> None:
    tokens = split_tokens(answer)
    assert "".join(token.text for token in tokens) == answer.text
    assert sum(token.log_prob for token in tokens) == pytest.approx(sum(answer.log_probs), abs=1e-6)
    if answer.blank_log_probs is None:
        assert all(token.dependence is None for token in tokens)
    else:
        owed = sum(answer.log_probs) - sum(answer.blank_log_probs)
        assert sum(token.dependence for token in tokens) == pytest.approx(owed, abs=1e-6)


@given(answers(), st.sampled_from(["logp", "image"]))
def test_what_is_drawn_reads_as_the_text(answer: TokenBeliefs, kind: str) -> None:
    drawn = draw_tokens(answer, kind)
    read = html.unescape(re.sub(r"<[^<>]*>", "", drawn))
    shown = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]", "\ufffd", answer.text)
    ends = sum(not token.text for token in split_tokens(answer))
    assert read.count(END) >= ends and read.replace(END, "") == shown.replace(END, "")


def test_classes_follow_probability_and_dependence() -> None:
    def name(p: float, blank: float | None, kind: str) -> str:
        blanks = None if blank is None else (math.log(blank),)
        [token] = split_tokens(TokenBeliefs(1, 2, "x", (0,), (math.log(p),), blanks))
        return level_of(token, kind).name

    by_p = {0.001: "p0", 0.05: "p1", 0.3: "p2", 0.7: "p3", 0.95: "p4"}
    assert {p: name(p, None, "logp") for p in by_p} == by_p
    assert {p: name(p, None, "image") for p in by_p} == by_p  # dependence unknown: shown by log-prob
    assert name(0.95, 0.9, "image") == "i-prior"
    assert name(0.05, 0.05, "image") == "i-none"
    assert name(0.3, 0.9, "image") == "i-against"
    assert name(0.9, 0.4, "image") == "i-for"
    assert name(0.9, 0.01, "image") == "i-strong"


def test_a_hostile_answer_stays_text() -> None:
    text = "<img src=x onerror=alert(1)> \"quoted\" & 'more'"
    drawn = draw_tokens(TokenBeliefs(1, 2, text, (0, 5, 9), (-1.0, -2.0, -3.0)), "logp")
    assert "<img" not in drawn and html.unescape(re.sub(r"<[^<>]*>", "", drawn)) == text


def test_only_the_active_models_and_their_own_counterparts_are_read(tmp_path) -> None:
    database = open_database(tmp_path)

    def fill(con) -> tuple[int, list[int]]:
        instruction = add_instruction(con, "one")
        ids = add_answers(con, instruction, [Answer("ab", 0.5, -1.0), Answer("cd", 0.1, -2.0)])
        active = candidates.active_scorer(con, "logp")
        con.execute(
            "UPDATE logprobs SET token_ids = [7, 3], token_logps = [-0.5, -0.25], token_offsets = [0, 2]"
            " WHERE scorer_id = ?",
            [active],
        )
        kind = beliefs.variant_kind("logp", "blank")
        own = candidates.scorer_id(con, kind, "policy", beliefs.variant_fingerprint("policy-1", "blank"))
        other = candidates.scorer_id(con, kind, "policy", beliefs.variant_fingerprint("policy-2", "blank"))
        insert = "INSERT INTO logprobs VALUES (?, ?, 1, -3, 2, ?, ?, [0, 2], now()::TIMESTAMP)"
        con.execute(insert, [ids[0], own, [7, 3], [-1.5, -0.25]])
        con.execute(insert, [ids[1], own, [8, 3], [-1.5, -0.25]])  # other tokens: cannot be compared
        con.execute(insert, [ids[1], other, [7, 3], [-9.0, -9.0]])
        return instruction, ids

    instruction, ids = database.write(fill)
    first, second = database.read(lambda con: beliefs.token_beliefs(con, [instruction]))
    assert (first.candidate_id, first.text, first.offsets) == (ids[0], "ab", (0, 2))
    assert first.log_probs == (-0.5, -0.25) and first.blank_log_probs == (-1.5, -0.25)
    assert [token.dependence for token in split_tokens(first)] == [1.0, 0.0]
    assert second.log_probs == (-0.5, -0.25) and second.blank_log_probs is None
    database.close()


def test_what_comes_over_the_network_is_checked(studio) -> None:
    assert read_belief(studio, None) == {"answers": {}, "notes": {}, "drawn_by": {}}
    hostile = {"kind": "<b>", "instruction_ids": [True, -1, "1; DROP", 2**70, {}, None]}
    assert read_belief(studio, hostile) == {"answers": {}, "notes": {}, "drawn_by": {}}
    found = read_belief(studio, {"kind": "image", "instruction_ids": list(range(100))})
    assert len(found["answers"]) == MAX_ASKED and "score on Data" in found["notes"]["1"]
    assert found["drawn_by"]["1"] == ""
