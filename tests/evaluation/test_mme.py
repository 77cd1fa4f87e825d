"""MME's reading of answers and its scores, against a case counted by hand and the published script's lines."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3po.evaluation.chair import Vocabulary
from m3po.evaluation.comparison import count_by_image
from m3po.evaluation.metrics import METRICS, summarise
from m3po.evaluation.mme import parse_answer
from m3po.evaluation.paired import compare_rows, judge_answer


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Yes.", True),
        ("yes, there is", True),
        ("No.", False),
        ("No, but there is a cat.", False),
        ("NO", False),
        ("not at all", False),
        ("There isn't", None),
        ("I think yes", None),
        ("", None),
        ("Sure", None),
    ],
)
def test_reads_the_first_four_characters(text, says):
    assert parse_answer(text) is says


def published_script(text):
    """The lines of MME's calculation.py, as an oracle."""
    pred = text.lower()
    if pred in ["yes", "no"]:
        return pred
    prefix = pred[:4]
    return "yes" if "yes" in prefix else "no" if "no" in prefix else "other"


@given(st.lists(st.sampled_from(["No", "no", "t", "yes", "Yes", " ", ",", "I", "."])).map("".join))
def test_agrees_with_the_published_script(text):
    assert parse_answer(text) is {"yes": True, "no": False, "other": None}[published_script(text)]


def asked(number, category, image, answers):
    """The two questions of an image, the right answers Yes and No, and what was said to them."""
    return [
        {"instruction_id": 2 * number + n, "category": f"mme_{category}", "images": [image], "answer": truth,
         "objects": None, "text": text}
        for n, (truth, text) in enumerate(zip(("yes", "no"), answers, strict=True))
    ]  # fmt: skip


RIGHT = ("Yes", "No")
CASE = [
    *asked(1, "existence", "a", ("Yes.", "No, there is none.")),  # both right
    *asked(2, "existence", "b", ("Yes", "Yes")),  # one
    *asked(3, "existence", "c", ("No", "Yes")),  # none
    *asked(4, "existence", "d", ("There is", "There isn't")),  # neither yes nor no: both wrong
    *asked(5, "ocr", "e", ("yes", "no")),
    *asked(6, "code_reasoning", "f", ("yes", "yes")),
]


def test_scores_of_a_case_counted_by_hand():
    found = summarise(CASE).metrics
    assert found["mme_existence_accuracy"] == 3 / 8 and found["mme_existence_accuracy_plus"] == 1 / 4
    assert found["mme_existence_score"] == 37.5 + 25
    assert found["mme_ocr_score"] == 200 and found["mme_code_reasoning_score"] == 50
    assert found["mme_perception"] == pytest.approx(62.5 + 200) and found["mme_cognition"] == 50
    assert not {key for key in found if not key.startswith("mme_")}  # in no other figure
    assert METRICS["mme_perception"].unit == "points" and METRICS["mme_ocr_accuracy"].unit == "fraction"


@given(st.lists(st.tuples(st.sampled_from(["existence", "ocr", "count"]), st.sampled_from(["Yes", "No", "?"]),
                          st.sampled_from(["Yes", "No", "?"])), min_size=1, max_size=12))  # fmt: skip
def test_a_score_is_accuracy_and_accuracy_plus_and_their_sum_is_perception(images):
    found = summarise([row for n, (name, *said) in enumerate(images) for row in asked(n, name, f"{n}", said)]).metrics
    names = {name for name, *_ in images}
    for name in names:
        accuracy, plus = found[f"mme_{name}_accuracy"], found[f"mme_{name}_accuracy_plus"]
        assert plus <= accuracy and found[f"mme_{name}_score"] == pytest.approx(100 * (accuracy + plus))
    assert found["mme_perception"] == pytest.approx(sum(found[f"mme_{name}_score"] for name in names))


def test_an_image_with_one_answer_alone_is_left_out_whole():
    rows = CASE[:-3]  # one question of the OCR image is gone, and the image of code reasoning
    found = summarise(rows).metrics
    assert "mme_ocr_score" not in found and found["mme_perception"] == 62.5 and "mme_cognition" not in found


def test_two_models_are_compared_image_by_image():
    rows = [row | {"before": "Yes", "after": row["answer"]} for row in CASE]
    assert compare_rows(rows)["mme_existence_accuracy_plus"] == pytest.approx(2 / 2**4)
    counts = count_by_image(CASE)["mme_perception"]
    assert counts[:, 0].sum() / counts[:, 1].sum() == pytest.approx(262.5)
    neither = judge_answer(CASE[7], "There isn't", Vocabulary(()))
    assert neither["right"] is False and judge_answer(CASE[7], "No, but", Vocabulary(()))["right"] is True


def test_how_many_images_of_a_category_a_resample_draws_moves_nothing():
    rows = [row for n in range(4) for row in asked(n, "existence", f"{n}", ("Yes", "No"))]
    rows += [row for n in range(4, 20) for row in asked(n, "ocr", f"{n}", ("Yes", "No"))]
    assert summarise(rows).intervals["mme_perception"] == pytest.approx((400, 400))  # all right: nothing to doubt


def test_images_on_which_nothing_changed_do_not_move_the_p_of_a_sum():
    """Three images of one category went from nothing to all right, sixty of another stayed: p is of the three."""
    rows = []
    for n in range(3):
        rows += [row | {"before": "?", "after": row["text"]} for row in asked(n, "existence", f"{n}", RIGHT)]
    for n in range(3, 63):
        rows += [row | {"before": row["text"], "after": row["text"]} for row in asked(n, "count", f"{n}", RIGHT)]
    found = compare_rows(rows)
    assert found["mme_perception"] == found["mme_existence_score"] == 2 / 2**3


def sum_of_scores(images):
    """MME's perception by its definition: of each category accuracy and accuracy+ in per cent, added up."""
    total = 0.0
    for name in {name for name, _ in images}:
        right = [hits for category, hits in images if category == name]
        total += 100 * sum(map(sum, right)) / (2 * len(right)) + 100 * sum(map(all, right)) / len(right)
    return total


HITS = st.tuples(st.booleans(), st.booleans())


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["existence", "ocr", "count"]), HITS, HITS), min_size=1, max_size=7))
def test_the_p_of_a_sum_is_the_share_of_swaps_of_whole_images_with_as_large_a_change(images):
    rows = []
    for n, (name, *sides) in enumerate(images):
        before, after = ([said if hit else "?" for said, hit in zip(RIGHT, hits, strict=True)] for hits in sides)
        pairs = zip(asked(n, name, f"{n}", before), after, strict=True)
        rows += [row | {"before": row["text"], "after": text} for row, text in pairs]
    changes = []
    for swap in product((False, True), repeat=len(images)):
        told = [(name, *((y, x) if swapped else (x, y))) for (name, x, y), swapped in zip(images, swap, strict=True)]
        before, after = (sum_of_scores([(each[0], each[side]) for each in told]) for side in (1, 2))
        changes.append(abs(after - before))
    share = sum(change >= changes[0] - 1e-9 for change in changes) / len(changes)
    assert compare_rows(rows)["mme_perception"] == pytest.approx(share)


def test_rounding_tells_no_two_equal_changes_apart():
    """Seventeen images changed, many swaps change as much; of the sum they are told as of the one category."""
    sides = [("?", "?"), RIGHT]
    rows = []
    for n in range(17):
        before, after = sides if n < 11 else reversed(sides)
        pairs = zip(asked(n, "ocr", f"{n}", before), after, strict=True)
        rows += [row | {"before": row["text"], "after": text} for row, text in pairs]
    for n in range(17, 80):
        rows += [row | {"before": row["text"], "after": row["text"]} for row in asked(n, "count", f"{n}", RIGHT)]
    found = compare_rows(rows)
    assert found["mme_perception"] == found["mme_ocr_score"] == pytest.approx(0.33, abs=0.05)  # McNemar's: 0.332
