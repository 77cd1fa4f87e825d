"""How people name a scorer: `KIND:MODEL`, or a weighted mean of several, `0.7*clip:A + 0.3*vqa:B`.

Text alone: what a name means is known here, which model it loads is known in m3po.models.alignment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from m3po.errors import UsageError
from m3po.remote_spec import names_remote, parse_remote

# What each kind takes after the colon.
KINDS = {
    "clip": "a CLIP folder or hub id",
    "siglip": "a SigLIP folder or hub id",
    "vqa": "a vision-language model as judge of the whole answer",
    "claims": "a vision-language model as judge of each claim",
    "remote": "MODEL@URL, a judge behind an OpenAI-compatible server",
    "remote-rating": "MODEL@URL, a judge that gives a number",
    "column": "the name of a rating from the imported file",
}
JUDGES = ("vqa", "claims")
REMOTE_KINDS = ("remote", "remote-rating")
_ADAPTER = ",adapter="
_PREFIX = re.compile(r"([A-Za-z][A-Za-z-]*):(.*)", re.DOTALL)
_NUMBER = r"\d+(?:\.\d*)?|\.\d+"
_WEIGHTED = re.compile(rf"\s*({_NUMBER})\s*\*\s*(.*)", re.DOTALL)
_PLUS = re.compile(rf"\s*\+\s*(?=(?:{_NUMBER})\s*\*)")
_LIKE_NUMBER = r"nan|inf(?:inity)?|[.,_]*\d[\d.,_]*(?:e[+-]?\d+)?"
_LIKE_WEIGHT = re.compile(rf"(?:^|(?<=[+\s]))((?:-\s*)?(?:{_LIKE_NUMBER}))\s*\*", re.IGNORECASE)
_NAMED = re.compile(rf"\+\s*(?:{'|'.join(KINDS)}):")


@dataclass(frozen=True)
class ScorerPart:
    """One scorer: its `kind` (empty: a CLIP or SigLIP model, as its config says), `model`, and a judge's `adapter`."""

    kind: str
    model: str
    adapter: str | None = None

    @property
    def text(self) -> str:
        """The name that parses back to this."""
        tail = f"{_ADAPTER}{self.adapter}" if self.adapter else ""
        return f"{self.kind}:{self.model}{tail}" if self.kind else self.model


@dataclass(frozen=True)
class ScorerSpec:
    """A scorer or, with several `parts`, their mean; `weights` run in parallel, as they were written."""

    parts: tuple[ScorerPart, ...]
    weights: tuple[float, ...]

    @property
    def is_mean(self) -> bool:
        return len(self.parts) > 1

    @property
    def judges(self) -> tuple[ScorerPart, ...]:
        """The parts that are a vision-language model here, loaded as a policy is."""
        return tuple(part for part in self.parts if part.kind in JUDGES)

    @property
    def shares(self) -> tuple[float, ...]:
        """The weights, summing to 1."""
        total = sum(self.weights)
        return tuple(weight / total for weight in self.weights)

    @property
    def text(self) -> str:
        """The name that parses back to this."""
        if not self.is_mean:
            return self.parts[0].text
        return " + ".join(
            f"{_plain(weight)}*{part.text}" for weight, part in zip(self.weights, self.parts, strict=True)
        )


def _plain(weight: float) -> str:
    """All digits of a number, without an exponent and without zeros at its end."""
    text = format(Decimal(repr(weight)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def parse_scorer(text: str) -> ScorerSpec:
    """The scorer that `text` names. Raises UsageError in one sentence that says how it should be written."""
    text = text.strip()
    if not text:
        raise UsageError("The scorer's name is empty: give a CLIP or SigLIP model, or KIND:MODEL.")
    for weight in _LIKE_WEIGHT.findall(text):
        if text.startswith("+") or not re.fullmatch(_NUMBER, weight):
            raise UsageError(
                f"{text!r:.200} has the weight {weight!r:.40}: give each scorer a plain number above 0, "
                "as in 0.7*clip:A + 0.3*vqa:B."
            )
    if not _WEIGHTED.fullmatch(text):
        if _NAMED.search(text):
            raise UsageError(f"{text!r} names several scorers: give each a weight, as in 0.7*clip:A + 0.3*vqa:B.")
        return ScorerSpec((_parse_part(text),), (1.0,))
    weights, parts = [], []
    for piece in _PLUS.split(text):
        weight, name = _WEIGHTED.fullmatch(piece).groups()
        if _NAMED.search(name):
            raise UsageError(f"A part of {text!r} has no weight: give each one, as in 0.7*clip:A + 0.3*vqa:B.")
        weights.append(float(weight))
        parts.append(_parse_part(name))
    if len(parts) < 2:
        raise UsageError(f"{text!r} is a mean of one: leave out the weight, or add a second scorer with its weight.")
    if not all(weights):
        raise UsageError(f"{text!r} has a weight of 0: leave that scorer out, or give it a weight above 0.")
    if not math.isfinite(total := sum(weights)) or not all(weight / total for weight in weights):
        raise UsageError(f"{text!r:.200} has a weight that is too large: give numbers nearer to each other, or to 1.")
    if len(set(parts)) < len(parts):
        raise UsageError(f"{text!r} names a scorer twice: add up its weights.")
    return ScorerSpec(tuple(parts), tuple(weights))


def _parse_part(text: str) -> ScorerPart:
    text = text.strip()
    match = _PREFIX.fullmatch(text)
    kind, model = (match.group(1), match.group(2).strip()) if match else ("", text)
    if kind and kind not in KINDS:
        raise UsageError(f"There is no kind of scorer {kind!r}: use one of {', '.join(KINDS)}.")
    adapter = None
    if kind in JUDGES and _ADAPTER in model:
        model, _, adapter = (piece.strip() for piece in model.partition(_ADAPTER))
        if not adapter:
            raise UsageError(f"{text!r} names no adapter: write the folder after adapter=, or leave it out.")
    if not model:
        raise UsageError(f"{text!r} names no model: write {kind}: and then {KINDS[kind]}." if kind else _UNNAMED)
    if kind in REMOTE_KINDS:
        parse_remote(f"{kind}:{model}", f"{kind}:")
    return ScorerPart(kind, model, adapter)


_UNNAMED = "A part of the mean names no scorer: write 0.7*clip:A + 0.3*vqa:B."


def map_folders(text: str, change: Callable[[str], str]) -> str:
    """The same name with `change` applied to every model and adapter that could be a folder here."""
    spec = parse_scorer(text)

    def mapped(part: ScorerPart) -> ScorerPart:
        if part.kind in REMOTE_KINDS or part.kind == "column":
            return part
        return replace(part, model=change(part.model), adapter=change(part.adapter) if part.adapter else None)

    return replace(spec, parts=tuple(mapped(part) for part in spec.parts)).text


def _last_part(model: str) -> str:
    return Path(model).name if Path(model).is_absolute() else model


def short_name(text: str) -> str:
    """The name for a narrow place: folders by their last part."""
    try:
        return map_folders(text, _last_part)
    except UsageError:  # what an older version stored
        return text


def name_models(kind: str, config: Mapping[str, object]) -> str:
    """Who gives what in a scoring run, in short: `MAS by vqa:judge, log-probs by policy`; empty for other runs."""
    if kind != "score":
        return ""
    policy, adapter = (_last_part(str(config.get(name) or "")) for name in ("policy", "adapter"))
    given = {
        "MAS": short_name(str(config["mas"])) if config.get("mas") else "",
        "log-probs": f"{policy} with {adapter}" if policy and adapter else policy,
    }
    named = [f"{what} by {who}" for what, who in given.items() if who]
    if group := str(config.get("group") or ""):
        named.append("no groups" if group == NO_GROUPS else f"groups by {map_grouper(group, _last_part)}")
    return ", ".join(named)


@dataclass(frozen=True)
class Grouper:
    """Who tells which answers mean the same: `embed` (texts nearer than `threshold`, a cosine) or `judge`."""

    kind: str
    model: str
    threshold: float | None = None

    @property
    def text(self) -> str:
        return f"{self.kind}:{self.model}" + (f"{_THRESHOLD}{_plain(self.threshold)}" if self.threshold else "")


_THRESHOLD = ",threshold="
DEFAULT_THRESHOLD = 0.9
NO_GROUPS = "off"


def parse_grouper(text: str) -> Grouper | None:
    """The grouper that `text` names; None for "off". Raises UsageError in one sentence."""
    text = text.strip()
    if text == NO_GROUPS:
        return None
    if names_remote(text) or "://" in text:  # an address may hold a password: no part of it is repeated or stored
        raise UsageError("Answers are grouped by a model on this machine: give embed:MODEL, judge:MODEL or off.")
    kind, _, model = (piece.strip() for piece in text.partition(":"))
    if kind not in ("embed", "judge") or not model:
        raise UsageError(f"group = {text!r} cannot be used: give embed:MODEL, judge:MODEL or off.")
    if kind == "judge":
        return Grouper(kind, model)
    model, given, number = model.partition(_THRESHOLD)
    try:
        threshold = float(number) if given else DEFAULT_THRESHOLD
    except ValueError:
        threshold = 0.0
    if not 0 < threshold <= 1:
        raise UsageError(f"{text!r} has no usable threshold: give a cosine above 0, at most 1, as in ,threshold=0.9.")
    return Grouper(kind, model.strip(), threshold)


def map_grouper(text: str, change: Callable[[str], str]) -> str:
    """The same name with `change` applied to its model."""
    grouper = parse_grouper(text)
    return replace(grouper, model=change(grouper.model)).text if grouper else text
