"""Each answer coloured token by token: how strongly the policy believes it, or how much of that it owes to the image.

A token that is confident and does not depend on the image is the language prior speaking: there the hallucination sits.
Colour is never alone: the underline says the same, and the value stands in the tooltip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from m3po.errors import M3poError
from m3po.studio import Studio
from m3po.types import TokenBeliefs
from ui.formatting import MAX_SHOWN, number
from ui.markup import Markup, join, tag
from ui.review.key_words import key_cap, keyed_title

KINDS = ("logp", "image")
MAX_ASKED = 8  # items at a time: the one that is shown and those around it
END = "∎"  # drawn for the end-of-turn token, which has no text


@dataclass(frozen=True)
class Level:
    """A class of tokens: its name in the page's style sheet, and what the legend and its tooltip say."""

    name: str
    label: str
    title: str


# From the least to the most believed; `FLOORS` are the least probabilities of each.
LOGP_LEVELS = (
    Level("p0", "p < 0.01", "Hardly believed: the policy would almost never say this here."),
    Level("p1", "0.01–0.1", "Unlikely."),
    Level("p2", "0.1–0.5", "Possible: something else was at least as likely."),
    Level("p3", "0.5–0.9", "Likely."),
    Level("p4", "≥ 0.9", "Firmly believed."),
)
FLOORS = (0.01, 0.1, 0.5, 0.9)
DEPENDS, DECIDES, SURE = 0.5, 2.0, 0.5  # nats, nats, probability
IMAGE_LEVELS = (
    Level("i-against", "image against", f"Less likely with the image than without: by {DEPENDS} nats or more."),
    Level("i-none", "unsure", f"Does not depend on the image (less than {DEPENDS} nats), and is not confident."),
    Level(
        "i-prior", "language prior",
        f"Confident (p ≥ {SURE}) and does not depend on the image: where hallucinations sit. So do words like “the”.",
    ),
    Level("i-for", "image helps", f"More likely with the image: by {DEPENDS} nats or more."),
    Level("i-strong", "image decides", f"More likely with the image by {DECIDES:.0f} nats or more."),
)  # fmt: skip


@dataclass(frozen=True)
class Token:
    """A piece of the text with its log-prob in nats; tokens that share a character are one piece, their log-probs
    summed. `dependence`: log-prob with the image minus with it blanked (arXiv 2412.14487)."""

    text: str
    log_prob: float
    dependence: float | None = None


def split_tokens(beliefs: TokenBeliefs) -> list[Token]:
    """The text as tokens; joined, they are the text again, but for an end of turn, whose text is empty."""
    blanks = beliefs.blank_log_probs or (math.nan,) * len(beliefs.log_probs)
    starts: list[int] = []
    sums: list[list[float]] = []
    for offset, log_prob, blank in zip(beliefs.offsets, beliefs.log_probs, blanks, strict=True):
        # The first token begins the text, also where a tokenizer says that it skips a blank.
        start = 0 if not starts else min(max(offset, starts[-1]), len(beliefs.text))
        if starts and start == starts[-1] and start < len(beliefs.text):
            sums[-1] = [sums[-1][0] + log_prob, sums[-1][1] + blank]
        else:
            starts.append(start)
            sums.append([log_prob, blank])
    ends = [*starts[1:], len(beliefs.text)]
    return [
        Token(beliefs.text[start:end], value, None if math.isnan(blank) else value - blank)
        for start, end, (value, blank) in zip(starts, ends, sums, strict=True)
    ]


def level_of(token: Token, kind: str) -> Level:
    """The class of a token; of `image` where the dependence is known, else of its log-prob."""
    p = math.exp(token.log_prob)
    if kind == "image" and token.dependence is not None:
        if token.dependence <= -DEPENDS:
            return IMAGE_LEVELS[0]
        if token.dependence < DEPENDS:
            return IMAGE_LEVELS[2] if p >= SURE else IMAGE_LEVELS[1]
        return IMAGE_LEVELS[4] if token.dependence >= DECIDES else IMAGE_LEVELS[3]
    return LOGP_LEVELS[sum(p >= floor for floor in FLOORS)]


def draw_tokens(beliefs: TokenBeliefs, kind: str) -> Markup:
    """The answer with every token in its class; at most MAX_SHOWN characters of it."""
    drawn, length = [], 0
    for token in split_tokens(beliefs):
        length += len(token.text)
        if length > MAX_SHOWN:
            drawn.append("…")
            break
        title = f"p {number(math.exp(token.log_prob))}, {number(token.log_prob)} nats"
        if token.dependence is not None:
            title += f"; image {number(token.dependence, sign=True)}"
        words = f"{title} (end of turn)" if not token.text else title
        drawn.append(tag("span", token.text or END, class_=level_of(token, kind).name, title=words))
    return join(drawn)


def build_belief_switch() -> Markup:
    """The switch above the candidates with the legend of each colouring; driven by ui/static/belief.js."""
    choices = (("off", "plain"), ("logp", "log-prob"), ("image", "image dependence"))
    options = [tag("option", label, value=value) for value, label in choices]
    legends = [
        tag("span", *[tag("span", level.label, class_=level.name, title=level.title) for level in levels],
            class_="belief-legend", data_legend=kind, hidden=True)
        for kind, levels in (("logp", LOGP_LEVELS), ("image", IMAGE_LEVELS))
    ]  # fmt: skip
    label = tag("label", key_cap("belief"), " tokens ",
                tag("select", *options, id="review-belief-kind", data_shortcut="belief",
                    **keyed_title("How the answers' tokens are coloured ({belief})")))  # fmt: skip
    note = tag("span", id="review-belief-note", class_="quiet", role="status")
    return tag("div", label, *legends, note, id="review-belief")


def read_belief(studio: Studio, data: object) -> dict:
    """What the page asks: `instruction_ids` and a `kind`. Answers the drawn tokens by candidate, by instruction, the
    kind of their colours, and what there is to say where that is another or none. It comes over the network: what is
    no id is left out."""
    asked = data if isinstance(data, dict) else {}
    kind = asked.get("kind") if asked.get("kind") in KINDS else KINDS[0]
    ids = asked.get("instruction_ids") if isinstance(asked.get("instruction_ids"), list) else []
    wanted = [i for i in ids[:MAX_ASKED] if isinstance(i, int) and not isinstance(i, bool) and 0 <= i < 2**63]
    answers: dict[str, dict[str, str]] = {str(i): {} for i in wanted}
    blanked = dict.fromkeys(answers, False)
    drawn_by = dict.fromkeys(answers, kind)
    told, notes = _ask(studio, wanted)
    for beliefs in told:
        key = str(beliefs.instruction_id)
        answers[key][str(beliefs.candidate_id)] = draw_tokens(beliefs, kind)
        blanked[key] = blanked[key] or beliefs.blank_log_probs is not None
    for key, drawn in answers.items():
        if not drawn:
            drawn_by[key] = ""
            notes[key] = notes.get(key) or "No token log-probs yet: score on Data."
        elif kind == "image" and not blanked[key]:
            drawn_by[key] = "logp"
            notes[key] = "Shown by log-prob: not scored with the image blanked yet (Browse, or `m3po dependence`)."
    return {"answers": answers, "notes": notes, "drawn_by": drawn_by}


def _ask(studio: Studio, wanted: list[int]) -> tuple[list[TokenBeliefs], dict[str, str]]:
    """What can be told of these items, and why not of the others: one that is refused hides no other."""
    try:
        return studio.token_beliefs(wanted), {}
    except M3poError as error:
        if len(wanted) < 2:
            return [], {str(i): str(error) for i in wanted}
    each = [_ask(studio, [i]) for i in wanted]
    return [beliefs for told, _ in each for beliefs in told], {
        key: why for _, notes in each for key, why in notes.items()
    }
