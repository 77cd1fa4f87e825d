"""The bar above the review: what is shown, in which order, searched and filtered, and where one is in it."""

from __future__ import annotations

from m3po.types import PAIR_MEASURES, REVIEW_FILTERS, REVIEW_ORDERS, SEARCH_PLACES
from ui.formatting import FILTER_LABELS, ORDER_LABELS, PAIR_TOOLTIPS
from ui.markup import Markup, tag
from ui.review.key_words import keyed_title

PLACE_LABELS = {"instructions": "in instructions", "answers": "in answers"}
MEASURE_LABELS = {
    "m3p_score": "M3P-Score", "logp_margin": "Log-prob margin", "mas_gap": "MAS gap", "length_ratio": "Length ratio",
}  # fmt: skip
OUTCOME_CHOICES = {
    "": "any", "learned": "learned", "unlearned": "unlearned", "flipped": "flipped (either)", "kept": "kept",
    "still_wrong": "still wrong",
}  # fmt: skip
OUTCOME_TITLE = (
    "By the sign of the pair's log-prob margin before the run and after it: learned, from wrong to right; unlearned, "
    "from right to wrong; kept right; still wrong."
)
LENGTH_TOOLTIP = "Length ratio: tokens of the pair's answers against each other; far from 1 is a length bias."


def build_toolbar() -> Markup:
    """Filled and driven by ui/static/filters.js and frame.js."""
    filters = [tag("option", FILTER_LABELS[name], value=name) for name in REVIEW_FILTERS]
    orders = [tag("option", ORDER_LABELS[name], value=name) for name in REVIEW_ORDERS]
    places = [tag("option", PLACE_LABELS[name], value=name) for name in SEARCH_PLACES]
    searching = tag("span", "Searching… ", tag("button", "Cancel", type="button", class_="link"),
                    id="review-searching", hidden=True, role="status")  # fmt: skip
    return tag(
        "div",
        tag("select", *filters, id="review-filter", aria_label="Show", title="Which items to show"),
        tag("select", *orders, id="review-order", aria_label="Order", title="In which order"),
        tag(
            "span",
            tag("input", id="review-search", type="search", placeholder="Search", autocomplete="off",
                spellcheck="false", maxlength=1000, aria_label="Search", title="Part of a text; Enter searches"),
            tag("select", *places, id="review-search-in", aria_label="Where to search"),
            searching,
            class_="search",
        ),
        _build_panel(),
        tag("input", id="review-jump", type="text", placeholder="go to id", autocomplete="off", spellcheck="false",
            aria_label="Jump to", title="Enter goes to the instruction with this id, or source/id"),
        tag("span", id="review-unstored", hidden=True, role="status"),
        _build_progress(),
        tag("span", _step("review-previous", "previous", "‹", "Previous"),
            tag("span", id="review-position", aria_live="polite"),
            _step("review-next", "next", "›", "Next"), class_="stepper"),
        tag("button", tag("kbd", "?"), tag("span", " keys"), id="review-help-open", type="button", class_="plain",
            aria_haspopup="dialog"),
        class_="review-toolbar", role="toolbar", aria_label="Which items to review",
    )  # fmt: skip


def _build_panel() -> Markup:
    """Everything else that narrows a view; what is set shows as chips below the bar."""
    ranges = [
        tag(
            "div",
            tag("span", MEASURE_LABELS[name], title=PAIR_TOOLTIPS.get(name, LENGTH_TOOLTIP)),
            *[
                tag("input", type="number", step="any", placeholder=words, data_range=name, data_side=side,
                    aria_label=f"{MEASURE_LABELS[name]} {words}")
                for side, words in (("low", "from"), ("high", "to"))
            ],
            class_="range",
        )
        for name in PAIR_MEASURES
    ]  # fmt: skip
    outcomes = [tag("option", label, value=name) for name, label in OUTCOME_CHOICES.items()]
    of_run = [
        tag("label", tag("span", "Run", title="The pairs that a fine-tuning was given"),
            tag("select", tag("option", "any", value=""), id="review-run"), class_="range of-run", hidden=True),
        tag("label", tag("span", "Outcome", title=OUTCOME_TITLE),
            tag("select", *outcomes, id="review-outcome"), class_="range of-run", hidden=True),
    ]  # fmt: skip
    texts = [
        tag("label", tag("span", label), tag("input", type="text", data_text=field, maxlength=1000, autocomplete="off",
            placeholder=words, list=known), class_="range")
        for field, label, words, known in (
            ("tag", "Tag", "any", "review-tags-known"), ("reason", "Reason", "any", "review-reasons-known"),
            ("annotator", "Decided by", "anybody", None),
        )
    ]  # fmt: skip
    texts += [tag("datalist", id=f"review-{field}-known") for field in ("tags", "reasons")]
    source = tag("label", tag("span", "Source"), tag("select", tag("option", "all", value=""), id="review-source"),
                 class_="range")  # fmt: skip
    return tag(
        "details",
        tag("summary", "Filters", class_="plain"),
        tag("div", source, *ranges, *of_run, *texts, class_="filter-panel"),
        id="review-filters",
    )


def _build_progress() -> Markup:
    bar = tag("span", tag("span", class_="bar-fill"), class_="bar", id="review-bar", role="progressbar",
              aria_valuemin="0", aria_valuemax="100")  # fmt: skip
    return tag("span", bar, tag("span", id="review-reviewed", class_="quiet"), id="review-progress", class_="progress")


def _step(element_id: str, op: str, label: str, title: str) -> Markup:
    return tag("button", label, id=element_id, type="button", class_="plain", data_op=op, aria_label=title,
               data_shortcut=op, **keyed_title(f"{title} ({{{op}}})"))  # fmt: skip
