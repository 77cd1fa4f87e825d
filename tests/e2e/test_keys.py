"""Undo and redo, an item's history, the key map and the live diff of an edit, in a real browser."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from reviewing import idle, pair, press, shown, verdict

pytestmark = pytest.mark.browser
SCRIPTS = "[...performance.getEntriesByType('resource')].map(e => e.name)"
AZERTY = """Object.defineProperty(navigator, "keyboard", {value: {
    getLayoutMap: async () => new Map([["KeyQ", "a"], ["KeyA", "q"], ["KeyX", "x"], ["KeyZ", "w"],
                                       ["Digit1", "&"]])}})"""


@pytest.fixture
def review(app, open_page):
    page = open_page(f"{app.url}/#review?order=id")
    return opened(page)


def opened(page):
    page.wait_for_selector("#review-root[data-ahead]:not([data-ahead='0'])")
    idle(page)
    return page


def message(page, text: str) -> None:
    page.wait_for_function("text => document.querySelector('#review-message').innerText.includes(text)", arg=text)
    idle(page)


def undo_all(page) -> None:
    while "nothing to undo" not in page.inner_text("#review-message"):
        page.evaluate("document.querySelector('#review-message').textContent = ''")
        page.keyboard.press("u")
        page.wait_for_function("document.querySelector('#review-message').textContent")
        idle(page)


def open_history(page, item: str) -> list[str]:
    """Its rows, newest first."""
    page.keyboard.press("h")
    page.wait_for_selector(f"#review-history[data-item='{item}'] :is(tr, p)")
    return page.locator("#review-history tbody tr").all_inner_texts()


def strike(page, code: str, key: str, **more) -> None:
    """A key as another layout, or a held modifier, sends it."""
    page.evaluate(
        "init => document.body.dispatchEvent(new KeyboardEvent('keydown', {bubbles: true, cancelable: true, ...init}))",
        {"code": code, "key": key, **more},
    )


def test_undo_and_redo_go_on_after_a_reload_and_from_the_history(app, open_page, review):
    first, states = shown(review), []
    old = len(open_history(review, first))  # of other modules
    review.keyboard.press("h")
    review.wait_for_selector("#review-history", state="hidden")

    def state(page):
        return shown(page), pair(page), verdict(page)

    for key in ("x", "5", "Shift+Digit4"):
        states.append(state(review))
        press(review, key)
    last = state(review)
    press(review, "t")
    assert shown(review) != first
    idle(review)
    press(review, "u")
    assert state(review) == last
    for expected in reversed(states[1:]):
        press(review, "u")
        assert state(review) == expected
    other = opened(open_page(f"{app.url}/#review?order=id&item={first}"))  # another browser, where nothing was pressed
    press(other, "Shift+u")
    assert state(other) == states[2]
    review.reload()
    opened(review)
    press(review, "Shift+u")
    assert state(review) == last
    press(review, "Shift+u")
    assert shown(review) == first and verdict(review) == "tie"
    review.keyboard.press("Shift+u")
    message(review, "nothing to redo")

    texts, rows = open_history(review, first), review.locator("#review-history tbody tr")
    assert len(texts) == old + 10  # 4 decisions, 3 undos, 3 redos
    assert [row for row in texts if "✓ stands" in row] == [texts[0]]
    assert "tie" in texts[0] and f"redo of {old + 4}" in texts[0]
    assert f"undo of {old + 2}" in review.inner_text("#review-history")
    pairs = [re.search(r"\d over \d", text) for text in texts]
    assert pairs[9].group() == "2 over 1"  # by the numbers of the answers: x swapped the first two
    kept = rows.nth(9).locator("[data-op=undo]").get_attribute("data-of")
    rows.nth(9).locator("[data-op=undo]").click()  # the very first one, which others stand over
    review.wait_for_selector(f"#review-history [data-op=redo][data-of='{kept}']")
    assert verdict(review) == "tie" and rows.count() == old + 11
    review.locator(f"#review-history [data-op=redo][data-of='{kept}']").click()
    review.wait_for_selector(f"#review-history tbody tr >> nth={old + 11}")
    message(review, "Redone: override, but a later decision stands.")
    assert verdict(review) == "tie"  # it is where it was
    review.fill("#review-jump", "q9")  # it has no candidates
    press(review, "Enter")
    review.wait_for_selector("#review-history[data-item] >> text=Nobody has decided this item yet")
    review.keyboard.press("Escape")
    review.wait_for_selector("#review-history", state="hidden")
    undo_all(review)


def test_keys_are_bound_by_place_named_by_the_layout_and_kept(review):
    review.add_init_script(AZERTY)
    review.reload()
    opened(review)
    review.wait_for_function("document.querySelector('.image-tools [data-zoom=fit]').title.includes('(W,')")
    first, before = shown(review), pair(review)
    strike(review, "KeyX", "ч")  # another alphabet on the same key
    review.wait_for_selector("[data-verdict=override]")
    assert pair(review) == before[::-1]
    undo_all(review)
    for held in ("ctrlKey", "altKey", "metaKey", "modifierAltGraph", "isComposing", "shiftKey"):
        strike(review, "KeyX", "x", **{held: True})
    review.focus("#review-search")
    review.keyboard.type("xsthu1?")
    assert review.input_value("#review-search") == "xsthu1?" and review.locator("#review-history").is_hidden()
    review.keyboard.press("Escape")
    idle(review)
    assert (shown(review), pair(review), verdict(review)) == (first, before, None)

    def bind(action: str, key: str) -> str:
        review.click(f"[data-bind={action}]")
        review.keyboard.press(key)
        return review.inner_text("#review-keys-message")

    review.keyboard.press("?")
    review.click("#review-keys-open")
    assert bind("swap", "k") == "Swap is on K now."
    assert bind("undo", "Control+k") == "Keys with Ctrl, Alt or Meta stay the browser's: take one without."
    review.keyboard.press("Escape")  # leaves the key, not the panel
    assert review.locator("#review-keys").is_visible() and review.inner_text("[data-bind=undo]") == "U"
    assert bind("zoom", "a") == "Zoom is on Q now."  # as this keyboard calls it
    assert bind("tie", "s").startswith("S is the key of Skip: press it again to exchange")
    review.keyboard.press("s")
    assert review.inner_text("#review-keys-message") == "Tie is on S now, Skip on T."
    assert bind("candidate1", "u") == "U is the key of Undo and Redo: give that another key first."
    review.keyboard.press("Escape")
    assert bind("flag", "1") == "1 is the key of Candidate 1: press it again to exchange the two, or press another key."
    review.keyboard.press("Escape")
    assert "browser or the keyboard itself" in bind("flag", "Tab")
    review.keyboard.press("Escape")
    assert bind("candidate1", "j") == "Candidate 1 is on J now."
    review.keyboard.press("Escape")
    review.wait_for_selector("#review-keys", state="hidden")

    review.reload()
    opened(review)
    assert review.inner_text("#review-swap kbd") == "K" and review.get_attribute("#review-tie", "title").endswith("(S)")
    assert review.get_attribute("#review-tie", "aria-keyshortcuts") == "S"
    review.keyboard.press("x")
    review.keyboard.press("1")
    press(review, "k")
    assert pair(review) == before[::-1]
    press(review, "j")
    assert pair(review) == before
    press(review, "Shift+j")
    assert pair(review) == before[::-1]
    undo_all(review)
    press(review, "s")
    assert shown(review) != first
    press(review, "ArrowLeft")
    assert verdict(review) == "tie"
    undo_all(review)
    review.keyboard.press("?")
    help_ = review.inner_text("#review-help")
    assert re.search(r"K\s+swap chosen", help_) and re.search(r"J 2 3 4 5 6 7 8 9\s+make that candidate chosen", help_)
    review.click("#review-keys-open")
    review.click("[data-reset=swap]")
    assert review.inner_text("#review-keys-message") == "Swap is on X now."
    review.click("[data-reset=tie]")
    assert review.inner_text("#review-keys-message") == "T is the key of Skip: give that another key first."
    review.click("#review-keys-reset")
    assert review.locator("[data-reset]").count() == 0
    assert review.evaluate("Object.entries(localStorage).filter(([name]) => name.startsWith('m3po.keys'))") == [
        ["m3po.keys.me", "{}"]
    ]


words = st.sampled_from(["a", "b", "the", "Ball", "中", "é", "b.", "c,d", "\n", "  "])
texts = st.lists(words, max_size=14).map(" ".join)


def common_words(a: list[str], b: list[str]) -> int:
    """Length of the longest common sequence, by its definition."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if left == right else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


def test_an_edit_shows_which_words_go_and_come(review):
    cases = []

    @settings(max_examples=80, database=None, phases=[Phase.generate],
              suppress_health_check=[HealthCheck.too_slow])  # fmt: skip
    @given(texts, texts)
    def collect(before, after):
        cases.append((before, after))

    collect()
    cases.append(("x " * 3000 + "end", "y " * 3000 + "end"))  # bounded: told as a whole
    script = next(name for name in review.evaluate(SCRIPTS) if name.endswith("/word_diff.js"))
    found = review.evaluate(
        "async ([script, cases]) => { const {diffWords} = await import(script);"
        " return cases.map(([before, after]) => diffWords(before, after)); }",
        [script, cases],
    )
    for (before, after), segments in zip(cases, found, strict=True):
        sides = [[s for s in segments if s["kind"] != other] for other in ("in", "out")]
        split = [re.findall(r"中|\w+|[^\w\s]", text) for text in (before, after)]
        for side, text, tokens in zip(sides, (before, after), split, strict=True):
            assert "".join("".join(s["text"] for s in side).split()) == "".join(text.split())
            assert sum(s["words"] for s in side) == len(tokens)
        same = sum(s["words"] for s in segments if s["kind"] == "same")
        assert same == (1 if len(before) > 5000 else common_words(*split))

    here, original = shown(review), review.inner_text("[data-role=chosen] .card-text")
    review.keyboard.press("e")
    review.wait_for_selector("#review-edit-diff >> text=no word changed")
    last = re.findall(r"\w+", original)[-1]
    start, _, rest = original.rpartition(last)
    review.fill("#review-edit-text", f"Look: {start}green{rest}")
    review.wait_for_selector("#review-edit-diff ins")
    assert review.locator("#review-edit-diff ins").all_inner_texts() == ["Look:", "green"]
    assert review.locator("#review-edit-diff del").all_inner_texts() == [last]
    assert review.inner_text("#review-edit-diff b") == "−1 +3"
    style = "e => getComputedStyle(e).textDecorationLine"  # told by more than colour
    assert [review.locator(f"#review-edit-diff {name} >> nth=0").evaluate(style) for name in ("del", "ins")] == [
        "line-through", "underline",
    ]  # fmt: skip
    review.fill("#review-edit-text", f"{original} <img src=x onerror=window.hacked=1>")
    review.wait_for_function("document.querySelector('#review-edit-diff').innerText.includes('onerror')")
    assert review.locator("#review-edit-diff img").count() == 0 and review.evaluate("window.hacked") is None
    review.keyboard.press("Escape")
    assert shown(review) == here and verdict(review) is None
