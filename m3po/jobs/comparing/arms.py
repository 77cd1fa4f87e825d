"""The arms of a comparison: each a way to make pairs and to train on them, and nothing else different.

Every arm is given as many pairs as the poorest has, drawn by seed with the same lot for an instruction in every arm, so
that arms share instructions where they can.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from m3po.errors import JobError, UsageError
from m3po.evaluation.annotator import SimulatedAnnotator
from m3po.evaluation.chair import Vocabulary
from m3po.evaluation.pair_truth import answer_quality, judge_pairs
from m3po.selection import RULES, random_key
from m3po.settings import SelectConfig
from m3po.store.arm_pairs import Picked, pick_arm, read_beliefs, read_texts, train_truth
from m3po.store.connection import Connection
from m3po.store.exclusions import excluded_keys
from m3po.text import counted
from m3po.training.presets import MIN_PAIRS

BASE = "base"
REFERENCES = (BASE, "m3po")  # what every arm is compared with


@dataclass(frozen=True)
class Arm:
    """`rule` picks the pairs; `shuffled`: by confidences dealt anew within each instruction; `corrected`: the simulated
    annotator goes through them. `method` trains; `like` names the arm whose settings it is trained with."""

    name: str
    label: str
    says: str
    rule: str = "m3po"
    method: str = "dpo"
    shuffled: bool = False
    corrected: bool = False
    like: str = ""


ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in [
        Arm(BASE, "Base", "the policy as it is, nothing trained", rule="", method=""),
        Arm("sft", "SFT", "supervised on the chosen answers of M3PO's pairs", method="sft"),
        Arm("dpo", "Vanilla DPO", "DPO on two candidates drawn by chance, ordered by MAS", rule="vanilla_dpo"),
        Arm("rm_dpo", "RM-DPO", "DPO on the highest against the lowest MAS", rule="rm_dpo"),
        Arm("m3po", "M3PO", "DPO on the best aligned against the believed wrong answer, as the machine picks"),
        Arm(
            "m3po_corrected",
            "M3PO, corrected (simulated)",
            "M3PO's pairs after a simulated annotator, who knows the train split's truth and errs at the stated rate; "
            "no human decided",
            corrected=True,
            like="m3po",
        ),
        Arm(
            "m3po_shuffled",
            "M3PO, shuffled (control)",
            "M3PO's rule with each instruction's confidences dealt among its candidates by chance",
            shuffled=True,
            like="m3po",
        ),
        Arm(
            "rlhf",
            "Simulated RLHF",
            "GRPO on the instructions of M3PO's pairs, four answers each sampled anew, with their MAS as the reward",
            method="grpo",
        ),
    ]
}


@dataclass(frozen=True)
class Draw:
    """What one arm trains on with one seed: `pairs` for jobs.pair_tables.pair_table, and `facts`: how many there were
    to draw from (`available`) and what the truth says of those drawn (evaluation.pair_truth.COUNTS)."""

    arm: str
    seed: int
    pairs: list[dict]
    facts: dict


def check_arms(names: Sequence[str]) -> tuple[str, ...]:
    """In the order of ARMS, with the base among them. Raises UsageError for one that does not exist."""
    for name in names:
        if name not in ARMS:
            raise UsageError(f"There is no arm {name!r:.40}: choose among {', '.join(ARMS)}.")
    chosen = tuple(name for name in ARMS if name in (BASE, *names))
    if len(chosen) < 2:
        raise UsageError(f"There is nothing to compare with the base: choose among {', '.join(ARMS)}.")
    return chosen


def draw_arms(
    con: Connection, pool: int, arms: Sequence[str], seeds: Sequence[int], config: SelectConfig, error_rate: float
) -> list[Draw]:
    """The pairs of every arm (but the base) with every seed, the same number of each.

    Raises JobError where an arm has too few, or needs a truth that there is not.
    """
    truth = train_truth(con)
    vocabulary = Vocabulary({name for row in truth.values() for name in row["objects"] or ()})
    excluded = excluded_keys(con)
    names = [name for name in arms if name != BASE]
    if not truth and any(ARMS[name].corrected for name in names):
        raise JobError("No train instruction has a known answer, so no annotator can be simulated: leave out that arm.")
    found: dict[tuple[str, int], Picked] = {}
    for seed in seeds:
        own = dataclasses.replace(config, seed=seed)
        for name in names:
            arm = ARMS[name]
            picked = pick_arm(
                con, pool, RULES[arm.rule], dataclasses.replace(own, rule=arm.rule), shuffled=arm.shuffled
            )
            if arm.corrected:
                picked = correct_pairs(con, pool, picked, truth, vocabulary, error_rate, seed)
            found[name, seed] = {number: pair for number, pair in picked.items() if (number, *pair) not in excluded}
    (poorest, _), fewest = min(found.items(), key=lambda item: len(item[1]))
    if len(fewest) < MIN_PAIRS:
        raise JobError(
            f"{ARMS[poorest].label} finds {counted(len(fewest), 'pair')}, and a comparison needs at least {MIN_PAIRS}: "
            "sample and score more instructions, or leave that arm out (--arms)."
        )
    drawn = {key: draw_pairs(picked, len(fewest), key[1]) for key, picked in found.items()}
    wanted = {answer for picked in drawn.values() for pair in picked.values() for answer in pair}
    texts = read_texts(con, sorted(wanted))
    return [
        _as_draw(name, seed, picked, len(found[name, seed]), texts, truth, vocabulary)
        for (name, seed), picked in drawn.items()
    ]


def draw_pairs(picked: Picked, number: int, seed: int) -> Picked:
    """`number` of the pairs: those whose instructions drew the lowest lots of this seed."""
    lots = sorted(picked, key=lambda instruction: random_key(seed, instruction, 0))
    return {instruction: picked[instruction] for instruction in sorted(lots[:number])}


def correct_pairs(
    con: Connection,
    pool: int,
    picked: Picked,
    truth: Mapping[int, dict],
    vocabulary: Vocabulary,
    error_rate: float,
    seed: int,
) -> Picked:
    """The pairs as a simulated annotator leaves them: what is a tie to them trains nobody, and what has no truth stays
    as the machine picked it."""
    annotator = SimulatedAnnotator(error_rate, seed)
    beliefs = read_beliefs(con, pool, list(picked))
    texts = read_texts(con, [candidate for members in beliefs.values() for candidate in members])
    found: Picked = {}
    for number, pair in picked.items():
        if number not in truth:
            found[number] = pair
            continue
        quality = {one: answer_quality(truth[number], texts[one]["text"], vocabulary) for one in beliefs[number]}
        if None in quality.values():
            found[number] = pair
            continue
        verdict = annotator.judge(pair, quality, beliefs[number])
        if verdict.chosen is not None and verdict.rejected is not None:
            found[number] = (verdict.chosen, verdict.rejected)
    return found


def _as_draw(
    arm: str,
    seed: int,
    picked: Picked,
    available: int,
    texts: Mapping[int, dict],
    truth: Mapping[int, dict],
    vocabulary: Vocabulary,
) -> Draw:
    pairs, judged = [], []
    for number, (chosen, rejected) in picked.items():
        answers = {"chosen": chosen, "rejected": rejected}
        pair = {"instruction_id": number, **answers, "human": False, "decision_id": None}
        for side, answer in answers.items():
            pair |= {f"{side}_text": texts[answer]["text"], f"{side}_truncated": texts[answer]["truncated"]}
        pairs.append(pair)
        if number in truth:
            judged.append((truth[number], pair["chosen_text"], pair["rejected_text"]))
    return Draw(arm, seed, pairs, {"available": available, **judge_pairs(judged, vocabulary)})
