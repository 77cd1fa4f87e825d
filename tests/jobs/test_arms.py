"""The pairs of a comparison's arms: every rule's own, as many of each, and nothing that stands is touched."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import workspaces
from runs_here import open_quietly
from workspaces import Answer

from m3po.errors import JobError, UsageError
from m3po.jobs.comparing.arms import ARMS, BASE, check_arms, draw_arms, draw_pairs
from m3po.selection import Scored, normalise, pick
from m3po.settings import SelectConfig
from m3po.store.arm_pairs import pick_arm, shuffle_belief, train_truth
from m3po.store.exclusions import exclude_pairs
from m3po.store.picking import Candidates
from m3po.store.pools import ensure_pool
from m3po.types import PickRule

CONFIG = SelectConfig(delta=0.1)
N = 24


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """Instructions about a boat with six answers each; in one out of three the machine's pick is wrong by the truth."""
    studio = open_quietly(workspaces.make_workspace(tmp_path_factory.mktemp("arms"), n=0))
    rng = random.Random(3)

    def fill(con) -> None:
        for n in range(N):
            instruction = workspaces.add_instruction(con, f"i{n}")
            texts = [f"a boat, {n}", "a boat and a fish", "a fish", "nothing", "boats", "a fish, no boat"][: 2 + n % 5]
            answers = [Answer(text, rng.random(), -rng.random() * 9, rng.randint(3, 6)) for text in texts]
            workspaces.add_answers(con, instruction, answers)
            if n % 6:
                con.execute("INSERT INTO truth VALUES (?, NULL, ['boat'], 'describe')", [instruction]).fetchall()
        held_out = workspaces.add_instruction(con, "held", split="heldout")
        con.execute("INSERT INTO truth VALUES (?, NULL, ['fish'], 'describe')", [held_out]).fetchall()

    studio.db.write(fill)
    yield studio
    studio.close()


@pytest.fixture(scope="module")
def pool(studio) -> int:
    return studio.db.write(lambda con: ensure_pool(con, 1, 2, CONFIG))


def draws_of(studio, pool, arms, seeds=(0, 1), error_rate=0.0):
    drawn = studio.db.read(lambda con: draw_arms(con, pool, arms, seeds, CONFIG, error_rate))
    return {(draw.arm, draw.seed): draw for draw in drawn}


def scored(studio) -> dict[int, list[Scored]]:
    sql = (
        "SELECT candidate_id, instruction_id, mas, logp_sum, n_tokens FROM candidates"
        " JOIN mas_scores USING (candidate_id) JOIN logprobs USING (candidate_id) ORDER BY 1"
    )
    found: dict[int, list[Scored]] = {}
    for row in studio.db.read(lambda con: con.execute(sql).fetchall()):
        found.setdefault(row[1], []).append(Scored(*row))
    return found


def as_pairs(draw) -> dict[int, tuple[int, int]]:
    return {pair["instruction_id"]: (pair["chosen"], pair["rejected"]) for pair in draw.pairs}


@pytest.mark.parametrize("arm", ["dpo", "rm_dpo", "m3po"])
def test_an_arm_picks_as_its_rule_does(studio, pool, arm):
    members = scored(studio)
    config = dataclasses.replace(CONFIG, rule=ARMS[arm].rule, seed=1)
    values = normalise([one for some in members.values() for one in some], config)
    wanted = {number: pick(some, values, config) for number, some in members.items()}
    wanted = {number: (pair.chosen, pair.rejected) for number, pair in wanted.items() if not isinstance(pair, str)}
    assert as_pairs(draws_of(studio, pool, [BASE, arm], seeds=[1])[arm, 1]) == wanted


def test_every_arm_has_as_many_pairs_and_shares_instructions_where_it_can(studio, pool):
    found = draws_of(studio, pool, list(ARMS))
    sizes = Counter(len(draw.pairs) for draw in found.values())
    available = [draw.facts["available"] for draw in found.values()]
    assert set(found) == {(name, seed) for name in ARMS if name != BASE for seed in (0, 1)}
    assert set(sizes) == {min(available)} and len(set(available)) > 1
    for seed in (0, 1):
        assert as_pairs(found["sft", seed]) == as_pairs(found["m3po", seed])
        ids = [set(as_pairs(found[arm, seed])) for arm in ("m3po", "rm_dpo")]
        assert len(ids[0] & ids[1]) > 0.6 * len(ids[0])
    assert as_pairs(found["m3po", 0]) != as_pairs(found["m3po", 1])  # drawn by seed
    assert all(not pair["human"] and pair["decision_id"] is None for draw in found.values() for pair in draw.pairs)
    assert found["m3po", 0].facts["judged"] <= len(found["m3po", 0].pairs)
    again = draws_of(studio, pool, list(ARMS))
    assert {key: draw.pairs for key, draw in again.items()} == {key: draw.pairs for key, draw in found.items()}


def test_drawing_fewer_pairs_takes_some_of_the_same():
    picked = {number: (number, -number) for number in range(50)}
    some, more = draw_pairs(picked, 10, 0), draw_pairs(picked, 20, 0)
    assert len(some) == 10 and set(some) < set(more) and list(more) == sorted(more)
    assert set(draw_pairs(picked, 10, 1)) != set(some)


def test_the_shuffled_control_deals_confidences_within_an_instruction(studio, pool):
    rng = np.random.default_rng(0)
    starts, n = np.array([0, 3, 4, 9]), 9
    b, logp, drawn = rng.random(n), rng.random(n), rng.integers(0, 1000, n)
    given = Candidates(starts, np.arange(n), rng.random(n), logp, np.ones(n), rng.random(n), b, drawn)
    dealt = shuffle_belief(given)
    for low, high in pairwise(starts):
        before = sorted(zip(b[low:high], logp[low:high], strict=True))
        assert sorted(zip(dealt.b[low:high], dealt.logp_mean[low:high], strict=True)) == before
    assert (dealt.b != b).any() and dealt.a is given.a and dealt.mas is given.mas
    found = draws_of(studio, pool, [BASE, "m3po", "m3po_shuffled"], seeds=[0])
    assert as_pairs(found["m3po", 0]) != as_pairs(found["m3po_shuffled", 0])
    # A rule that does not look at the belief picks the same.
    config = dataclasses.replace(CONFIG, rule="rm_dpo", length_ratio=0)
    blind = PickRule("rm_dpo", chosen="mas", rejected="low_mas")
    one, other = (
        studio.db.read(lambda con, how=how: pick_arm(con, pool, blind, config, shuffled=how)) for how in (False, True)
    )
    assert one == other and one


def test_the_simulated_annotator_mends_what_the_truth_says_is_wrong(studio, pool):
    found = draws_of(studio, pool, [BASE, "m3po", "m3po_corrected"], seeds=[0])
    machine, mended = found["m3po", 0].facts, found["m3po_corrected", 0].facts
    assert machine["better"] < machine["judged"]  # else there is nothing to mend
    assert mended["better"] == mended["judged"] > 0
    truth = studio.db.read(train_truth)
    own, corrected = as_pairs(found["m3po", 0]), as_pairs(found["m3po_corrected", 0])
    assert all(corrected[number] == own[number] for number in set(own) & set(corrected) - set(truth))
    wrong = draws_of(studio, pool, [BASE, "m3po", "m3po_corrected"], seeds=[0], error_rate=1.0)
    assert wrong["m3po_corrected", 0].facts["better"] == 0


def test_truth_of_the_held_out_split_is_not_read(studio):
    held_out = studio.db.read(lambda con: con.execute("SELECT instruction_id FROM instructions WHERE split = 'heldout'"
                                                      ).fetchall())  # fmt: skip
    assert held_out[0][0] not in studio.db.read(train_truth)


def test_what_people_excluded_is_in_no_arm(tmp_path, studio, pool):
    pairs = as_pairs(draws_of(studio, pool, [BASE, "rm_dpo"], seeds=[0])["rm_dpo", 0])
    number, pair = next(iter(pairs.items()))

    def exclude_and_draw(con):
        exclude_pairs(con, {(number, *pair): "blurred"}, "ann")
        found = draw_arms(con, pool, [BASE, "rm_dpo"], [0], CONFIG, 0.0)
        raise Undone(found)  # the other tests share this workspace

    with pytest.raises(Undone) as undone:
        studio.db.write(exclude_and_draw)
    assert set(as_pairs(undone.value.args[0][0])) == set(pairs) - {number}


class Undone(Exception):
    """Takes back what a test stored."""


def test_what_cannot_be_is_told_in_words(studio, pool):
    assert check_arms(["m3po", "sft"]) == (BASE, "sft", "m3po")
    with pytest.raises(UsageError, match="There is no arm 'ppo': choose among base, sft"):
        check_arms(["ppo"])
    with pytest.raises(UsageError, match="nothing to compare"):
        check_arms([BASE])
    strict = dataclasses.replace(CONFIG, delta=1.0)
    with pytest.raises(JobError, match=r"M3PO finds 0 pairs, and a comparison needs at least 2.*--arms"):
        studio.db.read(lambda con: draw_arms(con, pool, [BASE, "m3po"], [0], strict, 0.0))
