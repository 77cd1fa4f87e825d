"""Object mentions in descriptions: word forms, longest match, negation, and CHAIR counted by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3po.evaluation.chair import CaptionCounts, Vocabulary, count_caption

VOCABULARY = Vocabulary(
    ["boat", "fish", "sun", "bus", "leaf", "butterfly", "teddy bear", "bear", "dog", "dogs", "glass", "person"]
)


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ("A red boat and a yellow sun.", ["boat", "sun"]),
        ("Two buses, three leaves, butterflies and glasses", ["bus", "leaf", "butterfly", "glass"]),
        ("BOATS! Fish; FISH", ["boat", "fish", "fish"]),
        ("People and a person", ["person", "person"]),
        ("a dog, two dogs", ["dog", "dog"]),  # both names of the vocabulary are one object
        ("a teddy bear", ["teddy bear"]),  # the longest name wins
        ("teddy-bears and a bear", ["teddy bear", "bear"]),
        ("a boathouse, the sunset, fishing, doggy", []),  # parts of words are no mentions
        ("", []),
    ],
)
def test_finds_mentions_as_whole_words_in_singular_and_plural(text, objects):
    assert VOCABULARY.mentions(text) == objects


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ("There is no fish.", []),
        ("a boat without a big red fish", ["boat"]),
        ("There isn't a fish", []),
        ("There isn’t a fish", []),
        ("no fish but a boat", ["boat"]),
        ("No, there is a fish.", ["fish"]),  # the comma ends what the "no" denies
        ("not only a fish", ["fish"]),
        ("no clouds in the wide blue sky above the boat", ["boat"]),  # out of reach
    ],
)
def test_a_denied_object_is_no_mention(text, objects):
    assert VOCABULARY.mentions(text) == objects


def test_counts_a_caption_by_hand():
    counts = count_caption("A boat, a fish, another fish and a sun.", ["boats", "sun", "bear"], VOCABULARY)
    # four mentions, "fish" twice is hallucinated; of boat, sun and bear two are found
    assert counts == CaptionCounts(mentioned=4, hallucinated=2, found=2, true=3)


def test_an_object_of_the_truth_outside_the_vocabulary_cannot_be_found_but_counts():
    assert count_caption("a zebra", ["zebra"], VOCABULARY) == CaptionCounts(0, 0, 0, 1)


def test_the_empty_vocabulary_finds_nothing():
    assert Vocabulary([]).mentions("a boat") == []
    assert len(Vocabulary(["", "  "])) == 0


NAMES = ["boat", "fish", "sun", "bus", "leaf", "butterfly", "teddy bear", "bear", "glass"]


@given(st.lists(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)))
def test_a_list_of_names_is_found_name_by_name(named, truth):
    counts = count_caption(", ".join(f"a {name}" for name in named), truth, VOCABULARY)
    assert counts.mentioned == len(named)
    assert counts.hallucinated == sum(name not in truth for name in named)
    assert counts.found == len(set(named) & truth)
    assert counts.true == len(truth)


@given(st.permutations(NAMES))
def test_what_is_found_does_not_depend_on_the_order_of_the_vocabulary(names):
    text = "Leaves on a teddy bear, glasses in two buses, a bear"
    assert Vocabulary(names).mentions(text) == Vocabulary(NAMES).mentions(text)


@given(st.text())
def test_any_text_can_be_read(text):
    VOCABULARY.mentions(text)
    Vocabulary([text]).mentions(text)
