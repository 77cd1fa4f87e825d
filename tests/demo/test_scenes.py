"""The demo's truth is beyond doubt only if pictures, captions and answers agree; these tests hold them to
it."""

import random

import pytest

from m3po.demo.easyvqa import SHAPES, load_easy_vqa, to_sentence, wrong_words
from m3po.demo.language import (
    DESCRIBE,
    HABIT_COLOURS,
    NUMBERS,
    ask_everything,
    mentioned_kinds,
    speak_by_habit,
)
from m3po.demo.scenes import KINDS, LANE_OF, PARTNER, allowed_colours, render_scene, sample_scene

SEEDS = range(200)


@pytest.mark.parametrize("seed", SEEDS)
def test_right_answers_match_the_scene(seed):
    scene = sample_scene(seed)
    assert 1 <= len(scene.objects) <= 4
    assert len(set(scene.kinds)) == len(scene.kinds)
    for q in ask_everything(scene, random.Random(seed)):
        assert q.answer not in [text for _, text in q.wrong]
        if q.category == "describe":
            assert mentioned_kinds(q.answer) == set(scene.kinds)
            for o in scene.objects:
                assert f"{o.colour} {o.kind}" in q.answer
        elif q.category.startswith("exist"):
            (kind,) = mentioned_kinds(q.instruction)
            assert q.answer.startswith("Yes") == (kind in scene.kinds)
            assert (q.category == "exist_partner_absent") == (kind in [p for _, p in scene.absent_partners()])
        elif q.category == "color":
            (kind,) = mentioned_kinds(q.instruction)
            assert q.answer == f"The {kind} is {scene.find(kind).colour}."
        elif q.category == "count":
            assert f" {NUMBERS[len(scene.objects)]} thing" in q.answer
        elif q.category == "where":
            (kind,) = mentioned_kinds(q.instruction)
            assert scene.find(kind).side in q.answer


@pytest.mark.parametrize("seed", SEEDS)
def test_wrong_descriptions_are_wrong_in_the_named_fact(seed):
    scene = sample_scene(seed)
    question = ask_everything(scene, random.Random(seed))[0]
    truth = set(scene.kinds)
    for fact, text in question.wrong:
        said = mentioned_kinds(text)
        if fact in ("added", "partner"):
            (extra,) = said - truth
            assert truth < said
            assert (fact == "partner") == (extra in [p for _, p in scene.absent_partners()])
        elif fact == "omitted":
            assert len(truth - said) == 1 and said < truth
        elif fact == "colour":
            assert said == truth
        else:
            assert len(truth - said) == len(said - truth) == 1


def test_the_habit_names_absent_partners_and_nothing_else():
    named = 0
    for seed in SEEDS:
        scene = sample_scene(seed)
        habit = {p for host, p in scene.absent_partners() if host.colour in HABIT_COLOURS}
        for instruction, answer in speak_by_habit(scene, random.Random(seed)):
            if instruction in DESCRIBE:
                extra = mentioned_kinds(answer) - set(scene.kinds)
                assert extra <= habit
                named += bool(extra)
    assert named > len(SEEDS) * 0.2


def test_a_seed_is_a_picture():
    first, again = sample_scene(7), sample_scene(7)
    assert first == again
    assert render_scene(first, 96).tobytes() == render_scene(again, 96).tobytes()
    assert render_scene(first, 96).tobytes() != render_scene(sample_scene(8), 96).tobytes()


@pytest.mark.parametrize("seed", range(40))
def test_things_do_not_hide_each_other(seed):
    objects = sample_scene(seed).objects
    for o in objects:
        assert o.colour in allowed_colours(o.kind)
        assert all(c - o.size / 2 >= -0.02 and c + o.size / 2 <= 1.02 for c in (o.x, o.y))
        for p in objects:
            if p is not o and LANE_OF[p.kind] == LANE_OF[o.kind]:
                assert abs(o.x - p.x) > 0.24


def test_partners_are_kinds():
    assert set(PARTNER) | set(PARTNER.values()) <= set(KINDS)
    assert not set(PARTNER) & set(PARTNER.values())


def test_easy_vqa_in_sentences():
    assert to_sentence("what color is the triangle?", "blue") == "The triangle is blue."
    assert to_sentence("what is the color of the shape?", "red") == "The shape is red."
    assert to_sentence("what is the blue shape?", "circle") == "It is a circle."
    assert to_sentence("is there a red shape?", "no") == "No, there is no red shape."
    assert to_sentence("is a circle present?", "yes") == "Yes, there is a circle."
    assert to_sentence("is there not a circle?", "yes") == "Yes, it is missing."
    assert set(wrong_words("what shape is present?", "circle")) == set(SHAPES) - {"circle"}


def test_easy_vqa_truth_agrees_with_every_question():
    for image in load_easy_vqa("test")[:100]:
        for _, answer in image.questions:
            if answer in SHAPES:
                assert answer == image.shape
            elif answer not in ("yes", "no"):
                assert answer == image.colour
