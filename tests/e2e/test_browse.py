"""Browse in a real browser: what is drawn on the plot is what Review shows; coloured tokens stay what they were."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser


def left(page) -> int:
    return int(page.get_attribute("#browse-root", "data-left"))


def wait_left(page, expected) -> None:
    page.wait_for_function(
        "([test, than]) => { const left = Number(document.querySelector('#browse-root').dataset.left);"
        " return test === 'is' ? left === than : left < than; }",
        arg=expected,
    )


def wait_settled(page) -> None:
    """Until the newest question is answered."""
    page.wait_for_function(
        "(({asked, answered}) => asked === answered)(document.querySelector('#browse-root').dataset)"
    )


def drag(page, selector: str, corners: list[tuple[float, float]]) -> None:
    """Through places of the element, each a share of its width and height."""
    box = page.locator(selector).bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for x, y in places[1:]:
        page.mouse.move(x, y, steps=8)
    page.mouse.up()


def test_lasso_and_brush_become_the_view_of_review(app, open_page):
    page = open_page(f"{app.url}/#browse")
    page.wait_for_selector(".negative")
    everything = left(page)
    assert page.locator(".negative").count() == min(everything, 24)
    # The upper left half of the plot, around some of the points.
    drag(page, "#browse-plot", [(0.05, 0.02), (0.6, 0.02), (0.6, 0.5), (0.3, 0.98), (0.05, 0.98)])
    page.wait_for_function("location.hash.includes('area=rejected:')")
    page.wait_for_selector("#browse-chips [data-lift=area]")
    inside = left(page)
    assert 0 < inside < everything
    # The same by a box, of which a corner and the one across are enough: all of the upper left half.
    page.click("[data-tool=box]")
    drag(page, "#browse-plot", [(0.05, 0.02), (0.6, 0.98)])
    wait_settled(page)
    boxed = page.evaluate("location.hash")
    assert "area=rejected:" in boxed and inside <= left(page) < everything
    page.click("[data-tool=lasso]")
    drag(page, "#browse-plot", [(0.05, 0.02), (0.6, 0.02), (0.6, 0.5), (0.3, 0.98), (0.05, 0.98)])
    wait_left(page, ["is", inside])
    for half in ((0.0, 0.5), (0.5, 1.0)):  # one of them has some
        drag(page, "[data-measure=mas_gap]", [(half[0], 0.5), (half[1], 0.5)])
        page.wait_for_function("document.querySelector('[data-range-of=mas_gap]').textContent")
        wait_settled(page)
        if both := left(page):
            break
    assert "mas_gap=" in page.evaluate("location.hash") and 0 < both <= inside
    page.click("#browse-review")
    page.wait_for_function(f"document.querySelector('#review-position').innerText.endsWith('/ {both}')")
    page.get_by_role("tab", name="Browse").click()
    page.click("#browse-clear")
    wait_left(page, ["is", everything])
    # Without a filter Review opens without one, too.
    page.click("#browse-review")
    page.wait_for_selector("#review-chips", state="hidden")
    page.wait_for_function("!document.querySelector('#review-root').dataset.busy")
    assert int(page.inner_text("#review-position").split("/")[1]) >= everything > both
    page.get_by_role("tab", name="Browse").click()
    page.wait_for_selector(".negative")
    page.click(".negative >> nth=0")
    page.wait_for_selector("[data-role=rejected]")
    assert page.evaluate("location.hash").startswith("#review?item=")
    # Also on a page that was loaded on Browse, which remembers where Review was before.
    page.get_by_role("tab", name="Browse").click()
    page.reload()
    page.wait_for_selector(".negative")
    drag(page, "#browse-plot", [(0.05, 0.02), (0.6, 0.02), (0.6, 0.5), (0.3, 0.98), (0.05, 0.98)])
    page.wait_for_selector("#browse-chips [data-lift=area]")
    page.click("#browse-review")
    page.wait_for_function(f"document.querySelector('#review-position').innerText.endsWith('/ {inside}')")


def test_a_view_of_browse_is_reopened_by_its_address(app, open_page):
    page = open_page(f"{app.url}/#browse?logp_margin=..-1000&area=rejected:0,0;1,0;1,1")
    page.wait_for_selector("#browse-chips [data-lift=ranges]")
    page.wait_for_function("document.querySelector('#browse-gallery').textContent.includes('No pair is left')")
    assert left(page) == 0
    page.click("#browse-chips [data-lift=ranges]")
    page.click("#browse-chips [data-lift=area]")
    page.wait_for_selector(".negative")


def test_tokens_are_coloured_by_a_key_and_a_reload_keeps_it(app, open_page):
    page = open_page(f"{app.url}/#review")
    page.wait_for_selector("[data-role=chosen] .card-text")
    texts = "() => [...document.querySelectorAll('.card-text, .row-text')].map((text) => text.textContent)"
    plain = page.evaluate(texts)
    page.keyboard.press("b")
    page.wait_for_selector(".card-text [title*=nats]")
    assert [text.replace("∎", "") for text in page.evaluate(texts)] == plain
    assert page.locator("[data-legend=logp]").is_visible()
    page.reload()
    page.wait_for_selector(".card-text [title*=nats]")
    first = page.get_attribute("#review-root", "data-item")
    page.keyboard.press("ArrowRight")  # the next item is coloured, too
    page.wait_for_selector(f"#review-root:not([data-item='{first}'])")
    page.wait_for_selector(".card-text [title*=nats]")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector(f"#review-root[data-item='{first}']")
    page.keyboard.press("b")
    page.wait_for_function("document.querySelector('#review-belief-note').textContent.includes('not scored')")
    page.keyboard.press("b")
    page.wait_for_function("!document.querySelector('.card-text [title*=nats]')")
    assert page.evaluate(texts) == plain
