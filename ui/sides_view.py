"""The blind comparison on Results: its fixed frame, one item without which model says what, and the outcome."""

from __future__ import annotations

from collections.abc import Mapping

from ui.formatting import clip, count, image_url, plural
from ui.markup import Markup, join, tag

VERDICTS = (("left", "1", "Left is better"), ("right", "2", "Right is better"), ("tie", "3", "Tie"),
            ("both_bad", "4", "Both are bad"))  # fmt: skip


def build_sides_frame() -> str:
    """A closed section: two choices, the item, four buttons with their keys, and the outcome when asked for."""
    buttons = [
        tag("button", tag("kbd", key), f" {label}", type="button", class_="action", data_said=said)
        for said, key, label in VERDICTS
    ]
    return str(
        tag("details",
            tag("summary", "Judge two models blind"),
            tag("div",
                tag("label", "Compare ", tag("select", id="sides-first", aria_label="The first model")),
                tag("label", "with ", tag("select", id="sides-second", aria_label="The second model")),
                tag("button", "Show the outcome", type="button", class_="action", id="sides-outcome"),
                tag("span", id="sides-progress", class_="quiet", role="status"),
                class_="sides-choice"),
            tag("div", id="sides-item"),
            tag("div", *buttons, class_="sides-verdicts", id="sides-verdicts", hidden=True),
            tag("button", tag("kbd", "U"), " Judge the last one again", type="button", class_="action",
                id="sides-again", hidden=True, title="What you say then counts; the former vote is kept"),
            tag("p", id="sides-message", class_="message-hint", role="status"),
            id="sides-root", class_="panel sides-panel")
    )  # fmt: skip


def draw_item(found: Mapping) -> Markup:
    """The question, its images and both answers by their sides alone."""
    if found["item"] is None:
        words = "You judged every item on which they differ." if found["total"] else "Their answers are the same."
        return tag("p", words, " Show the outcome.", class_="quiet")
    pictures = [tag("img", src=image_url(i), alt="", width=i.width, height=i.height) for i in found["images"]]
    sides = [tag("div", tag("b", name), tag("p", clip(found[name.lower()]), dir="auto"), class_="sides-answer")
             for name in ("Left", "Right")]  # fmt: skip
    return join([
        tag("p", clip(found["instruction"]), class_="instruction-text", dir="auto"),
        tag("div", *pictures, class_="sides-images"),
        tag("div", *sides, class_="sides-answers"),
    ])  # fmt: skip


def say_progress(found: Mapping) -> str:
    same = f"; {plural(found['same'], 'equal answer')} left out" if found["same"] else ""
    return f"{count(found['judged'])} of {count(found['total'])} judged{same}"


def draw_outcome(report: Mapping) -> Markup:
    """How often the second was preferred, with its interval; told only when somebody asks for it."""
    first, second = report["names"]
    if report["win_rate"] is None:
        return tag("p", f"Nobody preferred either of {first} and {second} yet.", class_="quiet")
    rate = f"{report['win_rate']:.0%} (95 % {report['low']:.0%} to {report['high']:.0%})"
    return tag(
        "p",
        tag("b", f"{second} is preferred to {first} in {rate}"),
        f" of {plural(report['wins'] + report['losses'], 'item')} with a winner, p = {report['p']:.2f} by the "
        f"sign test; {plural(report['ties'], 'tie')}, {count(report['both_bad'])} both bad; "
        f"{plural(report['people'], 'person', 'people')} judged {plural(report['items'], 'item')} without being told "
        "which was which.",
    )
