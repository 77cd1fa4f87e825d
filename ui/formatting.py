"""How numbers, times and field terms are written for people; every score with its unit and direction."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from m3po.selection import NO_PAIR_REASONS
from m3po.types import ImageRef

MISSING = "–"
MAX_SHOWN = 20_000  # characters of one text on the page; a megabyte would stall the browser


@dataclass(frozen=True)
class ScoreColumn:
    """A candidate's value in the review: attribute name, short head, digits, and what the tooltip says."""

    key: str
    head: str
    digits: int
    tooltip: str


SCORE_COLUMNS = (
    ScoreColumn("votes", "votes", 0, "Votes: how many of the K samples were this very answer (self-consistency)."),
    ScoreColumn("mas", "MAS", 2, "MAS: alignment of the answer with image and instruction; higher is better aligned."),
    ScoreColumn(
        "logp_mean", "logp", 2, "Log-prob: mean per token, in nats; higher (nearer 0) means the model believes it more."
    ),
    ScoreColumn("confidence", "conf", 2, "Confidence: exp(mean log-prob), 0 to 1; higher means the model believes it."),
    ScoreColumn(
        "good", "good", 2, "M3P good: fitness to be chosen, 0 to 1; aligned first, believed second. Higher wins."
    ),
    ScoreColumn(
        "hard",
        "hard",
        2,
        "M3P hard: fitness to be rejected, 0 to 1; misaligned yet believed. Higher is a harder negative.",
    ),
)

PAIR_TOOLTIPS = {
    "m3p_score": "M3P-Score, 0 to 1: mean of good(chosen) and hard(rejected); higher is more worth training on.",
    "logp_margin": "Log-prob margin, nats a token: chosen minus rejected; negative: the model prefers the wrong one.",
    "mas_gap": "MAS gap: chosen minus rejected, in the scorer's units; higher is a clearer difference.",
}

ORDER_LABELS = {
    "m3p_score": "M3P-Score, high first",
    "logp_margin": "Log-prob margin, low first",
    "mas_gap": "MAS gap, high first",
    "reward_margin": "Reward margin, low first",
    "id": "Id",
}
FILTER_LABELS = {
    "all": "All",
    "unreviewed": "Unreviewed",
    "reviewed": "Reviewed",
    "flagged": "Flagged",
    "no_pair": "No pair",
    "audit": "Audit slice",
    "mine": "My queue",
    "disagreements": "Disagreements",
}
OUTCOME_LABELS = {
    "learned": "learned", "unlearned": "unlearned", "kept": "kept", "still_wrong": "still wrong", "": "not measured",
}  # fmt: skip
OUTCOME_TOOLTIPS = {
    "learned": "The model preferred the rejected answer before the run, and prefers the chosen one after it.",
    "unlearned": "The model preferred the chosen answer before the run, and does not after it: look again.",
    "kept": "The model prefers the chosen answer, before the run and after it.",
    "still_wrong": "The model does not prefer the chosen answer, before the run nor after it.",
    "": "The model gave no finite log-prob for one of the answers.",
}
RULE_LABELS = {
    "m3po": "M3PO",
    "rm_dpo": "RM-DPO: highest against lowest MAS",
    "vanilla_dpo": "Vanilla DPO: two drawn, ordered by MAS",
    "confident": "Highest MAS against most confident",
    "mean_2sd": "Rejected near mean − 2 sd of MAS",
    "given": "As the data gives them",
}
VERDICT_LABELS = {
    "accept": "accepted",
    "override": "overridden",
    "tie": "tie",
    "all_wrong": "all wrong",
    "all_right": "all right",
    "bad_question": "bad question",
    "skip": "skipped",
    "flag": "flagged",
}
KIND_LABELS = {
    "import": "Import",
    "sample": "Sample",
    "score": "Score",
    "select": "Select",
    "pilot": "Pilot",
    "export": "Export",
    "train": "Fine-tune",
    "evaluate": "Evaluate",
    "preflight": "Check the pairs",
    "merge": "Merge",
    "judge": "Judge answers",
}
STATE_LABELS = {
    "queued": "waiting",
    "running": "running",
    "finished": "finished",
    "failed": "failed",
    "stopped": "stopped",
    "interrupted": "interrupted",
}


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """A value with fixed digits, a true minus sign, and a dash where there is none."""
    if value is None or value != value:
        return MISSING
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.replace("-", "").replace("+", "")
    return text.replace("-", "−")


def count(value: int) -> str:
    """1234567 as 1,234,567."""
    return f"{value:,}"


def plural(value: int, one: str, many: str | None = None) -> str:
    """`1 pair`, `2 pairs`."""
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


def percent(part: float, whole: float) -> float:
    """0 to 100; 0 of 0 is 0."""
    return max(0.0, min(100.0, 100.0 * part / whole)) if whole else 0.0


def duration(seconds: float | None) -> str:
    """`8 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds is None or seconds != seconds or seconds < 0:
        return MISSING
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60} s"
    if total < 86400:
        return f"{total // 3600} h {total % 3600 // 60} min"
    return f"{total // 86400} d {total % 86400 // 3600} h"


def rate(value: float | None, unit: str) -> str:
    """`12.5 rows/s`; below one a second, the seconds each takes."""
    if not value or value != value or value < 0:
        return ""
    if value < 1:
        return f"{1 / value:.1f} s each"
    return f"{value:.1f} {unit}/s" if value < 100 else f"{value:,.0f} {unit}/s"


def clock(at: dt.datetime | None) -> str:
    """UTC time of day for today, date and time otherwise."""
    if at is None:
        return MISSING
    at = at if at.tzinfo else at.replace(tzinfo=dt.UTC)
    local = at.astimezone()
    today = dt.datetime.now().astimezone().date()
    return local.strftime("%H:%M" if local.date() == today else "%Y-%m-%d %H:%M")


def reason(code: str | None) -> str:
    """Why an instruction has no pair, as a sentence; an unknown reason is shown as it is."""
    if not code or code == "not_selected":
        return "Nothing was selected yet: press Select on the Data tab."
    if code == "not_scored_then":
        return "This was not scored when the pairs were picked: press Select on the Data tab again."
    text = NO_PAIR_REASONS.get(code, code.replace("_", " "))
    return text[:1].upper() + text[1:].rstrip(".") + "."


def clip(text: str) -> str:
    """At most MAX_SHOWN characters, and how many more there are."""
    if len(text) <= MAX_SHOWN:
        return text
    return f"{text[:MAX_SHOWN]} … ({count(len(text) - MAX_SHOWN)} more characters)"


def image_url(image: ImageRef) -> str:
    """Relative to the page, so that it holds behind any proxy."""
    return f"m3po/image/{image.sha256}"
