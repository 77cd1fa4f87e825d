"""What-if, agreement, auto-accept and audit on a real database, held against the slow rule and counts by hand."""

import dataclasses
import json
import shutil
from collections import Counter

import pytest
from workspaces import Answer, add_answers, add_instruction, open_database

from m3po.errors import BadInputError, UsageError
from m3po.jobs.planning import plans
from m3po.selection import Scored, normalise, pick
from m3po.settings import SelectConfig, TrainConfig
from m3po.store import auto_accept, candidate_rows
from m3po.studio import Studio
from m3po.types import Pair, ReviewView

N, DELTA = 30, 0.55


def fill(con):
    """Items whose answers differ in how aligned and how believed they are, so that weights matter."""
    for n in range(N):
        answers = [
            Answer("right", 0.9 - n / 200, -3.0 + n / 50),
            Answer("believed", 0.35 + n / 90, -0.5 - n / 40),
            Answer("far off", 0.1 + n / 300, -6.0 + n / 9),
            Answer("so so", 0.6 - n / 70, -2.0 - n / 30, tokens=5 + n % 9),
        ]
        add_answers(con, add_instruction(con, f"item-{n}"), answers)


@pytest.fixture(scope="module")
def selected(tmp_path_factory):
    """A closed workspace with pairs; copy it before use."""
    path = Studio.create(tmp_path_factory.mktemp("selected") / "workspace")
    database = open_database(path)
    database.write(fill)
    database.close()
    made = Studio.open(path)
    made.select(SelectConfig(delta=DELTA))
    made.close()
    return path


@pytest.fixture
def studio(tmp_path, selected):
    shutil.copytree(selected, tmp_path / "workspace")
    opened = Studio.open(tmp_path / "workspace")
    yield opened
    opened.close()


def slow_pairs(studio, **knobs):
    """Every instruction's pair by the plain rule."""
    config = dataclasses.replace(studio.current_select(), **knobs)
    found = studio.db.read(lambda con: candidate_rows.candidates_of(con, list(range(1, N + 1)), None))
    scored = {
        i: [
            Scored(c["candidate_id"], i, c["mas"], c["logp_sum"], c["n_tokens"]) for c in rows if c["origin"] != "human"
        ]
        for i, rows in found.items()
    }
    values = normalise([c for found in scored.values() for c in found], config)
    picked = {i: pick(found, values, config) for i, found in scored.items()}
    return {i: (p.chosen, p.rejected) if isinstance(p, Pair) else None for i, p in picked.items()}


def test_what_if_finds_what_the_plain_rule_finds_and_stores_nothing(studio):
    old = slow_pairs(studio)
    before = studio.status()["selection"]
    seen = set()
    for knobs in (
        {"weight_rejected": 0.95}, {"weight_chosen": 0.1}, {"delta": 0.8}, {"delta": 0.0}, {"length_ratio": 1.2},
        {"rule": "rm_dpo"}, {"rule": "vanilla_dpo"}, {"rule": "confident", "delta": 0.3}, {"rule": "mean_2sd"}, {},
    ):  # fmt: skip
        new = slow_pairs(studio, **knobs)
        found = studio.calibration.what_if(**knobs, limit=1000)
        differ = {i for i in old if old[i] != new[i]}
        assert {item["instruction_id"] for item in found["items"]} == differ and found["listed"] == len(differ)
        assert found["pairs"] == sum(pair is not None for pair in new.values())
        assert found["lost"] == sum(old[i] is not None and new[i] is None for i in old)
        assert found["new"] == sum(old[i] is None and new[i] is not None for i in old)
        assert found["flips"] == len(differ) - found["lost"] - found["new"]
        for item in found["items"]:
            for side, pairs in (("before", old), ("after", new)):
                told = item[side] and (item[side]["chosen"], item[side]["rejected"])
                assert told == pairs[item["instruction_id"]]
        seen |= {name for name in ("flips", "lost", "new") if found[name]}
    assert seen == {"flips", "lost", "new"}  # every sort of change was there to be found
    assert studio.status()["selection"] == before


def test_flips_against_the_human_and_to_the_human(studio):
    old = slow_pairs(studio)
    new = slow_pairs(studio, weight_rejected=0.95)
    flipped = [i for i in old if old[i] and new[i] and old[i] != new[i]]
    against, to, neither, skipped = flipped[:4]
    studio.decide(against, "accept")
    studio.decide(to, "override", chosen=new[to][0], rejected=new[to][1])
    studio.decide(neither, "override", chosen=old[neither][1], rejected=old[neither][0])
    studio.decide(skipped, "skip")
    found = studio.calibration.what_if(weight_rejected=0.95, limit=1000)
    assert [found[name] for name in ("decided", "against", "to", "neither")] == [3, 1, 1, 1]
    words = {item["instruction_id"]: item["word"] for item in found["items"]}
    assert [words[i] for i in (against, to, neither, skipped)] == ["against", "to", "neither", ""]
    only = studio.calibration.what_if(weight_rejected=0.95, which="to")
    assert [item["instruction_id"] for item in only["items"]] == [to]
    told = only["items"][0]
    assert told["human"]["chosen_text"] == told["after"]["chosen_text"] != ""
    studio.undo()  # what people say now counts, whatever was found before
    studio.undo()
    assert studio.calibration.what_if(weight_rejected=0.95)["neither"] == 0


def test_a_list_is_paged(studio):
    knobs = {"rule": "rm_dpo"}
    whole = studio.calibration.what_if(**knobs, limit=1000)["items"]
    parts = [studio.calibration.what_if(**knobs, limit=4, offset=at)["items"] for at in range(0, len(whole), 4)]
    assert [item for part in parts for item in part] == whole and len(whole) > 4


def test_apply_selects_and_is_refused_when_the_pairs_changed_meanwhile(studio):
    found = studio.calibration.what_if(weight_rejected=0.95)
    done = studio.calibration.apply(weight_rejected=0.95, selection_id=found["selection_id"])
    assert done["pairs"] == found["pairs"] and studio.current_select().weight_rejected == 0.95
    assert studio.current_select().delta == DELTA  # what was not moved stays
    assert studio.calibration.what_if(weight_rejected=0.95)["listed"] == 0
    with pytest.raises(BadInputError, match="picked anew"):
        studio.calibration.apply(delta=0.2, selection_id=found["selection_id"])


def test_scores_that_came_since_are_told(studio):
    assert studio.calibration.what_if(delta=0.5)["fresh"]
    studio.db.write(lambda con: add_answers(con, 1, [Answer("one more", 0.5, -1.0)]))
    found = studio.calibration.what_if()
    assert not found["fresh"] and found["listed"] == 0  # compared by the values that the selection kept


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"which": "some"}, UsageError, "There is no list"),
        ({"seed": 3}, UsageError, "cannot be tried"),
        ({"delta": 7}, BadInputError, "delta"),
        ({"rule": "best"}, BadInputError, "rule"),
    ],
)
def test_what_cannot_be_tried_is_one_sentence(studio, options, error, sentence):
    with pytest.raises((error, UsageError), match=sentence):
        studio.calibration.what_if(**options)


def test_before_the_first_selection(tmp_path):
    studio = Studio.open(Studio.create(tmp_path / "workspace"))
    try:
        with pytest.raises(BadInputError, match="press Select"):
            studio.calibration.what_if()
        assert studio.calibration.report()["selection_id"] is None and studio.calibration.current()["delta"] == 0.4
        with pytest.raises(BadInputError, match="no pairs yet"):
            studio.calibration.accept_above(0.5)
    finally:
        studio.close()


def paired(studio):
    """Instructions with a pair, by falling M3P-Score."""
    found, item = [], studio.review_item(ReviewView())
    while item is not None and item.machine_pair:
        found.append(item)
        item = studio.review_item(ReviewView(), item.next_id) if item.next_id else None
    return found


def test_what_counts_as_an_override_and_what_does_not_count(studio):
    items = paired(studio)
    pair = items[0].machine_pair
    studio.decide(items[0].instruction.id, "accept")
    studio.decide(items[1].instruction.id, "override", chosen=items[1].pair.rejected, rejected=items[1].pair.chosen)
    studio.decide(items[2].instruction.id, "tie")
    studio.decide(items[3].instruction.id, "skip")
    studio.decide(items[4].instruction.id, "accept", annotator="ada")
    studio.decide(items[4].instruction.id, "tie", annotator="bob")
    rates = studio.calibration.report()["rates"]
    assert (rates["all"]["decided"], rates["all"]["overridden"]) == (3, 2)
    assert rates["left_out"] == {"disagreement": 1, "another_pair": 0, "blind": 0, "no_verdict": 1}
    assert rates["annotators"] == {"me": 3}
    assert sum(row["pairs"] for row in rates["bins"]) == len(items)
    # An accept of another pair than the machine's is no consent to the machine's.
    studio.decide(items[5].instruction.id, "accept", chosen=items[5].pair.rejected, rejected=items[5].pair.chosen)
    assert studio.calibration.report()["rates"]["all"]["overridden"] == 3
    # Who judges blind says which pair is best, and was never asked whether this one is right.
    studio.decide(items[6].instruction.id, "tie", blind=True)
    rates = studio.calibration.report()["rates"]
    assert (rates["all"]["decided"], rates["all"]["overridden"], rates["left_out"]["blind"]) == (4, 3, 1)
    # What was decided on another pair says nothing of the one that is picked now.
    studio.select(SelectConfig(delta=0.1, rule="rm_dpo"))
    now = studio.review_item(instruction_id=items[0].instruction.id).machine_pair
    report = studio.calibration.report()["rates"]
    changed = [i for i in (0, 1, 2, 5) if _machine(studio, items[i]) != _pair(items[i])]
    assert changed and report["left_out"]["another_pair"] == len(changed)
    assert (now.chosen, now.rejected) != (pair.chosen, pair.rejected) or 0 not in changed


def _machine(studio, item):
    return _pair(studio.review_item(instruction_id=item.instruction.id))


def _pair(item):
    return item.machine_pair and (item.machine_pair.chosen, item.machine_pair.rejected)


def test_agreement_of_the_rules_is_counted_as_by_the_plain_rule(studio):
    human = slow_pairs(studio, weight_rejected=0.95)
    decided = [i for i, pair in human.items() if pair][:20]
    for i in decided:
        studio.decide(i, "override", chosen=human[i][0], rejected=human[i][1])
    edited = next(i for i in range(1, N + 1) if i not in decided)
    own = studio.add_edit(edited, "written by hand")
    studio.decide(
        edited, "override", chosen=own.id, rejected=studio.review_item(instruction_id=edited).candidates[0].id
    )
    agreement = studio.calibration.report()["agreement"]
    assert (agreement["decisions"], agreement["compared"]) == (21, 20)  # no rule can pick what a human wrote
    assert [row["rule"] for row in agreement["rules"]] == ["m3po", "rm_dpo", "vanilla_dpo", "confident", "mean_2sd"]
    for row in agreement["rules"]:
        picked = slow_pairs(studio, rule=row["rule"])
        assert row["pair"]["agree"] == sum(picked[i] == human[i] for i in decided)
        assert row["chosen"]["agree"] == sum((picked[i] or (0,))[0] == human[i][0] for i in decided)
    curve = agreement["curves"]["weight_rejected"]
    assert curve["rate"][curve["points"].index(0.95)] == 1.0 and curve["rate"][curve["best"]] == 1.0
    for weight in (0.0, 0.5):
        picked = slow_pairs(studio, weight_rejected=weight)
        assert curve["rate"][curve["points"].index(weight)] == sum(picked[i] == human[i] for i in decided) / 20
    assert curve["now"] == 0.5 and curve["left_out"] is not None


def test_what_is_made_of_pairs_without_eyes_says_by_which_score(studio):
    config = TrainConfig(policy=str(studio.path), only="auto")
    out = studio.path.parent / "auto"

    def refuse():
        assert auto_accept.NO_SCORE in studio.train_preview(config)["problems"]
        with pytest.raises(UsageError, match="no score is set"):
            studio.db.read(lambda con: plans.training_set(studio.workspace, con, config))

    studio.decide(paired(studio)[0].instruction.id, "accept")
    refuse()
    studio.calibration.accept_above(0.5)
    assert auto_accept.NO_SCORE not in studio.train_preview(config)["problems"]
    lineage = studio.db.read(lambda con: plans.training_set(studio.workspace, con, config))[2]
    assert lineage["accepted_without_eyes"]["score"] == 0.5
    json.dumps(lineage)
    studio.export(out, only="auto")
    assert json.loads((out / "selection.json").read_text())["accepted_without_eyes"] == lineage["accepted_without_eyes"]
    assert "M3P-Score of 0.5 or more were taken without eyes" in (out / "README.md").read_text()
    studio.select(SelectConfig(delta=DELTA))  # whose score it is not
    refuse()


def test_accept_without_eyes_counts_only_where_it_is_asked_for(studio):
    items = paired(studio)
    for item in items[: len(items) // 2 : 2]:
        studio.decide(item.instruction.id, "accept")
    with pytest.raises(BadInputError, match="review more pairs"):
        studio.calibration.accept_above(target=0.01)
    with pytest.raises(UsageError, match="calibrate"):
        studio.export(studio.path.parent / "none.jsonl", only="auto")
    auto = studio.calibration.accept_above(target=0.5)
    above = [item for item in items if item.machine_pair.m3p_score >= auto["score"]]
    accepted = [item for item in above if studio.review_item(instruction_id=item.instruction.id).decision is None]
    human = len(items[: len(items) // 2 : 2])
    assert auto["accepts"] == len(accepted) > 0 and auto["basis"]["decided"] == len(above) - len(accepted)
    assert studio.status()["auto_accepted"] == len(accepted)
    out = studio.path.parent / "auto.jsonl"
    counts = {}
    for only in ("accepted", "auto", "all"):
        studio.export(out, only=only)
        counts[only] = [json.loads(line) for line in out.read_text().splitlines()]
    assert (len(counts["accepted"]), len(counts["auto"])) == (human, human + len(accepted))
    preview = studio.train_preview(TrainConfig(policy=str(studio.path), only="auto"))
    assert preview["pairs"] == human + len(accepted)
    # No decision was written for them.
    assert studio.status()["reviewed"] == human
    assert all(studio.history(item.instruction.id) == [] for item in accepted)
    studio.calibration.accept_none()
    assert studio.status()["auto_accepted"] == 0 and studio.calibration.report()["auto"] is None
    # It is a setting of its selection: another one starts without.
    studio.calibration.accept_above(0.5)
    studio.select(SelectConfig(delta=0.2))
    assert studio.calibration.report()["auto"] is None


def test_an_audit_is_a_random_slice_of_what_nobody_looked_at(studio):
    with pytest.raises(BadInputError, match="set the threshold first"):
        studio.calibration.draw_audit(5)
    items = paired(studio)
    studio.decide(items[0].instruction.id, "accept")
    score = items[len(items) * 2 // 3].machine_pair.m3p_score
    studio.calibration.accept_above(score)
    population = {item.instruction.id for item in items[1:] if item.machine_pair.m3p_score >= score}
    drawn = []
    for seed in (1, 1, 2):
        audit = studio.calibration.draw_audit(6, seed=seed)["audit"]
        assert (audit["size"], audit["population"], audit["waiting"]) == (6, len(population), 6)
        drawn.append(queue(studio))
    assert drawn[0] == drawn[1] != drawn[2] and all(set(ids) <= population for ids in drawn)
    first, second, third = drawn[2][:3]
    studio.decide(first, "accept")
    studio.decide(second, "all_wrong")
    studio.decide(third, "skip")
    audit = studio.calibration.report()["auto"]["audit"]
    assert [audit[name] for name in ("decided", "overridden", "waiting", "no_verdict")] == [
        2,
        1,
        4,
        0,
    ]  # what is skipped waits still
    assert queue(studio) == drawn[2][3:]
    studio.undo()
    assert queue(studio) == drawn[2][2:]
    assert studio.calibration.accept_above(score)["audit"] == audit  # it stands
    studio.calibration.accept_above(score - 1e-6)  # another threshold asks for another audit
    assert studio.calibration.report()["auto"]["audit"] is None and queue(studio) == []


def queue(studio):
    view = ReviewView("audit")
    found, item = [], studio.review_item(view)
    while item is not None:
        found.append(item.instruction.id)
        item = studio.review_item(view, item.next_id) if item.next_id else None
    return found


def test_every_pair_is_as_likely_to_be_audited(studio):
    threshold = {"auto_accept_id": 1, "selection_id": 1, "score": 0.0}
    n, times = studio.status()["pairs"], Counter()

    def draw(con):
        for seed in range(60):
            audit = {"audit_id": auto_accept.draw_audit(con, threshold, n // 3, seed, "me")}
            times.update(auto_accept.audit_ids(con, audit).tolist())

    studio.db.write(draw)
    assert times.total() == 60 * (n // 3) and len(times) == n
    assert min(times.values()) > 3 and max(times.values()) < 38  # 20 each; these are nearly five standard deviations
