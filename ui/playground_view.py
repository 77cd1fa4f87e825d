"""The playground's own HTML: its fixed frame, the image that is asked about, and the answers side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from m3po.settings import DTYPES, QUANTISATIONS
from m3po.types import ImageRef
from ui.formatting import clip, image_url, number, plural
from ui.markup import Markup, join, tag
from ui.word_diff import diff_words

MOST_TOKENS = 8192
SETTINGS = (
    ("temperature", "Temperature", {"value": "0", "min": "0", "max": "10", "step": "0.1"},
     "0: always the likeliest token (greedy). Above 0 an answer is drawn by the seed."),
    ("tokens", "Max new tokens", {"value": "128", "min": "1", "max": str(MOST_TOKENS), "step": "1"},
     "The longest answer, in tokens."),
    ("seed", "Seed", {"value": "0", "min": "0", "step": "1"},
     "Above temperature 0 the same seed gives the same answer."),
)  # fmt: skip
LOGP = "Mean log-prob a token by the model that gave the answer, in nats; nearer 0 means that it believes it more."
LOGP_OF_SERVER = "Mean log-prob a token, in nats, as the server tells it."
MAS = "MAS by {scorer}: alignment of the answer with image and question; higher is better aligned."
CUT = {"length": "cut off by the token limit", "stopped": "stopped"}


def build_playground_frame(workspace: str, made: str) -> str:
    """Image on the left; question, settings and two answers on the right, the last questions below."""
    return str(
        tag("div", _build_left(), _build_right(), id="playground-root", class_="playground", data_workspace=workspace,
            data_made=made)
    )  # fmt: skip


def _build_left() -> Markup:
    words = "Drop an image here, paste it, or choose one below. Without an image the question is of text alone."
    file = tag(
        "label", "Choose a file", tag("input", type="file", accept="image/*", id="playground-file"),
        class_="playground-file", title="Any image of this computer; it is kept in the app's memory alone",
    )  # fmt: skip
    own = tag(
        "label", tag("input", type="checkbox", id="playground-own"), " with its own question",
        title="Ask what the instruction asks, with its system text and earlier turns, as an evaluation does",
    )  # fmt: skip
    return tag(
        "section",
        tag("div", tag("div", id="playground-picture"), tag("p", words, class_="quiet", id="playground-invite"),
            id="playground-drop", class_="playground-drop"),
        tag("p", id="playground-named", class_="quiet", hidden=True),
        tag("div", file,
            tag("input", type="text", id="playground-item", placeholder="Id of an item", aria_label="Id of an item",
                title="The images of an instruction of this workspace, by its id (Enter)"),
            tag("button", "No image", type="button", class_="action", id="playground-clear"),
            class_="playground-tools"),
        tag("div",
            tag("button", "Next held-out image", type="button", class_="action", id="playground-next",
                title="Take the next image of the held-out split, and ask again"),
            own, class_="playground-tools"),
        class_="playground-left", aria_label="Image",
    )  # fmt: skip


def _build_right() -> Markup:
    fields = [
        tag("label", label, tag("input", type="number", id=f"playground-{name}", title=title, **limits), title=title)
        for name, label, limits, title in SETTINGS
    ]
    options = tag(
        "details",
        tag("summary", "Model options"),
        tag("div",
            tag("label", "Number type ", _build_select("playground-dtype", DTYPES)),
            tag("label", "Quantise ", _build_select("playground-quantise", QUANTISATIONS)),
            tag("label", tag("input", type="checkbox", id="playground-trust"), " trust_remote_code",
                title="Run the Python code that comes with the model: it may do whatever you can"),
            tag("span", "Of both. Left as they are, a run's are those that it was trained with.", class_="quiet"),
            class_="playground-options"),
        id="playground-options",
    )  # fmt: skip
    buttons = tag(
        "div",
        tag("button", "Ask ", tag("kbd", "Ctrl"), " ", tag("kbd", "Enter"), type="button", class_="action action-main",
            id="playground-ask"),
        tag("button", "Stop", type="button", class_="action", id="playground-stop", disabled=True,
            title="End both answers at once; what was said stays"),
        class_="playground-buttons",
    )  # fmt: skip
    return tag(
        "section",
        tag("textarea", id="playground-question", rows="2", placeholder="Type a question …", aria_label="Question",
            dir="auto"),
        tag("div", *fields, buttons, class_="playground-settings"),
        options,
        tag("p", id="playground-message", role="status", hidden=True),
        tag("div", _build_side(0), _build_side(1), class_="playground-sides", id="playground-sides"),
        tag("p", id="playground-notes", class_="quiet", hidden=True),
        tag("p", tag("span", id="playground-loaded", class_="quiet"), " ",
            tag("button", "Free the memory", type="button", class_="link", id="playground-release"),
            id="playground-memory", hidden=True),
        tag("details", tag("summary", "Last questions"), tag("div", id="playground-past"), id="playground-history",
            hidden=True),
        class_="playground-right", aria_label="Question and answers",
    )  # fmt: skip


def _build_side(place: int) -> Markup:
    name = ("First", "Second")[place]
    other = tag(
        "div",
        tag("input", type="text", data_field="policy", placeholder="Policy: folder, hub id or remote:MODEL@URL",
            aria_label=f"{name} policy"),
        tag("input", type="text", data_field="adapter", placeholder="Folder of a LoRA adapter, or nothing",
            aria_label=f"{name} adapter"),
        class_="playground-other", hidden=True,
    )  # fmt: skip
    return tag(
        "article",
        tag("select", data_field="model", aria_label=f"{name} model"),
        other,
        tag("div", class_="playground-answer", aria_live="polite", data_empty="Its answer comes here, word by word."),
        class_="playground-side", data_side=place,
    )  # fmt: skip


def _build_select(element_id: str, values: Sequence[str]) -> Markup:
    return tag("select", *[tag("option", value or "no", value=value) for value in values], id=element_id)


def draw_images(images: Sequence[ImageRef]) -> Markup:
    """Of the workspace, by their addresses."""
    return join([tag("img", src=image_url(i), alt="", width=i.width, height=i.height) for i in images])


def draw_upload(address: str, width: int, height: int) -> Markup:
    """An image that is nowhere but in the app's memory; `address` holds all of it."""
    return tag("img", src=address, alt="", width=width, height=height)


def draw_answers(told: Mapping) -> list[Markup]:
    """What each side says so far; where both have ended, the words that differ are marked."""
    sides = told["sides"]
    texts = [clip(side["text"]) for side in sides]
    marked: list[list[tuple[str, bool]]] = [[(text, False)] for text in texts]
    same = False
    if told["done"] and len(sides) == 2 and all(side["whole"] for side in sides):
        marked = list(diff_words(*texts))
        same = texts[0] == texts[1]
    return [_draw_side(side, segments, told["scorer"], same) for side, segments in zip(sides, marked, strict=True)]


def _draw_side(side: Mapping, segments: Sequence[tuple[str, bool]], scorer: str, same: bool) -> Markup:
    text = None
    if any(words for words, _ in segments):
        text = tag("p", *[tag("mark", words) if differs else words for words, differs in segments], dir="auto",
                   class_="playground-text")  # fmt: skip
    elif side["whole"]:
        text = tag("p", "It ended its turn without a word.", class_="quiet")
    head = [tag("b", side["name"])]
    head += [tag("span", side["state"], class_="chip chip-busy")] if side["state"] else []
    head += [tag("span", CUT[side["finish_reason"]], class_="chip chip-warn")] if side["finish_reason"] in CUT else []
    head += [tag("span", "the same words", class_="chip")] if same else []
    return tag(
        "div",
        tag("p", join(head, " "), class_="playground-name"),
        text,
        tag("p", side["error"], class_="notice notice-bad", role="alert") if side["error"] else None,
        _draw_figures(side, scorer),
        data_whole="1" if side["whole"] else None,
    )


def _draw_figures(side: Mapping, scorer: str) -> Markup | None:
    figures = []
    if side["logp_mean"] is not None:
        figures.append(("log-prob", number(side["logp_mean"], 3), LOGP_OF_SERVER if side["by_server"] else LOGP))
    if side["mas"] is not None:
        figures.append(("MAS", number(side["mas"], 3), MAS.format(scorer=scorer)))
    if side["tokens"]:
        figures.append(("", plural(side["tokens"], "token"), "Tokens of the answer, its end of turn among them."))
    if side["seconds"]:
        took = f"{side['seconds']:.1f} s"
        figures.append(("", took, "What this side took, reading image and question included, loading left out."))
        if side["tokens"]:
            pace = side["tokens"] / side["seconds"]
            words = f"{pace:.0f}/s" if pace >= 10 else f"{pace:.1f}/s"
            figures.append(("", words, "Tokens of the answer a second, by these seconds."))
    cells = [
        tag("span", tag("i", name) if name else None, value, class_="value", title=title)
        for name, value, title in figures
    ]
    return tag("p", *cells, class_="playground-figures") if cells else None
