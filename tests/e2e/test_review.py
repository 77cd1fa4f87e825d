"""The review page in a real browser: keys, order, undo, edit, filters, hostile texts, speed, light and dark."""

from __future__ import annotations

import statistics

import pytest
from browser import HOSTILE, N_INSTRUCTIONS
from reviewing import idle, nothing_comes_of, pair, press, show, shown, undo_everything, verdict

pytestmark = pytest.mark.browser


COVERED = """() => {
    const message = document.querySelector("#review-message").getBoundingClientRect();
    const parts = [...document.querySelectorAll("#review-root button, .card, #review-image, #review-instruction")];
    const shown = parts.filter((part) => part.offsetParent).map((part) => [part, part.getBoundingClientRect()]);
    const meets = ([part, box]) => box.left < message.right && box.right > message.left
        && box.top < message.bottom && box.bottom > message.top;
    return { height: message.height, bottom: message.bottom, over: shown.filter(meets).map(([part]) => part.id) };
}"""


@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080)])
def test_what_the_page_says_lies_on_nothing(review, size):
    review.set_viewport_size({"width": size[0], "height": size[1]})
    undo_everything(review)
    short = review.evaluate(COVERED)
    assert short["height"] >= 20 and short["bottom"] <= size[1] and short["over"] == []
    review.evaluate("document.querySelector('#review-message').textContent = 'Not stored: 12, 13. '.repeat(20)")
    long = review.evaluate(COVERED)
    assert long["height"] > short["height"] and long["bottom"] <= size[1] and long["over"] == []


FILL_ROWS = """(words) => {
    for (const text of document.querySelectorAll(".row-text")) text.textContent = "word ".repeat(words);
    return new Promise((resolve) => requestAnimationFrame(() => {
        const box = document.querySelector("#review-candidates");
        const texts = [...document.querySelectorAll(".row-text")];
        const cut = texts.filter((text) => text.scrollHeight > text.clientHeight + 1).length;
        resolve({ rows: texts.length, cut, left: box.clientHeight - box.scrollHeight,
            heights: texts.map((text) => Math.round(text.clientHeight / 19.6)) });
    }));
}"""


def test_the_other_answers_take_the_room_that_there_is(review):
    idle(review)
    review.set_viewport_size({"width": 1280, "height": 1000})
    whole = review.evaluate(FILL_ROWS, 16)
    assert whole["rows"] == 6 and whole["cut"] == 0 and whole["left"] >= 0 and min(whole["heights"]) > 1
    cut = review.evaluate(FILL_ROWS, 200)
    assert cut["cut"] == 6 and cut["left"] >= 0  # all of them in sight
    assert max(cut["heights"]) - min(cut["heights"]) <= 1 and cut["heights"][0] > 2
    review.set_viewport_size({"width": 1280, "height": 660})
    review.wait_for_function("[...document.querySelectorAll('.row-text')].every((text) => text.clientHeight < 30)")


def test_keys_before_the_first_item_act_or_are_told(app, open_page):
    page = open_page(f"{app.url}/#review")
    page.add_init_script("""addEventListener("DOMContentLoaded", () => {
        const wait = setInterval(() => {
            if (!window.m3po || !window.m3po.takeEarlyKeys) return;
            clearInterval(wait);
            for (const code of ["KeyH", "KeyT"]) {
                document.body.dispatchEvent(new KeyboardEvent("keydown", { code, key: code[3], bubbles: true }));
            }
        });
    })""")
    page.reload()
    page.wait_for_selector("#review-message >> text=press it again")
    page.wait_for_selector("#review-history:not([hidden]) :is(p, tr)")  # of the item that came
    assert verdict(page) is None


def test_everything_is_on_one_screen_under_an_id_of_its_own(review):
    parts = ("image", "instruction", "candidates", "accept", "swap", "skip", "undo", "position")
    for element_id in (f"review-{part}" for part in parts):
        assert review.locator(f"#{element_id}").count() == 1
        box = review.locator(f"#{element_id}").bounding_box()
        assert box and box["y"] >= 0 and box["y"] + box["height"] <= 800, (element_id, box)
    cards = review.locator("[data-candidate-id]")
    assert cards.count() == 8
    assert sorted(cards.nth(i).get_attribute("data-role") for i in range(8)) == ["chosen", *["none"] * 6, "rejected"]
    for i in range(8):
        box = cards.nth(i).bounding_box()
        assert box["y"] + box["height"] <= 800
    assert review.evaluate("document.documentElement.scrollHeight") <= 800
    review.wait_for_function("document.querySelector('#review-image img').naturalWidth > 0")
    twice = review.evaluate(
        "[...document.querySelectorAll('[id]')].map(e => e.id).filter((id, i, all) => id && all.indexOf(id) !== i)"
    )
    assert twice == []


def test_keys_decide_move_and_undo(review):
    first, before = shown(review), pair(review)
    press(review, "x")
    review.wait_for_selector("#review-message >> text=Stored. Enter or →: next item.")
    assert shown(review) == first and pair(review) == before[::-1] and verdict(review) == "override"
    press(review, "x")
    assert pair(review) == before and verdict(review) == "accept"  # the machine's pair again is no override
    press(review, "5")
    fifth = review.get_attribute("[data-number='5']", "data-candidate-id")
    assert pair(review) == (fifth, before[1])
    press(review, "Shift+Digit4")
    fourth = review.get_attribute("[data-number='4']", "data-candidate-id")
    assert pair(review) == (fifth, fourth)
    press(review, "4")  # the present rejected one: they change places
    assert pair(review) == (fourth, fifth)
    press(review, "Enter")  # stored already: no second row, only the next item
    assert shown(review) != first
    verdicts = {"s": "skip", "t": "tie", "n": "all_wrong", "y": "all_right", "q": "bad_question", "f": "flag"}
    for key, name in verdicts.items():
        here = shown(review)
        press(review, key)
        assert shown(review) != here
        press(review, "ArrowLeft")
        assert shown(review) == here and verdict(review) == name
        press(review, "ArrowRight")
    undo_everything(review)
    assert shown(review) == first and pair(review) == before and verdict(review) is None


def test_arrows_select_and_c_r_decide(review):
    before = pair(review)
    for _ in range(4):
        review.keyboard.press("ArrowDown")
    selected = review.get_attribute(".selected[data-candidate-id]", "data-candidate-id")
    assert selected not in before
    press(review, "r")
    assert pair(review) == (before[0], selected)
    review.locator("[data-role=none]").nth(2).click()
    clicked = review.get_attribute(".selected[data-candidate-id]", "data-candidate-id")
    press(review, "c")
    assert pair(review) == (clicked, selected)
    for place, role in enumerate(("chosen", "rejected")):  # by its button
        row = review.locator("[data-role=none]").first
        other = row.get_attribute("data-candidate-id")
        row.click()  # selected, it opens
        row.locator(f"[data-make={role}]").click()
        review.wait_for_selector(f"[data-role={role}][data-candidate-id='{other}']")
        idle(review)
        assert pair(review)[place] == other
    undo_everything(review)


def test_quick_keys_are_applied_in_order_each_to_its_item(review):
    show(review, "unreviewed")
    total = int(review.inner_text("#review-position").split("/")[1])
    first = shown(review)
    for key in ("3", "x", "Enter", "Enter", "s"):  # faster than any answer
        review.keyboard.press(key, delay=0)
    review.wait_for_function("document.querySelector('#review-root').innerText.includes('was not used')")
    idle(review)
    # The keys of the first item counted, in order; those meant for items that nobody had seen did not.
    assert shown(review) != first and verdict(review) is None
    assert int(review.inner_text("#review-position").split("/")[1]) == total - 1
    show(review, "reviewed")
    assert shown(review) == first and verdict(review) == "override"
    undo_everything(review)
    show(review, "unreviewed")
    first = shown(review)
    for _ in range(3):
        press(review, "Enter")
    assert int(review.inner_text("#review-position").split("/")[1]) == total - 3
    undo_everything(review)
    show(review, "all")


def test_no_key_fires_while_typing(review):
    here, before = shown(review), pair(review)
    review.focus("#review-jump")
    with nothing_comes_of(review):
        review.keyboard.type("xsntfu?153")
    assert shown(review) == here and pair(review) == before and verdict(review) is None
    assert not review.locator("#review-help").evaluate("e => e.open")
    review.fill("#review-jump", "")
    review.keyboard.press("Escape")
    with nothing_comes_of(review):
        for key in ("Control+x", "Alt+s", "Meta+Enter"):
            review.keyboard.press(key)
    assert shown(review) == here and verdict(review) is None


def test_edit_becomes_the_chosen_answer_and_is_scored(review):
    press(review, "ArrowRight")  # not on the first one, whose answers others count: an edit stays among them
    before = pair(review)
    review.keyboard.press("e")
    review.wait_for_selector("#review-edit-text:focus")
    review.keyboard.type(" Sent in x 1 n.")
    review.keyboard.press("Escape")
    assert pair(review) == before and verdict(review) is None
    review.keyboard.press("e")
    review.fill("#review-edit-text", "A yellow ball, as a person <b>sees</b> it.")
    press(review, "Control+Enter")
    chosen = review.locator("[data-role=chosen]")
    assert "as a person <b>sees</b> it" in chosen.inner_text()
    assert pair(review)[1] == before[1] and verdict(review) == "override"
    review.wait_for_selector("[data-role=chosen] .chip-busy", state="detached", timeout=120_000)
    assert "–" not in chosen.locator(".value", has_text="MAS").inner_text(), chosen.inner_text()
    undo_everything(review)
    assert pair(review) == before


def test_a_reload_in_the_middle_of_an_edit_keeps_the_text(review):
    undo_everything(review)
    review.keyboard.press("e")
    review.wait_for_selector("#review-edit-text")
    review.fill("#review-edit-text", "Half of a better ans")
    review.reload()
    review.wait_for_selector("[data-role=chosen]")
    idle(review)
    review.wait_for_function("document.querySelector('#review-message').innerText.includes('unsaved edit is kept')")
    review.keyboard.press("e")
    review.wait_for_selector("#review-edit-text")
    assert review.input_value("#review-edit-text") == "Half of a better ans"
    review.keyboard.press("Escape")
    review.reload()
    review.wait_for_selector("[data-role=chosen]")
    idle(review)
    review.keyboard.press("e")
    review.wait_for_selector("#review-edit-text")
    assert review.input_value("#review-edit-text") != "Half of a better ans"  # given up is given up
    review.keyboard.press("Escape")


def test_hostile_texts_show_as_text(review):
    review.fill("#review-jump", "q0")
    review.keyboard.press("Enter")
    review.wait_for_function("document.querySelector('#review-instruction').innerText.includes('onerror')")
    idle(review)
    page_text = review.inner_text("#review-candidates")
    for text in HOSTILE:
        assert text in page_text
    assert review.inner_text(".instruction-text") == HOSTILE[0]
    for card in review.locator("[data-candidate-id]").all():
        card.hover()
    # An image that cannot be read says so later, as one of theirs would have done by now.
    later = """new Promise((resolve) => {
        Object.assign(new Image(), { src: "x", onerror: () => resolve(window.hacked ?? "nothing") });
    })"""
    assert review.evaluate(later) == "nothing"
    assert review.locator("#review-root svg[onload], #review-root img[onerror]").count() == 0


def test_filters_jump_and_order(review):
    show(review, "no_pair")
    assert "No pair" in review.inner_text("#review-candidates") or "No candidates" in review.inner_text(
        "#review-candidates"
    )
    show(review, "flagged")
    assert "Nothing is flagged" in review.inner_text("#review-empty")
    review.click("#review-empty button")
    idle(review)
    review.select_option("#review-order", "id")
    idle(review)
    assert review.inner_text("#review-position").replace(" ", "") == f"1/{N_INSTRUCTIONS}"
    review.fill("#review-jump", "q4")
    review.keyboard.press("Enter")
    review.wait_for_function("document.querySelector('#review-instruction').innerText.includes('q4')")
    idle(review)
    assert review.inner_text("#review-position").replace(" ", "") == f"5/{N_INSTRUCTIONS}"
    review.reload()
    review.wait_for_selector("#review-root[data-item]:not([data-item=''])")
    assert "q4" in review.inner_text("#review-instruction")  # a reload stays where one was
    review.fill("#review-jump", "there is none such")
    review.keyboard.press("Enter")
    review.wait_for_function(
        "document.querySelector('#review-message').innerText.includes('No instruction has the id')"
    )


def test_help_shows_the_keys(review):
    review.keyboard.press("?")
    assert review.locator("#review-help").is_visible()
    here = shown(review)
    with nothing_comes_of(review):
        review.keyboard.press("s")
    assert shown(review) == here
    review.keyboard.press("Escape")
    assert not review.locator("#review-help").is_visible()
    review.keyboard.press("?")
    review.click("#review-help [data-close]")
    review.wait_for_selector("#review-help", state="hidden")


def test_enter_accepts_although_the_tab_was_clicked(app, open_page):
    page = open_page(f"{app.url}/#data")
    page.wait_for_selector("#data-workspace .figures")  # the page has found the tab of its address
    page.get_by_role("tab", name="Review").click()
    page.wait_for_selector("#review-root[data-item]:not([data-item=''])")
    idle(page)
    here = shown(page)
    press(page, "Enter")
    assert shown(page) != here
    undo_everything(page)


def test_light_and_dark(app, open_page):
    colours = {}
    for scheme in ("light", "dark"):
        page = open_page(f"{app.url}/#review", color_scheme=scheme)
        page.wait_for_selector("#theme-toggle")
        colours[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.click("#theme-toggle")
        other = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.reload()
        page.wait_for_selector("#theme-toggle")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == other != colours[scheme]
    assert colours["light"] != colours["dark"]


def test_the_timers_of_other_tabs_rest(app, open_page):
    review = open_page(f"{app.url}/#review")
    review.clock.install()
    review.reload()
    review.wait_for_selector("[data-role=chosen]")
    idle(review)
    timers = review.evaluate("gradio_config.components.filter(({ type }) => type === 'timer').map(({ id }) => id)")
    ticks = []

    def is_tick(request) -> bool:
        asked = "/gradio_api/" in request.url and request.method == "POST" and request.post_data_json
        return bool(asked) and asked.get("trigger_id") in timers

    review.on("request", lambda request: is_tick(request) and ticks.append(request.url))
    with review.expect_request("**/component_server**"):  # Review's own look
        review.clock.run_for(15_000)
    assert timers and not ticks
    review.get_by_role("tab", name="Fine-tune").click()
    with review.expect_request(is_tick):
        review.wait_for_selector("#train-page", state="visible")
        review.clock.run_for(5_000)


FORBIDDEN = """for (const name of ["localStorage", "sessionStorage"]) {
    Object.defineProperty(window, name, { get() { throw new DOMException("Insecure.", "SecurityError"); } });
}"""


def test_a_browser_that_forbids_storage_keeps_nothing_and_says_nothing(review):
    review.add_init_script(FORBIDDEN)
    review.reload()
    review.wait_for_selector("[data-role=chosen]")
    idle(review)
    here, paper = shown(review), "getComputedStyle(document.body).backgroundColor"
    before = review.evaluate(paper)
    review.click("#theme-toggle")
    assert review.evaluate(paper) != before
    review.check("#review-keep-zoom")
    review.keyboard.press("b")
    assert review.input_value("#review-belief-kind") == "logp"
    press(review, "s")
    assert shown(review) != here and review.inner_text("#review-message") == ""
    undo_everything(review)


FRAME = """() => new Promise((resolve) => {
    const times = [];
    const look = (now) => times.push(now) < 12 ? requestAnimationFrame(look) : resolve((times[11] - times[0]) / 11);
    requestAnimationFrame(look);
})"""


def test_next_item_is_drawn_quickly(review):
    """Key to the next item drawn, by the page's own clock: at most twice the goal of the benchmark. On a machine that
    has more to do a frame takes longer, and the bound grows with it."""
    frame, times = review.evaluate(FRAME), []
    for _ in range(8):
        press(review, "Enter")
        times.append(float(review.get_attribute("#review-root", "data-latency")))
    undo_everything(review)
    assert statistics.median(times) < 240 * max(1, frame / 20), (times, frame)  # ms; a frame of an idle machine: 17
