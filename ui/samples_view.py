"""Held-out answers before and after a training, side by side, as HTML: which ones, and a page at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from m3po.evaluation.chair import word_forms
from m3po.types import ImageRef
from ui.formatting import clip, count, image_url
from ui.markup import Markup, tag
from ui.word_diff import diff_words

KINDS = {
    "changed": "Changed",
    "right_now": "Wrong before, right now",
    "wrong_now": "Right before, wrong now",
    "all": "All",
}


def label_kinds(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Label and name of each of m3po.jobs.results.outcomes.SHOWN, with how many answers it has where that is known."""
    return [(f"{label} ({count(counts[kind])})" if kind in counts else label, kind) for kind, label in KINDS.items()]


def draw_pager(offset: int, size: int, total: int, what: str = "answers") -> Markup | None:
    """Which of the answers are shown, with buttons to those before and after; nothing where all are shown."""
    if total <= size:
        return None
    steps = (
        ("‹", f"Earlier {what}", offset - size, offset > 0),
        ("›", f"More {what}", offset + size, offset + size < total),
    )
    back, on = (
        tag("button", sign, type="button", class_="plain", title=title, aria_label=title, data_offset=max(at, 0),
            disabled=not there)
        for sign, title, at, there in steps
    )  # fmt: skip
    shown = f"{count(min(offset + 1, total))}–{count(min(offset + size, total))} of {count(total)}"
    return tag("div", back, tag("span", shown, role="status"), on, class_="pager")


def draw_samples(samples: Sequence[Mapping]) -> Markup:
    """Held-out images with the answer before and after: the changed words marked, right and wrong by the truth."""
    if not samples:
        return tag("p", "There are no such answers.", class_="nothing")
    return tag("div", *[_draw_sample(sample) for sample in samples], class_="samples")


def _draw_sample(sample: Mapping) -> Markup:
    before, after = clip(sample["before"] or ""), clip(sample["after"] or "")
    sides = zip(("before", "after"), diff_words(before, after), strict=True)
    images: Sequence[ImageRef] = sample["images"]
    pictures = [tag("img", src=image_url(i), alt="", loading="lazy", width=i.width, height=i.height) for i in images]
    truth = tag("p", tag("b", "truth "), clip(sample["truth"]), class_="sample-truth", dir="auto")
    words = tag(
        "div",
        tag("p", clip(sample["instruction"]), class_="instruction-text"),
        tag("div", *[_draw_side(name, sample[f"{name}_judged"], segments) for name, segments in sides], class_="sides"),
        truth if sample["truth"] else None,
        class_="sample-words",
    )
    return tag(
        "article",
        tag("div", *pictures, class_="sample-images"),
        words,
        class_="sample",
        data_instruction_id=sample["instruction_id"],
    )


def _draw_side(name: str, judged: Mapping, segments: Sequence[tuple[str, bool]]) -> Markup:
    verdict = None
    if judged["right"] is not None:
        verdict = tag("span", _verdict(judged), class_="judged-better" if judged["right"] else "judged-worse")
    marked = [tag("mark", text, class_=_side_of(text, judged)) if differs else text for text, differs in segments]
    return tag("p", tag("b", name, " ", verdict), *marked, class_=f"sample-{name}", dir="auto")


def _verdict(judged: Mapping) -> str:
    if judged["not_there"]:
        return f"✗ not there: {', '.join(judged['not_there'])}"
    if judged["there"] is not None:
        return "✓ all there" if judged["there"] else "names no object"
    return "✓ right" if judged["right"] else "✗ wrong"


def _side_of(text: str, judged: Mapping) -> str | None:
    """What the truth says of changed words: of a description those that name an object, of other answers all."""
    if judged["right"] is None:
        return None
    if judged["there"] is None:
        return "mark-right" if judged["right"] else "mark-wrong"
    named = f" {' '.join(''.join(c if c.isalnum() else ' ' for c in text.casefold()).split())} "
    for side, names in (("mark-wrong", judged["not_there"]), ("mark-right", judged["there"])):
        if any(f" {form} " in named for name in names for form in word_forms(name)):
            return side
    return None
