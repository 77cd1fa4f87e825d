"""What is said along with a decision, in a real browser: reasons by two keys, notes, the guideline beside the item.

The last module that uses the app of all: a guideline stays.
"""

import pytest

pytestmark = pytest.mark.browser


@pytest.fixture
def review(open_page, app):
    page = open_page(f"{app.url}/#review")
    until_drawn(page)
    return page


def until_drawn(page) -> None:
    page.wait_for_selector("#review-root[data-draws]:not([data-busy]) [data-role=chosen]")
    page.wait_for_function("(({ item, painted }) => item === painted)(document.querySelector('#review-root').dataset)")


def reload(page) -> None:
    page.reload()
    until_drawn(page)


def draws(page) -> int:
    return int(page.get_attribute("#review-root", "data-draws") or 0)


def press(page, key: str) -> None:
    """A key that leads to something drawn, until all of it is stored."""
    before = draws(page)
    page.keyboard.press(key)
    page.wait_for_function(f"Number(document.getElementById('review-root').dataset.draws || 0) > {before}")
    settle(page)


def settle(page) -> None:
    page.wait_for_selector("#review-root:not([data-busy])")


def shown(page) -> str:
    return page.get_attribute("#review-root", "data-item")


def test_a_reason_and_a_note_wait_for_the_decision_or_join_it_and_outlive_a_reload(review):
    first, drawn = shown(review), draws(review)
    assert review.locator("#review-box").is_hidden()
    review.keyboard.press("w")
    assert review.locator("#review-box button").count() == 6
    review.keyboard.press("3")  # a digit is a reason now, no candidate
    assert review.inner_text("[data-said=reason].waits") == "reason: count"
    assert review.locator("#review-box").is_hidden()
    review.keyboard.press("w")
    review.keyboard.press("3")  # the same once more takes it off
    review.wait_for_selector("[data-said=reason]", state="detached")
    review.keyboard.press("w")
    review.click("#review-box button >> text=relation")
    review.keyboard.press("m")
    review.keyboard.type("tsnfq <b>")  # nothing of it is a key
    review.keyboard.press("Escape")
    review.wait_for_selector("#review-message >> text=Your unsaved note is kept")
    review.keyboard.press("m")
    assert review.input_value("#review-note-text") == "tsnfq <b>"
    review.click("#review-box button >> text=Drop")
    review.keyboard.press("m")
    assert review.input_value("#review-note-text") == ""
    review.keyboard.type("tsnfq <b>")
    assert shown(review) == first and draws(review) == drawn
    review.reload()
    review.wait_for_selector("text=Your unsaved note is kept")
    assert shown(review) == first and review.inner_text("[data-said=reason].waits") == "reason: relation"
    review.keyboard.press("m")
    assert review.input_value("#review-note-text") == "tsnfq <b>"
    review.keyboard.press("Control+Enter")
    assert review.inner_text("[data-said=note].waits") == "note: tsnfq <b>"
    press(review, "n")
    assert shown(review) != first and review.locator("[data-said]").count() == 0
    press(review, "ArrowLeft")
    assert shown(review) == first and review.get_attribute("[data-verdict]", "data-verdict") == "all_wrong"
    assert review.inner_text("[data-said=reason]:not(.waits)") == "reason: relation"
    review.keyboard.press("w")
    press(review, "1")  # on what is decided it is stored at once
    assert review.inner_text("[data-said=reason]:not(.waits)") == "reason: object" and shown(review) == first
    press(review, "u")
    assert review.inner_text("[data-said=reason]") == "reason: relation"
    press(review, "u")
    assert review.locator("[data-said]").count() == 0 and shown(review) == first


def test_the_guideline_is_written_beside_the_item_and_its_reasons_are_on_the_keys(review):
    review.keyboard.press("i")
    review.wait_for_selector("#review-guideline >> text=No text yet")
    image, panel = (review.locator(name).bounding_box() for name in ("#review-image", "#review-guideline"))
    right = review.locator(".review-right").bounding_box()
    assert panel["y"] >= image["y"] + image["height"] and panel["x"] + panel["width"] <= right["x"]  # it covers neither
    review.click("#guideline-edit")
    review.fill("#guideline-draft", "nothing worth keeping")
    panel, drop = (review.locator(name).bounding_box() for name in ("#review-guideline", "#guideline-drop"))
    assert drop["x"] + drop["width"] <= panel["x"] + panel["width"]
    review.click("#guideline-drop")
    review.click("#guideline-edit")
    assert review.input_value("#guideline-draft") == ""
    review.fill("#guideline-draft", "# Look first\n- at **<i>the image</i>**\n- then at the words")
    review.fill("#guideline-reasons", "hue, shape")
    review.press("#guideline-reasons", "Escape")  # leaves it as a draft
    review.wait_for_selector("#review-message >> text=Your unsaved guideline is kept")
    review.click("#guideline-edit")
    assert review.input_value("#guideline-reasons") == "hue, shape"
    review.press("#guideline-reasons", "Control+Enter")
    review.wait_for_selector("#review-guideline[data-version='1'] li strong >> text=<i>the image</i>")
    settle(review)
    before = shown(review)
    review.keyboard.press("w")
    review.wait_for_function("document.querySelectorAll('#review-box button').length === 2")
    review.keyboard.press("4")
    review.wait_for_selector("text=There is no reason 4 here.")
    review.keyboard.press("2")
    assert review.inner_text("[data-said=reason]") == "reason: shape"
    review.keyboard.press("w")
    press(review, "t")  # any other key is what it is: the list is gone
    assert shown(review) != before and review.locator("#review-box").is_hidden()
    press(review, "u")
    assert shown(review) == before
    review.select_option("#guideline-version", "1")
    review.keyboard.press("i")
    assert review.locator("#review-guideline").is_hidden()
    review.set_viewport_size({"width": 1600, "height": 850})
    review.keyboard.press("i")
    review.wait_for_selector("#review-guideline >> text=Look first")
    panel, right = (review.locator(name).bounding_box() for name in ("#review-guideline", ".review-right"))
    assert panel["x"] >= right["x"] + right["width"] and panel["x"] + panel["width"] <= 1600


def test_what_is_begun_waits_in_the_workspace_that_it_was_begun_in(review):
    """Made anew in the same folder, it has other items under the same ids."""
    review.keyboard.press("ArrowRight")
    review.wait_for_selector("#review-root:not([data-item='1'])")
    review.keyboard.press("w")
    review.keyboard.press("2")
    review.keyboard.press("m")
    review.keyboard.type("half a note")
    review.keyboard.press("Escape")
    review.keyboard.press("e")
    review.fill("#review-edit-text", "half an answer")
    made = review.get_attribute("#review-root", "data-made")

    def make_anew(route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace(made, "0" * len(made)))

    def begun() -> tuple[int, str, str]:
        waiting = review.locator("[data-said].waits").count()
        review.keyboard.press("m")
        note = review.input_value("#review-note-text")
        review.keyboard.press("Escape")
        review.keyboard.press("e")
        return waiting, note, review.input_value("#review-edit-text")

    here, address = shown(review), review.url.split("#")[0]
    review.route(address, make_anew)
    reload(review)
    assert review.get_attribute("#review-root", "data-made") == "0" * len(made) and shown(review) == here
    waiting, note, answer = begun()
    assert (waiting, note) == (0, "") and answer != "half an answer"
    review.unroute(address)
    reload(review)
    assert begun() == (1, "half a note", "half an answer")
    review.keyboard.press("Escape")
    review.keyboard.press("w")
    review.keyboard.press("2")


def test_tags_are_put_on_an_item_and_narrow_the_view(review):
    first, drawn = shown(review), draws(review)
    review.keyboard.press("g")
    review.keyboard.type("odd <b>")
    press(review, "Enter")
    assert review.locator("[data-tag='odd <b>']").count() == 1 and shown(review) == first
    review.keyboard.press("Enter")  # nothing written: it closes
    assert review.locator("#review-box").is_hidden()
    press(review, "ArrowRight")
    assert review.locator("[data-tag]").count() == 0 and draws(review) == drawn + 2
    review.goto(review.url.split("#")[0] + "#review?tag=odd%20%3Cb%3E")
    review.wait_for_selector("#review-chips >> text=Tag: odd <b>")
    review.wait_for_function(f"document.querySelector('#review-root').dataset.item === '{first}'")
    settle(review)
    assert review.inner_text("#review-position") == "1 / 1"
    review.click("[data-tag] button")
    review.wait_for_selector("[data-tag]", state="detached")
    settle(review)
    review.click("#review-filters summary")
    review.wait_for_function("document.querySelectorAll('#review-reasons-known option').length > 1")
