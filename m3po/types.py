"""The nouns that every floor of the house shares, as frozen dataclasses.

Ids are integer surrogates inside; outside, an instruction is known by `(source, external_id)`.
Log-probs are in nats, MAS has the scorer's own range, all other scores lie in [0, 1].
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "tune", "heldout")
VERDICTS = ("accept", "override", "tie", "all_wrong", "all_right", "bad_question", "skip", "flag")
TRAINING_VERDICTS = ("accept", "override")  # the others keep the pair out of training
NO_VOTES = ("skip", "flag")  # said of an item, but no vote on it
ADJUDICATED = "adjudicated"  # the role of a curator's last word, whatever the others say
IMPORTED = "imported"  # what a vote that came with a file has as its reason

DEFAULT_REASONS = ("object", "attribute", "count", "relation", "text", "reasoning")  # until a guideline names others


@dataclass(frozen=True)
class Turn:
    """One earlier turn of the conversation; `role` is `user` or `assistant`."""

    role: str
    text: str


@dataclass(frozen=True)
class ImageRef:
    """A stored image: `path` is absolute, sizes are in pixels after EXIF orientation."""

    sha256: str
    path: Path
    width: int
    height: int


@dataclass(frozen=True)
class Claim:
    """One statement of an answer and what a judge says of it; `p_yes` in [0, 1], None where it only said yes or no."""

    text: str
    upheld: bool
    p_yes: float | None = None


@dataclass(frozen=True)
class Candidate:
    """An answer with its scores under the active policy and scorer; `None` means not scored yet.

    `mas_minimum`: the MAS of its worst part (sentence), `claims`: its statements, where it was judged in parts.
    `group_votes`: the votes of all answers that mean the same, where a model grouped them; `same_as`: the first of
    them.
    `a`, `b`, `good`, `hard` are the normalised values frozen in the selection (see m3po.scoring).
    """

    id: int
    text: str
    origin: str
    votes: int = 0
    finish_reason: str | None = None
    mas: float | None = None
    mas_minimum: float | None = None
    logp_sum: float | None = None
    n_tokens: int | None = None
    logp_mean: float | None = None
    confidence: float | None = None
    a: float | None = None
    b: float | None = None
    good: float | None = None
    hard: float | None = None
    claims: tuple[Claim, ...] = ()
    samplers: tuple[tuple[str, int], ...] = ()  # who gave it: sampler in a few words, votes
    group_votes: int | None = None
    same_as: int | None = None

    @property
    def waits_for_scores(self) -> bool:
        """Whether a person wrote it and nothing has scored it yet."""
        return self.origin == "human" and self.mas is None and self.logp_sum is None


@dataclass(frozen=True)
class TokenBeliefs:
    """An answer's tokens by the active policy: where each begins in `text` (the end of turn at len(text)), its log-prob
    in nats, and the same with the image blanked, where that was computed."""

    instruction_id: int
    candidate_id: int
    text: str
    offsets: tuple[int, ...]
    log_probs: tuple[float, ...]
    blank_log_probs: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Judgement:
    """A scorer's word on one answer: `score` is the MAS; `minimum` that of the worst of its parts (sentences), where
    it was judged in parts; `claims` where it was judged claim by claim."""

    score: float
    minimum: float | None = None
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True)
class Pair:
    """Chosen against rejected, by candidate id. `logp_margin` < 0: the model prefers the rejected one."""

    chosen: int
    rejected: int
    m3p_score: float | None = None
    logp_margin: float | None = None
    mas_gap: float | None = None


@dataclass(frozen=True)
class PickRule:
    """A pick rule as data: the key that the chosen and the rejected candidate maximise (see m3po.selection).

    `random_two`: the rule sees only two candidates an instruction, drawn by seed. `given`: it takes the pair that the
    data set came with.
    """

    name: str
    chosen: str
    rejected: str
    random_two: bool = False
    given: bool = False


PAIR_OUTCOMES = ("learned", "unlearned", "kept", "still_wrong")  # what a run made of a pair: m3po.store.pair_changes
FLIPPED = ("learned", "unlearned")
VIEW_OUTCOMES = (*PAIR_OUTCOMES, "flipped")


@dataclass(frozen=True)
class PairChange:
    """What a training run did to the pair that it had of an item (candidate ids).

    `before` and `after`: the log-prob margin in nats (sum over the chosen answer's tokens less that of the rejected
    one) by the reference, with which the run began, and after it. `reward`: the margin of the implicit reward,
    beta * (after - before); before the run it is 0 by definition (DPO, arXiv 2305.18290, equation 6). None where the
    model gave no finite number. `outcome`: one of PAIR_OUTCOMES, by the rule in m3po.store.pair_changes, or "". `arm`:
    which of a comparison's arms the run is, and with which seed; empty for a run of its own.
    """

    run_id: int
    chosen: int
    rejected: int
    before: float | None
    after: float | None
    reward: float | None
    outcome: str
    arm: str = ""


@dataclass(frozen=True)
class Decision:
    """A human verdict. `chosen` and `rejected` are candidate ids, `seconds` the time spent on the item.

    `stale`: made on an earlier state (candidates, scores or the machine's pick changed since); an imported vote is not.
    `disagreeing`: all who voted, where no majority of them says the same: then this is one vote of several, and nothing
    is trained on. Empty where they agree.
    """

    id: int
    instruction_id: int
    verdict: str
    chosen: int | None
    rejected: int | None
    annotator: str
    at: dt.datetime
    seconds: float | None = None
    note: str = ""
    reason: str = ""
    stale: bool = False
    disagreeing: tuple[str, ...] = ()
    role: str = ""  # or ADJUDICATED
    blind: bool = False  # scores, the machine's pick and others' decisions were hidden


@dataclass(frozen=True)
class Reversal(Decision):
    """What an undo took back or a redo made stand again, and what that changed."""

    replaced: bool = False  # nothing: its annotator said something later, and that stands
    remark: bool = False  # its reason or note alone: the same verdict stands without it


@dataclass(frozen=True)
class PastDecision(Decision):
    """A row of an item's history: a decision, or an undo (verdict `undo`), and what became of it."""

    revokes: int | None = None  # an undo: of which decision
    redoes: int | None = None  # a redo: which decision it makes stand again
    redone_by: str = ""
    undone_by: str = ""  # "": nobody took it back
    redone: bool = False  # it was undone, and the undo redone since
    stands: bool = False  # its annotator's word on the item as it is now


@dataclass(frozen=True)
class Guideline:
    """What annotators go by, in one version: plain text, and the reasons that a decision may give. `at` is UTC;
    version 0 is what holds until somebody writes one."""

    version: int
    text: str
    reasons: tuple[str, ...]
    author: str = ""
    at: dt.datetime | None = None


@dataclass(frozen=True)
class Tag:
    """A word that an annotator put on an item, whatever is decided about it."""

    name: str
    annotator: str


@dataclass(frozen=True)
class Instruction:
    """One or more images and a conversation whose last user turn the candidates answer."""

    id: int
    source: str
    external_id: str
    split: str
    images: tuple[ImageRef, ...]
    instruction: str
    system: str = ""
    turns: tuple[Turn, ...] = ()


# "mine": what was assigned to the view's annotator, in the queue's order, and is not decided by them
REVIEW_FILTERS = ("all", "unreviewed", "reviewed", "flagged", "no_pair", "audit", "mine", "disagreements")
REVIEW_ORDERS = ("m3p_score", "logp_margin", "mas_gap", "reward_margin", "id")
PAIR_MEASURES = ("m3p_score", "logp_margin", "mas_gap", "length_ratio")  # what a range can be laid on
PAIR_ROLES = ("chosen", "rejected")
SEARCH_PLACES = ("instructions", "answers")
IMAGE_TESTS = ("mas_swap", "mas_blank", "logp_swap", "logp_blank")  # a signal again with another image


@dataclass(frozen=True)
class Range:
    """Pairs whose `measure` (of PAIR_MEASURES) lies in [low, high]; None is open on that side."""

    measure: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Area:
    """Pairs whose `role` (chosen or rejected) answer lies inside the polygon; a corner is (confidence, MAS)."""

    role: str
    corners: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class ReviewView:
    """What the review page walks through: which items, in which order. Scores go from the most to the least
    worth a look (M3P-Score and MAS gap falling, log-prob margin and the reward margin of `run` rising), ids rise; items
    without a pair, or whose pair has no such margin, come last.

    All conditions hold together. `filter` is about what people decided; the others are about the item itself:
    `search` is a part of its instruction or of one of its answers, in any case of letters.
    """

    filter: str = "all"
    order: str = "m3p_score"
    search: str = ""
    search_in: str = "instructions"
    source: str = ""
    ranges: tuple[Range, ...] = ()
    area: Area | None = None
    tag: str = ""  # items that somebody (or `annotator`) gave this tag
    reason: str = ""  # items whose standing decision gives this reason
    annotator: str = ""  # `filter` is about this person's own decisions; "" about what stands of all
    survived: str = ""  # one of IMAGE_TESTS: pairs whose preference survived it
    run: str = ""  # items of a run's pairs, or of some of them: see m3po.store.run_views.parse_runs
    outcome: str = ""  # one of VIEW_OUTCOMES: what that run made of the pair that it had


@dataclass(frozen=True)
class ReviewItem:
    """All that the review page shows of one instruction.

    `pair` is what stands now: the human's where one decided, else the machine's (`machine_pair`).
    `position` counts from 1 within the view; 0 when the item is outside it. `total` is the view's size;
    `reviewed` of `reviewable` counts the whole workspace. `selected_by` names the MAS scorer of the selection, whose
    good, hard, M3P-Score and pick are shown beside another scorer's MAS: set where another one is active now.
    `changes`: of the view's run first, then the newest run, those of comparisons last.
    """

    instruction: Instruction
    candidates: tuple[Candidate, ...]
    pair: Pair | None
    machine_pair: Pair | None
    no_pair_reason: str | None
    decision: Decision | None
    selection_id: int | None
    position: int
    total: int
    reviewed: int
    reviewable: int
    next_id: int | None = None
    given: tuple[int, int] | None = None  # (chosen, rejected) as the data set came with them, to compare with
    scoring: bool = False  # a human's answer waits for its scores, and a run is there to give them
    selected_by: str = ""
    tags: tuple[Tag, ...] = ()
    votes: tuple[Decision, ...] = ()  # everybody's, where several voted or a curator adjudicated
    gold: bool = False  # its right decision is known, and it serves to measure annotators
    blind: bool = False  # scores, the machine's pick and others' decisions are left out: the annotator has not voted
    shuffled: bool = False  # `candidates` come in the order in which this annotator numbers them
    changes: tuple[PairChange, ...] = ()  # what each run did to the pair that it had of this item, newest first
    measured: int = 0  # of how many runs it is known what they did to any pair: more runs, more to draw
    exclusions: tuple[tuple[int, int, str], ...] = ()  # chosen, rejected of pairs left out of training; why and by whom
    fixed_order: bool = False  # the items come as a queue, or by id to who judges blind: not in the view's own order

    @property
    def excluded(self) -> str:
        """Why `pair` is left out of training and pair exports, and who said so; empty: it is not."""
        pair = self.pair and (self.pair.chosen, self.pair.rejected)
        return next((why for *excluded, why in self.exclusions if tuple(excluded) == pair), "")

    def role(self, candidate_id: int) -> str:
        """`chosen`, `rejected` or `none`."""
        if self.pair is None:
            return "none"
        return {self.pair.chosen: "chosen", self.pair.rejected: "rejected"}.get(candidate_id, "none")


@dataclass(frozen=True)
class Run:
    """A job on the workspace. `kind` is import, sample, score, select, pilot, preflight, train, evaluate or export;
    `state` is queued, running, finished, failed, stopped or interrupted. `done` of `total` in `unit`s; `rate` per
    second; `eta` in seconds; times are UTC."""

    id: int
    kind: str
    state: str
    config: dict
    created_at: dt.datetime
    started_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    done: int = 0
    total: int = 0
    unit: str = ""
    rate: float | None = None
    eta: float | None = None
    message: str = ""
    result: dict | None = None
    parent_id: int | None = None
    command: str = ""

    @property
    def active(self) -> bool:
        return self.state in ("queued", "running")

    @property
    def resumable(self) -> bool:
        """Whether it may go on where it was: not where it asked for a model that does not exist."""
        return self.state in ("stopped", "failed", "interrupted") and not (self.result or {}).get("final")
