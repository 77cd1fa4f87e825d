"""What a file brings, before it is stored: rows, the verdicts in them, what is refused, and what came of it all."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

from m3po.types import Turn


@dataclass(frozen=True)
class ImportedDecision:
    """A verdict that a file brings; `chosen` and `rejected` are places in the row's `candidates`.

    `given`: the preference that a data set comes with (its maker's or another model's), kept to compare with;
    otherwise somebody's vote in another tool, with that annotator's name, time (UTC) and seconds where known. `role`,
    `reason` and `blind` as of Decision: what another workspace wrote.
    """

    verdict: str
    chosen: int | None = None
    rejected: int | None = None
    annotator: str = ""
    at: dt.datetime | None = None
    seconds: float | None = None
    note: str = ""
    given: bool = False
    role: str = ""
    reason: str = ""
    blind: bool = False


@dataclass(frozen=True)
class ImportedRow:
    """One instruction as a file brings it, checked but not stored yet.

    `row` names it for people ("line 3"); `id` is unique in its source; `images` are absolute paths that were
    opened and decoded once. `answer`, `objects` and `category` are truth: evaluation alone reads them.
    """

    row: str
    id: str
    images: tuple[Path, ...]
    instruction: str
    system: str = ""
    turns: tuple[Turn, ...] = ()
    split: str | None = None
    answer: str | None = None
    objects: tuple[str, ...] | None = None
    category: str | None = None
    candidates: tuple[str, ...] = ()
    human: tuple[str, ...] = ()  # those among the candidates that a person wrote: no rule picks them
    ratings: tuple[dict[str, float], ...] = ()  # by name, one dict a candidate, or none at all
    decisions: tuple[ImportedDecision, ...] = ()
    known_as: tuple[str, str, str] | None = None  # (source, id, content hash or "") where it was written: of that row
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class RefusedRow:
    """A row that does not go in, and why, in one sentence."""

    row: str
    reason: str


@dataclass(frozen=True)
class ImportReport:
    """What an import did: rows that were new, already there, refused; warnings about rows that went in.

    `refused` and `warnings` hold the first 1,000; `n_refused` counts all, and `refused_file` (JSON Lines) names them.
    """

    source: str
    added: int
    already_there: int
    refused: tuple[RefusedRow, ...] = ()
    warnings: tuple[str, ...] = ()
    splits: dict[str, int] = field(default_factory=dict)
    n_refused: int = 0
    refused_file: str = ""
    decisions: int = 0  # votes that are new, by `annotators` people
    annotators: int = 0
