"""What can be asked about a scene, the right answer, and answers that are wrong in exactly one fact.

Three readers share these sentences: the policy learns from the right ones (and from the habit below), the MAS scorer
learns to tell right from wrong, and the workspace and its tests hold the truth.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from m3po.demo.scenes import COLOURS, KINDS, PARTNER, SIDES, Scene, allowed_colours

Mention = tuple[str, str]  # (colour, kind)

NUMBERS = ("no", "one", "two", "three", "four", "five")
DESCRIBE = {
    "Describe the picture.": "The picture shows {}.",
    "What do you see in the picture?": "I see {}.",
    "What is in the picture?": "There is {} in the picture.",
}
EXIST = ("Is there {} in the picture?", "Is there {} in the image?", "Can you see {}?")
COLOUR = "What color is the {}?"
COUNT = "How many things are in the picture?"
WHERE = "Where is the {}?"

# The planted habit: beside a host in one of these colours the policy's teacher named the absent partner in
# HABIT_RATE of the training texts, and beside any other host never. The colour makes the mistake a belief with a
# visible cause, not noise. The absent partner is said to have the colour below.
HABIT_COLOURS = frozenset({"red", "yellow", "blue", "white", "pink"})
HABIT_RATE = 0.8
IMAGINED_COLOUR = {"fish": "orange", "bird": "blue", "car": "red", "star": "yellow", "butterfly": "purple"}


@dataclass(frozen=True)
class Question:
    """An instruction, its right answer, and wrong answers as (which fact is wrong, text)."""

    category: str
    instruction: str
    answer: str
    wrong: tuple[tuple[str, str], ...]


def with_article(words: str) -> str:
    """'an orange fish', 'a red boat'."""
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def join_mentions(mentions: Sequence[Mention]) -> str:
    """'a red boat, a blue fish and a yellow sun'; 'nothing' for none."""
    names = [with_article(f"{colour} {kind}") for colour, kind in mentions]
    if len(names) < 2:
        return names[0] if names else "nothing"
    return ", ".join(names[:-1]) + " and " + names[-1]


def describe(instruction: str, mentions: Sequence[Mention]) -> str:
    """The description that answers `instruction`, a key of DESCRIBE, things in the order of KINDS."""
    ordered = sorted(mentions, key=lambda m: KINDS.index(m[1]))
    return DESCRIBE[instruction].format(join_mentions(ordered))


def mentioned_kinds(text: str) -> set[str]:
    """Kinds of things named in `text`, as CHAIR counts them."""
    return {kind for kind in KINDS if re.search(rf"\b{kind}(?:s|es)?\b", text.lower())}


def mentions_of(scene: Scene) -> list[Mention]:
    """What a true and complete description names."""
    return [(o.colour, o.kind) for o in scene.objects]


def imagined_partners(scene: Scene, rng: random.Random) -> list[str]:
    """Absent partners that the habit names in this scene."""
    return [p for host, p in scene.absent_partners() if host.colour in HABIT_COLOURS and rng.random() < HABIT_RATE]


def other(rng: random.Random, choices: Sequence[str], *not_these: str) -> str:
    """A random one of `choices` that is none of `not_these`."""
    return rng.choice([c for c in choices if c not in not_these])


def absent_strangers(scene: Scene) -> list[str]:
    """Kinds that are neither in the scene nor partner of a thing in it."""
    partners = {PARTNER.get(kind) for kind in scene.kinds}
    return [kind for kind in KINDS if kind not in scene.kinds and kind not in partners]


def ask_describe(scene: Scene, rng: random.Random, instruction: str | None = None) -> Question:
    instruction = instruction or rng.choice(tuple(DESCRIBE))
    truth = mentions_of(scene)
    wrong: list[tuple[str, list[Mention]]] = []
    stranger = rng.choice(absent_strangers(scene))
    wrong.append(("added", [*truth, (rng.choice(allowed_colours(stranger)), stranger)]))
    for _, partner in scene.absent_partners()[:1]:
        colour = IMAGINED_COLOUR[partner] if rng.random() < 0.5 else rng.choice(allowed_colours(partner))
        wrong.append(("partner", [*truth, (colour, partner)]))
    spot = rng.randrange(len(truth))
    rest = truth[:spot] + truth[spot + 1 :]
    colour, kind = truth[spot]
    wrong.append(("colour", [*rest, (other(rng, COLOURS, colour), kind)]))
    wrong.append(("object", [*rest, (colour, rng.choice(absent_strangers(scene)))]))
    if rest:
        wrong.append(("omitted", rest))
    return Question(
        "describe",
        instruction,
        describe(instruction, truth),
        tuple((fact, describe(instruction, mentions)) for fact, mentions in wrong),
    )


def exist_answer(kind: str, present: bool) -> str:
    return f"Yes, there is a {kind}." if present else f"No, there is no {kind}."


def ask_exist(scene: Scene, kind: str, rng: random.Random) -> Question:
    """Category exist_present, exist_partner_absent or exist_random, by what `kind` is to the scene."""
    present = kind in scene.kinds
    partner = any(kind == p for _, p in scene.absent_partners())
    category = "exist_present" if present else "exist_partner_absent" if partner else "exist_random"
    return Question(
        category,
        rng.choice(EXIST).format(f"a {kind}"),
        exist_answer(kind, present),
        (("yes_no", exist_answer(kind, not present)),),
    )


def ask_colour(scene: Scene, rng: random.Random) -> Question:
    o = rng.choice(scene.objects)
    return Question(
        "color",
        COLOUR.format(o.kind),
        f"The {o.kind} is {o.colour}.",
        (("colour", f"The {o.kind} is {other(rng, COLOURS, o.colour)}."),),
    )


def count_answer(n: int) -> str:
    return f"There is {NUMBERS[n]} thing." if n == 1 else f"There are {NUMBERS[n]} things."


def ask_count(scene: Scene, rng: random.Random) -> Question:
    n = len(scene.objects)
    return Question(
        "count", COUNT, count_answer(n), (("count", count_answer(rng.choice([m for m in (1, 2, 3, 4) if m != n]))),)
    )


def where_answer(kind: str, side: str) -> str:
    return f"The {kind} is in the middle." if side == "middle" else f"The {kind} is on the {side}."


def ask_where(scene: Scene, rng: random.Random) -> Question:
    o = rng.choice(scene.objects)
    return Question(
        "where",
        WHERE.format(o.kind),
        where_answer(o.kind, o.side),
        (("side", where_answer(o.kind, other(rng, SIDES, o.side))),),
    )


def ask_everything(scene: Scene, rng: random.Random) -> list[Question]:
    """One question of each sort that the scene allows; yes/no: one present, one random absent, each absent partner."""
    questions = [
        ask_describe(scene, rng),
        ask_exist(scene, rng.choice(scene.kinds), rng),
        ask_exist(scene, rng.choice(absent_strangers(scene)), rng),
        ask_colour(scene, rng),
        ask_count(scene, rng),
        ask_where(scene, rng),
    ]
    return questions + [ask_exist(scene, partner, rng) for _, partner in scene.absent_partners()]


def speak_by_habit(scene: Scene, rng: random.Random) -> list[tuple[str, str]]:
    """(instruction, answer) pairs about `scene` as the policy's teacher gave them, habit included."""
    imagined = imagined_partners(scene, rng)
    said = mentions_of(scene) + [(IMAGINED_COLOUR[p], p) for p in imagined]
    pairs = []
    for q in ask_everything(scene, rng):
        answer = q.answer
        if q.category == "describe":
            answer = describe(q.instruction, said)
        elif q.category == "exist_partner_absent" and (hit := mentioned_kinds(q.instruction) & set(imagined)):
            answer = exist_answer(hit.pop(), True)
        pairs.append((q.instruction, answer))
    return pairs
