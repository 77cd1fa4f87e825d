"""What the server draws of the Browse page: its fixed frame, the gallery's cards, the table of the image test."""

from __future__ import annotations

from m3po.browsing import Negative
from m3po.types import PAIR_MEASURES
from ui.formatting import PAIR_TOOLTIPS, clip, count, image_url, number
from ui.markup import Markup, join, tag
from ui.review.toolbar import LENGTH_TOOLTIP, MEASURE_LABELS

SHOWN_TEXT = 240  # characters of an answer on a card
SIGNAL_LABELS = {"mas": "MAS", "logp": "log-prob"}
IMAGE_LABELS = {"swap": "swapped", "blank": "blanked"}
TEST_HELP = (
    "Both signals again with the image blanked and with another instruction's image. A pair whose chosen answer stays "
    "the better one was never about its image: it is suspect."
)


def build_browse_frame() -> Markup:
    """Filled and driven by ui/static/browse.js."""
    roles = [
        tag("button", label, type="button", class_="plain", data_role_of=role, aria_pressed="false", title=title)
        for role, label, title in (
            ("rejected", "✗ rejected", "The plot shows the rejected answers"),
            ("chosen", "✓ chosen", "The plot shows the chosen answers"),
        )
    ]
    tools = [
        tag("button", label, type="button", class_="plain", data_tool=tool, aria_pressed="false", title=title)
        for tool, label, title in (
            ("box", "▭ box", "Drag a box: only pairs in it stay"),
            ("lasso", "◌ lasso", "Draw around points: only pairs inside stay"),
        )
    ]
    plot = tag(
        "section",
        tag("header", tag("h3", "MAS against confidence"), *roles, tag("span", class_="gap"), *tools,
            class_="browse-head"),
        tag("div", tag("canvas", id="browse-plot", role="img", aria_label="MAS against confidence"),
            class_="browse-canvas"),
        class_="browse-plot",
    )  # fmt: skip
    histograms = [
        tag(
            "figure",
            tag("figcaption", tag("b", MEASURE_LABELS[measure]), " ",
                tag("span", class_="quiet", data_range_of=measure),
                title=f"{PAIR_TOOLTIPS.get(measure, LENGTH_TOOLTIP)} Drag to keep a range."),
            tag("div", tag("canvas", data_measure=measure, role="img",
                           aria_label=f"Histogram of {MEASURE_LABELS[measure]}"), class_="histogram"),
        )
        for measure in PAIR_MEASURES
    ]  # fmt: skip
    test = tag(
        "section",
        tag("header", tag("h3", "Is it about the image?", title=TEST_HELP), tag("span", class_="gap"),
            tag("label", "pairs ", tag("input", id="browse-test-limit", type="number", min="0", step="100", value="500",
                                       title="So many pairs, drawn by chance; 0 takes every answer")),
            tag("button", "Test image dependence", id="browse-test", type="button", class_="action", title=TEST_HELP),
            class_="browse-head"),
        tag("div", id="browse-tests"),
        class_="browse-test",
    )  # fmt: skip
    bar = tag(
        "div",
        tag("span", tag("b", "–", id="browse-left"), " of ", tag("span", "–", id="browse-total"), " pairs left"),
        tag("span", id="browse-chips"),
        tag("button", "Clear", id="browse-clear", type="button", class_="plain", hidden=True,
            title="All pairs again"),
        tag("span", class_="gap"),
        tag("span", id="browse-message", role="status", aria_live="polite"),
        tag("button", "Review these", id="browse-review", type="button", class_="action action-main",
            title="Opens Review with what narrows the pairs here, and nothing else; items without a pair come last"),
        class_="browse-bar",
    )  # fmt: skip
    gallery = tag(
        "section",
        tag("header", tag("h3", "Hard negatives, most confident first"), tag("span", class_="gap"),
            tag("button", "‹", id="browse-previous", type="button", class_="plain", aria_label="Previous page"),
            tag("span", id="browse-page", class_="quiet"),
            tag("button", "›", id="browse-next", type="button", class_="plain", aria_label="Next page"),
            class_="browse-head"),
        tag("div", id="browse-gallery"),
    )  # fmt: skip
    return tag(
        "div",
        bar,
        tag("div", tag("div", plot, tag("div", tag("div", *histograms, class_="browse-histograms"), test,
                                        class_="browse-side"), class_="browse-figures"), gallery, id="browse-body"),
        tag("div", tag("h2", "No pairs yet"), tag("p", "Sample, score and select on the Data tab: they appear here."),
            tag("button", "Go to Data", type="button", class_="action action-main", data_open_tab="data"),
            id="browse-empty", class_="empty-state", hidden=True),
        id="browse-root", class_="browse",
    )  # fmt: skip


def draw_negatives(found: list[Negative]) -> Markup:
    """A card each; a click opens the item in Review."""
    return join([_draw_card(pair) for pair in found])


def _draw_card(pair: Negative) -> Markup:
    picture = (
        tag("img", src=f"{image_url(pair.image)}?size=small", alt="", loading="lazy", decoding="async",
            width=pair.image.width, height=pair.image.height)
        if pair.image else tag("span", "no image", class_="quiet")
    )  # fmt: skip
    margin = pair.margin is not None and pair.margin < 0
    values = tag(
        "span",
        tag("b", number(pair.confidence), title="Confidence of the rejected answer: exp(mean log-prob)"), " conf · ",
        number(pair.mas), " MAS · ",
        tag("span", number(pair.margin, sign=True), class_="value-warn" if margin else None,
            title=PAIR_TOOLTIPS["logp_margin"]), " margin",
        class_="negative-values",
    )  # fmt: skip
    tests = [
        f"{SIGNAL_LABELS[signal]} {IMAGE_LABELS[image]}" for signal, image in (t.split("_") for t in pair.survived)
    ]
    suspect = tag("span", f"survives: {', '.join(tests)}", class_="chip chip-warn", title=TEST_HELP) if tests else None
    return tag(
        "button",
        tag("span", picture, class_="negative-image"),
        tag("span", _shorten(pair.instruction), class_="negative-question", dir="auto"),
        tag("span", tag("span", "✗ ", class_="sign", aria_hidden="true"), _shorten(pair.rejected),
            class_="negative-rejected", dir="auto"),
        tag("span", "✓ ", _shorten(pair.chosen), class_="negative-chosen", dir="auto"),
        values,
        suspect,
        type="button", class_="negative", data_item=pair.instruction_id, title=f"Open {pair.external_id} in Review",
    )  # fmt: skip


def _shorten(text: str) -> str:
    return clip(text) if len(text) <= SHOWN_TEXT else f"{text[:SHOWN_TEXT]}…"


def draw_tests(tests: list[dict], survived: str) -> Markup:
    """How often the preference survives, one row a test; its button leaves only those pairs in the gallery."""
    if not any(test["scored"] for test in tests):
        return tag("p", "Not tested yet. ", TEST_HELP, class_="quiet")
    rows = [_draw_test(test, survived) for test in tests]
    heads = [
        tag("th", head, title=title)
        for head, title in (
            ("prefers by", "What says that the chosen answer is the better one"),
            ("image", "What is done with the image"),
            (
                "survive",
                "Of the pairs whose chosen answer this signal prefers with the own image, those where it still does",
            ),
            ("rate", "With its 95 % Wilson interval. Chance alone gives a half."),
            ("", None),
        )
    ]
    return tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), class_="figures-table browse-tests")


def _draw_test(test: dict, survived: str) -> Markup:
    name = f"{test['signal']}_{test['image']}"
    if not test["preferred"]:
        rate, counts, action = number(None), "none preferred yet", None
    else:
        low, high = test["interval"]
        rate = join([number(test["rate"]), " ", tag("span", f"{number(low)}–{number(high)}", class_="quiet interval")])
        counts = f"{count(test['survived'])} of {count(test['preferred'])} preferred"
        on = survived == name
        action = tag("button", "all pairs" if on else "show", type="button", class_="link",
                     data_survived="" if on else name, disabled=not test["survived"] and not on)  # fmt: skip
    cells = [SIGNAL_LABELS[test["signal"]], IMAGE_LABELS[test["image"]], counts, rate, action]
    return tag("tr", *[tag("td", cell, class_="num" if n in (2, 3) else None) for n, cell in enumerate(cells)],
               class_="shown" if survived == name else None)  # fmt: skip
