"""Closed rows show what is their own."""

from hypothesis import given
from hypothesis import strategies as st

from ui.review.excerpt import BEFORE, FITS, split_shared

SHARED = "I see a yellow house, an orange flower, a green star and a balloon that flies over"


def test_a_long_answer_starts_a_few_words_before_it_differs():
    start, rest = split_shared(f"{SHARED} a lake.", [f"{SHARED} the hills.", "A house."])
    assert rest == "that flies over a lake." and start + rest == f"{SHARED} a lake."


def test_what_differs_in_sight_is_left_whole():
    assert split_shared("I see a cat.", ["I see a dog."]) == ("", "I see a cat.")
    assert split_shared(f"{SHARED} a lake.", ["Another beginning."]) == ("", f"{SHARED} a lake.")
    assert split_shared(SHARED, []) == ("", SHARED)


texts = st.lists(st.sampled_from(["a", "house", "and", "balloon", "\n", "  "]), max_size=30).map(" ".join)


@given(texts, st.lists(texts, max_size=4))
def test_nothing_is_lost_and_the_difference_is_in_what_is_shown(text, others):
    start, rest = split_shared(text, others)
    assert (start + rest).split() == text.split()
    if start:
        assert len(text) > FITS - 10
        for other in others:
            if other.split() != text.split():
                same = 0
                for one, two in zip(text.split(), other.split(), strict=False):
                    if one != two:
                        break
                    same += 1
                assert len(start.split()) <= max(0, len(text.split()) - 1) and (
                    len(start.split()) + BEFORE >= min(same, len(text.split()) - 1)
                )
