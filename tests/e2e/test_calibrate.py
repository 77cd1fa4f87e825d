"""The Calibrate tab in a real browser: a slider shows what would change, Apply makes it the selection."""

from __future__ import annotations

import pytest
from browser import app_on_copy

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def app(scored_workspace, tmp_path_factory):
    """Its selection changes."""
    with app_on_copy(scored_workspace, tmp_path_factory.mktemp("calibrate")) as running:
        yield running


def move(page, name: str, value: float) -> None:
    page.eval_on_selector(
        f"#calibrate-{name}",
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})) }",
        value,
    )


def pairs(page) -> str:
    return page.inner_text("#calibrate-counts .now b")


def test_from_a_slider_to_the_selection(app, open_page):
    page = open_page(f"{app.url}/#calibrate")
    page.wait_for_selector("#calibrate-flips >> text=No pair changes")
    page.wait_for_selector("#calibrate-evidence >> text=No decisions on these pairs yet")
    assert page.is_disabled("#calibrate-apply")
    before = pairs(page)
    for delta in (0.2, 0.5, 0.9, 0.99):  # of a slider under way only the last place counts
        move(page, "delta", delta)
    page.wait_for_function(f"document.querySelector('#calibrate-counts .now b').textContent !== '{before}'")
    page.wait_for_selector("#calibrate-flips .flip")
    page.wait_for_selector("#calibrate-apply:enabled")
    assert page.evaluate("window.hacked") is None
    page.click("#calibrate-counts [data-which=new]")
    page.wait_for_function("document.querySelector('#calibrate-flips').innerText.includes('None of this sort')")
    page.click("#calibrate-discard")
    page.wait_for_function(f"document.querySelector('#calibrate-counts .now b').textContent === '{before}'")
    move(page, "delta", 0.99)
    page.wait_for_function(f"document.querySelector('#calibrate-counts .now b').textContent !== '{before}'")
    fewer = pairs(page)
    page.click("#calibrate-apply")
    page.wait_for_function("document.querySelector('#calibrate-apply').disabled")
    page.wait_for_function("document.querySelector('#calibrate-message').innerText.includes('Selected')")
    page.reload()
    page.wait_for_function(
        f"document.querySelector('#calibrate-counts .now b')?.textContent === '{fewer}'"
        " && document.querySelector('#calibrate-delta').value === '0.99'"
    )
    assert page.is_disabled("#calibrate-apply")
    # The field shows four digits of the threshold; accepting again keeps it as it is.
    page.fill("#calibrate-score", "0.12345678")
    for _ in range(2):
        with page.expect_request(lambda request: '"op":"accept"' in (request.post_data or "")) as sent:
            page.click("#calibrate-accept")
        assert '"score":0.12345678' in sent.value.post_data
        page.wait_for_function("document.querySelector('#calibrate-score').value === '0.1234'")
