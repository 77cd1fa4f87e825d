"""The parts of the Calibrate tab that never change; ui/static/calibrate.js fills the elements with ids."""

from __future__ import annotations

from m3po.calibration import AUDIT, MAX_AUDIT, TARGET
from m3po.settings import RULES
from ui.calibrate.handlers import PAGE
from ui.formatting import RULE_LABELS
from ui.markup import Markup, tag

# (setting, label, lowest, highest, step, what it means)
SLIDERS = (
    ("weight_chosen", "w chosen", 0, 1, 0.01, "Weight of MAS in good: aligned first, believed second"),
    ("weight_rejected", "w rejected", 0, 1, 0.01, "Weight of low MAS in hard; the rest is on belief"),
    ("delta", "δ margin", 0, 1, 0.01, "Least gap of normalised MAS between chosen and rejected"),
    ("length_ratio", "length ratio", 0.5, 10, 0.5, "Longest token-length ratio; at the left end any"),
)


def build_frame() -> Markup:
    rules = [tag("option", RULE_LABELS[rule], value=rule) for rule in RULES]
    sliders = [
        tag("label", tag("span", label), tag("input", type="range", id=f"calibrate-{name}", data_knob=name, min=low,
            max=high, step=step), tag("output", id=f"calibrate-{name}-value"), class_="slider", title=meaning)
        for name, label, low, high, step, meaning in SLIDERS
    ]  # fmt: skip
    rule = tag("label", tag("span", "rule"), tag("select", *rules, id="calibrate-rule", data_knob="rule"),
               class_="slider", title="The pick rule")  # fmt: skip
    what_if = tag(
        "section",
        tag("h2", "What if?"),
        tag("div", rule, *sliders, class_="sliders"),
        tag("div", id="calibrate-counts", aria_live="polite"),
        tag(
            "div",
            tag("button", "Apply", type="button", id="calibrate-apply", class_="action action-main curator-only",
                title="Make it the selection; decisions stay", disabled=True),
            tag("button", "Discard", type="button", id="calibrate-discard", class_="action",
                title="Back to the settings of the selection", disabled=True),
            class_="what-if-buttons",
        ),
        tag("div", id="calibrate-flips"),
        class_="panel",
    )  # fmt: skip
    accept = tag(
        "section",
        tag("h2", "Accept without eyes"),
        tag("div", id="calibrate-auto"),
        tag(
            "div",
            _field("calibrate-target", "override rate under, %", f"{TARGET:.0%}".rstrip("%"), 0.1, 99, 0.1),
            tag(
                "span",
                _field("calibrate-score", "from M3P-Score", "", 0, 1, "any"),
                tag("button", "Accept from here on", type="button", id="calibrate-accept", class_="action"),
                tag("button", "Take back", type="button", id="calibrate-accept-none", class_="action", hidden=True),
                _field("calibrate-size", "audit of", AUDIT, 1, MAX_AUDIT, 1),
                tag("button", "Draw audit", type="button", id="calibrate-audit", class_="action", hidden=True),
                class_="curator-only",
            ),
            class_="auto-form",
        ),
        class_="panel",
        id="calibrate-accept-panel",
    )
    evidence = tag("div", id="calibrate-evidence", class_="panel")
    return tag(
        "div",
        tag("div", id="calibrate-message", role="status", aria_live="polite", hidden=True),
        tag("div", what_if, tag("div", evidence, accept, class_="calibrate-right"), id="calibrate-body",
            class_="calibrate-body", hidden=True),
        tag("div", id="calibrate-empty"),
        id="calibrate-root", class_="calibrate", data_page_size=PAGE,
    )  # fmt: skip


def _field(element_id: str, label: str, value: object, low: float, high: float, step: object) -> Markup:
    field = tag("input", type="number", id=element_id, value=value, min=low, max=high, step=step)
    return tag("label", tag("span", label), field, class_="small-field", id=f"{element_id}-field")
