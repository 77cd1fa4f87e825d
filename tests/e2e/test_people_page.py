"""Several people in real browsers: login, blind review by keys, two who disagree, and a curator's last word."""

import json
from pathlib import Path

import pytest
from browser import App, draw_image

from m3po.settings import SelectConfig
from m3po.store import candidates
from m3po.studio import Studio
from m3po.users import add_user
from m3po.workspace_config import WorkspaceConfig

pytestmark = pytest.mark.browser
PASSWORD = "a password of theirs"
MAS = (0.91, 0.12, 0.55, 0.33)


def make_workspace(folder: Path) -> Path:
    """Three items whose pairs the data set came with, with MAS values that are easy to look for; one is gold."""
    rows = []
    for i in range(3):
        draw_image(folder / "pictures" / f"{i}.png", i)
        answers = [{"id": k, "text": f"Answer {k} of item {i}: a yellow ball number {k} on blue."} for k in range(4)]
        given = [{"verdict": "accept", "chosen": 0, "rejected": 1}]
        rows.append({"id": f"item-{i}", "images": [f"pictures/{i}.png"], "instruction": f"What is in picture {i}?",
                     "split": "train", "candidates": answers, "given": given})  # fmt: skip
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = Studio.create(folder / "workspace", WorkspaceConfig())
    studio = Studio.open(path)

    def score(con) -> None:
        scorer = candidates.scorer_id(con, "mas", "oracle", "oracle-1")
        candidates.activate(con, "mas", scorer)
        for place, mas in enumerate(MAS):
            con.execute(
                "INSERT INTO mas_scores (candidate_id, scorer_id, run_id, mas) SELECT candidate_id, ?, 1, ?"
                " FROM candidates WHERE text LIKE ?",
                [scorer, mas, f"Answer {place} of%"],
            )

    try:
        assert studio.import_source(folder / "rows.jsonl").added == 3
        studio.db.write(score)
        studio.select(SelectConfig(rule="given"))
        pair = studio.review_item(instruction_id=3).machine_pair
        studio.decide(3, "accept", chosen=pair.chosen, rejected=pair.rejected, annotator="cora")
        studio.people.mark_gold(3, "cora")
        studio.people.assign(["ann", "bob"], items=1, overlap=1.0, gold=1, blind=True)
    finally:
        studio.close()
    return path


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    for name, role in (("ann", "annotator"), ("bob", "annotator"), ("cora", "curator"), ("vic", "viewer")):
        add_user(folder / "users", name, PASSWORD, role)
    running = App(make_workspace(folder), "--auth", str(folder / "users"))
    yield running
    running.stop()


def wait_for(page, name: str):
    page.wait_for_selector("#tabs")
    page.wait_for_selector(f"html[data-user={name}]", state="attached")
    return page


def log_in(page, url: str, name: str, place: str = ""):
    """What the form sends, then the page at a place; returns the page."""
    page.set_default_timeout(20_000)
    form = {"username": name, "password": PASSWORD}
    # Retried where the server has just closed the connection that an earlier login left open.
    answer = page.context.request.post(f"{url}/login", form=form, max_retries=3)
    assert answer.ok, answer.status
    page.goto("about:blank")  # a place alone would not load it anew
    page.goto(f"{url}/{place}")
    return wait_for(page, name)


def fill_the_form(page, url: str, name: str, place: str = ""):
    page.set_default_timeout(20_000)
    page.goto(f"{url}/{place}")
    page.get_by_label("username").fill(name)
    page.get_by_label("password").fill(PASSWORD)
    page.get_by_role("button", name="Login").click()
    return wait_for(page, name)


@pytest.fixture
def enter(browser, app):
    """Logs somebody in, in a browser of her own; returns the page."""
    contexts = []

    def enter_(name: str, place: str = "", by=log_in):
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        contexts.append(context)
        return by(context.new_page(), app.url, name, place)

    yield enter_
    for context in contexts:
        context.close()


def draws(page) -> int:
    return int(page.get_attribute("#review-root", "data-draws") or 0)


def press(page, key: str) -> None:
    before = draws(page)
    page.keyboard.press(key)
    page.wait_for_function(f"Number(document.getElementById('review-root').dataset.draws || 0) > {before}")


def vote_blind(page, chosen: str, rejected: str) -> str:
    """Judge the item that is drawn by keys; returns what it was."""
    item = page.get_attribute("#review-root", "data-item")
    press(page, chosen)
    press(page, rejected)
    page.wait_for_selector("[data-role=chosen]")
    return item


def begin(page, note: str, answer: str) -> tuple[str, str]:
    """Half a note and half an answer on the item that is drawn, the editor left open; returns what was there before."""
    before = []
    for keys, field, text in (("m", "#review-note-text", note), (("ArrowDown", "e"), "#review-edit-text", answer)):
        for key in keys:
            page.keyboard.press(key)
        before.append(page.input_value(field))
        page.fill(field, text)
        if keys == "m":
            page.keyboard.press("Escape")
    return tuple(before)


def next_item(page) -> None:
    item = page.get_attribute("#review-root", "data-item")
    page.keyboard.press("Enter")
    page.wait_for_function(f"document.querySelector('#review-root').dataset.item !== '{item}'")


def texts(page) -> list[str]:
    """The answers by their number keys."""
    cards = page.locator("[data-number]")
    found = {int(card.get_attribute("data-number")): card.inner_text() for card in cards.all()}
    return [next(k for k in range(4) if f"Answer {k} of" in found[n]) for n in sorted(found)]


def number_of(page, answer: int) -> int:
    return texts(page).index(answer) + 1


def test_two_judge_blind_disagree_and_a_curator_has_the_last_word(enter):
    ann = enter("ann", by=fill_the_form)
    ann.wait_for_selector("[data-candidate-id]")
    ann.hover(".workspace-name")
    assert ann.get_attribute(".workspace-name", "title") == "workspace"  # where it lies is told to curators
    ann.get_by_role("tab", name="Data").wait_for(state="hidden")
    ann.wait_for_selector("#review-order", state="hidden")  # the queue has its own
    ann.wait_for_selector("#review-progress >> text=0 of 2 reviewed")
    assert ann.input_value("#review-filter") == "mine"
    whole = ann.inner_html("#tabs")
    assert not [mas for mas in MAS if str(mas) in whole] and "given chosen" not in whole and "cora" not in whole
    ann.keyboard.press("Enter")
    ann.wait_for_selector("text=There is no pair to accept")  # the machine's pick is not there to be accepted
    ann.keyboard.press("b")
    ann.wait_for_selector("#review-belief-note >> text=after your vote")
    items = []
    for _ in range(2):
        before = texts(ann)
        items.append(vote_blind(ann, str(number_of(ann, 0)), f"Shift+{number_of(ann, 1)}"))
        ann.wait_for_selector("#review-candidates >> text=0.91")  # now all is shown, at its place
        ann.wait_for_selector("#review-belief-note >> text=No token log-probs yet")
        assert texts(ann) == before
        next_item(ann)
    ann.wait_for_selector("text=Your queue is empty")
    ann.click("#review-empty button >> text=Show all")
    ann.wait_for_selector("#review-order", state="visible")
    assert "3" in items  # the gold item came among them

    bob = enter("bob")
    bob.wait_for_selector("[data-candidate-id]")
    seen = []
    for _ in range(2):
        assert "0.91" not in bob.inner_html("#tabs") and "ann" not in bob.inner_text("#review-state")
        item = bob.get_attribute("#review-root", "data-item")
        right = item == "3"
        a, b = (0, 1) if right else (1, 0)
        seen.append(vote_blind(bob, str(number_of(bob, a)), f"Shift+{number_of(bob, b)}"))
        next_item(bob)
    assert sorted(seen) == sorted(items)

    cora = enter("cora", "#people")
    cora.wait_for_selector("#people-disputes [data-dispute]")
    cora.hover(".workspace-name")
    assert cora.get_attribute(".workspace-name", "title").endswith("/workspace")
    rows = {row.get_attribute("data-annotator"): row.inner_text() for row in cora.locator("[data-annotator]").all()}
    assert "100 %" in rows["ann"] and "done" in rows["bob"]  # drawn by the same answer as the disputes
    assert cora.locator("#people-disputes li").count() == 1
    cora.locator("#people-disputes [data-dispute]").first.click()
    cora.wait_for_selector("[data-voter=ann]")
    cora.wait_for_selector("[data-voter=bob] >> text=overridden")
    assert cora.locator("[data-voter]").count() == 2
    first = cora.get_attribute("#review-root", "data-item")
    press(cora, "t")
    cora.wait_for_selector("text=Nobody disagrees")
    cora.keyboard.press("u")
    cora.wait_for_selector(f"#review-root[data-item='{first}']:not([data-busy])")
    press(cora, "t")
    cora.get_by_role("tab", name="People").click()
    cora.wait_for_selector("#people-disputes >> text=Nobody disagrees")


def test_a_curator_assigns_from_the_page_and_a_viewer_only_looks(enter):
    cora = enter("cora", "#people")
    cora.fill("#people-names textarea, #people-names input", "ann, vic")
    cora.fill("#people-items input", "1")
    cora.click("#people-assign")
    cora.wait_for_selector("#people-message .notice-bad >> text='vic' is no annotator")
    cora.fill("#people-names textarea, #people-names input", "ann")
    cora.click("#people-assign")
    cora.wait_for_selector("#people-message .notice-good >> text=1 item for ann")
    cora.wait_for_selector("#people-assignments >> text=2 · ann")

    vic = enter("vic", "#review")
    vic.wait_for_selector("[data-candidate-id]")
    assert not vic.locator("#review-accept").is_visible()
    vic.keyboard.press("t")
    vic.wait_for_selector("text=vic is a viewer here")
    vic.get_by_role("tab", name="People").click()
    vic.wait_for_selector("#people-figures [data-annotator=ann]")
    assert not vic.locator("#people-assign").is_visible()
    vic.get_by_role("tab", name="Data").click()
    vic.wait_for_selector("#data-workspace >> text=Instructions")
    assert not [button for button in vic.locator("#data-page button").all() if button.is_visible()]


def test_what_was_not_stored_waits_for_the_login_of_who_decided_it(enter, app):
    """Ann's login ends before her decisions are stored, and bob logs in in the same browser."""
    ann = enter("ann", "#review?item=1&order=id")
    ann.on("dialog", lambda dialog: dialog.accept())
    ann.wait_for_selector("#review-root[data-painted]:not([data-painted=''])")
    ann.wait_for_selector("#review-root[data-ahead]:not([data-ahead='0'])")
    ann.route("**/component_server**", lambda route: route.abort())
    seen = []
    for key in ("t", "n"):
        seen.append(ann.get_attribute("#review-root", "data-item"))
        press(ann, key)
    ann.wait_for_selector("#review-unstored.failing >> text=2 not stored yet")
    assert "half" not in "".join(begin(ann, "half a note of ann's", "half an answer of ann's"))

    add_user(app.workspace.parent / "users", "ann", PASSWORD, "annotator")  # an account made anew ends the old login
    ann.unroute("**/component_server**")
    ann.wait_for_selector("#review-login >> text=Your login has ended. Log in again")
    assert "does not answer" not in ann.inner_text("#review-message")

    other = log_in(ann.context.new_page(), app.url, "bob", "#review")
    waits = "2 of ann's decisions wait in this browser, not stored yet: sent when ann logs in again."
    other.wait_for_selector(f"#review-login >> text={waits}")
    ann.wait_for_selector("#review-login >> text=This page is ann's, and bob is logged in now")
    ann.reload()
    ann.wait_for_selector("html[data-user=bob]", state="attached")
    ann.wait_for_selector(f"#review-login >> text={waits}")
    ann.wait_for_selector("#review-root[data-painted]:not([data-painted=''])")
    assert "half" not in "".join(begin(ann, "half a note of bob's", "half an answer of bob's"))
    other.wait_for_selector("#review-root[data-painted]:not([data-painted=''])")

    ann.context.clear_cookies()
    log_in(other, app.url, "ann")
    other.wait_for_function("() => !Object.keys(localStorage).some((key) => key.startsWith('m3po.unsent'))")
    ann.reload()
    ann.wait_for_selector("html[data-user=ann]", state="attached")
    ann.wait_for_selector("#review-root[data-painted]:not([data-painted=''])")
    assert begin(ann, "", "") == ("half a note of ann's", "half an answer of ann's")
    history = app.history()[::-1]
    stored = [[(d["annotator"], d["verdict"]) for d in history if d["instruction_id"] == int(item)] for item in seen]
    newest = [next(verdict for name, verdict in votes if name == "ann") for votes in stored]
    assert newest == ["tie", "all_wrong"]
    assert not [vote for votes in stored for vote in votes if vote[0] == "bob" and vote[1] in ("tie", "all_wrong")]
