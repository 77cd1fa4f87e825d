"""Review's deck in a real browser: the next item is there already, nothing is lost, every view has an address."""

from __future__ import annotations

import pytest
from addresses_twin import VIEWS, read_address, view_as_json, write_address
from browser import app_on_copy
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from reverse_proxy import reverse_proxy
from reviewing import asked, idle, move, press, shown, undo_everything, verdict

from ui.addresses import view_of
from ui.formatting import RULE_LABELS

pytestmark = pytest.mark.browser
PREFIX = "/studio"
SCRIPT = "[...performance.getEntriesByType('resource')].map(e => e.name).find(name => name.endsWith('/address.js'))"


@pytest.fixture(scope="module")
def app(scored_workspace, tmp_path_factory):
    """Behind a prefix, where the app answers without it, too."""
    with app_on_copy(scored_workspace, tmp_path_factory.mktemp("deck"), "--root-path", PREFIX) as running:
        yield running


def opened(open_page, url: str):
    page = open_page(url)
    page.wait_for_selector("#review-root[data-ahead]:not([data-ahead='0'])")  # the next ones are fetched
    idle(page)
    return page


def until_item(page, item: str) -> None:
    page.wait_for_selector(f"#review-root[data-item='{item}']")


def test_decisions_wait_for_a_lost_server_and_outlive_a_reload(app, open_page):
    page = opened(open_page, f"{app.url}/#review?order=id")
    seen = []
    page.route("**/component_server**", lambda route: route.abort())
    for key in ("s", "t", "Enter"):
        seen.append(shown(page))
        move(page, key)
    assert len(set(seen)) == 3 and shown(page) not in seen
    page.wait_for_selector("#review-unstored.failing")
    assert page.inner_text("#review-unstored") == "3 not stored yet"
    page.once("dialog", lambda dialog: dialog.accept())  # the browser asks before it leaves
    page.reload()
    page.wait_for_selector("#review-unstored.failing")
    page.unroute("**/component_server**")
    page.wait_for_selector("#review-unstored", state="hidden")
    idle(page)
    for item, name in zip(seen, ("skip", "tie", "accept"), strict=True):
        page.fill("#review-jump", item)
        page.press("#review-jump", "Enter")
        until_item(page, item)
        page.wait_for_selector(f"#review-state [data-verdict={name}]")
    page.evaluate("document.activeElement.blur()")
    undo_everything(page)  # three decisions, three undos: none was stored twice
    assert shown(page) == seen[0]


def test_what_a_closed_tab_could_not_send_another_one_of_the_same_person_sends(app, open_page):
    page = opened(open_page, f"{app.url}/#review?order=id")
    page.clock.install()
    closed = page.context.new_page()
    closed.goto(f"{app.url}/#review?order=id")
    closed.wait_for_selector("#review-root[data-ahead]:not([data-ahead='0'])")
    idle(closed)
    here = shown(closed)
    closed.route("**/component_server**", lambda route: route.abort())
    move(closed, "n")
    closed.wait_for_selector("#review-unstored.failing")
    page.clock.run_for(2_000)
    assert page.locator("#review-unstored").is_hidden()  # the other tab may still send it
    closed.close()
    page.clock.fast_forward(32_000)
    page.wait_for_function(NOTHING_KEPT)
    page.wait_for_selector("#review-unstored", state="hidden")
    page.keyboard.press("u")
    page.wait_for_selector("#review-message >> text=Undone: all wrong")
    assert shown(page) == here
    undo_everything(page)


def test_a_refused_decision_brings_its_item_back(app, open_page):
    page, other = (opened(open_page, f"{app.url}/#review?order=id") for _ in range(2))
    here = shown(page)
    assert shown(other) == here
    press(other, "f")
    idle(other)
    page.keyboard.press("s")
    page.wait_for_function("document.querySelector('#review-message').innerText.includes('Not stored')")
    idle(page)
    until_item(page, here)
    page.wait_for_selector("#review-state [data-verdict=flag]")
    assert "decided elsewhere" in page.inner_text("#review-message")
    undo_everything(page)


def test_each_refused_decision_is_gone_back_to_and_a_refused_text_is_kept(app, open_page):
    page, other = (opened(open_page, f"{app.url}/#review?order=id") for _ in range(2))
    page.route("**/component_server**", lambda route: route.abort())
    seen = []
    for key in ("s", "s", "e"):
        seen.append(shown(page))
        if key == "s":
            move(page, key)
    page.keyboard.press("e")
    page.fill("#review-edit-text", "a text that took an hour")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#review-unstored.failing >> text=3 not stored yet")
    page.once("dialog", lambda dialog: dialog.accept())
    page.reload()  # what waits is no longer awaited by anybody
    page.wait_for_selector("#review-unstored.failing")
    for _ in seen:
        press(other, "f")
    idle(other)
    page.unroute("**/component_server**")
    until_item(page, seen[0])
    message = page.locator("#review-message", has_text="Not stored: 3 decisions")
    message.wait_for()
    assert f"(items {', '.join(seen)})" in message.inner_text() and verdict(page) == "flag"
    idle(page)
    page.keyboard.press("t")
    page.locator("#review-message", has_text="Not stored: 2 decisions").wait_for()
    idle(page)
    assert shown(page) == seen[1]
    page.reload()  # the last one is still gone back to
    until_item(page, seen[2])
    page.locator("#review-message", has_text="Not stored: This item was decided elsewhere").wait_for()
    idle(page)
    page.keyboard.press("e")
    assert page.input_value("#review-edit-text") == "a text that took an hour"
    page.keyboard.press("Escape")
    undo_everything(page)


class Gate:
    """Requests of one kind wait at it until it is opened."""

    def __init__(self, page, op: str) -> None:
        self.op, self.held = f'"op":"{op}"', []
        page.route("**/component_server**", self.take)

    def take(self, route) -> None:
        if self.held is not None and self.op in (route.request.post_data or ""):
            self.held.append(route)
        else:
            route.fallback()

    def open(self) -> None:
        held, self.held = self.held, None
        for route in held:
            route.continue_()


def test_what_is_decided_and_not_stored_yet_is_not_shown_as_undecided(app, open_page):
    page = opened(open_page, f"{app.url}/#review?order=id")
    gate, sent = Gate(page, "batch"), asked(page)
    move(page, "s")
    second = shown(page)
    move(page, "t")
    move(page, "ArrowRight")
    assert not any('"op":"deck"' in body for body in sent if '"op":"batch"' not in body)
    gate.open()
    page.wait_for_selector("#review-unstored", state="hidden")
    idle(page)
    press(page, "ArrowLeft")
    press(page, "ArrowLeft")
    assert shown(page) == second and verdict(page) == "tie"
    undo_everything(page)


def test_gold_is_for_the_item_that_was_seen(app, open_page):
    page = opened(open_page, f"{app.url}/#review?order=id")
    press(page, "Enter")
    press(page, "Enter")
    idle(page)
    decks = Gate(page, "deck")  # the next item is not there
    page.select_option("#review-filter", "reviewed")
    idle(page)
    page.wait_for_selector("[data-op=gold]")
    batches, sent = Gate(page, "batch"), asked(page)
    page.keyboard.press("f")
    page.click("[data-op=gold]")
    batches.open()
    page.wait_for_selector("#review-message >> text=press it again")
    decks.open()
    idle(page)
    assert not any('"op":"gold"' in body for body in sent)
    page.select_option("#review-filter", "all")
    undo_everything(page)


def test_an_undo_whose_answer_is_lost_takes_back_one_decision(app, open_page):
    page = opened(open_page, f"{app.url}/#review?order=id")
    first = shown(page)
    press(page, "s")
    press(page, "s")
    idle(page)
    third = shown(page)
    sent = asked(page)
    page.route("**/component_server**", lambda route: (route.fetch(), route.abort()))  # done, but nobody hears of it
    page.keyboard.press("u")
    page.wait_for_selector("#review-message >> text=does not answer")
    page.unroute("**/component_server**")
    page.keyboard.press("u")
    page.wait_for_selector(f"#review-root:not([data-item='{third}'])")
    idle(page)
    assert shown(page) != first and verdict(page) is None
    press(page, "ArrowLeft")
    assert shown(page) == first and verdict(page) == "skip"
    # Through a broken tunnel nothing comes at all.
    page.clock.install()
    gate = Gate(page, "undo")
    page.keyboard.press("u")
    page.wait_for_function("document.querySelector('#review-root').dataset.busy")
    page.clock.run_for(21_000)
    page.wait_for_selector("#review-message >> text=does not answer")
    gate.open()
    guideline = Gate(page, "read")
    page.keyboard.press("i")
    page.clock.run_for(21_000)
    page.wait_for_function("document.querySelector('#review-message').innerText === 'The server does not answer.'")
    guideline.open()
    page.keyboard.press("i")
    page.clock.resume()
    undo_everything(page)
    ids = [body.split('"client_id":"')[1][:32] for body in sent if '"op":"undo"' in body]
    assert ids[0] == ids[1] != ids[2]


def test_a_view_is_opened_again_from_its_address_and_back_leads_out_of_it(app, open_page):
    page = opened(open_page, f"{app.url}/#review?order=id")
    first = shown(page)
    press(page, "ArrowRight")
    press(page, "ArrowRight")
    third = shown(page)
    page.wait_for_function(f"location.hash === '#review?order=id&item={third}'")
    again = opened(open_page, page.url)
    assert shown(again) == third and again.input_value("#review-order") == "id"
    page.select_option("#review-filter", "unreviewed")
    page.wait_for_function("location.hash.startsWith('#review?filter=unreviewed&order=id')")
    until_item(page, first)
    page.go_back()
    until_item(page, third)
    page.wait_for_function("document.querySelector('#review-filter').value === 'all'")
    page.get_by_role("tab", name="Data").click()
    page.wait_for_function("location.hash === '#data'")
    page.go_back()
    page.wait_for_selector("#review-root", state="visible")
    until_item(page, third)


def test_ranges_show_as_chips_that_leave_again(app, open_page):
    page = opened(open_page, f"{app.url}/#review?order=id&m3p_score=0..1&by=me&q=ball&in=answers")
    page.wait_for_selector("#review-chips button >> text=Clear all")
    texts = page.locator("#review-chips button").all_inner_texts()
    assert texts == ["“ball” in answers ✕", "Decided by: me ✕", "M3P-Score 0 to 1 ✕", "Clear all"]
    page.locator("#review-chips button").nth(1).click()
    page.wait_for_function("!location.hash.includes('by=me')")
    page.click("#review-filters summary")
    page.fill("[data-range=mas_gap][data-side=low]", "-5")
    page.press("[data-range=mas_gap][data-side=low]", "Enter")
    page.wait_for_function("location.hash.includes('mas_gap=-5..')")
    page.locator("#review-chips button", has_text="Clear all").click()
    page.wait_for_function("location.hash.startsWith('#review?order=id&item=') || location.hash === '#review?order=id'")


def test_both_sides_read_and_write_the_same_addresses(app, open_page):
    cases = []

    @settings(max_examples=60, database=None, phases=[Phase.generate],
              suppress_health_check=[HealthCheck.too_slow])  # fmt: skip
    @given(VIEWS, st.none() | st.integers(0, 2**53 - 1))
    def collect(view, item):
        written = write_address("review", view, item)
        assert read_address(written) == ("review", view, item)
        cases.append((written, view, item))

    collect()
    page = opened(open_page, f"{app.url}/#review")
    found = page.evaluate(
        """async ([script, cases]) => {
            const {readAddress, writeAddress} = await import(script);
            const both = ([written, view, item]) => [readAddress("#" + written), writeAddress("review", view, item)];
            return cases.map(both);
        }""",
        [page.evaluate(SCRIPT), [(written, view_as_json(view), item) for written, view, item in cases]],
    )
    for (_, view, item), (there, back) in zip(cases, found, strict=True):
        assert (there["tab"], view_of(there["view"]), there["item"]) == ("review", view, item)
        assert read_address(back) == ("review", view, item)


@pytest.mark.parametrize("strip", [True, False])
def test_the_page_works_under_a_path(app, open_page, strip):
    with reverse_proxy(app.port, PREFIX, strip=strip) as url:
        page = opened(open_page, f"{url}/#review?order=id")
        page.wait_for_function("document.querySelector('#review-image img').naturalWidth > 0")
        here = shown(page)
        press(page, "s")
        idle(page)
        assert shown(page) != here
        undo_everything(page)
        page.get_by_role("tab", name="Data").click()  # Gradio's own events, too
        page.wait_for_selector("#data-workspace .figures")


def test_the_image_is_fitted_zooms_and_keeps_its_zoom_where_asked(app, open_page):
    page = opened(open_page, f"{app.url}/#review?order=id")
    scale = lambda: float(page.get_attribute("#review-image", "data-scale"))  # noqa: E731
    assert scale() == 1
    box = page.locator("#review-image").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.wheel(0, -400)
    page.wait_for_function("document.querySelector('#review-image').dataset.scale > 1.5")
    before = page.evaluate("document.querySelector('#review-image img').style.transform")
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 80, steps=3)
    page.mouse.up()
    assert page.evaluate("document.querySelector('#review-image img').style.transform") != before
    press(page, "ArrowRight")
    assert scale() == 1
    page.check("#review-keep-zoom")
    page.mouse.dblclick(box["x"] + 100, box["y"] + 100)
    zoomed = scale()
    press(page, "ArrowRight")
    assert scale() == zoomed > 1
    page.keyboard.press("z")
    assert scale() == 1


def test_an_open_review_shows_what_was_picked_and_scored_anew(app, open_page):
    """Without a key: while it is looked at, and when its tab is opened again."""
    page = opened(open_page, f"{app.url}/#review?order=id")
    other = open_page(f"{app.url}/#data")

    def pair_of(page) -> list[str]:
        return [page.locator(f".card[data-role={role}]").get_attribute("data-candidate-id")
                for role in ("chosen", "rejected")]  # fmt: skip

    def select_by(rule: str) -> None:
        other.locator("#select-rule input").click()
        other.get_by_role("option", name=rule, exact=True).click()
        other.click("#data-select")
        other.wait_for_selector("#select-message .notice-good")

    item, before = shown(page), pair_of(page)
    select_by(RULE_LABELS["vanilla_dpo"])
    rejected = f".card[data-role=rejected]:not([data-candidate-id='{before[1]}'])"
    chosen = f".card[data-role=chosen]:not([data-candidate-id='{before[0]}'])"
    page.wait_for_selector(f"{rejected}, {chosen}")
    assert shown(page) == item and pair_of(page) != before
    page.wait_for_selector("#review-message >> text=has changed")
    # In one page: from Review to Data, Select, and back.
    other.get_by_role("tab", name="Review").click()
    other.wait_for_selector(".card[data-role=chosen]")
    there = pair_of(page)
    other.get_by_role("tab", name="Data").click()
    select_by(RULE_LABELS["m3po"])
    other.get_by_role("tab", name="Review").click()
    chosen, rejected = (f".card[data-role={role}][data-candidate-id='{each}']"
                        for role, each in zip(("chosen", "rejected"), before, strict=True))  # fmt: skip
    other.wait_for_selector(chosen)
    other.wait_for_selector(rejected)
    idle(other)
    assert shown(other) == item and there != before


NOTHING_KEPT = "() => !Object.keys(localStorage).some((key) => key.startsWith('m3po.unsent'))"


def test_nothing_is_lost_when_the_app_is_killed_under_the_page(app, open_page):
    page = opened(open_page, f"{app.url}/#review?order=id")
    here = shown(page)
    app.kill()
    move(page, "n")
    page.wait_for_selector("#review-unstored.failing")
    app.start()
    # Gradio loads the page anew when its server comes back; what was not stored is kept over that.
    page.wait_for_function(NOTHING_KEPT, timeout=60_000)
    assert [d["verdict"] for d in app.history() if d["instruction_id"] == int(here)][-1:] == ["all_wrong"]
